"""Any teacher: a forest of scikit-learn, and a student that is as good and much faster.

You learn how to teach with whatever has `predict_proba` or `predict`, how a slow teacher is asked
once, and what a row costs.

    python examples/any_teacher.py

    on held-out rows        accuracy NLL, nats  rows a CPU second
    teacher                    95.6%     0.156             12,156
    labels alone               95.1%     0.220            372,120
    ordinary distillation      94.6%     0.205            666,771
    XCL                        95.0%     0.147            515,088

The students are level in accuracy. In likelihood XCL is the only one that is as good as the forest.
"""

import time

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import train_test_split

import ecl_tf

keras.utils.set_random_seed(0)
x, y = load_digits(return_X_y=True)
x = (x / 16.0).astype("float32")
x, test_x, y, test_y = train_test_split(x, y, test_size=597, random_state=0, stratify=y)
x, held_out_x, y, held_out_y = x[:400], x[400:800], y[:400], y[400:800]

forest = ExtraTreesClassifier(300, random_state=0).fit(x, y)
# Where no tree votes for a class the forest says 0, which no student can reach. And it is less sure
# than it may be, which rows tell that it was not trained on.
teacher = ecl_tf.teachers.from_estimator(forest, "categorical", x, least_probability=1e-3)
teacher = ecl_tf.calibrated(teacher, held_out_x, held_out_y)


def network():
    hidden = [keras.layers.Dense(64, "relu") for _ in range(2)]
    return keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10)])


def rows_per_second(predict):
    predict(test_x)  # The first call builds TensorFlow's graph.
    begun = time.process_time()
    for _ in range(5):
        predict(test_x)
    return 5 * len(test_x) / (time.process_time() - begun)


def tell(name, probabilities, predict):
    accuracy = np.mean(np.argmax(probabilities, 1) == test_y)
    nll = -np.log(probabilities[np.arange(len(test_y)), test_y]).mean()
    print(f"{name:22} {accuracy:9.1%} {nll:9.3f} {rows_per_second(predict):18,.0f}")


print(f"{'on held-out rows':22} {'accuracy':>9} {'NLL, nats':>9} {'rows a CPU second':>18}")
p = teacher.distribution(test_x).probs_parameter().numpy()
tell("teacher", p, forest.predict_proba)
student = network()
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
student.compile(keras.optimizers.Adam(3e-3), loss, steps_per_execution=20)
rows = tf.data.Dataset.from_tensor_slices((x, y)).repeat().shuffle(400, seed=0).batch(50)
student.fit(rows, steps_per_epoch=1200, shuffle=False, verbose=0)
tell("labels alone", tf.nn.softmax(student(test_x)).numpy(), tf.function(student))
samplers = {"ordinary distillation": "Empirical", "XCL": ecl_tf.samplers.recipe()}
for name, sampler in samplers.items():
    # The forest answers about the samples of 20 passes, once; students read them again and again.
    settings = {"sampler": sampler, "epochs": 20, "batch_size": 50}
    ecl_tf.replay.record(teacher, x, directory=name, **settings, verbose=0)
    store = ecl_tf.replay.Store(name)
    student = network()
    distiller = ecl_tf.Distiller(student, store.teacher, sampler=store.sampler)
    distiller.compile(keras.optimizers.Adam(3e-3), steps_per_execution=20)
    distiller.fit(store.batches(x), steps_per_epoch=1200, shuffle=False, verbose=0)
    tell(name, tf.nn.softmax(student(test_x)).numpy(), tf.function(student))
