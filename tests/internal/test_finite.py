"""Training stops at the first NaN or Inf, names its source, and keeps the checkpoints."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import Logarithm

import ecl_tf
from ecl_tf import Distiller, samplers
from ecl_tf._internal.finite import NonFiniteCount

SIZE, ROWS = 4, 5
ROLES = "student", "teacher"
BATCHES = np.random.default_rng(0).uniform(0.5, 1.5, size=(6, ROWS, SIZE)).astype("float32")


def network(seed=0, *layers, regularizer=None):
    initializer = keras.initializers.GlorotNormal(seed=seed)
    last = keras.layers.Dense(3, kernel_initializer=initializer, kernel_regularizer=regularizer)
    return keras.Sequential([keras.Input((SIZE,)), *layers, last])


def data(third=0.7, weight=1.0):
    """Six batches, as a dataset; a row of the third has this input and this weight."""
    x, w = BATCHES.copy(), np.ones((6, ROWS), "float32")
    x[2, 1, 2], w[2, 3] = third, weight
    x, w = x.reshape(-1, SIZE), w.reshape(-1)
    return tf.data.Dataset.from_tensor_slices((x, np.zeros(len(x)), w)).batch(ROWS)


def distiller(teacher=None, rate=0.1, sampler="Empirical", regularizer=None, **compiled):
    its = Distiller(network(regularizer=regularizer), teacher or network(1), sampler=sampler)
    its.compile(keras.optimizers.SGD(rate), **{"run_eagerly": True, **compiled})
    return its


def stops(message):
    return pytest.raises(FloatingPointError, match=message)


# Sources and steps, callbacks and checkpoints.


def assert_stopped_in_step_3(
    its, folder, source, callbacks=(), as_list=list, updated=False, **wrong
):
    """The last checkpoint, of step 2, has to stay; in memory all is as it was, but an update."""
    path = folder / "latest.weights.h5"
    checkpoint = keras.callbacks.ModelCheckpoint(path, save_weights_only=True, save_freq=1)
    contents = []  # After every step that reaches the last callback.
    snapshots = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: contents.append(path.read_bytes())
    )
    with stops(rf"in step 3 \(.*\): {source} (had|was) NaN"):
        its.fit(data(**wrong), verbose=0, callbacks=as_list([*callbacks, checkpoint, snapshots]))
    assert int(its.step.numpy()) == (3 if updated else 2)
    assert len(contents) == 2
    assert path.read_bytes() == contents[-1]
    fresh = distiller()
    fresh.optimizer.build(fresh.trainable_variables)
    fresh.load_weights(path)
    assert int(fresh.step.numpy()) == 2
    assert all(np.isfinite(weight).all() for weight in fresh.student.get_weights())
    if not updated:
        for own, kept in zip(its.student.get_weights(), fresh.student.get_weights(), strict=True):
            np.testing.assert_array_equal(own, kept)


@pytest.mark.parametrize(
    ("arguments", "wrong", "source"),
    [
        ({}, {"third": np.nan}, "the sampled inputs"),
        ({"sampler": "Mixup"}, {"third": np.inf}, "the sampled inputs"),
        ({"teacher": network(1, Logarithm())}, {"third": -1.0}, "the teacher"),
        ({"run_eagerly": False}, {"weight": np.nan}, "the loss"),
        ({"run_eagerly": False, "jit_compile": True}, {"third": np.nan}, "the sampled inputs"),
    ],
    ids=["inputs", "mixed", "teacher", "weights", "XLA"],
)
def test_the_error_names_source_and_step_and_the_checkpoint_before_stays(
    arguments, wrong, source, tmp_path
):
    assert_stopped_in_step_3(distiller(**arguments), tmp_path, source, **wrong)


def rate_of_third_step(its, rate):
    def change(batch, logs):
        its.optimizer.learning_rate = rate if batch == 2 else 0.1

    return keras.callbacks.LambdaCallback(on_train_batch_begin=change)


def test_weights_that_an_update_made_infinite_are_not_written(tmp_path):
    """The third step's update overflows, though its gradients and its rate are finite."""
    its = distiller()
    callbacks = [rate_of_third_step(its, 3e38)]
    assert_stopped_in_step_3(its, tmp_path, "the update", callbacks, updated=True, weight=1e4)


