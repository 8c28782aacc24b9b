"""Classes of text: which part of SciPy does a sentence of its documentation come from?

The data is what SciPy's functions say of themselves, as numbers of words. You learn to sample where
inputs can't be averaged: to swap words between sentences, and to mix what the embedding layers of
teacher and student give. Both learn from the same 2,000 sentences. (SciPy 1.17, one seed.)

    python examples/text.py

    on other functions     weights  accuracy NLL, nats
    majority class                     28.7%
    ordinary distillation   16,280     77.2%     0.751
    XCL, words swapped      16,280     78.6%     0.703
    XCL, vectors mixed      16,280     78.7%     0.694
    teacher                530,720     79.1%     0.674
"""

import collections
import importlib
import inspect
import re

import keras
import numpy as np
from keras import layers

import ecl_tf
from ecl_tf import samplers

PARTS = ["integrate", "interpolate", "linalg", "ndimage", "optimize", "signal", "special", "stats"]
LENGTH, WORDS, UNKNOWN = 20, 2000, 1  # The number 0 fills up short sentences.


def read(part):
    """Sentences of a part's functions, as words, and whether they are of every fourth function."""
    module = importlib.import_module(f"scipy.{part}")
    functions = [getattr(module, name, None) for name in sorted(module.__all__)]
    for number, function in enumerate(filter(callable, functions)):
        told = re.split(r"\.\s|\n\n", (inspect.getdoc(function) or "").lower())
        sentences = [re.findall("[a-z]{2,}", each) for each in told]
        for words in [each for each in sentences if len(each) >= 6][:6]:
            yield tuple(words[:LENGTH]), number % 4 == 0


def classifier(width, hidden):
    ids = keras.Input((LENGTH,), dtype="int32")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(WORDS, width, mask_zero=True)(ids))
    return keras.Model(ids, layers.Dense(len(PARTS))(layers.Dense(hidden, "relu")(x)))


keras.utils.set_random_seed(0)
rows = {words: (label, test) for label, part in enumerate(PARTS) for words, test in read(part)}
y, is_test = map(np.array, zip(*rows.values(), strict=True))
train = np.random.default_rng(0).permutation(np.flatnonzero(~is_test))[:2000]
sentences = list(rows)
counts = collections.Counter(word for row in train for word in sentences[row])
number = {word: n for n, (word, _) in enumerate(counts.most_common(WORDS - 2), UNKNOWN + 1)}
ids = [[number.get(word, UNKNOWN) for word in words] for words in sentences]
x = np.array([each + [0] * (LENGTH - len(each)) for each in ids], "int32")
test_x, test_y, x, y = x[is_test], y[is_test], x[train], y[train]
teacher = ecl_tf.Ensemble([classifier(64, 64) for _ in range(4)], "categorical")
for member in teacher.members:
    loss = ecl_tf.losses.NegativeLogLikelihood("categorical")
    member.compile(keras.optimizers.Adam(2e-3), loss, steps_per_execution=8)
    member.fit(x, y, batch_size=64, epochs=10, verbose=0)
print(f"{'on other functions':22} {'weights':>7} {'accuracy':>9} {'NLL, nats':>9}")
print(f"{'majority class':22} {'':7} {np.bincount(test_y).max() / test_y.size:9.1%}")
metrics = ["accuracy", ecl_tf.metrics.NegativeLogLikelihood("categorical")]
for name, sampler in {
    "ordinary distillation": samplers.Empirical(),
    "XCL, words swapped": samplers.Choice(["Empirical", samplers.Swap(0.3, padding=0)]),
    "XCL, vectors mixed": samplers.Embedded("Mixup", padding=0),
}.items():
    distiller = ecl_tf.Distiller(student := classifier(8, 16), teacher, sampler=sampler)
    settings = {"metrics": metrics, "teacher_metrics": True, "steps_per_execution": 8}
    distiller.compile(keras.optimizers.Adam(5e-3), **settings)
    distiller.fit(x, batch_size=64, epochs=60, verbose=0)
    scores = distiller.evaluate(test_x, test_y, verbose=0, return_dict=True)
    print(f"{name:22} {student.count_params():7,} {scores['accuracy']:9.1%} {scores['nll']:9.3f}")
accuracy, nll = scores["teacher_accuracy"], scores["teacher_nll"]
print(f"{'teacher':22} {teacher.count_params():7,} {accuracy:9.1%} {nll:9.3f}")
