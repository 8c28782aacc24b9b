"""Teachers that compute in low precision, and the choice of it."""

import warnings

import keras
import ml_dtypes
import numpy as np
import processes
import pytest
import tensorflow as tf
from scipy import special

import ecl_tf
from ecl_tf import replay, resume, teachers
from ecl_tf.teachers import precision as precisions

BFLOAT16 = ml_dtypes.bfloat16


def dense(name="network", units=32):
    return keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(units, "relu"), keras.layers.Dense(3)], name=name
    )


def convolutional():
    image = keras.Input((8, 8, 1))
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(8, 3, use_bias=False)(x)
    x = first = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Add()([keras.layers.Conv2D(8, 3, padding="same")(x), first])
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(3)(x))


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(64, 4)).astype("float32")


@pytest.fixture
def faster(monkeypatch):
    """Has low precision take a share of the time; returns a list of how often it was timed."""
    timed = []
    monkeypatch.setattr(precisions, "_ratio", lambda *_: timed.append(1) or 0.5)
    return timed


def test_inner_layers_round_as_numpy_rounds_to_bfloat16():
    network, rng = dense(), np.random.default_rng(0)
    # Whole numbers after rounding, so that sums are exact in any order.
    off = np.float32(1 + 2**-10)
    shapes = (64, 4), (4, 32), (32,), (32, 3), (3,)
    numbers = [off * rng.integers(-3, 4, shape).astype("float32") for shape in shapes]
    rows, kernel, bias, last_kernel, last_bias = numbers
    network.set_weights(numbers[1:])

    def rounded(values):
        return values.astype(BFLOAT16).astype("float32")

    hidden = np.maximum(rounded(rows) @ rounded(kernel) + rounded(bias), 0.0)
    teacher = ecl_tf.Ensemble(network, "categorical", precision="bfloat16")
    (answered,) = teacher.member_outputs(rows)
    assert answered.dtype == tf.float32
    np.testing.assert_allclose(answered, hidden @ last_kernel + last_bias, rtol=1e-6, atol=1e-5)
    assert np.median(np.abs(answered - network(rows))) > 1e-2


def test_convolutions_and_sums_are_low_and_what_prepares_and_answers_is_not(rows):
    network = convolutional()
    images = 255 * np.random.default_rng(0).random((16, 8, 8, 1), "float32")
    network.layers[3].set_weights([np.full(8, value, "float32") for value in (1.5, 0.1, 0.02, 0.5)])
    teacher = ecl_tf.Ensemble(network, "categorical", precision="float16")
    function = tf.function(teacher.member_outputs, autograph=False).get_concrete_function(images)
    nodes = [node for node in function.graph.as_graph_def().node if "T" in node.attr]

    def types(kind):
        return {tf.as_dtype(n.attr["T"].type).name for n in nodes if n.op == kind}

    assert types("Conv2D") == types("Relu") == {"float16"}
    assert types("MatMul") == {"float32"}
    # Scaled to [0, 1] before it is cast: 255 levels survive.
    np.testing.assert_allclose(function(images)[0], network(images), atol=2e-3)


def test_a_network_within_a_network_keeps_its_last_layer(rows):
    image = keras.Input((4,))
    network = keras.Model(image, keras.layers.Rescaling(2.0)(dense("inner")(image)))
    teacher = ecl_tf.Ensemble(network, "categorical", precision="bfloat16")
    function = tf.function(teacher.member_outputs, autograph=False).get_concrete_function(rows)
    products = [n for n in function.graph.as_graph_def().node if n.op == "MatMul"]
    types = [tf.as_dtype(node.attr["T"].type).name for node in products]
    assert types == ["bfloat16", "float32"]
    np.testing.assert_allclose(function(rows)[0], network(rows), atol=0.05)


