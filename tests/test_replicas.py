"""The same training on one, two and four replicas, virtual CPU devices of one process."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest

# 157 rows in batches of 16 leave a last one of 13, which no number of replicas divides; groups
# of 4 divide the parts of full batches.
SCRIPT = """
    import json, sys
    import numpy as np
    import tensorflow as tf
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 4)
    import keras
    from ecl_tf import Distiller, samplers

    def network(seed):
        keras.utils.set_random_seed(seed)
        image, pose = keras.Input((4, 4, 1), name="image"), keras.Input((2,), name="pose")
        joined = keras.layers.Concatenate()([keras.layers.Flatten()(image), pose])
        hidden = keras.layers.Dense(8, "tanh")(joined)
        return keras.Model({"image": image, "pose": pose}, keras.layers.Dense(3)(hidden))

    def train(data, sampler, optimizer, label_weight):
        data, strategy = data.batch(16), tf.distribute.get_strategy()
        if replicas > 1:
            strategy = tf.distribute.MirroredStrategy([f"CPU:{n}" for n in range(replicas)])
        with strategy.scope():
            student = network(1)
            distiller = Distiller(student, [network(2), network(3)], seed=5,
                                  sampler=sampler, label_weight=label_weight)
            distiller.compile(optimizer(), metrics=["accuracy"], weighted_metrics=["acc"])
        history = distiller.fit(data, epochs=5, verbose=0).history
        return {"replicas": strategy.num_replicas_in_sync, "history": history,
                "evaluated": distiller.evaluate(data, verbose=0, return_dict=True),
                "steps": int(distiller.step.numpy()),
                "weights": [weight.tolist() for weight in student.get_weights()]}

    rng = np.random.default_rng(0)
    x = {"image": rng.normal(size=(160, 4, 4, 1)).astype("float32"),
         "pose": rng.normal(size=(160, 2)).astype("float32")}
    y, weight = rng.integers(0, 3, 160), rng.uniform(0.5, 1.5, 160).astype("float32")
    data = tf.data.Dataset.from_tensor_slices((x, y, weight))
    replicas, wanted = json.load(sys.stdin)
    flip = samplers.Augment(keras.layers.RandomFlip("horizontal"), key="image")
    row_wise = samplers.Choice(["Empirical", flip, samplers.GaussianNoise(0.5)])
    mixing = samplers.Choice([samplers.Mixup(0.5, group_size=4), samplers.CutMix(group_size=4)])
    uncertain = samplers.Uncertain(mixing, 2, "student_uncertainty", 1.0, group_size=4)
    cases = {"uneven": (data.take(157), row_wise, lambda: keras.optimizers.SGD(0.3, 0.9), 0.5),
             "groups": (data, uncertain, lambda: keras.optimizers.Adam(0.01), 0.0)}
    print(json.dumps({case: train(*cases[case]) for case in wanted}, default=float))
"""


@pytest.mark.slow
def test_several_replicas_reach_the_weights_and_logs_of_one():
    # TensorFlow wants a process for each number of replicas; tracing four takes long.
    cases = {1: ["uneven", "groups"], 2: ["groups"], 4: ["uneven"]}
    runs = {
        replicas: subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for replicas in cases
    }
    trained = {}
    try:
        for replicas, run in runs.items():
            printed, errors = run.communicate(json.dumps([replicas, cases[replicas]]), timeout=300)
            assert run.returncode == 0, errors[-3000:]
            trained[replicas] = json.loads(printed.strip().splitlines()[-1])
    finally:
        for run in runs.values():
            run.kill()
    for replicas, case in ((2, "groups"), (4, "uneven")):
        one, several = trained[1][case], trained[replicas][case]
        assert (one["replicas"], several["replicas"]) == (1, replicas)
        assert one["steps"] == several["steps"] == 50
        assert np.ptp(one["history"]["loss"]) > 0.01  # It learnt something.
        for got, want in zip(several["weights"], one["weights"], strict=True):
            np.testing.assert_allclose(got, want, atol=1e-5)
        for logs in ("history", "evaluated"):
            assert several[logs].keys() == one[logs].keys()
            for name, values in one[logs].items():
                np.testing.assert_allclose(several[logs][name], values, rtol=1e-4, atol=1e-6)
