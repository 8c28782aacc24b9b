"""The same training on one, two and four replicas, virtual CPU devices of one process."""

import json
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from ecl_tf import Distiller, batches, replicas

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


# What is refused.


class Several:
    """A strategy's scope by itself, for more replicas than this process has."""

    def __init__(self, replicas):
        self.extended = tf.distribute.get_strategy().extended
        self.num_replicas_in_sync = replicas


def network(*layers):
    return keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(3)])


def refusal(monkeypatch, strategy, rows, *layers, **compiled):
    """What `validate` says of a strategy that the distiller is told to be in, or None."""
    distiller = Distiller(network(*layers), network())
    distiller.compile("sgd", **compiled)
    with monkeypatch.context() as patch:
        patch.setattr(Distiller, "distribute_strategy", strategy)
        try:
            replicas.validate(distiller, rows)
        except ValueError as error:
            return str(error)
    return None


@pytest.mark.parametrize(
    ("rows", "count", "is_full"),
    # 5 rows on 4 replicas are 2, 2, 1 and none.
    [(8, 2, True), (7, 2, True), (1, 2, False), (5, 4, False), (7, 4, True), (None, 2, False)],
)
def test_batch_normalisation_needs_rows_on_every_replica(monkeypatch, rows, count, is_full):
    found = refusal(monkeypatch, Several(count), rows, keras.layers.BatchNormalization())
    assert (found is None) is is_full
    assert is_full or "drop_remainder=True" in found
    assert refusal(monkeypatch, Several(count), rows) is None
    frozen = keras.layers.BatchNormalization(trainable=False)
    assert refusal(monkeypatch, Several(count), rows, frozen) is None
    nested = keras.Sequential([keras.layers.BatchNormalization()])
    assert (refusal(monkeypatch, Several(count), rows, nested) is None) is is_full


def test_one_replica_may_have_any_batches_and_executions(monkeypatch):
    layer = keras.layers.BatchNormalization()
    assert refusal(monkeypatch, Several(1), None, layer, steps_per_execution=4) is None


def test_several_steps_an_execution_are_refused_on_several_replicas(monkeypatch):
    found = refusal(monkeypatch, Several(2), 8, steps_per_execution=4)
    assert "steps_per_execution=4 does not work" in found and "steps_per_execution=1" in found


def test_a_parameter_server_is_refused(monkeypatch):
    strategy = object.__new__(tf.distribute.ParameterServerStrategy)
    found = refusal(monkeypatch, strategy, 8)
    assert "ParameterServerStrategy" in found and "MultiWorkerMirroredStrategy" in found


@pytest.mark.parametrize("outside", ["student", "optimizer", "distiller"])
def test_what_is_made_outside_of_the_scope_is_named(outside):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    made = {}
    for name, make in {
        "student": network,
        "optimizer": lambda: keras.optimizers.SGD(0.1),
        "distiller": lambda: Distiller(made["student"], network()),
    }.items():
        if name == outside:
            made[name] = make()
        else:
            with strategy.scope():
                made[name] = make()
    with strategy.scope():
        made["distiller"].compile(made["optimizer"])
        with pytest.raises(ValueError, match=f"The {outside} was made in another scope"):
            made["distiller"].fit(np.zeros((8, 4), "float32"), verbose=0)


def test_teacher_and_compilation_may_be_outside_of_the_scope():
    teacher = network()
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        distiller = Distiller(network(), teacher)
    distiller.compile("sgd")
    history = distiller.fit(np.ones((8, 4), "float32"), verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def test_the_smallest_batch_of_data():
    x = {"a": np.zeros((33, 4)), "b": np.zeros((33, 2))}
    assert [batches.smallest(x, size) for size in (None, 11, 8, 64)] == [1, 11, 1, 33]
    data = tf.data.Dataset.from_tensor_slices((x, np.zeros(33)))
    assert batches.smallest(data.batch(8)) is None
    assert batches.smallest(data.batch(8, drop_remainder=True)) == 8
    unknown = tf.data.Dataset.from_generator(lambda: iter([x["a"]]), tf.float32)
    assert batches.smallest(unknown) is None
    assert batches.smallest(iter([x["a"]])) is None