def test_changed_weights_are_followed_and_saved_in_float32(rows, tmp_path):
    teacher = ecl_tf.Ensemble(dense(), "categorical", precision="bfloat16")
    ask = tf.function(teacher.member_outputs, autograph=False)
    before = ask(rows)[0]
    layer = teacher.members[0].layers[-1]
    layer.kernel.assign(3.0 * layer.kernel)
    np.testing.assert_allclose(ask(rows)[0], 3.0 * before, rtol=1e-5, atol=1e-6)
    hidden = teacher.members[0].layers[0]
    hidden.kernel.assign(0.0 * hidden.kernel)
    np.testing.assert_allclose(ask(rows)[0], 0.0, atol=1e-6)
    teacher.save(tmp_path / "teacher.keras")
    loaded = keras.models.load_model(tmp_path / "teacher.keras")
    assert loaded.precision == "bfloat16" and loaded.variables[0].dtype == "float32"
    assert loaded.fingerprint() == teacher.fingerprint()
    assert loaded.fingerprint() != teacher.with_precision(None).fingerprint()
    tempered = teacher.with_output(teacher.output_kind.tempered(2.0))
    assert tempered.precision == "bfloat16"


def test_rounding_is_the_divergence_from_the_float32_network(rows):
    network = dense()
    full = special.log_softmax(network(rows).numpy().astype("float64"), -1)
    teacher = ecl_tf.Ensemble(network, "categorical", precision="bfloat16")
    low = special.log_softmax(teacher.member_outputs(rows)[0].numpy().astype("float64"), -1)
    nats = (np.exp(full) * (full - low)).sum(-1)
    found = teachers.rounding(teacher, rows)
    np.testing.assert_allclose(found, [nats.mean(), nats.max()], rtol=0.05)
    assert 1e-8 < found.mean < 1e-4
    assert teachers.rounding(teacher.with_precision(None), rows, "bfloat16") == found
    with pytest.raises(ValueError, match="batch of inputs as arrays; got a generator"):
        teachers.rounding(teacher, (batch for batch in [rows]))


def test_what_can_not_be_lowered_stays_and_is_told(rows):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3)

        def call(self, inputs):
            return self.dense(inputs)

    own = Own()
    own(rows)
    with pytest.warns(UserWarning, match="compute as they were made, and not in bfloat16"):
        teacher = ecl_tf.Ensemble(own, "categorical", precision="bfloat16")
    assert np.array_equal(teacher.member_outputs(rows)[0], own(rows))
    rule = teachers.FunctionTeacher(
        lambda x: special.softmax(np.asarray(x)[:, :3], -1), "categorical", rows
    )
    with pytest.warns(UserWarning, match="answers as it was made"):
        ecl_tf.Distiller(dense(), rule, teacher_precision="bfloat16")
    with pytest.raises(ValueError, match="'bfloat16', 'float16', 'auto'; got 'int8'"):
        ecl_tf.Distiller(dense(), dense(), teacher_precision="int8")
    with pytest.raises(ValueError, match="keeps its teacher_precision"):
        ecl_tf.Distiller(dense(), dense()).teacher_precision = "auto"
    losses = [keras.distillation.FeatureDistillation("mse")]
    low = ecl_tf.Ensemble(dense(), "categorical", precision="bfloat16")
    for teacher, precision in ((dense(), "auto"), (low, None)):
        with pytest.raises(ValueError, match="does not go with feature_losses"):
            ecl_tf.Distiller(dense(), teacher, teacher_precision=precision, feature_losses=losses)


def test_a_distillers_loss_is_that_of_the_teacher_in_its_precision(rows):
    teacher, student = dense("teacher"), dense("student")
    distiller = ecl_tf.Distiller(
        student, teacher, sampler="Empirical", teacher_precision="bfloat16"
    )
    distiller.compile("sgd", run_eagerly=True)
    low = special.log_softmax(distiller.teacher.member_outputs(rows)[0].numpy(), -1)
    own = special.log_softmax(student(rows).numpy(), -1)
    expected = (np.exp(low) * (low - own)).sum(-1).mean()
    logs = distiller.evaluate(rows, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["divergence"], expected, rtol=1e-5)
    history = distiller.fit(rows, batch_size=64, verbose=0).history
    np.testing.assert_allclose(history["divergence"][0], expected, rtol=1e-5)


