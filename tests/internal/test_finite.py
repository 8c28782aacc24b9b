"""Training stops at the first NaN or Inf, names its source, and keeps the checkpoints."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from ecl_tf import Distiller, samplers
from ecl_tf._internal.finite import NonFiniteCount

pytestmark = pytest.mark.filterwarnings("ignore:.*shuffle=True")

SIZE, ROWS = 4, 5
BATCHES = [
    np.random.default_rng(seed).uniform(0.5, 1.5, size=(ROWS, SIZE)).astype("float32")
    for seed in range(6)
]
ONES = np.ones(ROWS, "float32")


def network(seed=0):
    initializer = keras.initializers.GlorotNormal(seed=seed)
    return keras.Sequential(
        [keras.Input((SIZE,)), keras.layers.Dense(3, kernel_initializer=initializer)]
    )


class Logarithm(keras.layers.Layer):
    """NaN for negative inputs."""

    def call(self, inputs):
        return tf.math.log(inputs)


def logarithmic():
    return keras.Sequential([keras.Input((SIZE,)), Logarithm(), keras.layers.Dense(3)])


def data(third=None, weights=None):
    """Six batches with the fault in the third, as a dataset."""
    batches = list(BATCHES)
    if third is not None:
        batches[2] = batches[2].copy()
        batches[2][1, 2] = third
    x = np.concatenate(batches)
    if weights is None:
        return tf.data.Dataset.from_tensor_slices(x).batch(ROWS)
    w = np.concatenate(weights)
    return tf.data.Dataset.from_tensor_slices((x, np.zeros(len(x)), w)).batch(ROWS)


def bad_weights():
    bad = ONES.copy()
    bad[3] = np.nan
    return [ONES, ONES, bad, ONES, ONES, ONES]


def distiller(teacher=None, rate=0.1, sampler=None, **kwargs):
    its = Distiller(network(), teacher or network(1), sampler=sampler or samplers.Empirical())
    its.compile(keras.optimizers.SGD(rate), **kwargs)
    return its


FAULTS = {
    "inputs-inf": (lambda: distiller(), lambda: data(np.inf), "the sampled inputs"),
    "inputs-nan": (lambda: distiller(), lambda: data(np.nan), "the sampled inputs"),
    "mixed": (
        lambda: distiller(sampler=samplers.Mixup()),
        lambda: data(np.inf),
        "the sampled inputs",
    ),
    "teacher": (lambda: distiller(logarithmic()), lambda: data(-1.0), "the teacher"),
    "weights": (lambda: distiller(), lambda: data(weights=bad_weights()), "the loss"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_error_names_the_source_and_the_step(fault):
    build, its_data, source = FAULTS[fault]
    its = build()
    with pytest.raises(FloatingPointError, match=rf"in step 3 \(.*\): {source} had NaN or Inf"):
        its.fit(its_data(), verbose=0)
    assert int(its.step.numpy()) == 3


def test_a_teacher_with_bad_weights_is_found_in_the_first_step():
    teacher = network(1)
    teacher.set_weights([np.full((SIZE, 3), np.nan), np.zeros(3)])
    with pytest.raises(FloatingPointError, match=r"in step 1 .*the teacher.*its weights"):
        distiller(teacher).fit(data(), verbose=0)


def test_a_student_that_explodes_is_found_and_steps_count_over_fits():
    its = distiller()
    its.fit(data(), verbose=0)
    its.student.layers[-1].kernel.assign(np.full((SIZE, 3), np.inf))
    with pytest.raises(FloatingPointError, match=r"in step 7 .*the student.*learning rate"):
        its.fit(data(), verbose=0)


def test_a_regularizer_that_overflows_is_the_losss_fault():
    class Overflow(keras.regularizers.Regularizer):
        def __call__(self, x):
            return tf.reduce_sum(x * 0.0) + float("inf")

    student = keras.Sequential(
        [keras.Input((SIZE,)), keras.layers.Dense(3, kernel_regularizer=Overflow())]
    )
    its = Distiller(student, network(1), sampler=samplers.Empirical())
    its.compile("sgd", run_eagerly=True)
    with pytest.raises(FloatingPointError, match=r"in step 1 .*the loss.*regularizers"):
        its.fit(data(), verbose=0)


def test_finite_training_is_not_stopped():
    its = distiller(run_eagerly=True)
    history = its.fit(data(), verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert int(its.step.numpy()) == 6


def test_recorded_samples_are_not_looked_through_again_and_their_fault_shows_in_the_student():
    def recorded(x):
        answers = (tf.zeros((ROWS, 3)),)
        return (samplers.Samples(x, tf.ones(ROWS, tf.bool), member_outputs=answers),)

    its = distiller()
    with pytest.raises(FloatingPointError, match=r"in step 3 .*: the student had NaN"):
        its.fit(data(np.nan).map(recorded), verbose=0)
    np.testing.assert_array_equal(its.non_finite.result()[:2], [0, 0])


# Callbacks and checkpoints.


class Snapshots(keras.callbacks.Callback):
    """Keeps the bytes of a file after every step that reaches this callback."""

    def __init__(self, path):
        super().__init__()
        self.path = pathlib.Path(path)
        self.contents = []

    def on_train_batch_end(self, batch, logs=None):
        self.contents.append(self.path.read_bytes())


def checkpoint_callbacks(folder):
    path = str(folder / "latest.weights.h5")
    checkpoint = keras.callbacks.ModelCheckpoint(path, save_weights_only=True, save_freq=1)
    return path, checkpoint, Snapshots(path)


def assert_last_checkpoint_is_kept(path, snapshots, steps):
    assert len(snapshots.contents) == steps
    assert pathlib.Path(path).read_bytes() == snapshots.contents[-1]
    fresh = distiller(run_eagerly=True)
    fresh.fit(data(), steps_per_epoch=1, verbose=0)
    fresh.load_weights(path)
    assert int(fresh.step.numpy()) == steps
    assert all(np.isfinite(weight).all() for weight in fresh.student.get_weights())


@pytest.mark.parametrize("fault", ["inputs-nan", "teacher", "weights"])
def test_an_earlier_checkpoint_is_not_written_over(fault, tmp_path):
    path, checkpoint, snapshots = checkpoint_callbacks(tmp_path)
    build, its_data, _ = FAULTS[fault]
    with pytest.raises(FloatingPointError, match="step 3"):
        build().fit(its_data(), verbose=0, callbacks=[checkpoint, snapshots])
    assert_last_checkpoint_is_kept(path, snapshots, 2)


def test_weights_that_an_update_made_infinite_are_not_written(tmp_path):
    path, checkpoint, snapshots = checkpoint_callbacks(tmp_path)
    its = distiller(run_eagerly=True)

    class Explode(keras.callbacks.Callback):
        """The third step's update overflows, though its loss was finite."""

        def on_train_batch_begin(self, batch, logs=None):
            if batch == 2:
                self.model.optimizer.learning_rate = np.inf

    with pytest.raises(FloatingPointError, match=r"in step 3 .*the update"):
        its.fit(data(), verbose=0, callbacks=[Explode(), checkpoint, snapshots])
    assert_last_checkpoint_is_kept(path, snapshots, 2)


