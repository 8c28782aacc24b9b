"""The same training on one and on two replicas: devices of a process, or two processes."""

import keras
import numpy as np
import processes
import pytest
import tensorflow as tf
from by_hand import assert_arrays

from ecl_tf import Distiller
from ecl_tf._internal import batches, replicas


@pytest.mark.slow
def test_several_replicas_and_workers_reach_the_weights_and_logs_of_one():
    script = "train_on_replicas.py"
    devices = processes.start(script, VIRTUAL_DEVICES="2")
    both, worker, its_like = processes.results([devices, *processes.start_workers(2, script)])
    assert worker == its_like
    for steps, one, several in [(30, both[0], both[1]), (33, both[2], worker)]:
        assert (one["replicas"], several["replicas"]) == (1, 2)
        assert one["steps"] == several["steps"] == steps
        assert one["left_by_a_bad_step"] == several["left_by_a_bad_step"] == []
        assert np.ptp(one["history"]["loss"]) > 0.01  # It learnt something.
        assert_arrays(several["weights"], one["weights"], atol=1e-5)
        for logs in ("history", "evaluated"):
            assert several[logs].keys() == one[logs].keys()
            for name, values in one[logs].items():
                np.testing.assert_allclose(several[logs][name], values, rtol=1e-4, atol=1e-6)


def test_the_end_of_another_worker_is_explained():
    """By the error that TensorFlow gives then; killed workers are those of `test_resume.py`."""

    def lose(batch, logs):
        raise tf.errors.UnavailableError(None, None, "Collective ops is aborted by: another one")

    distiller = Distiller(network(), network())
    distiller.compile("sgd", run_eagerly=True)
    losing = keras.callbacks.LambdaCallback(on_train_batch_end=lose)
    with pytest.raises(RuntimeError, match="Another worker of the cluster has ended"):
        distiller.fit(np.zeros((8, 4), "float32"), callbacks=[losing], verbose=0)


# What is refused.


class Several:
    """A strategy's scope by itself, for more replicas than this process has."""

    def __init__(self, replicas):
        self.extended = tf.distribute.get_strategy().extended
        self.num_replicas_in_sync = replicas


def network(*layers):
    return keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(3)])


def refusal(monkeypatch, strategy, rows, *layers, optimizer="sgd", **compiled):
    """What `validate` says of a strategy that the distiller is told to be in, or None."""
    distiller = Distiller(network(*layers), network())
    distiller.compile(optimizer, **compiled)
    with monkeypatch.context() as patch:
        patch.setattr(Distiller, "distribute_strategy", strategy)
        try:
            replicas.validate(distiller, rows)
        except ValueError as error:
            return str(error)
    return None


NORMALISES = keras.layers.BatchNormalization


@pytest.mark.parametrize(
    ("layers", "count", "rows", "is_refused"),
    [
        ([NORMALISES], 2, 7, False),
        ([NORMALISES], 2, 1, True),
        ([NORMALISES], 4, 5, True),  # 5 rows on 4 replicas are 2, 2, 1 and none.
        ([NORMALISES], 4, 7, False),
        ([NORMALISES], 2, None, True),
        ([NORMALISES], 1, None, False),
        ([], 2, None, False),
        ([lambda: NORMALISES(trainable=False)], 2, None, False),
        ([lambda: keras.Sequential([NORMALISES()])], 2, None, True),
    ],
)
def test_batch_normalisation_needs_rows_on_every_replica(
    monkeypatch, layers, count, rows, is_refused
):
    found = refusal(monkeypatch, Several(count), rows, *[make() for make in layers])
    assert ("drop_remainder=True" in (found or "")) is is_refused


@pytest.mark.parametrize(
    ("compiled", "message"),
    [
        ({"steps_per_execution": 4}, "steps_per_execution=4 does not work"),
        (
            {"optimizer": keras.optimizers.SGD(gradient_accumulation_steps=2)},
            "gradient_accumulation_steps=2 does not work on",
        ),
    ],
)
def test_what_would_go_wrong_on_several_replicas_is_refused(monkeypatch, compiled, message):
    assert message in refusal(monkeypatch, Several(2), 8, **compiled)
    assert refusal(monkeypatch, Several(1), 8, **compiled) is None


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
