"""What can't work is refused before the first training step, with the facts that help."""

import re
import sys

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from by_hand import SIZE, Subclassed, dataset, heads, numbers
from keras.callbacks import EarlyStopping

from ecl_tf import Distiller, Ensemble, Teacher, outputs, samplers

X = numbers(8, SIZE)
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1])


def network(units=3):
    return keras.Sequential([keras.Input((SIZE,)), keras.layers.Dense(units)])


def distiller(student=None, teacher=None, **arguments):
    return Distiller(student or network(), teacher or network(), **arguments)


def compiled(*networks, **arguments):
    its = distiller(*networks, **arguments)
    its.compile("sgd")
    return its


def raises_naming(*facts):
    """Expects a ValueError whose message has all the facts, in this order."""
    return pytest.raises(ValueError, match="(?s)" + ".*".join(map(re.escape, facts)))


# On construction.


def of(network_or_size):
    """A network of so many units, or what the function makes."""
    return network(network_or_size) if isinstance(network_or_size, int) else network_or_size()


NORMAL = {"output": "normal"}
KIND_AND_SIZE = {"output": {"kind": "categorical", "size": "normal"}}
FEATURES = {"feature_losses": [keras.distillation.FeatureDistillation("mse")]}


def seen_by(classes_first=False):
    """Of 3 classes in each of 8 x 8 pixels."""
    ending = [keras.layers.Permute((3, 1, 2))] * classes_first
    return lambda: keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(3, 1), *ending])


def kind_and(kind=3, **units):
    return lambda: heads(kind=kind, **units)


@pytest.mark.parametrize(
    ("student", "teacher", "arguments", "facts"),
    [
        (3, 5, {}, ["5 classes", "student 3"]),
        (3, 4, {"output": outputs.Normal(2)}, ["student", "(None, 3)", "4", "2 mean(s)"]),
        (3, 3, NORMAL, ["'normal'", "3", "Normal("]),
        (lambda: Subclassed(2), 3, NORMAL, ["'normal'", "unknown", "Normal("]),
        (1, 1, {}, ["(None, 1)", "bernoulli"]),
        (4, lambda: Ensemble(network(4), "categorical"), NORMAL, ["Categorical(", "family"]),
        (seen_by(), seen_by(True), {}, ["classes seem to come first", "Permute((2, 3, 1))"]),
        (3, 3, {"temperature": 0.0}, ["temperature", "positive", "0.0"]),
        (3, 3, {"seed": 1.5}, ["seed", "whole number", "1.5"]),
        (3, 3, {"temperature": np.array([2.0])}, ["temperature must be a number", "array([2.])"]),
        (3, 3, {"temperature": float("nan")}, ["temperature", "nan"]),
        (3, 3, {"output": "bernoulli", "temperature": 2.0}, ["2.0", "categorical", "bernoulli"]),
        (3, 3, {"label_weight": -0.1}, ["label_weight", ">= 0", "-0.1"]),
        (3, 3, {"label_weight": float("nan")}, ["label_weight", "nan"]),
        (3, 3, {"label_rows": "own"}, ["label_rows 'own'", "'appended'", "'unmodified'"]),
        (2, 1, NORMAL, ["spread", "Point(1, stddev", "residual_stddev"]),
        (lambda: len, 3, {}, ["student", "keras.Model"]),
        (3, lambda: len, {}, ["teacher", "keras.Model"]),
        (kind_and(size=2), kind_and(place=2), KIND_AND_SIZE, ["teacher", "'place']", "'size']"]),
        (kind_and(size=2), kind_and(4, size=2), KIND_AND_SIZE, ["'kind': 4", "'kind': 3"]),
        (3, 3, {"output": {"kind": "categorical"}}, ["unnamed", "['kind']", "Model(inputs, {"]),
        (3, lambda: [network(), network()], FEATURES, ["feature_losses", "single", "ensemble"]),
    ],
)
def test_construction_refuses(student, teacher, arguments, facts):
    networks = of(student), of(teacher)
    with raises_naming(*facts):
        Distiller(*networks, **arguments)


