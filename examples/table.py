"""A table, and a teacher of scikit-learn.

You learn how to teach with something that is no Keras model.

    python examples/table.py
"""

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import train_test_split

import ecl_tf


class Forest(ecl_tf.Teacher):
    """Any scikit-learn classifier that has `predict_proba`."""

    def __init__(self, classifier):
        super().__init__("categorical")
        self.classifier = classifier

    def member_outputs(self, inputs):
        logits = tf.numpy_function(self.log_probabilities, [inputs], tf.float32)
        # numpy_function forgets the shape.
        return [tf.ensure_shape(logits, (inputs.shape[0], len(self.classifier.classes_)))]

    def log_probabilities(self, rows):
        # A forest says 0 where no tree voted for a class; a student can't reach log 0.
        probabilities = np.maximum(self.classifier.predict_proba(rows), 1e-3)
        return np.log(probabilities).astype("float32")


keras.utils.set_random_seed(0)
x, y = load_breast_cancer(return_X_y=True)
x, held_out_x, y, held_out_y = train_test_split(x, y, test_size=200, random_state=0, stratify=y)
#DEV x, held_out_x, y, held_out_y = train_test_split(x, y, test_size=150, random_state=SEED, stratify=y)
mean, stddev = x.mean(0), x.std(0)
x, held_out_x = ((rows - mean) / stddev for rows in (x, held_out_x))
x, held_out_x = x.astype("float32"), held_out_x.astype("float32")

forest = ExtraTreesClassifier(100, random_state=0).fit(x, y)
teacher = Forest(forest)
metrics = ["accuracy", ecl_tf.metrics.NegativeLogLikelihood("categorical")]


def new_student():
    return ecl_tf.models.build("mlp", x.shape[1:], 2, widths=(16,))


def show(name, scores):
    print(f"{name:24} {scores['accuracy']:9.1%} {scores['nll']:9.3f}")


print(f"{'on held-out rows':24} {'accuracy':>9} {'NLL, nats':>9}")
print(f"{'majority class':24} {np.mean(held_out_y):9.1%}")

for name, sampler in {
    "ordinary distillation": "Empirical",
    "XCL, default recipe": ecl_tf.samplers.recipe(),
}.items():
    distiller = ecl_tf.Distiller(new_student(), teacher, sampler=sampler)
    distiller.compile(keras.optimizers.Adam(3e-3), metrics=metrics, teacher_metrics=True)
    distiller.fit(x, batch_size=64, epochs=100, verbose=0)
    scores = distiller.evaluate(held_out_x, held_out_y, verbose=0, return_dict=True)
    show(name, scores)
show("teacher", {k.removeprefix("teacher_"): v for k, v in scores.items() if "teacher" in k})

student = new_student()
student.compile(keras.optimizers.Adam(3e-3), ecl_tf.losses.NegativeLogLikelihood("categorical"), metrics=metrics)
student.fit(x, y, batch_size=64, epochs=100, verbose=0)
show("labels alone", student.evaluate(held_out_x, held_out_y, verbose=0, return_dict=True))