def test_no_checkpoint_of_an_epoch_that_met_nan(tmp_path):
    path = tmp_path / "best.keras"
    checkpoint = keras.callbacks.ModelCheckpoint(path)
    with pytest.raises(FloatingPointError):
        distiller(run_eagerly=True).fit(data(np.nan), verbose=0, callbacks=checkpoint)
    assert not path.exists()


def test_a_list_of_callbacks_made_by_the_user_is_guarded_too(tmp_path):
    path, checkpoint, snapshots = checkpoint_callbacks(tmp_path)
    its = distiller()
    callbacks = keras.callbacks.CallbackList([checkpoint, snapshots], add_history=True, model=its)
    with pytest.raises(FloatingPointError, match=r"in step 3 .*the sampled inputs"):
        its.fit(data(np.nan), verbose=0, callbacks=callbacks)
    assert_last_checkpoint_is_kept(path, snapshots, 2)


def test_a_users_list_without_step_callbacks_is_guarded_at_the_step_itself():
    its = distiller(run_eagerly=True)
    callbacks = keras.callbacks.CallbackList([], add_history=True, model=its)
    with pytest.raises(FloatingPointError, match=r"in step 3 .*the sampled inputs"):
        its.fit(data(np.nan), verbose=0, callbacks=callbacks)
    assert int(its.step.numpy()) == 3


def test_the_users_callbacks_still_run():
    seen = []
    each_step = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(batch)
    )
    for callbacks in (each_step, [each_step, None], (each_step,)):
        distiller(run_eagerly=True).fit(data(), verbose=0, callbacks=callbacks)
    assert seen == 3 * [0, 1, 2, 3, 4, 5]