def test_positions_of_teacher_and_student_must_be_the_same():
    def convolution(size, strides=1, classes=3):
        layer = keras.layers.Conv2D(classes, 1, strides=strides)
        return keras.Sequential([keras.Input((size, size, 1)), layer])

    steps = keras.Sequential([keras.Input((8, 4)), keras.layers.Dense(3)])
    pooled = keras.Sequential(
        [keras.Input((8, 4)), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(3)]
    )
    for student, teacher, facts in (
        (pooled, steps, ["(None, 8, 3)", "(None, 3)"]),
        (steps, pooled, ["(None, 3)", "(None, 8, 3)"]),
        (convolution(8, 2), convolution(8), ["(None, 8, 8, 3)", "(None, 4, 4, 3)"]),
        (convolution(1), convolution(8), ["(None, 8, 8, 3)", "(None, 1, 1, 3)"]),
    ):
        with raises_naming(*facts, "positions"):
            Distiller(student, teacher)
    Distiller(convolution(8), convolution(None))
    image = keras.Input((8, 8, 1))
    dense, whole = keras.layers.Conv2D(3, 1), keras.layers.GlobalAveragePooling2D()
    named = [
        keras.Model(image, {"map": dense(image)}),
        keras.Model(image, {"map": whole(dense(image))}),
    ]
    with raises_naming("map", "(None, 8, 8, 3)", "(None, 3)"):
        Distiller(named[1], keras.models.clone_model(named[0]), output={"map": "categorical"})


def test_networks_that_share_a_layer_are_refused():
    student = network()
    teacher = keras.Model(student.inputs, keras.layers.ReLU()(student.outputs[0]))
    with raises_naming("shares", "teacher", "clone_model"):
        distiller(student, teacher)


# On compilation.


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        ({"loss": "mse"}, ["loss", "divergence", "label_weight"]),
        ({"optimizer": None}, ["needs an optimizer", 'compile("adam")']),
        ({"loss_weights": [1.0]}, ["loss_weights", "outputs.Joint(outputs, weights)"]),
        ({"teacher_metrics": True}, ["teacher_metrics", "metrics"]),
        (
            {"teacher_metrics": True, "metrics": ["accuracy"], "evaluate_teacher": False},
            ["teacher_metrics", "evaluate_teacher"],
        ),
        ({"metrics": ["accuracy", "accuracy"]}, ["name", "accuracy"]),
    ],
)
def test_compile_refuses(arguments, facts):
    its = distiller()
    with raises_naming(*facts):
        its.compile(**{"optimizer": "sgd", **arguments})


# At fit, before the first step.


def generator(x):
    yield (x[:4],)


def never(x):
    return tf.reduce_all(x != x)


def shapeless():
    return tf.data.Dataset.from_generator(lambda: iter([X]), output_types=tf.float32)


IMAGES = (np.abs(X) * 100).astype("uint8")


