"""Weights without labels count, settings that change take effect, and bad steps leave no trace."""

import by_hand
import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from by_hand import kl, linear, logits, numbers, weights

from ecl_tf import Distiller, divergences, metrics, resume, samplers
from ecl_tf._internal import batches

ROWS = 16
X = numbers(ROWS, by_hand.SIZE, seed=1)
WEIGHTS = np.random.default_rng(2).uniform(size=ROWS).astype("float32")
STUDENT, TEACHER = weights(seed=2), weights(seed=3)
DIVERGENCE = kl(logits(X, TEACHER), logits(X, STUDENT))


def distiller(rate=0.0, run_eagerly=False, **arguments):
    arguments = {"sampler": "Empirical", **arguments}
    its = Distiller(linear(STUDENT), linear(TEACHER), **arguments)
    its.compile(keras.optimizers.SGD(rate), run_eagerly=run_eagerly)
    return its


class Rows(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        part = slice(8 * index, 8 * index + 8)
        return X[part], None, WEIGHTS[part]


def generator():
    yield from (Rows()[index] for index in range(2))


# Weights without labels.


@pytest.mark.slow
def test_weights_count_without_labels_wherever_they_come_from(tmp_path, subtests):
    expected = (WEIGHTS * DIVERGENCE).mean()
    dataset = tf.data.Dataset.from_tensor_slices((X, WEIGHTS)).batch(8)
    dataset = dataset.map(lambda x, w: (x, None, w))
    batches = resume.batches((X, WEIGHTS), 8, seed=0)
    its = distiller()  # Of rate 0: the same for all.
    cases = {
        "resume": lambda: resume.fit(
            its,
            lambda step: batches(step).map(lambda x, w: (x, None, w)),
            tmp_path,
            steps=2,
            verbose=0,
        ),
        "arrays": lambda: its.fit(X, sample_weight=WEIGHTS, batch_size=8, verbose=0),
        "PyDataset": lambda: its.fit(Rows(), verbose=0),
        "generator": lambda: its.fit(generator(), verbose=0),
        "dataset": lambda: its.fit(dataset, verbose=0),
    }
    for name, fit in cases.items():
        with subtests.test(name):
            np.testing.assert_allclose(fit().history["loss"], [expected], rtol=1e-5)
    with subtests.test("validation"):
        logs = its.fit(X, validation_data=(X, None, WEIGHTS), batch_size=8, verbose=0).history
        np.testing.assert_allclose(logs["val_loss"], [expected], rtol=1e-5)
        np.testing.assert_allclose(logs["loss"], [DIVERGENCE.mean()], rtol=1e-5)
    for name, data in {"arrays": X, "PyDataset": Rows(), "dataset": dataset}.items():
        with subtests.test(f"evaluation of {name}"):
            w = WEIGHTS if name == "arrays" else None
            logs = its.evaluate(data, sample_weight=w, batch_size=8, verbose=0, return_dict=True)
            assert logs["loss"] == pytest.approx(expected, rel=1e-5)


def test_weights_that_are_negative_count_and_their_sum_may_not_be():
    """As those of simulated events; of a stream only the end of the epoch tells of the sum."""
    signs = np.where(np.arange(ROWS) < 5, -1.0, 1.0).astype("float32")  # The first batch's is -2.

    def stream(weights):
        dataset = tf.data.Dataset.from_tensor_slices((X, weights)).batch(8)
        return dataset.map(lambda x, w: (x, None, w))

    its = distiller(run_eagerly=True)
    expected = {"loss": (signs * DIVERGENCE).mean()}
    its_answers, own_answers = (logits(X, each).argmax(-1) for each in (TEACHER, STUDENT))
    expected["agreement"] = np.average(its_answers == own_answers, weights=signs)
    for logs in (
        its.fit(stream(signs), verbose=0).history,
        its.fit(X, sample_weight=signs, batch_size=8, verbose=0).history,
        its.evaluate(stream(signs), verbose=0, return_dict=True),
    ):
        found = {name: np.ravel(logs[name])[0] for name in expected}
        assert found == pytest.approx(expected, rel=1e-4)
    for given, total in ((-signs, -6), (0.0 * signs, 0)):
        message = f"ended: The weights in sample_weight add up to {total}, so no row"
        with pytest.raises(ValueError, match=f"The evaluation {message}"):
            its.evaluate(stream(given), verbose=0)
        for validation in ({}, {"validation_data": stream(signs)}):
            with pytest.warns(UserWarning, match=f"The epoch {message}"):
                its.fit(stream(given), verbose=0, **validation)
    its.fit(stream(np.where(np.arange(ROWS) < 8, 0.0, 1.0)), verbose=0)  # One batch is padding.


def test_rows_are_padding_only_if_they_count_for_no_output():
    rows, age = np.arange(4), np.float32([1, 0, 1, 0])
    joint = ["age", "digit"]
    for given, outputs, expected in [
        (age, (), [0, 2, 2, 2]),
        ({"age": age}, joint, [0, 1, 2, 3]),  # All of them count for the digit.
        ({"age": age, "digit": None}, joint, [0, 1, 2, 3]),
        ({"age": age, "digit": np.float32([0, 1, 1, 0])}, joint, [0, 1, 2, 0]),
    ]:
        found = batches.without_padding(tf.constant(rows), given, outputs)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("others", [{}, {"size": None}], ids=["left out", "None"])
def test_weights_of_some_outputs_are_taken_of_arrays(others):
    networks = [by_hand.heads(kind=3, size=3) for _ in range(2)]
    names = [network.layers[1].name for network in networks]
    feature_loss = keras.distillation.FeatureDistillation("mse", *reversed(names))
    output = dict.fromkeys(["kind", "size"], "categorical")
    arguments = {"sampler": "Empirical", "feature_losses": [feature_loss]}
    its = Distiller(*networks, output=output, **arguments)
    its.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    student, teacher = ({k: v.numpy() for k, v in network(X).items()} for network in networks)
    each = {name: kl(teacher[name], student[name]) for name in student}
    squares = ((teacher["kind"] - student["kind"]) ** 2).mean(-1)
    labels = dict.fromkeys(each, np.arange(ROWS) % 3)
    given = {"kind": WEIGHTS, **others}
    data = X, labels, given
    logs = its.fit(*data[:2], sample_weight=given, validation_data=data, verbose=0).history
    divergence, unlike = WEIGHTS * each["kind"] + each["size"], (WEIGHTS + 1) / 2 * squares
    expected = {"divergence": divergence.mean(), "feature_loss": unlike.mean()}
    for name, number in expected.items():
        assert logs[name] == logs[f"val_{name}"] == [pytest.approx(number, rel=1e-4)]
    logs = its.evaluate(X, sample_weight=WEIGHTS, verbose=0, return_dict=True)
    assert logs["feature_loss"] == pytest.approx((WEIGHTS * squares).mean(), rel=1e-4)
    its.sampler = "Uncertain"
    its.fit(X, labels, sample_weight=given, verbose=0)


def test_weights_of_classes_need_labels_and_endless_data_a_number_of_steps():
    its = distiller(run_eagerly=True)
    with pytest.raises(ValueError, match=r"class_weight needs labels"):
        its.fit(X, class_weight={0: 1.0, 1: 2.0, 2: 1.0})
    endless = tf.data.Dataset.from_tensors(X).repeat()
    for data in (endless, resume.batches(X, 8, seed=0)(0)):
        with pytest.raises(ValueError, match=r"endless.*steps_per_epoch"):
            its.fit(data)
        with pytest.raises(ValueError, match=r"endless.*validation_steps"):
            its.fit(X, validation_data=data)
    with pytest.raises(ValueError, match=r"endless.*steps="):
        its.evaluate(endless)
    for ask in (its.teacher.predict, its.teacher.evaluate):
        with pytest.raises(ValueError, match=r"endless.*steps="):
            ask(endless)
    with pytest.warns(UserWarning, match="one row.*so Mixup leaves it as it is"):
        distiller(run_eagerly=True, sampler="Mixup").fit(X[:2], batch_size=1, verbose=0)
    assert its.teacher.predict(endless, steps=2, verbose=0).shape[0] == 2 * len(X)
    kept = endless.filter(lambda x: True)
    for data in (kept.prefetch(1), endless.enumerate().map(lambda number, x: x)):
        with pytest.raises(ValueError, match=r"endless.*steps_per_epoch"):
            its.fit(data)
    assert len(its.fit(kept.take(2), verbose=0).epoch) == 1


def test_frames_and_single_batches_have_weights_of_classes_as_arrays_have():
    labels = np.arange(ROWS) % 3
    class_weight = {0: 0.0, 1: 0.0, 2: 5.0}
    weighed = 5.0 * (labels == 2) * DIVERGENCE
    its = distiller(run_eagerly=True)
    its.compile(keras.optimizers.SGD(0.0), metrics=["accuracy"], run_eagerly=True)
    data = pd.DataFrame(X), pd.Series(labels)
    logs = its.fit(
        *data, class_weight=class_weight, validation_split=0.5, shuffle=False, verbose=0
    ).history
    assert logs["divergence"] == [pytest.approx(weighed[:8].mean(), rel=1e-5)]
    assert logs["val_divergence"] == [pytest.approx(DIVERGENCE[8:].mean(), rel=1e-5)]
    right = (logits(X, STUDENT).argmax(-1) == labels)[:8].mean()
    assert logs["accuracy"] == [pytest.approx(right)]
    of_rows = np.float32(np.arange(ROWS) < 8)
    logs = its.train_on_batch(X, labels, of_rows, class_weight, return_dict=True)
    assert logs["divergence"] == pytest.approx((of_rows * weighed).mean(), rel=1e-5)
    for arguments, message in [
        ({"class_weight": {0: -1.0}}, "class_weight"),
        ({"sample_weight": -of_rows}, "weights in sample_weight add up to -8"),
    ]:
        with pytest.raises(ValueError, match=message):
            its.train_on_batch(X, labels, **arguments)


def test_steps_of_batches_are_traced_anew_for_other_ranks_alone():
    its, labels = distiller(), np.arange(ROWS) % 3
    its.make_train_function()
    traced = its.train_function
    for given in (labels, None, labels, None):
        its._follow_data("train", X, given, None, was_checked=False)
        assert its.train_function is traced
    its._follow_data("train", X, labels[:, None], None, was_checked=False)
    assert its.train_function is not traced


def test_rows_of_weight_0_are_nobodys_partner():
    padded = X.copy()
    padded[10:] = 1e6
    real = np.arange(ROWS) < 10
    seen = []

    class Spy(keras.layers.Layer):
        def call(self, inputs):
            tf.py_function(lambda x: seen.append(x.numpy()), [inputs], [])
            return inputs

    its = Distiller(linear(STUDENT), linear(TEACHER, Spy()), sampler="Mixup")
    its.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    its.fit(padded, sample_weight=real.astype("float32"), batch_size=ROWS, epochs=3, verbose=0)
    assert np.abs(np.concatenate(seen)).max() < 10.0


# Settings that change after compile.


def test_settings_that_change_take_effect_in_the_next_step():
    softer = 16 * kl(logits(X, TEACHER) / 4, logits(X, STUDENT) / 4)
    its = distiller(temperature=4.0)

    class Anneal(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.temperature = [4.0, 1.0, 4.0][epoch]

    history = its.fit(X, epochs=3, callbacks=[Anneal()], verbose=0).history
    expected = [softer.mean(), DIVERGENCE.mean(), softer.mean()]
    np.testing.assert_allclose(history["divergence"], expected, rtol=1e-5)
    assert its.temperature == 4.0
    assert its.evaluate(X, verbose=0, return_dict=True)["loss"] == pytest.approx(softer.mean())
    its.temperature = 1.0
    its.divergence = "reverse_kl"
    history = its.fit(X, verbose=0).history
    reverse = kl(logits(X, STUDENT), logits(X, TEACHER)).mean()
    np.testing.assert_allclose(history["divergence"], [reverse], rtol=1e-5)
    its.divergence, its.label_weight = "kl", 2.0
    logs = its.fit(X, np.zeros(ROWS, "int32"), verbose=0).history
    np.testing.assert_allclose(
        logs["loss"], np.add(logs["divergence"], np.multiply(2.0, logs["label_loss"])), rtol=1e-5
    )
    its.label_weight, its.sampler = 0.0, samplers.Mixup(seen := 0.5)
    mixed = its.fit(X, verbose=0).history["divergence"][0]
    assert abs(mixed - DIVERGENCE.mean()) > 1e-3 and its.get_config()["sampler"]
    assert its.sampler.alpha == seen


def test_the_temperature_of_a_strategy_is_read_set_and_saved(tmp_path):
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        its = distiller(temperature=4.0)
    for value in (2.0, 3.0):
        its.temperature = value
        assert its.temperature == value and its.describe_method()["temperature"] == value
    its.label_weight = 0.5
    its.save(tmp_path / "its.keras")
    assert keras.models.load_model(tmp_path / "its.keras").temperature == 3.0


def test_what_keras_holds_in_its_loops_follows_too(subtests):
    its = distiller()
    losses = []
    for per_execution in (1, 2):
        its.steps_per_execution = per_execution
        losses += its.fit(X, batch_size=4, shuffle=False, verbose=0).history["loss"]
    with subtests.test("steps_per_execution"):
        assert int(its.step.numpy()) == 2 * len(X) // 4
        assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    with subtests.test("labels of another rank"):
        its = Distiller(*(by_hand.network(n, classes=2) for n in (0, 1)), output="normal")
        its.compile("sgd", metrics=["mse"])
        first, second = (its.evaluate(X, y, verbose=0) for y in (X[:, 0], X[:, :1]))
        np.testing.assert_allclose(first, second, rtol=1e-6)

    with subtests.test("optimizer"):
        its = distiller(rate=0.1)
        its.fit(X, verbose=0)
        before = its.student.get_weights()
        its.optimizer = keras.optimizers.SGD(0.0)
        its.fit(X, verbose=0)
        np.testing.assert_array_equal(its.student.get_weights()[0], before[0])
        assert int(its.optimizer.iterations.numpy()) == 1
        its.optimizer = "adam"
        assert isinstance(its.optimizer, keras.optimizers.Adam)
        with pytest.raises(ValueError, match=r"steps_per_execution must .* >= 1; got 0"):
            its.steps_per_execution = 0


def test_attributes_of_layers_follow_from_the_next_epoch_on():
    dropout, turned = keras.layers.Dropout(0.9), keras.layers.Activation("linear")
    layers = [keras.Input((by_hand.SIZE,)), dropout, turned, linear(STUDENT)]
    its = Distiller(keras.Sequential(layers), linear(TEACHER), sampler="Empirical")
    its.compile(keras.optimizers.SGD(0.0))

    def switch_off(epoch, logs):
        dropout.rate = 0.9 if epoch < 1 else 0.0

    switched = keras.callbacks.LambdaCallback(on_epoch_begin=switch_off)
    first, then = its.fit(X, epochs=2, callbacks=[switched], verbose=0).history["divergence"]
    assert abs(first - DIVERGENCE.mean()) > 0.01
    assert then == pytest.approx(DIVERGENCE.mean(), rel=1e-5)
    np.testing.assert_allclose(its.predict(X, verbose=0), logits(X, STUDENT), rtol=1e-5)
    turned.activation = keras.ops.negative
    np.testing.assert_allclose(its.predict(X, verbose=0), logits(-X, STUDENT), rtol=1e-5)
    turned_kl = kl(logits(X, TEACHER), logits(-X, STUDENT)).mean()
    assert its.fit(X, verbose=0).history["divergence"] == [pytest.approx(turned_kl, rel=1e-5)]


class Scaled:
    """KL times a factor."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, teacher, student):
        return self.factor * divergences.kl(teacher, student)


def test_what_is_set_within_optimizer_output_divergence_and_sampler_follows(subtests):
    two = Distiller(
        by_hand.heads(a=3, b=3),
        by_hand.heads(a=3, b=3),
        output={"a": "categorical", "b": "categorical"},
        sampler="Empirical",
        divergence=Scaled(2.0),
    )
    two.compile(keras.optimizers.SGD(0.0))
    for network, own in ((two.student, STUDENT), (two.teacher.members[0], TEACHER)):
        network.set_weights([*own, *own])

    def loss():
        return two.fit(X, verbose=0).history["loss"][0]

    assert loss() == pytest.approx(4 * DIVERGENCE.mean(), rel=1e-5)
    with subtests.test("weights of outputs, in place"):
        two.output_kind.weights["b"] = 0.5
        assert loss() == pytest.approx(3 * DIVERGENCE.mean(), rel=1e-5)
        two.output_kind.weights["b"] = -0.5
        with pytest.raises(ValueError, match=r"to numbers >= 0; got .*'b': -0\.5"):
            loss()
        two.output_kind.weights["b"] = 0.5
    with subtests.test("divergence"):
        two.divergence.factor = 1.0
        assert loss() == pytest.approx(1.5 * DIVERGENCE.mean(), rel=1e-5)

    rate = 0.5
    its = distiller(rate)

    def largest_change():
        before = its.student.get_weights()
        its.fit(X, batch_size=ROWS, verbose=0)
        after = its.student.get_weights()
        return max(np.abs(one - two).max() for one, two in zip(before, after, strict=True))

    assert largest_change() > 1e-2
    with subtests.test("clipvalue"):
        its.optimizer.clipvalue = 1e-3
        assert largest_change() == pytest.approx(rate * 1e-3, rel=1e-3)
    with subtests.test("a schedule in place of a rate"):
        its.optimizer.learning_rate = keras.optimizers.schedules.CosineDecay(0.0, 10)
        assert largest_change() == 0.0
        its.optimizer.clipvalue = np.nan
        with pytest.raises(ValueError, match="SGD has clipvalue=nan; expected a finite number"):
            largest_change()
    with subtests.test("layers of a sampler"):
        noise = keras.layers.GaussianNoise(1.0)
        its = distiller(sampler=samplers.Augment(noise))
        noisy = its.fit(X, verbose=0).history["divergence"][0]
        noise.stddev = 0.0
        (without,) = its.fit(X, verbose=0).history["divergence"]
        assert without == pytest.approx(DIVERGENCE.mean(), rel=1e-5) != pytest.approx(noisy)


def test_weights_in_the_place_of_others_follow():
    its = distiller()
    assert its.evaluate(X, verbose=0)[0] == pytest.approx(DIVERGENCE.mean(), rel=1e-5)
    its.student.quantize("int8")  # Its kernel is another variable now.
    expected = kl(logits(X, TEACHER), its.student.predict(X, verbose=0)).mean()
    assert abs(expected / DIVERGENCE.mean() - 1.0) > 1e-4
    assert its.evaluate(X, verbose=0)[0] == pytest.approx(expected, rel=1e-5)


class Counting(keras.layers.Layer):
    """A layer that says how often it was traced."""

    traces = 0

    def call(self, x):
        self.traces += 1
        return x


def test_attributes_that_a_layer_sets_in_its_call_have_nothing_traced_anew():
    counting = Counting()
    its = Distiller(linear(STUDENT, counting), linear(TEACHER), sampler="Empirical")
    its.compile("sgd")
    its.fit(X, validation_data=X, epochs=2, verbose=0)
    before = counting.traces
    its.fit(X, validation_data=X, epochs=2, verbose=0)
    assert counting.traces == before


class Penalty(keras.layers.Layer):
    """One of a shape that has the batch in it."""

    def call(self, x):
        self.add_loss(tf.reduce_sum(x**2, -1, keepdims=True))
        return x


def test_penalties_of_any_shape_are_added_up_as_by_keras():
    its = Distiller(linear(STUDENT, Penalty()), linear(TEACHER), sampler="Empirical")
    its.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    logs = its.fit(X, batch_size=ROWS, verbose=0).history
    assert logs["loss"][0] == pytest.approx(logs["divergence"][0] + (X**2).sum(), rel=1e-5)


def test_what_a_distiller_keeps_and_wrong_settings_are_refused():
    its = distiller()
    with pytest.raises(ValueError, match=r"keeps its teacher.*new one"):
        its.teacher = linear(TEACHER)
    with pytest.raises(ValueError, match=r"keeps its quantization.*new one"):
        its.quantization = "int8"
    with pytest.raises(ValueError, match=r"temperature must be a positive number; got -1"):
        its.temperature = -1.0
    with pytest.raises(ValueError, match=r"Unknown sampler .*Mixop"):
        its.sampler = "Mixop"


def test_networks_of_64_bits_train_by_default():
    keras.config.set_floatx("float64")
    try:
        its = distiller()
        its.compile(keras.optimizers.SGD(0.0), metrics=[metrics.ExpectedCalibrationError()])
        logs = its.fit(X, np.arange(ROWS) % 3, verbose=0).history
    finally:
        keras.config.set_floatx("float32")
    assert logs["divergence"] == [pytest.approx(DIVERGENCE.mean(), rel=1e-5)]


# Steps that are not applied.


def networks_with_state(seed):
    return keras.Sequential(
        [
            keras.Input((by_hand.SIZE,)),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5, seed=seed),
            keras.layers.SpectralNormalization(keras.layers.Dense(3)),  # It sets its kernel.
        ]
    )


def test_after_a_bad_step_all_is_as_it_was_before():
    its = Distiller(networks_with_state(1), linear(TEACHER), sampler="Mixup")
    its.compile("adam")
    its.fit(X, batch_size=ROWS, epochs=3, verbose=0)
    state = [*its.student.variables, *its.optimizer.variables, its.step]
    before = [variable.numpy() for variable in state]
    broken = X.copy()
    broken[3, 1] = np.nan
    with pytest.raises(FloatingPointError, match=r"in step 4 .*as they were before that step"):
        its.fit(broken, batch_size=ROWS, verbose=0)
    for variable, value in zip(state, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.path)
    its.fit(X, batch_size=ROWS, verbose=0)
    assert int(its.step.numpy()) == 4


def test_wrong_labels_of_a_stream_stop_before_their_update_and_an_evaluation_at_its_end():
    labels = np.zeros(ROWS, "int64")
    labels[9] = 7

    def stream():
        for row in range(0, ROWS, 4):
            yield X[row : row + 4], labels[row : row + 4]

    its = distiller(rate=0.1, label_weight=1.0)
    with pytest.raises(ValueError, match=r"step 3 .*: 1 labels are out of range; their mean is 7"):
        its.fit(stream(), verbose=0)
    assert int(its.step.numpy()) == 2 and np.isfinite(its.student.get_weights()[0]).all()
    with pytest.raises(ValueError, match=r"evaluation.*1 labels.*class indices from 0 to 2"):
        its.evaluate(stream(), verbose=0)
    with pytest.raises(ValueError, match=r"Labels are out of range: 7\. Expected class indices"):
        its.fit(X, labels, verbose=0)


def test_what_a_step_refuses_is_told_of_single_batches_too():
    right, wrong = np.arange(ROWS) % 3, np.arange(ROWS) % 3 + 1
    its = distiller(rate=0.1, label_weight=1.0)
    its.compile(keras.optimizers.SGD(0.1), metrics=["accuracy"])
    before = its.student.get_weights()
    with pytest.raises(ValueError, match=r"in step 1 .*: 5 labels are out of range"):
        its.train_on_batch(X, wrong)
    with pytest.raises(FloatingPointError, match=r"in step 1 .*sampled inputs had NaN"):
        its.train_on_batch(X * np.nan, right)
    np.testing.assert_array_equal(its.student.get_weights()[0], before[0])
    its.train_on_batch(X, right)  # The refused ones are not held against it.
    its.train_on_batch(X, right[:, None])
    assert int(its.step.numpy()) == 2 and np.any(its.student.get_weights()[0] != before[0])
    with pytest.raises(ValueError, match=r"evaluation stopped: 5 labels are out of range"):
        its.test_on_batch(X, wrong)
    images = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten()])
    its = Distiller(*(keras.Sequential([images, keras.layers.Dense(3)]) for _ in range(2)))
    its.compile("sgd")
    with pytest.raises(ValueError, match=r"in step 1 .*neither network scales them"):
        its.train_on_batch(np.full((8, 4, 4, 1), 255.0))
    with pytest.raises(ValueError, match=r"^The images .*neither network scales them"):
        its.predict_on_batch(np.full((8, 4, 4, 1), 255.0))


def test_an_evaluation_of_nan_says_so_and_is_nan():
    its = Distiller(networks_with_state(1), networks_with_state(2))
    its.compile(metrics=["accuracy"], run_eagerly=True)
    broken = np.where(np.arange(ROWS)[:, None] == 5, np.nan, X)
    with pytest.warns(UserWarning, match=r"evaluation met NaN or Inf: the inputs had it in 1 of"):
        logs = its.evaluate(broken, np.zeros(ROWS), batch_size=8, verbose=0, return_dict=True)
    assert all(np.isnan(value) for value in logs.values()), logs


def test_a_training_without_metrics_says_once_how_good_both_networks_are(capsys):
    labels = np.arange(ROWS) % 3
    its = distiller(run_eagerly=True)
    its.fit(X, validation_data=(X, labels), epochs=2, verbose=2)
    said = [line for line in capsys.readouterr().out.splitlines() if "validation labels" in line]
    expected = [(logits(X, network).argmax(-1) == labels).mean() for network in (TEACHER, STUDENT)]
    parts = [f"{each} {share:.4g}" for each, share in zip(2 * ["accuracy"], expected, strict=True)]
    assert len(said) == 1 and all(part in said[0] for part in parts), (said, parts)

    def half(one, labels):
        return (logits(X[8:], one).argmax(-1) == labels[8:]).mean()

    class Labelled(Rows):
        def __getitem__(self, index):
            x, *_ = super().__getitem__(index)
            return x, labels[8 * index : 8 * index + 8]

    its.fit(X, validation_data=Labelled(), verbose=2)
    assert said[0] in capsys.readouterr().out
    its.fit(X, labels, validation_split=0.5, verbose=2)
    said = capsys.readouterr().out
    assert f"the teacher has accuracy {half(TEACHER, labels):.4g}" in said, said
    assert f"the student accuracy {half(STUDENT, labels):.4g}" in said
    padded = np.where(np.arange(ROWS) < 8, logits(X, TEACHER).argmax(-1), labels)
    its.fit(X, validation_data=(X, padded, np.float32(np.arange(ROWS) >= 8)), verbose=2)
    said = capsys.readouterr().out
    assert f"the teacher has accuracy {half(TEACHER, labels):.4g}" in said, said
    for quiet in ({"verbose": 0}, {"verbose": 2, "validation_data": (X, labels - 1)}):
        its.fit(X, **{"validation_data": (X, labels), **quiet})
    assert "validation labels" not in capsys.readouterr().out


class Eager(keras.layers.Layer):
    """One that no graph can have."""

    def call(self, x):
        return tf.constant(x.numpy())

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


def test_a_network_that_runs_eagerly_alone_is_scored_eagerly(capsys):
    its = Distiller(linear(STUDENT, Eager()), linear(TEACHER), sampler="Empirical")
    its.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    labels = logits(X, STUDENT).argmax(-1)
    its.fit(X, batch_size=ROWS, validation_data=(X, labels), verbose=2)
    assert "the student accuracy 1," in capsys.readouterr().out


def test_what_users_mix_up_is_told_before_the_first_step():
    images = np.random.default_rng(0).uniform(size=(8, 4, 4, 1)).astype("float32")

    def network():
        layers = [keras.layers.Rescaling(3.0), keras.layers.Flatten(), keras.layers.Dense(3)]
        return keras.Sequential([keras.Input((4, 4, 1)), *layers])

    its = Distiller(network(), network(), sampler="Empirical", label_weight=1.0)
    its.compile("adam")
    labels = np.zeros(8, "int32")
    with pytest.raises(ValueError, match=r"train on go up to 0\.9.*validate on up to 25"):
        its.fit(images, labels, validation_data=(255 * images, labels))
    with pytest.raises(ValueError, match=r"Labels must be numbers; got .*'cat'.*StringLookup"):
        its.fit(images, np.array(8 * ["cat"]))
    with pytest.raises(ValueError, match=r"label_weight must be a number; got 'a'"):
        its.label_weight = "a"
    with pytest.raises(ValueError, match=r"endless.*steps="):
        its.predict(tf.data.Dataset.from_tensors(images).repeat())
    mean = samplers.Uncertain("Empirical", score=lambda answers: tf.reduce_mean(answers.inputs))
    its.label_weight, its.sampler = 0.0, mean
    with pytest.raises(ValueError, match=r"gave numbers of shape \(\).*one for each row"):
        its.fit(images, verbose=0)


class Lists(keras.utils.PyDataset):
    def __init__(self, *others):
        super().__init__()
        self.others = others

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return X[:8], *self.others


def test_data_that_is_taken_for_something_else_is_told_before_the_first_step():
    its = distiller(0.1)
    stream = tf.data.Dataset.from_tensor_slices((X, WEIGHTS)).batch(8)
    texts = np.array(ROWS * ["1.0"])
    for data, message in [
        ({"x": X, "y": WEIGHTS}, r"labels such as 0\..*sample_weight="),
        ({"x": Lists(np.zeros(8), np.array(["a"] * 8))}, r"weights must be numbers; got .*str"),
        ({"x": X, "sample_weight": 1.0}, r"sample_weight is 1\.0; expected an array"),
        ({"x": X, "y": pd.Series(ROWS * [1], dtype="Int64")}, r"y is of the type Int64 of pandas"),
        ({"x": X, "validation_split": 2.0}, r"validation_split must be .* less than 1; got 2"),
        ({"x": X, "y": texts}, r"Labels must be numbers"),
        ({"x": stream}, r"in step 1 .*8 labels.*sample_weight=.*\(inputs, None, weights\)"),
        ({"x": Lists([0, 1] * 4)}, r"batch has as labels is a list of numbers.*np\.asarray"),
        ({"x": X, "sample_weight": texts}, r"sample_weight must be numbers; got .*str"),
        ({"x": X, "sample_weight": texts.astype(object)}, r"sample_weight must be numbers"),
        (
            {"x": {"city": pd.Series(texts)}},
            r"x\['city'\] is of the type str.*np\.asarray\(x\['city'\], object\)",
        ),
        ({"x": np.array(["a", None] * 4, object)}, r"hold texts, and None in row 1 \(from 0\)"),
        ({"x": pd.DataFrame(X).convert_dtypes()}, r"type Float.* frame\.to_numpy\('float32'\)"),
        *(
            (
                {"x": each, "sample_weight": WEIGHTS},
                r"beside a .*\(inputs, None, weights\)",
            )
            for each in (stream, Lists(None))
        ),
        (
            {"x": stream.map(lambda x, w: (x, None, tf.as_string(w)))},
            r"sample_weight must be numbers; got .*string",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            its.fit(**data, verbose=0)
        assert int(its.step.numpy()) == 0
    for unknown in (np.full(ROWS, -1.0), np.full(ROWS, np.nan)):
        its.fit(X, unknown, verbose=0)  # Nobody looks at them.
    before = int(its.step.numpy())
    its.fit(Lists(None), verbose=0)  # Rows without labels.
    assert int(its.step.numpy()) == before + 2


def test_attributes_of_the_sampler_that_change_take_effect_in_the_next_epoch():
    noise = samplers.Choice([samplers.GaussianNoise(3.0)])
    its = distiller(sampler=noise)

    class Anneal(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            noise.samplers[0].stddev = 3.0 if epoch == 0 else 1e-6

    divergence = its.fit(X, epochs=2, callbacks=[Anneal()], verbose=0).history["divergence"]
    assert abs(divergence[0] - DIVERGENCE.mean()) > 0.1
    assert divergence[1] == pytest.approx(DIVERGENCE.mean(), rel=1e-4)
    traced = its.train_function
    its.fit(X, verbose=0)
    assert its.train_function is traced  # Nothing has changed.
    noise.samplers[0].stddev = -3.0
    with pytest.raises(ValueError, match="stddev must be a positive number; got -3"):
        its.fit(X, verbose=0)
    with pytest.raises(ValueError, match="stddev must be a positive number; got -3"):
        its.sampler = noise
    noise.samplers[0].stddev = 3.0
    with pytest.raises(ValueError, match="keeps its output"):
        its.output = "bernoulli"


def test_lists_of_the_sampler_that_change_in_place_take_effect():
    noise = samplers.GaussianNoise(by_hand.SIZE * [3.0])
    its = distiller(sampler=samplers.Choice(["Empirical", noise], [0.0, 1.0]))
    for stddev in (3.0, 1e-6):
        noise.stddev[:] = by_hand.SIZE * [stddev]
        (divergence,) = its.fit(X, verbose=0).history["divergence"]
        assert (abs(divergence - DIVERGENCE.mean()) < 1e-3) == (stddev < 1.0)
    its.sampler.probabilities[:] = [1.0, 0.0]
    its.follow_sampler()
    assert its.sampler.keeps_rows
    its.sampler.probabilities[:] = [1.0, 1.0]
    with pytest.raises(ValueError, match=r"got \[1\.0, 1\.0\] with the sum 2"):
        its.fit(X, verbose=0)