# Other ways to run.


def test_under_xla():
    its = distiller(jit_compile=True)
    with pytest.raises(FloatingPointError, match=r"in step 3 .*the sampled inputs"):
        its.fit(data(np.nan), verbose=0)


def test_of_several_steps_in_one_execution_the_range_is_named():
    its = distiller(steps_per_execution=2)
    with pytest.raises(FloatingPointError, match=r"in steps 3 to 4 .*the sampled inputs"):
        its.fit(data(np.nan), verbose=0)


def test_a_short_last_execution_names_its_own_step():
    its = distiller(steps_per_execution=4)
    x = np.concatenate(BATCHES[:5])
    x[-1, 0] = np.nan
    with pytest.raises(FloatingPointError, match=r"in steps? 5 .*the sampled inputs"):
        its.fit(tf.data.Dataset.from_tensor_slices(x).batch(ROWS), verbose=0)


class Overflow(keras.optimizers.schedules.LearningRateSchedule):
    """The third update makes weights infinite."""

    def __call__(self, step):
        return tf.where(step < 2, 0.1, np.inf)


def test_the_cause_is_named_though_the_steps_after_it_had_nan_as_well():
    # In one execution of six steps.
    its = distiller(rate=Overflow(), steps_per_execution=6)
    with pytest.raises(FloatingPointError, match=r"in steps 1 to 6 .*: the update had NaN"):
        its.fit(data(), verbose=0)
    its = distiller(steps_per_execution=6)
    with pytest.raises(FloatingPointError, match=r"in steps 1 to 6 .*: the sampled inputs had"):
        its.fit(data(np.nan), verbose=0)
    its = distiller(steps_per_execution=6)
    with pytest.raises(FloatingPointError, match=r"in steps 1 to 6 .*: the loss had NaN"):
        its.fit(data(weights=bad_weights()), verbose=0)


@pytest.mark.parametrize("execution", [1, 2, 6])
def test_the_host_reads_once_an_execution(execution, monkeypatch):
    # 12 steps in 2 epochs.
    read, at = [], []
    original = tf.__internal__.EagerTensor._numpy

    def counted(tensor):
        if tensor.dtype != tf.bool:  # Keras's own, once an execution: was there data?
            read.append(tensor.shape)
        return original(tensor)

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            at.append(len(read))

        def on_train_batch_end(self, batch, logs=None):
            at.append(len(read))

    its = distiller(steps_per_execution=execution)
    monkeypatch.setattr(tf.__internal__.EagerTensor, "_numpy", counted)
    its.fit(data(), epochs=2, verbose=0, callbacks=[Watch()])
    executions = 6 // execution
    assert len(at) == 2 * (1 + executions)
    for epoch in (at[: 1 + executions], at[1 + executions :]):
        assert np.diff(epoch).tolist() == [1] * executions
    assert read.count((5,)) == 12 // execution


def test_the_count_starts_anew_after_an_error():
    its = distiller(run_eagerly=True)
    with pytest.raises(FloatingPointError):
        its.fit(data(np.nan), verbose=0)
    its.student.set_weights(network().get_weights())
    its.fit(data(), verbose=0)
    assert int(its.step.numpy()) == 3 + 6


# The counter itself.


def test_each_source_is_counted_by_itself():
    count = NonFiniteCount()
    good, nan, inf = (tf.constant([1.0, value]) for value in (2.0, np.nan, -np.inf))
    count.update_state(good, {"mean": good, "stddev": inf}, [good, nan], good, [good])
    count.update_state(good, good, nan, good, [good, inf])
    np.testing.assert_array_equal(count.result(), [0, 1, 2, 0, 1])
    count.reset_state()
    np.testing.assert_array_equal(count.result(), [0] * 5)


def test_the_largest_numbers_are_finite():
    count, largest = NonFiniteCount(), np.finfo(np.float32).max
    masked = tf.constant([[1.0, -largest, -largest], [-largest, -largest, 2.0]])
    count.update_state(masked, masked, masked, masked, [tf.ones(3)])
    assert not count.result().numpy().any()


def test_integers_are_finite():
    count = NonFiniteCount()
    whole = tf.constant([1, 2])
    count.update_state({"image": whole, "pose": tf.constant([np.nan])}, whole, whole, whole, whole)
    np.testing.assert_array_equal(count.result(), [1, 0, 0, 0, 0])