@pytest.mark.parametrize(
    ("arguments", "data", "facts"),
    [
        ({"label_weight": 0.5}, lambda: dataset(X).batch(4), ["label_weight=0.5", "labels"]),
        ({"label_weight": 0.5}, lambda: generator(X), ["label_weight=0.5", "labels"]),
        ({}, lambda: dataset(IMAGES, LABELS).batch(4), ["Mixup", "uint8", "Cast"]),
        ({}, lambda: generator(IMAGES.astype("int32")), ["Mixup", "int32", "Swap"]),
        ({"sampler": "CutMix"}, lambda: X, ["CutMix", "height", "(None, 4)"]),
        ({}, lambda: {"a": X[:0]}, ["no rows"]),
        ({}, lambda: dataset(X).batch(9, drop_remainder=True), ["no rows", "drop_remainder"]),
        ({}, lambda: dataset(X).filter(never).batch(4), ["no rows", "filter"]),
        ({}, lambda: [], ["Inputs to train on", "[]"]),
        ({}, lambda: X.astype(str), ["inputs are text", "student", "numbers"]),
        ({}, lambda: dataset(X.astype("complex64")).batch(4), ["complex numbers", "student"]),
        ({}, lambda: np.ma.masked_array(X, X > 1.0), ["inputs", "masked", "filled"]),
        ({}, lambda: X.astype("datetime64[D]"), ["x holds dates"]),
        ({}, shapeless, ["shape of the data's inputs is not known", "output_signature"]),
        ({}, lambda: X[:, :3], ["(None, 3)", "student", "(None, 4)"]),
        ({}, lambda: dataset(X[:, :3]).batch(4), ["(None, 3)", "student", "(None, 4)"]),
        (
            {"student": Subclassed(3), "teacher": Subclassed(5)},
            lambda: X,
            ["5 classes", "student 3"],
        ),
        (
            {"student": Subclassed(3), "output": outputs.Normal(2), "teacher": network(4)},
            lambda: X,
            ["student", "(None, 3)", "4"],
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*shuffle=True", "ignore:Your input ran out of data")
def test_fit_refuses_before_the_first_step(arguments, data, facts):
    its = compiled(**arguments)
    before = its.student.get_weights()
    with raises_naming(*facts):
        its.fit(data(), verbose=0)
    assert int(its.step.numpy()) == 0
    for one, two in zip(its.student.get_weights(), before, strict=False):  # None before a build.
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        ({"sample_weight": [1.0] * 8}, ["sample_weight is a list", "np.asarray(sample_weight)"]),
        ({"y": [[], [0], [1, 2]]}, ["y is a list", "MultiLabelBinarizer", "pad_sequences(y)"]),
        ({"y": np.array([0, 1] * 3 + [2, None])}, ["such as None", "Label 7", "each is not None"]),
        ({"callbacks": [EarlyStopping("val_accuracy")]}, ["val_accuracy", "metrics=['accuracy']"]),
        ({"y": LABELS, "class_weight": [1.0, 2.0, 3.0]}, ["class_weight", "dict", "a list"]),
        ({"y": LABELS, "class_weight": {1: 1.0, 3: 2.0}}, ["class 3", "0 to 2"]),
        ({"steps_per_epoch": 2.5}, ["steps_per_epoch", "whole number >= 1", "2.5"]),
        ({"validation_data": (X,), "validation_steps": 0}, ["validation_steps", "0"]),
        ({"batch_size": -1}, ["batch_size", "-1"]),
        ({"sample_weight": np.zeros(8)}, ["weights in sample_weight add up to 0"]),
        ({"sample_weight": np.arange(8) - 5.0}, ["weights in sample_weight add up to -12"]),
        ({"sample_weight": tf.range(8) - 5}, ["weights in sample_weight add up to -12"]),
        ({"callbacks": [keras.callbacks.EarlyStopping]}, ["callbacks", "EarlyStopping(...)"]),
        ({"epochs": "3"}, ["epochs", "whole number", "'3'"]),
        ({"validation_data": (X[:0],)}, ["no rows", "validate on"]),
        ({"validation_data": (X, LABELS[:5])}, ["rows; got [8] of inputs, [5] of labels"]),
        ({"validation_data": X, "validation_freq": 0}, ["validation_freq", ">= 1; got 0"]),
        ({"y": 3}, ["y is 3; expected an array with rows"]),
        ({"y": np.ma.masked_array(LABELS, LABELS > 1)}, ["labels", "masked", "sample_weight=~"]),
    ],
)
def test_fit_refuses_arguments_by_their_names(arguments, facts):
    with raises_naming(*facts):
        compiled(sampler="Empirical").fit(X, **arguments, verbose=0)


def test_what_a_callback_monitors_may_be_logged_by_another_one():
    log = keras.callbacks.LambdaCallback(on_epoch_end=lambda _, logs: logs.update(spread=1.0))
    with pytest.raises(ValueError, match="automatically determine"):  # Keras's own, after it.
        compiled().fit(X, callbacks=[log, EarlyStopping("spread")], verbose=0)


def test_one_of_several_outputs_may_have_no_row_that_counts():
    parts = {"kind": "categorical", "size": outputs.Normal(1)}
    its = compiled(heads(kind=3, size=2), heads(kind=3, size=2), output=parts)
    ones, zeros = np.ones(8, "float32"), np.zeros(8, "float32")
    its.fit(X, sample_weight={"kind": ones, "size": zeros}, verbose=0)
    with raises_naming("weights in sample_weight add up to 0"):
        its.fit(X, sample_weight={"kind": zeros, "size": zeros}, verbose=0)
    with raises_naming("weights in sample_weight add up to -8"):
        its.fit(X, sample_weight={"kind": ones, "size": -ones}, verbose=0)


def test_weights_of_classes_and_labels_that_are_text_or_lists_are_refused_by_name():
    parts = {"kind": "categorical", "size": outputs.Normal(1)}
    its = compiled(heads(kind=3, size=2), heads(kind=3, size=2), output=parts)
    with raises_naming("class_weight is for one output of classes", "sample_weight"):
        its.fit(X, {"kind": LABELS, "size": X[:, 0]}, class_weight={0: 1.0}, verbose=0)
    with raises_naming("y['size'] is a list of numbers", "np.asarray(y['size'])"):
        its.fit(X, {"kind": LABELS, "size": X[:, 0].tolist()}, verbose=0)
    texts = dataset(X, LABELS.astype(str)).batch(4)
    with raises_naming("Labels must be numbers", "0 to 2", "StringLookup"):
        compiled(label_weight=1.0).fit(texts, verbose=0)


def gives(returned):
    """A user's divergence that returns this, or what a function of the student's logits does."""

    def mine(teacher, student):
        return returned(student.logits_parameter()) if callable(returned) else returned

    return {"divergence": mine, "sampler": "Empirical"}


def teaches(returned):
    class Mine(Teacher):
        def member_outputs(self, inputs):
            return returned(inputs @ tf.ones((SIZE, 3)))

    return {"teacher": Mine("categorical"), "sampler": "Empirical"}


def tells(returned):
    class Mine(Teacher):
        def distribution(self, inputs):
            return returned(self.output_kind(inputs @ tf.ones((SIZE, 3))))

    return {"teacher": Mine("categorical"), "sampler": "Empirical"}


def test_a_teacher_that_tells_its_distribution_alone_teaches():
    compiled(**tells(lambda distribution: distribution)).fit(X, batch_size=8, verbose=0)


def draws(returned):
    class Mine(samplers.Sampler):
        def sample(self, inputs, seed):
            return returned(inputs)

    return {"sampler": Mine()}


def measures(name, change):
    """A user's output of which a method returns something else."""
    method = getattr(outputs.Categorical, name)
    own = {name: lambda self, *given, **named: change(method(self, *given, **named))}
    output = type("Mine", (outputs.Categorical,), own)()
    return {"output": output, "sampler": "Empirical"}


def samples(inputs, flags=None):
    some = tf.ones([samplers.row_count(inputs)], tf.bool)
    return samplers.Samples(inputs, some if flags is None else flags)


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (gives(0.5), ["'mine' gave a float", "tensor of floating point"]),
        (gives(None), ["'mine' gave a NoneType"]),
        (gives(lambda q: (q[:, 0],)), ["'mine' gave a tuple"]),
        (gives(lambda q: tf.argmax(q, -1)), ["'mine' gave int64"]),
        (gives(lambda q: q), ["'mine' gave values of shape (5, 3)", "(5,)"]),
        (gives(lambda q: tf.cast(tf.argmax(q, -1), "float32")), ["no gradient", "'mine'"]),
        ({"divergence": keras.losses.KLDivergence()}, ["loss of Keras", "'kl'"]),
        ({"divergence": lambda p: p}, ["<lambda>", "two distributions"]),
        (teaches(lambda raw: raw), ["member_outputs of Mine returned", "a list", "[raw]"]),
        (teaches(lambda raw: []), ["Mine returned an empty list"]),
        (teaches(lambda raw: [raw, raw[:, :2]]), ["Mine returned", "(8, 3), (8, 2)"]),
        (teaches(lambda raw: [{"a": raw}]), ["Mine returned a list with a dict"]),
        (teaches(lambda raw: [raw[:, :2]]), ["teacher 'mine", "2 classes", "student 3"]),
        (tells(lambda p: p.logits), ["distribution of Mine returned", "member_outputs"]),
        (measures("divergence", tf.reduce_mean), ["divergence", "Mine", "shape ()", "(batch,)"]),
        (measures("divergence", lambda d: d[:, None]), ["divergence", "Mine", "(8, 1)"]),
        (measures("compare", lambda found: {}), ["compare", "Mine", "agreement"]),
        (draws(lambda x: x), ["sample of the sampler Mine", "Samples(inputs, unmodified)"]),
        (draws(lambda x: samples(x[:1])), ["Mine", "(1, 4)", "(8, 4)"]),
        (draws(lambda x: samples(tf.cast(x, "int32"))), ["Mine", "int32", "float32"]),
        (draws(lambda x: samples(x, tf.ones([3], "bool"))), ["Mine", "unmodified", "(3,)"]),
    ],
)
def test_what_a_users_code_returns_is_checked_by_its_name(arguments, facts):
    with raises_naming(*facts):
        compiled(**{"sampler": "Empirical", **arguments}).fit(X, batch_size=8, verbose=0)