@pytest.mark.slow
def test_auto_takes_what_is_faster_and_near_and_keeps_its_choice(rows, faster, tmp_path, capsys):
    def make():
        return ecl_tf.Distiller(
            dense("student"), dense("teacher"), sampler="Mixup", teacher_precision="auto"
        )

    distiller = make()
    distiller.compile("sgd")
    distiller.fit(rows, verbose=2)
    assert "The teacher computes in bfloat16. Measured on the first batch: bfloat16 takes 0.50" in (
        capsys.readouterr().out
    )
    asked = distiller._networks().teacher
    assert asked.precision == "bfloat16" and distiller.teacher.precision is None
    distiller.save(tmp_path / "distiller.keras")
    distiller.save_weights(tmp_path / "distiller.weights.h5")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    other = make()
    other.compile("sgd")
    other.fit(rows, verbose=0, epochs=0)  # Chooses; what is loaded then holds.
    other.load_weights(tmp_path / "distiller.weights.h5")
    expected = distiller.evaluate(rows, verbose=0)
    assert loaded.evaluate(rows, verbose=0) == expected == other.evaluate(rows, verbose=0)
    assert loaded._networks().teacher.precision == "bfloat16"
    loaded.fit(rows, verbose=0)
    assert len(faster) == 2


def test_auto_leaves_out_what_is_not_faster_or_too_far_off(rows, monkeypatch):
    teacher = ecl_tf.Ensemble(dense(), "categorical")
    monkeypatch.setattr(precisions, "_ratio", lambda *_: 0.95)
    is_low, why = precisions.choose(teacher, rows)
    assert not is_low and "0.95 of the time" in why
    monkeypatch.setattr(precisions, "_ratio", lambda *_: 0.5)
    assert precisions.choose(teacher, rows)[0]
    # A bias of 1 + 1/256, which bfloat16 rounds to 1; the logits are 96 times what is lost.
    hidden, last = teacher.members[0].layers
    hidden.set_weights([np.zeros((4, 32), "float32"), np.full(32, 1 + 2**-8, "float32")])
    kernel = np.tile(np.array([[3.0, 0.0, -3.0]], "float32"), (32, 1))
    last.set_weights([kernel, np.array([-96.0, 0.0, 96.0], "float32")])
    is_low, why = precisions.choose(teacher, rows)

    def logits(bias):
        return 96.0 * np.array([bias - 1, 0.0, 1 - bias])

    full, low = special.log_softmax(logits(1 + 2**-8)), special.log_softmax(logits(1.0))
    nats = (np.exp(full) * (full - low)).sum()
    assert not is_low and f"{nats:.1e} nats off in the mean" in why and "0.001 are allowed" in why


def test_the_time_of_both_precisions_is_measured(rows):
    teacher = ecl_tf.Ensemble(dense(), "categorical")
    _, why = precisions.choose(teacher, rows)
    assert float(why.split("takes ")[1].split(" of")[0]) > 0.0


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_a_training_that_goes_on_keeps_the_choice_bit_by_bit(rows, tmp_path, monkeypatch, ratio):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2 and stops:
                raise InterruptedError

    def train(directory, measured):
        monkeypatch.setattr(precisions, "_ratio", lambda *_: measured)
        keras.utils.set_random_seed(1)
        distiller = ecl_tf.Distiller(
            dense("student"), dense("teacher"), sampler="Mixup", teacher_precision="auto"
        )
        distiller.compile("adam")
        data = resume.batches((rows,), batch_size=16, seed=0)
        resume.fit(
            distiller, data, tmp_path / directory, steps=8, steps_per_epoch=4, every_steps=2,
            callbacks=[Stop()], verbose=0,
        )  # fmt: skip
        return distiller

    stops = False
    through = train("through", ratio)
    stops = True
    with pytest.raises(InterruptedError):
        train("stopped", ratio)
    stops = False
    # The machine would measure the contrary.
    resumed = train("stopped", 2.5 - ratio)
    for one, other in zip(through.variables, resumed.variables, strict=True):
        assert np.array_equal(one.numpy(), other.numpy()), one.path
    assert int(resumed.precision_choice.value) == (ratio == 0.5)


