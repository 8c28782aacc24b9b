"""A teacher that is stored once, and replayed by two students.

    python examples/stored_teacher.py
"""

import time

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import ecl_tf

keras.utils.set_random_seed(0)
images, labels = load_digits(return_X_y=True)
images = (images / 16.0).reshape(-1, 8, 8, 1).astype("float32")
x, held_out_x, y, held_out_y = train_test_split(images, labels, test_size=597, random_state=0, stratify=labels)
#DEV x, held_out_x, y, held_out_y = train_test_split(x, y, test_size=600, random_state=SEED, stratify=y)
x, y = x[:320], y[:320]

members = [ecl_tf.models.build("convnet", (8, 8, 1), 10, width=32) for _ in range(3)]
for member in members:
    loss = ecl_tf.losses.NegativeLogLikelihood("categorical")
    member.compile(keras.optimizers.Adam(2e-3), loss, steps_per_execution=5)
    member.fit(x, y, batch_size=64, epochs=40, verbose=0)
teacher = ecl_tf.Ensemble(members, "categorical")

# The default recipe draws two candidates for each row, and the student chooses one. The store
# holds the teacher's answers to all candidates of 20 passes over the training images.
sampler = ecl_tf.samplers.recipe()
settings = {"sampler": sampler, "epochs": 40, "batch_size": 64}
print({k: round(v, 1) for k, v in ecl_tf.replay.estimate(teacher, x, **settings).items()})
ecl_tf.replay.record(teacher, x, directory="store", **settings, verbose=0)
store = ecl_tf.replay.Store("store")
print("largest KL of a stored answer", store.verify(teacher, x, rows=500))


def network(name):
    keras.utils.set_random_seed(1)
    settings = {"mlp": {"widths": (64, 64)}, "convnet": {"width": 8}}
    return ecl_tf.models.build(name, (8, 8, 1), 10, **settings[name])


print(f"{'student':8} {'taught by':9} {'accuracy':>9} {'CPU ms a step':>14}")
for name in ("mlp", "convnet"):
    for taught_by in ("networks", "store"):
        student = network(name)
        if taught_by == "networks":
            distiller = ecl_tf.Distiller(student, teacher, sampler=sampler)
            data = {"x": x, "batch_size": 64}
        else:
            distiller = ecl_tf.Distiller(student, store.teacher, sampler=sampler)
            data = {"x": store.batches(x, sampler=sampler), "steps_per_epoch": 5}
        distiller.compile(keras.optimizers.Adam(3e-3), steps_per_execution=5)
        distiller.fit(**data, verbose=0)  # The first epoch builds TensorFlow's graph.
        begun = time.process_time()
        distiller.fit(**data, epochs=100, shuffle=False, verbose=0)
        taken = 1000 * (time.process_time() - begun) / 500
        student.compile(metrics=["accuracy"])
        accuracy = student.evaluate(held_out_x, held_out_y, verbose=0, return_dict=True)["accuracy"]
        print(f"{name:8} {taught_by:9} {accuracy:9.1%} {taken:14.1f}")