def test_rows_that_a_users_sampler_leaves_out_are_noticed_in_batches_of_any_size():
    its = compiled(**draws(lambda x: samples(x[:1])))
    with pytest.raises(ValueError, match="Mine returned another number"):
        its.fit(dataset(X).batch(3), verbose=0)


def test_the_output_without_labels_is_named_and_needs_none_at_weight_0():
    labels = {"kind": LABELS, "size": None}

    def its(weight):
        parts = {"kind": "categorical", "size": outputs.Normal(1)}
        output = outputs.Joint(parts, {"size": weight})
        networks = [heads(kind=3, size=2) for _ in range(2)]
        return compiled(*networks, output=output, sampler="Empirical", label_weight=1.0)

    with raises_naming("['size'] have none"):
        its(1.0).fit(X, labels, verbose=0)
    whole = {"kind": LABELS, "size": X[:, 0]}
    for data in (X, dataset(X).batch(4)):
        with raises_naming("label_weight=1.0 needs labels, but the data has none"):
            its(1.0).fit(X, whole, validation_data=data, verbose=0)
    assert np.isfinite(its(0.0).fit(X, labels, verbose=0).history["label_loss"]).all()


def test_a_batch_of_another_size_in_data_of_open_sizes_is_told():
    def images():
        yield from (np.zeros((4, size, size, 1), "float32") for size in (8, 8, 10))

    def of_images():
        layers = [keras.layers.Flatten(), keras.layers.Dense(3)]
        return keras.Sequential([keras.Input((8, 8, 1)), *layers])

    data = tf.data.Dataset.from_generator(
        images, output_signature=tf.TensorSpec((None, None, None, 1), tf.float32)
    )
    its = Distiller(of_images(), of_images(), sampler="Empirical")
    its.compile("sgd")
    for run in (its.fit, its.evaluate):
        with raises_naming("open", "(None, None, None, 1)", "(None, 8, 8, 1)", "does not fit"):
            run(data, verbose=0)

    # Positions that differ in the last batch.
    crop = keras.layers.Lambda(lambda x: x[:, :8, :8], output_shape=(None, None, 1))
    teacher, student = (
        keras.Sequential([keras.Input((None, None, 1)), *layers, keras.layers.Dense(3)])
        for layers in ([], [crop])
    )
    its = Distiller(student, teacher, sampler="Empirical")
    its.compile("sgd")
    with pytest.raises(ValueError, match=r"positions differ in a batch|sizes of its inputs open"):
        its.fit(data, verbose=0)
    table = pd.DataFrame({"size": np.arange(8.0), "city": ["Bern", "Genf"] * 4})
    with raises_naming("'city' holds no numbers", "ecl_tf.data.table", "encode"):
        compiled().fit(table, verbose=0)


