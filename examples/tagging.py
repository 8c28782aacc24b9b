"""Token tagging: which characters of Python code are comments, strings, keywords, names, numbers?

The data is Python's own library. You learn to distil a tag for every position, and to sample
beyond whole numbers: they can't be averaged, but pieces of one text can be cut into another.

    python examples/tagging.py

    on held-out modules     weights  accuracy NLL, nats
    majority class                      32.4%
    ordinary distillation     4,742     75.9%     0.592
    XCL, default recipe       4,742     76.1%     0.584
    teacher                  41,142     78.6%     0.503

The text is plenty for so small a student, and cut samples add next to nothing. Measured with
Python 3.11.
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

LENGTH, KEYWORD, TAGS = 64, 5, 6
TAG_OF = {tokenize.COMMENT: 1, tokenize.STRING: 2, tokenize.NAME: 3, tokenize.NUMBER: 4}


def read(module):
    """Pieces of LENGTH characters, as numbers below 128, and the tag of every character."""
    text = pathlib.Path(textwrap.__file__).with_name(f"{module}.py").read_text("utf-8")
    line_starts = np.cumsum([0] + [len(line) for line in text.splitlines(keepends=True)])
    tags = np.zeros(len(text), "int32")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        begin, end = (line_starts[row - 1] + column for row, column in (token.start, token.end))
        is_keyword = keyword.iskeyword(token.string)
        tags[begin:end] = KEYWORD if is_keyword else TAG_OF.get(token.type, 0)
    characters = np.array([min(ord(character), 127) for character in text], "int32")
    whole = len(text) // LENGTH * LENGTH
    # As an image one pixel wide: of images the default recipe cuts boxes, here pieces of text.
    return characters[:whole].reshape(-1, LENGTH, 1, 1), tags[:whole].reshape(-1, LENGTH)


def tagger(width, depth):
    characters = keras.Input((LENGTH, 1, 1), dtype="int32")
    x = layers.Embedding(128, width)(layers.Reshape((LENGTH,))(characters))
    for _ in range(depth):
        x = layers.Conv1D(width, 5, padding="same", activation="relu")(x)
    return keras.Model(characters, layers.Dense(TAGS)(x))


keras.utils.set_random_seed(0)
x, y = map(np.concatenate, zip(read("argparse"), read("datetime"), strict=True))
test_x, test_y = map(np.concatenate, zip(read("tarfile"), read("zipimport"), strict=True))
teacher = tagger(48, 3)
teacher.compile(keras.optimizers.Adam(2e-3), ecl_tf.losses.NegativeLogLikelihood("categorical"))
teacher.fit(x, y, batch_size=32, epochs=6, verbose=0)

print(f"{'on held-out modules':22} {'weights':>8} {'accuracy':>9} {'NLL, nats':>9}")
print(f"{'majority class':22} {'':8} {np.bincount(test_y.ravel()).max() / test_y.size:9.1%}")
metrics = ["accuracy", ecl_tf.metrics.NegativeLogLikelihood("categorical")]
for name, sampler in {"ordinary distillation": "Empirical", "XCL, default recipe": None}.items():
    student = tagger(16, 2)
    distiller = ecl_tf.Distiller(student, teacher, sampler=sampler)
    distiller.compile(keras.optimizers.Adam(3e-3), metrics=metrics, teacher_metrics=True)
    distiller.fit(x, batch_size=32, epochs=10, verbose=0)
    scores = distiller.evaluate(test_x, test_y, batch_size=128, verbose=0, return_dict=True)
    print(f"{name:22} {student.count_params():8,} {scores['accuracy']:9.1%} {scores['nll']:9.3f}")
accuracy, nll = scores["teacher_accuracy"], scores["teacher_nll"]
print(f"{'teacher':22} {teacher.count_params():8,} {accuracy:9.1%} {nll:9.3f}")