def test_a_choice_that_a_callback_loads_is_followed(rows, tmp_path, monkeypatch):
    asked = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            asked.append(self.model._asked.teacher.precision)

    for ratio, epochs in ((0.5, 1), (2.0, 2)):  # The second time it would not choose bfloat16.
        monkeypatch.setattr(precisions, "_ratio", lambda *_, ratio=ratio: ratio)
        distiller = ecl_tf.Distiller(
            dense(), dense("teacher"), sampler="Empirical", teacher_precision="auto"
        )
        distiller.compile("adam")
        restore = keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
        distiller.fit(rows, epochs=epochs, batch_size=64, callbacks=[restore, Watch()], verbose=0)
    assert asked == ["bfloat16"] * 2


def test_a_store_is_of_one_precision(rows, tmp_path):
    network = dense()

    def make(precision):
        return ecl_tf.Ensemble(network, "categorical", precision=precision)

    settings = {"directory": tmp_path, "batch_size": 32, "epochs": 1, "shards": 1, "verbose": 0}
    replay.record(make("bfloat16"), rows, **settings)
    replay.record(make("bfloat16"), rows, **settings)  # Is there already.
    with pytest.raises(ValueError, match=r"recorded with other settings.*teacher"):
        replay.record(make(None), rows, **settings)
    assert replay.Store(tmp_path).plan["precision"] == "bfloat16"


def test_mapped_teachers_hand_precision_on(rows):
    teacher = teachers.Mapped(dense(), classes={0: 1, 1: 0, 2: 2}, size=3, output="categorical")
    low = teacher.with_precision("bfloat16")
    assert low.teachers[0].precision == "bfloat16"
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        distiller = ecl_tf.Distiller(dense(), teacher, teacher_precision="bfloat16")
    assert np.array_equal(
        distiller.teacher.distribution(rows).logits, low.distribution(rows).logits
    )


@pytest.mark.slow
def test_two_replicas_teach_in_low_precision_as_one_does():
    script = processes.start("teach_in_low_precision_on_replicas.py", VIRTUAL_DEVICES="2")
    ((one, chosen),) = processes.results([script])
    assert chosen["asked"] == "bfloat16"  # By "auto".
    for found, expected in zip(chosen["weights"], one["weights"], strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    found, expected = (each["history"]["divergence"] for each in (chosen, one))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_layers_that_were_changed_since_are_followed(rows):
    network = dense()
    teacher = ecl_tf.Ensemble(network, "categorical", precision="bfloat16")
    before = teacher.member_outputs(rows)[0]
    network.layers[0].activation = keras.activations.tanh
    network.layers[0].enable_lora(2)
    network.layers[0].lora_kernel_b.assign(np.full((2, 32), 0.7, "float32"))
    hidden, last = network.layers
    exact = np.tanh(rows @ hidden.kernel.numpy() + hidden.bias.numpy()) @ last.kernel.numpy()
    found = teacher.member_outputs(rows)[0]
    assert np.abs(before - exact).max() > 0.5
    np.testing.assert_allclose(found, exact, atol=0.05)


def test_what_a_user_computes_stays_in_float32(rows):
    class Sharper(ecl_tf.Ensemble):
        def member_outputs(self, inputs):
            return [10.0 * each for each in super().member_outputs(inputs)]

    own = Sharper(dense(), "categorical")
    with pytest.warns(UserWarning, match="answers as it was made, and not in bfloat16"):
        distiller = ecl_tf.Distiller(dense(), own, teacher_precision="bfloat16")
    assert distiller.teacher is own
    with pytest.raises(ValueError, match="can't be had in full precision"):
        teachers.rounding(Sharper(dense(), "categorical", precision="bfloat16"), rows)
    with pytest.raises(TypeError, match="can't be given another output"):
        own.with_output(own.output_kind.tempered(2.0))

    layers = keras.layers
    third = layers.Lambda(lambda x: x + tf.constant(1.0 / 3.0))  # It takes float32 alone.
    network = keras.Sequential([layers.Dense(8), third, layers.Dense(8), layers.Dense(3)])
    exact = network(rows).numpy()
    teacher = ecl_tf.Ensemble(network, "categorical", precision="bfloat16")
    np.testing.assert_allclose(teacher.member_outputs(rows)[0], exact, atol=0.05)