def test_a_network_of_so_many_rows_only_is_named():
    inputs = keras.Input(batch_shape=(4, SIZE))
    fixed = keras.layers.Lambda(lambda x: tf.reshape(x, (4, SIZE)), output_shape=(SIZE,))
    teacher = keras.Model(inputs, keras.layers.Dense(3)(fixed(inputs)))
    for data in (X[:6], dataset(X[:6]).batch(4)):  # The last batch has two rows.
        with raises_naming("teacher", "batches of 4 rows only", "drop_remainder=True"):
            compiled(None, teacher, sampler="Empirical").fit(data, verbose=0)
    student = keras.Sequential([inputs, keras.layers.Dense(3)])
    its = compiled(student, teacher, sampler="Empirical")
    its.fit(X, np.arange(8) % 3, batch_size=4, verbose=0)


def test_a_student_in_the_teachers_place_is_told():
    large = keras.Sequential([keras.Input((SIZE,)), *map(keras.layers.Dense, (9, 3))])
    its = compiled(large, network(), sampler="Empirical")
    weights = rf"{9 * SIZE + 9 + 27 + 3} weights, and its teacher {3 * SIZE + 3}\."
    with pytest.warns(UserWarning, match=weights):
        its.fit(X, verbose=0)


def test_a_student_that_sees_a_view_of_its_own_is_told():
    layers = [keras.layers.RandomFlip(name="flip")], []
    networks = (
        keras.Sequential(
            [keras.Input((4, 4, 1)), *own, keras.layers.Flatten(), keras.layers.Dense(3)]
        )
        for own in layers
    )
    with pytest.warns(UserWarning, match="'flip', RandomFlip, changes its inputs .*Chain"):
        compiled(*networks, sampler="Empirical").fit(np.ones((8, 4, 4, 1)), verbose=0)


