"""Trains on one and on two virtual CPU devices, or as a worker of TF_CONFIG; prints results.

Of two devices it trains on both in groups of rows, and on one with uneven batches, as workers do.
"""

import json
import os

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import Distiller, Ensemble, metrics, samplers

# 157 rows in batches of 16 leave a last one of 13, which two replicas do not divide, and one of
# a single row leaves one of them empty; groups of 4 divide the parts of full batches.
ROWS, BATCH = 160, 16


def network(seed):
    keras.utils.set_random_seed(seed)
    image, pose = keras.Input((4, 4, 1), name="image"), keras.Input((2,), name="pose")
    joined = keras.layers.Concatenate()([keras.layers.Flatten()(image), pose])
    hidden = keras.layers.Dense(8, "tanh")(joined)
    return keras.Model({"image": image, "pose": pose}, keras.layers.Dense(3)(hidden))


def train(strategy, data, sampler, optimizer, label_rows, **arguments):
    with strategy.scope():
        student = network(1)
        per_step = 2 if label_rows == "appended" else 1
        teacher = Ensemble([network(2), network(3)], "categorical", members_per_step=per_step)
        settings = {"sampler": sampler, "label_weight": 0.5, "label_rows": label_rows}
        distiller = Distiller(student, teacher, seed=5, **settings)
        f1 = keras.metrics.F1Score("macro", name="f1")
        scores = ["accuracy", metrics.ExpectedCalibrationError(), f1]
        distiller.compile(optimizer(0.05), metrics=scores, weighted_metrics=["acc"])
    training = data.repeat() if arguments else data
    arguments |= {"validation_data": data, "class_weight": {0: 2.0, 2: 0.5}}
    history = distiller.fit(training, epochs=3, verbose=0, **arguments)
    left = _left_by_a_bad_step(distiller, student, data)
    return {
        "left_by_a_bad_step": left,
        "replicas": strategy.num_replicas_in_sync,
        "history": history.history,
        "evaluated": distiller.evaluate(data, verbose=0, return_dict=True),
        "steps": int(distiller.step.numpy()),
        "weights": [weight.tolist() for weight in student.get_weights()],
    }


def _left_by_a_bad_step(distiller, student, data):
    """The paths of variables that a step with NaN in one row of the last replica has changed."""
    variables = [*student.variables, *distiller.optimizer.variables, distiller.step]
    before = [variable.numpy() for variable in variables]

    def broken(x, *rest):
        rows = tf.range(tf.shape(x["pose"])[0])
        bad = tf.equal(rows, tf.reduce_max(rows))[:, None]
        return {**x, "pose": tf.where(bad, float("nan"), x["pose"])}, *rest

    try:
        distiller.fit(data.take(1).map(broken), verbose=0)
    except FloatingPointError:
        pairs = zip(variables, before, strict=True)
        return [v.path for v, value in pairs if not np.array_equal(v.numpy(), value)]
    return ["NaN was not met"]


def main():
    # TensorFlow wants the strategy of several workers before all else.
    is_worker = "TF_CONFIG" in os.environ
    strategy = tf.distribute.MultiWorkerMirroredStrategy() if is_worker else None
    rng = np.random.default_rng(0)
    x = {
        "image": rng.normal(size=(ROWS, 4, 4, 1)).astype("float32"),
        "pose": rng.normal(size=(ROWS, 2)).astype("float32"),
    }
    y = rng.integers(0, 3, ROWS)
    weight = rng.uniform(0.5, 1.5, ROWS).astype("float32")
    data = tf.data.Dataset.from_tensor_slices((x, y, weight))
    flip = samplers.Augment(keras.layers.RandomFlip("horizontal"), key="image")
    row_wise = samplers.Choice(["Empirical", flip, samplers.GaussianNoise(0.5)])
    moving = samplers.TowardUncertainty(step=0.3, group_size=4)
    mixed = samplers.Mixup(0.5, group_size=4), samplers.CutMix(group_size=4)
    mixing = samplers.Choice(["Empirical", *mixed])
    chosen = samplers.Uncertain(mixing, 2, "student_uncertainty", 1.0, group_size=4)
    groups = samplers.Choice([chosen, moving])
    rest = data.skip(157).take(1).batch(BATCH)
    uneven = (
        data.take(157).batch(BATCH).concatenate(rest),
        row_wise,
        keras.optimizers.SGD,
        "appended",
    )
    if is_worker:
        found = train(strategy, *uneven)
    else:
        one = tf.distribute.get_strategy()
        grouped = data.batch(BATCH), groups, keras.optimizers.Adam, "unmodified"
        found = [
            train(each, *grouped, steps_per_epoch=10)
            for each in (one, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
        ]
        found.append(train(one, *uneven))
    print(json.dumps(found, default=float))


if __name__ == "__main__":
    main()
