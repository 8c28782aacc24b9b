"""A table, and a teacher of scikit-learn.

A forest that is already trained teaches a small network. You learn how to teach with something
that is no Keras model. The student needs rows, and no labels.

    python examples/table.py

    on held-out rows        accuracy NLL, nats
    majority class             62.7%
    ordinary distillation      97.7%     0.081
    XCL, default recipe        96.7%     0.102
    teacher                    96.0%     0.126
    student, labels alone      97.7%     0.073

The table is easy: labels teach as well as the forest does, and samples beyond the rows add nothing.
"""

import keras
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import train_test_split

import ecl_tf

keras.utils.set_random_seed(0)
x, y = load_breast_cancer(return_X_y=True)
x, test_x, y, test_y = train_test_split(x, y, test_size=300, random_state=0, stratify=y)
# Mixing adds up columns of different units, so they get a common one first.
mean, stddev = x.mean(0), x.std(0)
x, test_x = (((rows - mean) / stddev).astype("float32") for rows in (x, test_x))
forest = ExtraTreesClassifier(100, random_state=0).fit(x, y)
# Where no tree votes for a class the forest says 0, and no student can reach log 0.
teacher = ecl_tf.teachers.from_estimator(forest, "categorical", x, least_probability=1e-3)

print(f"{'on held-out rows':22} {'accuracy':>9} {'NLL, nats':>9}")
print(f"{'majority class':22} {test_y.mean():9.1%}")
metrics = ["accuracy", ecl_tf.metrics.NegativeLogLikelihood("categorical")]
for name, sampler in {
    "ordinary distillation": "Empirical",
    "XCL, default recipe": None,
}.items():
    student = ecl_tf.models.build("mlp", (30,), 2, widths=(16,))
    distiller = ecl_tf.Distiller(student, teacher, sampler=sampler)
    distiller.compile(keras.optimizers.Adam(3e-3), metrics=metrics, teacher_metrics=True)
    distiller.fit(x, batch_size=64, epochs=80, verbose=0)
    scores = distiller.evaluate(test_x, test_y, verbose=0, return_dict=True)
    print(f"{name:22} {scores['accuracy']:9.1%} {scores['nll']:9.3f}")
print(f"{'teacher':22} {scores['teacher_accuracy']:9.1%} {scores['teacher_nll']:9.3f}")

# The same network without a teacher, for comparison.
student = ecl_tf.models.build("mlp", (30,), 2, widths=(16,))
loss = ecl_tf.losses.NegativeLogLikelihood("categorical")
student.compile(keras.optimizers.Adam(3e-3), loss, metrics=metrics)
student.fit(x, y, batch_size=64, epochs=80, verbose=0)
scores = student.evaluate(test_x, test_y, verbose=0, return_dict=True)
print(f"{'student, labels alone':22} {scores['accuracy']:9.1%} {scores['nll']:9.3f}")
