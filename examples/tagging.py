"""Token tagging: which characters of Python code are comments, strings, keywords, names?

    python examples/tagging.py
"""

import io
import keyword
import pathlib
import textwrap
import tokenize

import keras
import numpy as np
from keras import layers

import ecl_tf

LENGTH = 64
TAGS = {tokenize.COMMENT: 1, tokenize.STRING: 2, tokenize.NAME: 3, tokenize.NUMBER: 4}
KEYWORD = 5  # All other characters have the tag 0.


def read(name):
    """Pieces of a module of the standard library: (pieces, LENGTH) characters, and tags."""
    text = pathlib.Path(textwrap.__file__).with_name(name).read_text()
    starts = np.cumsum([0] + [len(line) for line in text.splitlines(keepends=True)])
    tags = np.zeros(len(text), "int32")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        (row, column), (last_row, last_column) = token.start, token.end
        tag = KEYWORD if keyword.iskeyword(token.string) else TAGS.get(token.type, 0)
        if tag:
            tags[starts[row - 1] + column : starts[last_row - 1] + last_column] = tag
    characters = np.minimum(np.frombuffer(text.encode("utf-32-le"), "uint32"), 127).astype("int32")
    whole = len(text) // LENGTH * LENGTH
    return characters[:whole].reshape(-1, LENGTH), tags[:whole].reshape(-1, LENGTH)


def tagger(width, depth):
    """Characters, as an image one pixel wide, to the logits of every character's tags."""
    characters = keras.Input((LENGTH, 1, 1), dtype="int32")
    x = layers.Embedding(128, width)(layers.Reshape((LENGTH,))(characters))
    for _ in range(depth):
        x = layers.Conv1D(width, 5, padding="same", activation="relu")(x)
    return keras.Model(characters, layers.Dense(6)(x))


def join(*names):
    x, y = (np.concatenate(parts) for parts in zip(*map(read, names), strict=True))
    return x[..., None, None], y


keras.utils.set_random_seed(0)
x, y = join("argparse.py", "datetime.py")
held_out = join("tarfile.py", "zipfile.py")
#DEV held_out = join(["","ast.py","typing.py","inspect.py"][SEED])
metrics = ["accuracy", ecl_tf.metrics.NegativeLogLikelihood("categorical")]
print(x.shape, held_out[0].shape)

teacher = tagger(48, 3)
loss = ecl_tf.losses.NegativeLogLikelihood("categorical")
teacher.compile(keras.optimizers.Adam(2e-3), loss)
teacher.fit(x, y, batch_size=32, epochs=6, verbose=0)

print(f"{'on held-out modules':24} {'weights':>8} {'accuracy':>9} {'NLL, nats':>9}")
print(f"{'majority class':24} {'':8} {np.bincount(held_out[1].ravel()).max() / held_out[1].size:9.1%}")
for name, sampler in {
    "ordinary distillation": "Empirical",
    "XCL, default recipe": ecl_tf.samplers.recipe(),
}.items():
    student = tagger(16, 2)
    distiller = ecl_tf.Distiller(student, teacher, sampler=sampler)
    distiller.compile(keras.optimizers.Adam(3e-3), metrics=metrics, teacher_metrics=True)
    distiller.fit(x, batch_size=32, epochs=10, verbose=0)
    scores = distiller.evaluate(*held_out, batch_size=128, verbose=0, return_dict=True)
    print(f"{name:24} {student.count_params():8,} {scores['accuracy']:9.1%} {scores['nll']:9.3f}")
print(f"{'teacher':24} {teacher.count_params():8,} {scores['teacher_accuracy']:9.1%} {scores['teacher_nll']:9.3f}")