def test_a_rate_that_is_no_number_or_below_0_leaves_the_student_as_it_was(tmp_path):
    for rate in (np.nan, -0.1):
        its = distiller()
        callbacks = [rate_of_third_step(its, rate)]
        assert_stopped_in_step_3(its, tmp_path, "the learning rate", callbacks)
    optimizers = keras.optimizers
    for optimizer, said in (
        (optimizers.SGD(0.1, weight_decay=np.nan), "SGD has weight_decay=nan; expected a finite"),
        (optimizers.SGD(-0.1), "SGD has learning_rate=-0.1; expected a number >= 0"),
        # Adam divides by 1 - beta_1^t, and takes the root of 1 - beta_2^t.
        (optimizers.Adam(loss_scale_factor=0), "loss_scale_factor=0; expected None, or a positive"),
        (optimizers.Adam(beta_1=1), "Adam has beta_1=1; expected a number from 0 to less than 1"),
        (optimizers.Adam(epsilon=0.0), "Adam has epsilon=0.0; expected a positive number"),
        (optimizers.Adam(beta_2=1.5), "Adam has beta_2=1.5; expected a number from 0"),
        (optimizers.LossScaleOptimizer(optimizers.RMSprop(rho=1.0)), "RMSprop has rho=1.0"),
    ):
        with pytest.raises(ValueError, match=said):
            its.compile(optimizer)

    class Sharpness(optimizers.SGD):
        def __init__(self, rate):
            super().__init__(rate)
            self.rho = 2.0  # A radius.

    its.compile(Sharpness(optimizers.schedules.CosineDecay(0.1, 10)))


