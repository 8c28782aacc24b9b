"""A teacher that is stored once, and replayed by two students.

You learn how to record a teacher's answers, and how to train from them without the teacher: from
a few bytes a sample, in a fraction of the time.

    python examples/stored_teacher.py

    The store takes 30 bytes a sample, 385,400 in all.
    student  taught by  accuracy  CPU ms a step
    mlp      networks      94.5%            9.2
    mlp      store         95.0%            1.5
    convnet  store         94.8%            4.2

The two perceptrons (mlp) differ in the order of their samples alone. A larger teacher saves more.
"""

import time

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import ecl_tf

keras.utils.set_random_seed(0)
x, y = load_digits(return_X_y=True)
x = (x / 16.0).reshape(-1, 8, 8, 1).astype("float32")
x, test_x, y, test_y = train_test_split(x, y, test_size=597, random_state=0, stratify=y)
x, y = x[:320], y[:320]

members = [ecl_tf.models.build("convnet", (8, 8, 1), 10, width=32) for _ in range(2)]
for member in members:
    loss = ecl_tf.losses.NegativeLogLikelihood("categorical")
    member.compile(keras.optimizers.Adam(2e-3), loss, steps_per_execution=5)
    member.fit(x, y, batch_size=64, epochs=40, verbose=0)
teacher = ecl_tf.Ensemble(members, "categorical")

# The store holds the teacher's answers to the samples of 40 passes over the training images. The
# same call continues a recording that was stopped, and does nothing where it is complete.
sampler = ecl_tf.samplers.recipe()
settings = {"sampler": sampler, "epochs": 40, "batch_size": 64}
cost = ecl_tf.replay.estimate(teacher, x, **settings)
print(f"The store takes {cost['bytes_per_row']:.0f} bytes a sample, {cost['bytes']:,} in all.")
ecl_tf.replay.record(teacher, x, directory="store", **settings, verbose=0)
store = ecl_tf.replay.Store("store")

print(f"{'student':8} {'taught by':9} {'accuracy':>9} {'CPU ms a step':>14}")
mlp, convnet = {"name": "mlp", "widths": (64, 64)}, {"name": "convnet", "width": 8}
for network, taught_by in ((mlp, "networks"), (mlp, "store"), (convnet, "store")):
    keras.utils.set_random_seed(1)  # Both mlps begin with the same weights.
    student = ecl_tf.models.build(input_shape=(8, 8, 1), units=10, **network)
    if taught_by == "networks":
        distiller = ecl_tf.Distiller(student, teacher, sampler=sampler)
        data = {"x": x, "batch_size": 64}
    else:
        distiller = ecl_tf.Distiller(student, store.teacher, sampler=sampler)
        # The images are drawn again, so the store asks for those that it was recorded of.
        data = {"x": store.batches(x, sampler=sampler), "steps_per_epoch": 5, "shuffle": False}
    distiller.compile(keras.optimizers.Adam(3e-3), metrics=["accuracy"], steps_per_execution=5)
    distiller.fit(**data, verbose=0)  # The first epoch builds TensorFlow's graph.
    begun = time.process_time()
    distiller.fit(**data, epochs=100, verbose=0)
    taken = 1000 * (time.process_time() - begun) / 500
    scores = distiller.evaluate(test_x, test_y, verbose=0, return_dict=True)
    print(f"{network['name']:8} {taught_by:9} {scores['accuracy']:9.1%} {taken:14.1f}")