def test_compile_within_fit_is_refused():
    its = compiled()
    callback = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: its.compile("adam"))
    with raises_naming("compile was called within fit"):
        its.fit(X, callbacks=[callback], verbose=0)
    its.compile("adam")


def test_a_valid_run_follows_a_refused_one():
    its = compiled(sampler="Empirical")
    with raises_naming("no rows"):
        its.fit(X[:0], verbose=0)
    its.fit(X, batch_size=4, verbose=0)
    assert int(its.step.numpy()) == 2


def test_weights_of_other_outputs_and_fit_without_compile_are_refused():
    with raises_naming("['a']", "one weight for each row"):
        compiled().train_on_batch(X, LABELS, {"a": tf.ones(8)})
    with raises_naming("compile before fit", 'distiller.compile("adam")'):
        distiller().fit(X)


# At evaluation.


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_tensorboard_that_is_not_installed_is_told_before_the_first_step(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    board = keras.callbacks.TensorBoard(tmp_path / "logs")
    for callbacks in (board, [board]):
        with pytest.raises(ImportError, match=r'pip install "ecl_tf\[tensorboard\]"'):
            compiled().fit(X, callbacks=callbacks, verbose=0)


@pytest.mark.slow
def test_empty_data_and_networks_that_became_nan_are_told(subtests):
    its, teacher = compiled(), network()
    its.evaluate(X, verbose=0)
    none = dataset(X).filter(never).batch(4)
    for empty in (X[:0], dataset(X).batch(9, drop_remainder=True), none):
        for run in (its.evaluate, its.predict):
            with subtests.test(run.__name__), raises_naming("no rows", "drop_remainder"):
                run(empty, verbose=0)
    with subtests.test("validation"), raises_naming("no rows", "evaluate"):
        its.fit(X, validation_data=none, verbose=0)
    for run in (its.fit, its.evaluate, its.predict):
        with subtests.test(f"{run.__name__} of None"), raises_naming("Inputs to", "None"):
            run(None, verbose=0)
    its = compiled(None, [network(), teacher])
    teacher.set_weights([np.nan * value for value in teacher.get_weights()])
    with raises_naming(f"teacher {teacher.name!r}", "NaN", "train it again"):
        its.evaluate(X, verbose=0)
    its.student.set_weights([np.nan * value for value in its.student.get_weights()])
    with raises_naming("student", "NaN"):
        its.predict(X, verbose=0)


def test_evaluation_needs_something_to_evaluate_and_labels_for_a_label_weight():
    with raises_naming("label_weight=0.5", "labels"):
        compiled(label_weight=0.5).evaluate(X, verbose=0)
    its = distiller()
    its.compile("sgd", metrics=["accuracy"], evaluate_teacher=False)
    with raises_naming("nothing to evaluate", "evaluate_teacher"):
        its.evaluate(X, verbose=0)


def test_what_an_assertion_of_a_network_says_is_told_as_a_whole():
    inputs = keras.Input((SIZE,))

    def small(x):
        check = tf.debugging.assert_less(x, 100.0, "expected numbers below [100] here")
        with tf.control_dependencies([check]):
            return tf.identity(x)

    checked = keras.layers.Lambda(small, output_shape=(SIZE,))(inputs)
    its = compiled(None, keras.Model(inputs, keras.layers.Dense(3)(checked)))
    with pytest.raises(ValueError, match=r"^expected numbers below \[100\] here$"):
        its.fit(np.where(X.max() == X, np.float32(1e3), X), verbose=0)


@pytest.mark.parametrize(("rows", "part"), [(1, "labels"), (7, "labels"), (1, "weights")])
def test_labels_of_other_rows_in_batches_of_open_sizes_are_told_before_the_update(rows, part):
    counts = {"inputs": 8, "labels": 8, "weights": 8, part: rows}
    specs = tf.TensorSpec((None, 4)), tf.TensorSpec((None,), "int32"), tf.TensorSpec((None,))

    def batches():
        yield X[: counts["inputs"]], LABELS[: counts["labels"]], np.ones(counts["weights"], "f4")

    data = tf.data.Dataset.from_generator(batches, output_signature=specs)
    its = compiled(sampler="Empirical", label_weight=1.0)
    before = its.student.get_weights()
    for run in (its.fit, its.evaluate):
        with raises_naming("another number of rows of labels or weights"):
            run(data, verbose=0)
    np.testing.assert_array_equal(its.student.get_weights()[0], before[0])