def test_gradients_whose_squares_overflow_harm_no_optimizer():
    """A gradient of 1e30 is finite, and its square, of which Adam keeps means, is not."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    teacher = keras.models.clone_model(model)
    its = ecl_tf.Distiller(model, teacher, output="normal", sampler="Empirical", label_weight=1.0)
    its.compile("adam", run_eagerly=True)
    with stops("the gradients had NaN or Inf.*huge labels"):
        its.fit(np.ones((8, 2), "float32"), np.full((8, 1), 1e15, "float32"), verbose=0)
    assert all(np.isfinite(v.numpy()).all() for v in [*model.weights, *its.optimizer.variables])


def test_a_users_list_of_callbacks_is_guarded_and_the_count_starts_anew_after_an_error(tmp_path):
    its = distiller()

    def as_list(callbacks):
        return keras.callbacks.CallbackList(callbacks, add_history=True, model=its)

    assert_stopped_in_step_3(its, tmp_path, "the sampled inputs", as_list=as_list, third=np.nan)
    assert np.isfinite(its.fit(data(), verbose=0).history["loss"]).all()
    assert int(its.step.numpy()) == 2 + 6


def test_a_network_with_a_bad_weight_is_refused_before_the_first_step(subtests):
    def refused(role):
        return pytest.raises(
            ValueError, match=rf"{role} .* holds NaN or Inf in its weight .*kernel"
        )

    def spoil(model):
        model.layers[0].kernel.assign(np.full((SIZE, SIZE), np.nan))

    # A relu may make 0 of NaN, so that no answer shows it.
    for role in ("student", "teacher"):
        with subtests.test(role):
            networks = {name: network(1, keras.layers.Dense(SIZE, "relu")) for name in ROLES}
            its = Distiller(**networks, sampler="Empirical")
            its.compile("sgd", run_eagerly=True)
            its.fit(data().take(1), verbose=0)
            spoil(networks[role])
            with refused(role):
                its.fit(data(), verbose=0)
            with refused(role):
                Distiller(**networks)
    with subtests.test("optimizer"):
        its = distiller()
        its.optimizer = keras.optimizers.SGD(momentum=0.9)
        its.optimizer.build(its.trainable_variables)
        its.optimizer.variables[-1].assign([0.0, np.inf, 0.0])  # Of the bias.
        with pytest.raises(ValueError, match=r"optimizer 'sgd.*' holds NaN or Inf in .*bias_mom"):
            its.fit(data(), verbose=0)
    with subtests.test("ensemble"), refused("teacher"):
        ecl_tf.Ensemble(networks["teacher"], "categorical")


def test_a_student_that_explodes_is_found_and_steps_count_over_fits():
    its = distiller()
    its.fit(data(), verbose=0)
    infinite = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda *_: its.student.layers[-1].kernel.assign(np.full((SIZE, 3), np.inf))
    )
    with stops(r"in step 7 .*the student.*learning rate"):
        its.fit(data(), verbose=0, callbacks=[infinite])


def test_a_regularizer_that_overflows_is_the_losss_fault():
    class Overflow(keras.regularizers.Regularizer):
        def __call__(self, x):
            return tf.reduce_sum(x * 0.0) + float("inf")

    with stops(r"in step 1 .*the loss.*regularizers"):
        distiller(regularizer=Overflow()).fit(data(), verbose=0)


def test_recorded_samples_are_not_looked_through_again_and_their_fault_shows_in_the_student():
    def recorded(x, y, weight):
        answers = (tf.zeros((ROWS, 3)),)
        return (samplers.Samples(x, tf.ones(ROWS, tf.bool), member_outputs=answers),)

    its = distiller()
    with stops(r"in step 3 .*: the student had NaN"):
        its.fit(data(np.nan).map(recorded), verbose=0)
    np.testing.assert_array_equal(its.non_finite.result()[:2], [0, 0])


def test_the_users_callbacks_still_run():
    seen = []
    each_step = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(batch)
    )
    its = distiller()
    for callbacks in (each_step, [each_step, None], (each_step,)):
        its.fit(data().take(2), verbose=0, callbacks=callbacks)
    assert seen == 3 * [0, 1]


# Several steps in one execution.


class Overflow(keras.optimizers.schedules.LearningRateSchedule):
    """Infinite at the third step."""

    def __call__(self, step):
        return tf.where(step < 2, 0.1, np.inf)


@pytest.mark.parametrize(
    ("rate", "wrong", "source"),
    [
        (Overflow(), {}, "the learning rate"),
        (0.1, {"weight": np.nan}, "the loss"),
    ],
)
def test_the_cause_is_named_though_the_step_after_it_had_nan_as_well(rate, wrong, source):
    its = distiller(rate=rate, run_eagerly=False, steps_per_execution=4)
    with stops(rf"in step 3 .*: {source} (had|was) NaN"):
        its.fit(data(**wrong), verbose=0)


def test_a_short_last_execution_names_its_own_step():
    its = distiller(run_eagerly=False, steps_per_execution=2)
    with stops(r"in step 3 .*the sampled inputs"):
        its.fit(data(np.nan).take(3), verbose=0)


@pytest.mark.slow
def test_the_host_reads_once_an_execution(monkeypatch):
    # 12 steps in 2 epochs.
    read, at = [], []
    original = tf.__internal__.EagerTensor._numpy

    def counted(tensor):
        if tensor.dtype != tf.bool:  # Keras's own, once an execution: was there data?
            read.append(tensor.shape)
        return original(tensor)

    def note(number, logs=None):
        at.append(len(read))

    watch = keras.callbacks.LambdaCallback(on_epoch_begin=note, on_train_batch_end=note)
    its = distiller(run_eagerly=False, steps_per_execution=2)
    monkeypatch.setattr(tf.__internal__.EagerTensor, "_numpy", counted)
    its.fit(data(), epochs=2, verbose=0, callbacks=[watch])
    executions = 3
    assert len(at) == 2 * (1 + executions)
    for epoch in (at[: 1 + executions], at[1 + executions :]):
        assert np.diff(epoch).tolist() == [1] * executions
    assert read.count((12,)) == 2 * executions


# The counter itself.


def test_each_source_is_counted_by_itself():
    count = NonFiniteCount()
    good, nan, inf = (tf.constant([1.0, value]) for value in (2.0, np.nan, -np.inf))

    def step(*values, labels=None, weights=()):
        counts, is_bad = count.count(*values, labels=labels)
        count.update_state(counts, is_bad, weights)
        return is_bad

    assert not step(good, good, good, good, [good])
    assert step(good, {"mean": good, "stddev": inf}, [good, nan], good, [good])
    assert step(good, good, good, good, [good])  # Something was wrong before.
    wrong = tf.constant([2.0, 510.0])
    # What came before is the cause of weights that are not finite.
    step(good, good, nan, good, [good, inf], labels=wrong, weights=[good, nan])
    np.testing.assert_array_equal(count.result(), [0, 1, 2, 0, 1, 0, 0, 2, 510, 0, 0, 0])
    count.reset_state()
    np.testing.assert_array_equal(count.result(), [0] * 12)
    step(good, good, good, good, [good], weights=[good, nan])
    np.testing.assert_array_equal(count.result(), [0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0])


def test_the_largest_numbers_and_integers_are_finite():
    count, largest = NonFiniteCount(), np.finfo(np.float32).max
    masked = tf.constant([[1.0, -largest, -largest], [-largest, -largest, 2.0]])
    whole = {"image": tf.constant([1, 2]), "pose": tf.constant([np.nan])}
    counts, _ = count.count(whole, masked, masked, tf.constant([1, 2]), [tf.ones(3)])
    count.update_state(counts)
    np.testing.assert_array_equal(count.result(), [1] + 11 * [0])
