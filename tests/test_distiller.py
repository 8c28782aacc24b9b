"""What a training step computes, what it leaves alone, and what data it takes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, log_softmax, softmax

from ecl_tf import Distiller, Ensemble, outputs, samplers

RATE = 0.5
ROWS, SIZE, CLASSES = 6, 4, 3


@keras.saving.register_keras_serializable("test_distiller")
class Shift(samplers.Sampler):
    """A sampler whose samples are known without random numbers."""

    def sample(self, inputs, seed):
        moved = keras.tree.map_structure(lambda x: x + 1.0, inputs)
        return samplers.Samples(moved, tf.zeros([samplers.row_count(inputs)], tf.bool))


class Recorder(keras.layers.Layer):
    """Passes its input on and keeps every eager batch that it saw."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def call(self, x):
        if isinstance(x, tf.Tensor) and hasattr(x, "numpy"):
            self.batches.append(x.numpy())
        return x


class Linear(keras.Model):
    """A subclassed model: no symbolic inputs or outputs."""

    def __init__(self, weights):
        super().__init__()
        self.dense = keras.layers.Dense(weights[1].size)
        self.initial = [np.array(weight) for weight in weights]
        self.dense.build((None, len(self.initial[0])))
        self.dense.set_weights(self.initial)

    def call(self, inputs):
        return self.dense(inputs)


def numbers(*shape, seed):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def weights(width=CLASSES, *, seed, size=SIZE):
    return [numbers(size, width, seed=seed), numbers(width, seed=seed + 1000)]


def linear(its_weights, regularizer=None, recorder=None):
    model = keras.Sequential([keras.Input((len(its_weights[0]),))])
    if recorder is not None:
        model.add(recorder)
    model.add(keras.layers.Dense(its_weights[1].size, kernel_regularizer=regularizer))
    model.set_weights(its_weights)
    return model


def mlp(width, units=CLASSES, *, seed, size=SIZE):
    def initializer(number):
        return keras.initializers.GlorotNormal(seed=10 * seed + number)

    return keras.Sequential(
        [
            keras.Input((size,)),
            keras.layers.Dense(width, "tanh", kernel_initializer=initializer(0)),
            keras.layers.Dense(units, kernel_initializer=initializer(1)),
        ]
    )


def fit(distiller, *data, batch_size=ROWS, run_eagerly=True, rate=RATE, metrics=None, **kwargs):
    """Fits with plain SGD, in the rows' order."""
    distiller.compile(keras.optimizers.SGD(rate), run_eagerly=run_eagerly, metrics=metrics)
    return distiller.fit(*data, batch_size=batch_size, shuffle=False, verbose=0, **kwargs).history


def kl(p_logits, q_logits):
    log_p, log_q = log_softmax(p_logits, -1), log_softmax(q_logits, -1)
    return (np.exp(log_p) * (log_p - log_q)).sum(-1)


def dense(x, its_weights):
    return x.astype("float64") @ its_weights[0] + its_weights[1]


def sgd(x, its_weights, gradient):
    """The weights of a linear model after a step, from the loss's gradient by its output."""
    gradient = gradient / len(x)
    return [its_weights[0] - RATE * x.T @ gradient, its_weights[1] - RATE * gradient.sum(0)]


def kl_epoch(x, student, teacher, batch_size, row_weights=None):
    """A linear student's weights after an epoch of ordinary distillation at T = 1."""
    losses = []
    row_weights = np.ones(len(x)) if row_weights is None else row_weights
    for start in range(0, len(x), batch_size):
        rows, w = x[start : start + batch_size], row_weights[start : start + batch_size]
        p, q = dense(rows, teacher), dense(rows, student)
        losses.append(w * kl(p, q))
        student = sgd(rows, student, w[:, None] * (softmax(q, -1) - softmax(p, -1)))
    return student, np.concatenate(losses).mean()


def assert_weights(model, expected, **tolerance):
    tolerance = tolerance or {"rtol": 1e-4, "atol": 1e-5}
    for got, want in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(got, want, **tolerance)


X = numbers(ROWS, SIZE, seed=1)
LABELS = np.array([0, 1, 2, 2, 1, 0])
ROW_WEIGHTS = np.array([1.0, 0.0, 2.0, 0.5, 0.0, 1.0], "float32")


# One step, against NumPy.


@pytest.mark.parametrize("row_weights", [None, ROW_WEIGHTS], ids=["", "sample_weight"])
@pytest.mark.parametrize(
    ("temperature", "label_weight", "one_hot"),
    [(1.0, 0.0, False), (4.0, 0.0, False), (1.0, 0.3, False), (4.0, 0.3, True)],
)
def test_a_step_follows_the_gradient_of_the_objective(
    temperature, label_weight, one_hot, row_weights
):
    student, teacher = weights(seed=2), weights(seed=3)
    labels = np.eye(CLASSES, dtype="float32")[LABELS]
    distiller = Distiller(
        linear(student),
        linear(teacher),
        sampler=samplers.Empirical(),
        temperature=temperature,
        label_weight=label_weight,
    )
    y = labels if one_hot else LABELS
    history = fit(distiller, X, y, sample_weight=row_weights)

    w = np.ones(ROWS) if row_weights is None else row_weights
    p, q = dense(X, teacher), dense(X, student)
    divergence = temperature**2 * kl(p / temperature, q / temperature)
    label_loss = -(labels * log_softmax(q, -1)).sum(-1)
    # d KL / d q = (softmax(q / T) - softmax(p / T)) / T, times T^2.
    gradient = temperature * (softmax(q / temperature, -1) - softmax(p / temperature, -1))
    gradient = gradient + label_weight * (softmax(q, -1) - labels)
    assert_weights(distiller.student, sgd(X, student, w[:, None] * gradient))
    expected = (w * (divergence + label_weight * label_loss)).mean()
    np.testing.assert_allclose(history["loss"], [expected], rtol=1e-5)
    np.testing.assert_allclose(history["divergence"], [divergence.mean()], rtol=1e-5)
    if label_weight:
        np.testing.assert_allclose(history["label_loss"], [label_loss.mean()], rtol=1e-5)


def test_rows_of_weight_zero_contribute_nothing():
    trained = []
    for outlier in (1.0, 1000.0):
        x = X.copy()
        x[ROW_WEIGHTS == 0] *= outlier
        distiller = Distiller(
            linear(weights(seed=2)), linear(weights(seed=3)), sampler=samplers.Empirical()
        )
        fit(distiller, x, LABELS, sample_weight=ROW_WEIGHTS)
        trained.append(distiller.student.get_weights())
    for one, other in zip(*trained, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_ensemble_teaches_its_mean_probabilities():
    student, members = weights(seed=2), [weights(seed=3), weights(seed=4)]
    distiller = Distiller(
        linear(student), [linear(member) for member in members], sampler=samplers.Empirical()
    )
    history = fit(distiller, X)
    p = np.mean([softmax(dense(X, member), -1) for member in members], 0)
    q = dense(X, student)
    assert_weights(distiller.student, sgd(X, student, softmax(q, -1) - p))
    expected = (p * (np.log(p) - log_softmax(q, -1))).sum(-1).mean()
    np.testing.assert_allclose(history["loss"], [expected], rtol=1e-5)


def test_the_students_regularizers_are_added_to_the_loss_once():
    student, teacher = weights(seed=2), weights(seed=3)
    regularizer = keras.regularizers.L2(0.1)
    distiller = Distiller(
        linear(student, regularizer), linear(teacher), sampler=samplers.Empirical()
    )
    history = fit(distiller, X)
    p, q = dense(X, teacher), dense(X, student)
    expected = sgd(X, student, softmax(q, -1) - softmax(p, -1))
    expected[0] = expected[0] - RATE * 0.2 * student[0]
    assert_weights(distiller.student, expected)
    penalty = 0.1 * (student[0] ** 2).sum()
    np.testing.assert_allclose(history["loss"], [kl(p, q).mean() + penalty], rtol=1e-5)
    np.testing.assert_allclose(history["divergence"], [kl(p, q).mean()], rtol=1e-5)


def test_regularizers_count_once_with_mixed_and_labelled_rows_and_any_sample_weight():
    student, teacher = weights(seed=2), weights(seed=3)
    distiller = Distiller(
        linear(student, keras.regularizers.L2(0.1)),
        linear(teacher),
        sampler=Shift(),
        label_weight=0.3,
    )
    history = fit(distiller, X, LABELS, sample_weight=ROW_WEIGHTS)
    divergence = kl(dense(X + 1, teacher), dense(X + 1, student))
    label_loss = -log_softmax(dense(X, student), -1)[range(ROWS), LABELS]
    expected = (ROW_WEIGHTS * (divergence + 0.3 * label_loss)).mean()
    expected += 0.1 * (student[0] ** 2).sum()
    np.testing.assert_allclose(history["loss"], [expected], rtol=1e-5)


# Two steps of any output, the last one with fewer rows, against a loop by hand.


def bernoulli_kl(p, q):
    p = tf.sigmoid(p)
    cross = tf.nn.sigmoid_cross_entropy_with_logits
    return tf.reduce_sum(cross(p, q) - cross(p, tf.math.log(p / (1 - p))), -1)


def categorical_kl(p, q):
    log_p, log_q = tf.nn.log_softmax(p), tf.nn.log_softmax(q)
    return tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), -1)


def normal_kl(p, q):
    """Of raw tensors with the default floor of 1e-3 under the scales."""
    p_mean, q_mean = p[:, :2], q[:, :2]
    p_scale = 1e-3 + tf.math.softplus(p[:, 2:])
    q_scale = 1e-3 + tf.math.softplus(q[:, 2:])
    ratio = (p_scale / q_scale) ** 2
    distance = ((p_mean - q_mean) / q_scale) ** 2
    return 0.5 * tf.reduce_sum(ratio + distance - 1 - tf.math.log(ratio), -1)


def two_heads(width, seed):
    body = mlp(width, 7, seed=seed)
    return keras.Model(
        body.inputs[0], {"kind": body.outputs[0][:, :3], "place": body.outputs[0][:, 3:]}
    )


JOINT = outputs.Joint({"kind": "categorical", "place": outputs.Normal(2)}, {"place": 0.25})


def joint_kl(p, q):
    return categorical_kl(p["kind"], q["kind"]) + 0.25 * normal_kl(p["place"], q["place"])


@pytest.mark.parametrize(
    ("output", "build", "divergence"),
    [
        ("categorical", lambda w, s: mlp(w, 3, seed=s), categorical_kl),
        ("bernoulli", lambda w, s: mlp(w, 3, seed=s), bernoulli_kl),
        ("normal", lambda w, s: mlp(w, 4, seed=s), normal_kl),
        (JOINT, two_heads, joint_kl),
    ],
    ids=["categorical", "bernoulli", "normal", "joint"],
)
def test_steps_equal_a_gradient_loop_by_hand(output, build, divergence):
    student, by_hand, teacher = build(3, 1), build(3, 1), build(8, 2)
    x = numbers(13, SIZE, seed=5)
    distiller = Distiller(student, teacher, output=output, sampler=samplers.Empirical())
    history = fit(distiller, x, batch_size=8, rate=0.1)

    losses = []
    for batch in (x[:8], x[8:]):
        with tf.GradientTape() as tape:
            rows = divergence(teacher(batch), by_hand(batch))
            loss = tf.reduce_mean(rows)
        losses.append(rows.numpy())
        variables = by_hand.trainable_variables
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(0.1 * gradient)
    assert_weights(student, by_hand.get_weights())
    np.testing.assert_allclose(history["loss"], [np.concatenate(losses).mean()], rtol=1e-5)


def test_the_reported_gaussian_divergence_is_the_closed_form():
    student, teacher = weights(2, seed=2), weights(2, seed=3)
    distiller = Distiller(
        linear(student), linear(teacher), output="normal", sampler=samplers.Empirical()
    )
    distiller.compile(run_eagerly=True)
    logs = distiller.evaluate(X, verbose=0, return_dict=True)
    (m_t, r_t), (m_s, r_s) = dense(X, teacher).T, dense(X, student).T
    s_t, s_s = (1e-3 + np.log1p(np.exp(raw)) for raw in (r_t, r_s))
    expected = np.log(s_s / s_t) + (s_t**2 + (m_t - m_s) ** 2) / (2 * s_s**2) - 0.5
    np.testing.assert_allclose(logs["divergence"], expected.mean(), rtol=1e-4)
    np.testing.assert_allclose(logs["mean_error"], np.abs(m_t - m_s).mean(), rtol=1e-5)


def test_the_divergence_may_be_any_function_of_two_distributions():
    def squared(teacher, student):
        difference = teacher.probs_parameter() - student.probs_parameter()
        return tf.reduce_sum(difference**2, -1)

    student, teacher = weights(seed=2), weights(seed=3)
    distiller = Distiller(
        linear(student), linear(teacher), sampler=samplers.Empirical(), divergence=squared
    )
    history = fit(distiller, X)
    p, q = softmax(dense(X, teacher), -1), softmax(dense(X, student), -1)
    np.testing.assert_allclose(history["loss"], [((p - q) ** 2).sum(-1).mean()], rtol=1e-5)


# Sampled rows, labelled rows, and who sees which.


def test_labels_hold_on_unmodified_rows_and_the_divergence_on_sampled_ones():
    student, teacher = weights(seed=2), weights(seed=3)
    distiller = Distiller(linear(student), linear(teacher), sampler=Shift(), label_weight=0.3)
    history = fit(distiller, X, LABELS)
    moved = X + 1
    p, q, own = dense(moved, teacher), dense(moved, student), dense(X, student)
    one_hot = np.eye(CLASSES)[LABELS]
    labelled = 0.3 * (softmax(own, -1) - one_hot)
    sampled = softmax(q, -1) - softmax(p, -1)
    both = np.concatenate([moved, X]), 2 * np.concatenate([sampled, labelled])
    assert_weights(distiller.student, sgd(both[0], student, both[1]))
    np.testing.assert_allclose(history["divergence"], [kl(p, q).mean()], rtol=1e-5)
    label_loss = -log_softmax(own, -1)[range(ROWS), LABELS].mean()
    np.testing.assert_allclose(history["label_loss"], [label_loss], rtol=1e-5)


@pytest.mark.parametrize("with_features", [False, True])
def test_with_mixup_and_labels_each_network_runs_once_a_step(with_features):
    seen_by_student, seen_by_teacher = Recorder(), Recorder()
    student_weights, teacher_weights = weights(seed=2), weights(seed=3)
    student = linear(student_weights, recorder=seen_by_student)
    teacher = linear(teacher_weights, recorder=seen_by_teacher)
    features = keras.distillation.FeatureDistillation(
        "mse", teacher_layer_name=teacher.layers[-1].name
    )
    distiller = Distiller(
        student,
        teacher,
        sampler=samplers.Mixup(),
        label_weight=0.5,
        feature_losses=[features] if with_features else None,
        seed=7,
    )
    # Each row has a 1 in a place of its own, so a mixture tells what it is made of.
    x = np.eye(SIZE, dtype="float32")
    y = np.array([0, 1, 2, 0])
    history = fit(distiller, x, y, batch_size=SIZE)

    (student_batch,), (teacher_batch,) = seen_by_student.batches, seen_by_teacher.batches
    mixed, own = student_batch[:SIZE], student_batch[SIZE:]
    np.testing.assert_array_equal(own, x)
    np.testing.assert_array_equal(teacher_batch, mixed)
    assert (np.count_nonzero(mixed, axis=1) == 2).all()
    np.testing.assert_allclose(mixed.sum(1), 1.0, rtol=1e-6)
    assert np.abs(mixed - x).max() > 0.01
    p, q = dense(mixed, teacher_weights), dense(mixed, student_weights)
    np.testing.assert_allclose(history["divergence"], [kl(p, q).mean()], rtol=1e-5)
    label_loss = -log_softmax(dense(x, student_weights), -1)[range(SIZE), y].mean()
    np.testing.assert_allclose(history["label_loss"], [label_loss], rtol=1e-5)
    loss = kl(p, q).mean() + 0.5 * label_loss
    if with_features:
        feature_loss = ((p - q) ** 2).mean()
        np.testing.assert_allclose(history["feature_loss"], [feature_loss], rtol=1e-5)
        loss += feature_loss
    np.testing.assert_allclose(history["loss"], [loss], rtol=1e-5)


@pytest.mark.parametrize("label_weight", [0.0, 0.5])
def test_with_empirical_rows_the_students_batch_is_the_batch(label_weight):
    recorder = Recorder()
    distiller = Distiller(
        linear(weights(seed=2), recorder=recorder),
        linear(weights(seed=3)),
        sampler=samplers.Empirical(),
        label_weight=label_weight,
    )
    fit(distiller, X, LABELS)
    (batch,) = recorder.batches
    np.testing.assert_array_equal(batch, X)


def test_a_traced_step_calls_each_network_once():
    calls = []

    class Traced(keras.layers.Layer):
        def call(self, inputs):
            calls.append(self.name)
            return inputs

    student = linear(weights(seed=2), recorder=Traced(name="student"))
    teacher = linear(weights(seed=3), recorder=Traced(name="teacher"))
    distiller = Distiller(student, teacher, sampler="Mix", label_weight=0.5)
    calls.clear()
    fit(distiller, X, LABELS, run_eagerly=False)
    assert sorted(calls) == ["student", "teacher"]


# What training leaves alone.


@pytest.mark.parametrize("trainable", [True, False])
def test_the_teacher_is_left_as_it_was_found(trainable):
    teacher = keras.Sequential(
        [
            keras.Input((SIZE,)),
            keras.layers.Dense(5),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(CLASSES),
        ]
    )
    teacher.trainable = trainable
    teacher.layers[0].trainable = False
    student = keras.Sequential(
        [
            keras.Input((SIZE,)),
            keras.layers.Dense(4),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(CLASSES),
        ]
    )
    flags = [teacher.trainable, *(layer.trainable for layer in teacher.layers)]
    before = {variable.path: variable.numpy() for variable in teacher.variables}
    assert any("seed_generator" in path for path in before)
    moving = student.layers[1].moving_mean.numpy()
    student_before = student.get_weights()

    distiller = Distiller(student, teacher)
    fit(distiller, X, run_eagerly=False, validation_data=(X,), epochs=2)

    assert [teacher.trainable, *(layer.trainable for layer in teacher.layers)] == flags
    for variable in teacher.variables:
        np.testing.assert_array_equal(variable.numpy(), before[variable.path])
    assert np.abs(student.layers[1].moving_mean.numpy() - moving).max() > 1e-4
    assert not np.array_equal(student.get_weights()[0], student_before[0])


def test_the_trainable_weights_are_exactly_the_students():
    student, teacher = linear(weights(seed=2)), linear(weights(seed=3))
    distiller = Distiller(student, teacher)
    mine = {id(weight) for weight in distiller.trainable_weights}
    assert mine == {id(weight) for weight in student.weights}
    assert mine == {id(weight) for weight in distiller.trainable_variables}
    fit(distiller, X)
    assert len(distiller.optimizer._trainable_variables) == len(student.weights)


def test_the_teachers_dropout_is_off():
    def teacher(rate):
        model = keras.Sequential(
            [keras.Input((SIZE,)), keras.layers.Dropout(rate), keras.layers.Dense(CLASSES)]
        )
        model.set_weights(weights(seed=3))
        return model

    student = weights(seed=2)
    distiller = Distiller(linear(student), teacher(0.9), sampler=samplers.Empirical())
    fit(distiller, X)
    assert_weights(distiller.student, kl_epoch(X, student, weights(seed=3), ROWS)[0])


def test_a_frozen_layer_of_the_student_stays():
    student = mlp(3, seed=1)
    student.layers[0].trainable = False
    before = student.get_weights()
    fit(Distiller(student, mlp(8, seed=2)), X)
    after = student.get_weights()
    np.testing.assert_array_equal(after[0], before[0])
    assert not np.array_equal(after[2], before[2])


# The data that fit takes.


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        rows = slice(4 * index, 4 * index + 4)
        return X[rows], LABELS[rows]


def dataset(*arrays):
    sliced = tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0])
    return sliced.batch(4)


def generator(*arrays):
    for start in (0, 4):
        yield tuple(array[start : start + 4] for array in arrays)


def is_number(row):
    return tf.reduce_all(row == row)


@pytest.mark.parametrize(
    ("data", "weighted"),
    [
        (lambda: (X,), False),
        (lambda: (X, LABELS), False),
        (lambda: (dataset(X),), False),
        (lambda: (dataset(X, LABELS),), False),
        (lambda: (dataset(X, LABELS, ROW_WEIGHTS),), True),
        (lambda: (generator(X),), False),
        (lambda: (generator(X, LABELS),), False),
        (lambda: (generator(X, LABELS, ROW_WEIGHTS),), True),
        (lambda: (Batches(),), False),
    ],
    ids=["x", "x-y", "ds-x", "ds-xy", "ds-xyw", "gen-x", "gen-xy", "gen-xyw", "PyDataset"],
)
def test_every_kind_of_data_trains_alike(data, weighted):
    student, teacher = weights(seed=2), weights(seed=3)
    distiller = Distiller(linear(student), linear(teacher), sampler=samplers.Empirical())
    history = fit(distiller, *data(), batch_size=4 if len(data()) > 1 or data()[0] is X else None)
    expected, loss = kl_epoch(X, student, teacher, 4, ROW_WEIGHTS if weighted else None)
    assert_weights(distiller.student, expected)
    np.testing.assert_allclose(history["loss"], [loss], rtol=1e-5)
    assert int(distiller.step.numpy()) == 2


def test_graph_mode_computes_the_same_numbers():
    student, teacher = weights(seed=2), weights(seed=3)
    distiller = Distiller(linear(student), linear(teacher), sampler=samplers.Empirical())
    history = fit(distiller, X, batch_size=4, run_eagerly=False)
    expected, loss = kl_epoch(X, student, teacher, 4)
    assert_weights(distiller.student, expected)
    np.testing.assert_allclose(history["loss"], [loss], rtol=1e-5)


def test_the_end_of_data_of_unknown_length_is_no_step():
    distiller = Distiller(linear(weights(seed=2)), linear(weights(seed=3)))
    data = tf.data.Dataset.from_tensor_slices(X).filter(is_number).batch(4)
    assert data.cardinality() == tf.data.UNKNOWN_CARDINALITY
    fit(distiller, data, batch_size=None, epochs=3, run_eagerly=False)
    assert int(distiller.step.numpy()) == 6
    assert int(distiller.optimizer.iterations.numpy()) == 6


def test_networks_with_named_inputs():
    def network(its_weights):
        inputs = {"left": keras.Input((2,), name="left"), "right": keras.Input((2,), name="right")}
        joined = keras.layers.Concatenate()([inputs["left"], inputs["right"]])
        model = keras.Model(inputs, keras.layers.Dense(CLASSES)(joined))
        model.set_weights(its_weights)
        return model

    student, teacher = weights(seed=2), weights(seed=3)
    distiller = Distiller(network(student), network(teacher), sampler=samplers.Empirical())
    x = {"left": X[:, :2], "right": X[:, 2:]}
    fit(distiller, x, LABELS, batch_size=4)
    expected, _ = kl_epoch(X, student, teacher, 4)
    assert_weights(distiller.student, expected)
    np.testing.assert_allclose(
        distiller.predict(x, verbose=0), dense(X, expected), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("parts", [2, 4])
def test_networks_with_a_list_of_inputs(parts):
    def network(its_weights):
        inputs = [keras.Input((SIZE // parts,)) for _ in range(parts)]
        model = keras.Model(inputs, keras.layers.Dense(CLASSES)(keras.ops.concatenate(inputs, -1)))
        model.set_weights(its_weights)
        return model

    student, teacher = weights(seed=2), weights(seed=3)
    distiller = Distiller(network(student), network(teacher), sampler=samplers.Empirical())
    fit(distiller, np.split(X, parts, axis=1), LABELS, batch_size=4)
    assert_weights(distiller.student, kl_epoch(X, student, teacher, 4)[0])


def test_subclassed_networks_with_a_list_of_inputs():
    class Joining(Linear):
        def call(self, inputs):
            return self.dense(tf.concat(inputs, -1))

    student, teacher = weights(seed=2), weights(seed=3)
    distiller = Distiller(Joining(student), Joining(teacher), sampler=samplers.Empirical())
    fit(distiller, np.split(X, 2, axis=1), LABELS, batch_size=4)
    assert_weights(distiller.student, kl_epoch(X, student, teacher, 4)[0])


def test_subclassed_networks_that_were_never_built():
    class Unbuilt(keras.Model):
        def __init__(self, seed):
            super().__init__()
            kernel, bias = (keras.initializers.Constant(w) for w in weights(seed=seed))
            self.dense = keras.layers.Dense(
                CLASSES, kernel_initializer=kernel, bias_initializer=bias
            )

        def call(self, inputs):
            return self.dense(inputs)

    distiller = Distiller(Unbuilt(2), Unbuilt(3), sampler=samplers.Empirical())
    fit(distiller, X, batch_size=4, run_eagerly=False)
    assert_weights(distiller.student, kl_epoch(X, weights(seed=2), weights(seed=3), 4)[0])


def test_sequential_networks_without_an_input_layer():
    def unbuilt(seed):
        kernel, bias = (keras.initializers.Constant(w) for w in weights(seed=seed))
        layer = keras.layers.Dense(CLASSES, kernel_initializer=kernel, bias_initializer=bias)
        return keras.Sequential([layer])

    distiller = Distiller(unbuilt(2), unbuilt(3), sampler=samplers.Empirical())
    fit(distiller, X, batch_size=4)
    assert_weights(distiller.student, kl_epoch(X, weights(seed=2), weights(seed=3), 4)[0])


def test_a_teacher_of_another_kind_than_a_keras_network():
    import ecl_tf

    class Rule(ecl_tf.Teacher):
        def member_outputs(self, inputs):
            return [tf.stack([inputs[:, 0], inputs[:, 1], 0.0 * inputs[:, 0]], -1)]

    student = weights(seed=2)
    distiller = Distiller(linear(student), Rule("categorical"), sampler=samplers.Empirical())
    fit(distiller, X)
    p, q = np.stack([X[:, 0], X[:, 1], 0 * X[:, 0]], -1), dense(X, student)
    assert_weights(distiller.student, sgd(X, student, softmax(q, -1) - softmax(p, -1)))


# What is logged.


@pytest.fixture(scope="module")
def measured():
    """An uncompiled distiller and the logits of its two linear networks."""
    student, teacher = weights(seed=2), weights(seed=3)
    distiller = Distiller(linear(student), linear(teacher))
    x = numbers(40, SIZE, seed=8)
    y = np.random.default_rng(9).integers(0, CLASSES, 40)
    return distiller, x, y, dense(x, student), dense(x, teacher)


def test_evaluate_reports_how_far_the_student_is_from_the_teacher(measured):
    distiller, x, _, q, p = measured
    distiller.compile(run_eagerly=True)
    logs = distiller.evaluate(x, batch_size=16, verbose=0, return_dict=True)
    assert set(logs) == {"loss", "divergence", "agreement"}
    np.testing.assert_allclose(logs["loss"], kl(p, q).mean(), rtol=1e-5)
    np.testing.assert_allclose(logs["divergence"], kl(p, q).mean(), rtol=1e-5)
    np.testing.assert_allclose(logs["agreement"], (p.argmax(-1) == q.argmax(-1)).mean(), rtol=1e-5)


def test_evaluate_as_a_list_has_every_value_once(measured):
    distiller, x, y, *_ = measured
    distiller.compile(run_eagerly=True, metrics=["accuracy"])
    as_dict = distiller.evaluate(x, y, verbose=0, return_dict=True)
    assert sorted(distiller.evaluate(x, y, verbose=0)) == sorted(as_dict.values())


def test_predict_gives_the_students_raw_output(measured):
    distiller, x, _, q, _ = measured
    distiller.compile(run_eagerly=True)
    np.testing.assert_allclose(distiller.predict(x, verbose=0), q, rtol=1e-4, atol=1e-5)


def test_metrics_of_the_teacher_come_only_when_asked_for(measured):
    distiller, x, y, q, p = measured
    accuracy, of_teacher = (q.argmax(-1) == y).mean(), (p.argmax(-1) == y).mean()
    distiller.compile(run_eagerly=True, metrics=["accuracy"])
    logs = distiller.evaluate(x, y, batch_size=16, verbose=0, return_dict=True)
    assert set(logs) == {"loss", "divergence", "agreement", "accuracy"}
    np.testing.assert_allclose(logs["accuracy"], accuracy, rtol=1e-6)
    distiller.compile(run_eagerly=True, metrics=["accuracy"], teacher_metrics=True)
    logs = distiller.evaluate(x, y, batch_size=16, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["accuracy"], accuracy, rtol=1e-6)
    np.testing.assert_allclose(logs["teacher_accuracy"], of_teacher, rtol=1e-6)


def test_metrics_start_anew_at_every_evaluation(measured):
    distiller, x, y, q, _ = measured
    distiller.compile(run_eagerly=True, metrics=["accuracy"])
    distiller.evaluate(x, 0 * y, verbose=0)
    logs = distiller.evaluate(x, y, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["accuracy"], (q.argmax(-1) == y).mean(), rtol=1e-6)


@pytest.mark.parametrize("label_weight", [0.0, 0.5])
def test_training_and_validation_log_these_names(label_weight):
    distiller = Distiller(
        linear(weights(seed=2)), linear(weights(seed=3)), label_weight=label_weight
    )
    distiller.compile("sgd", metrics=["accuracy"], teacher_metrics=True, run_eagerly=True)
    history = distiller.fit(X, LABELS, validation_data=(X, LABELS), verbose=0).history
    names = {"loss", "divergence", "agreement", "accuracy"}
    names |= {"label_loss"} if label_weight else set()
    assert set(history) == names | {f"val_{name}" for name in [*names, "teacher_accuracy"]}


def test_joint_outputs_log_a_closeness_each():
    distiller = Distiller(two_heads(3, 1), two_heads(8, 2), output=JOINT)
    history = fit(distiller, X)
    assert set(history) == {"loss", "divergence", "kind_agreement", "place_mean_error"}


@pytest.mark.parametrize("sampler", ["Mix", samplers.GaussianNoise(0.1), Shift()])
def test_samplers_that_change_every_row_leave_no_row_for_training_metrics(sampler):
    distiller = Distiller(linear(weights(seed=2)), linear(weights(seed=3)), sampler=sampler)
    history = fit(distiller, X, LABELS, metrics=["accuracy"], validation_data=(X, LABELS))
    assert "accuracy" not in history
    assert "val_accuracy" in history


def test_training_metrics_see_the_unmodified_rows_only():
    recorder, student = Recorder(), weights(seed=2)
    distiller = Distiller(
        linear(student, recorder=recorder),
        linear(weights(seed=3)),
        sampler=samplers.Choice([samplers.Empirical(), samplers.Mixup()], [0.5, 0.5]),
    )
    x = numbers(64, SIZE, seed=8)
    correct = dense(x, student).argmax(-1)
    y = np.where(np.arange(64) % 3 == 0, (correct + 1) % CLASSES, correct)
    history = fit(distiller, x, y, batch_size=64, metrics=["accuracy"])
    kept = (recorder.batches[0] == x).all(1)
    assert 10 < kept.sum() < 54
    np.testing.assert_allclose(history["accuracy"], [(y == correct)[kept].mean()], rtol=1e-6)


def test_with_labels_training_metrics_see_all_rows_as_they_were_given():
    student = weights(seed=2)
    distiller = Distiller(linear(student), linear(weights(seed=3)), label_weight=0.1)
    history = fit(distiller, X, LABELS, metrics=["accuracy"])
    expected = (dense(X, student).argmax(-1) == LABELS).mean()
    np.testing.assert_allclose(history["accuracy"], [expected], rtol=1e-6)


def test_the_teacher_can_be_left_out_of_evaluation():
    recorder, student = Recorder(), weights(seed=2)
    distiller = Distiller(linear(student), linear(weights(seed=3), recorder=recorder))
    distiller.compile("sgd", metrics=["accuracy"], evaluate_teacher=False, run_eagerly=True)
    logs = distiller.evaluate(X, LABELS, verbose=0, return_dict=True)
    assert recorder.batches == []
    expected = (dense(X, student).argmax(-1) == LABELS).mean()
    assert logs == {"accuracy": pytest.approx(expected)}
    history = distiller.fit(X, LABELS, validation_data=(X, LABELS), verbose=0).history
    assert len(recorder.batches) == 1
    assert set(history) == {"loss", "divergence", "agreement", "accuracy", "val_accuracy"}


def test_point_regressors_teach_with_a_given_spread():
    student, teacher = weights(2, seed=2), weights(1, seed=3)
    distiller = Distiller(
        linear(student),
        Ensemble([linear(teacher)], outputs.Point(1, stddev=0.5)),
        output="normal",
        sampler=samplers.Empirical(),
    )
    distiller.compile(run_eagerly=True, metrics=["mae"], teacher_metrics=True)
    y = numbers(ROWS, seed=4)
    logs = distiller.evaluate(X, y, verbose=0, return_dict=True)
    mean, raw_scale = dense(X, student).T
    point, scale = dense(X, teacher)[:, 0], 1e-3 + np.log1p(np.exp(raw_scale))
    expected = np.log(scale / 0.5) + (0.25 + (point - mean) ** 2) / (2 * scale**2) - 0.5
    np.testing.assert_allclose(logs["loss"], expected.mean(), rtol=1e-4)
    np.testing.assert_allclose(logs["mae"], np.abs(mean - y).mean(), rtol=1e-4)
    np.testing.assert_allclose(logs["teacher_mae"], np.abs(point - y).mean(), rtol=1e-4)


def test_bernoulli_evaluation_against_numpy():
    student, teacher = weights(seed=2), weights(seed=3)
    distiller = Distiller(linear(student), linear(teacher), output="bernoulli")
    distiller.compile(run_eagerly=True)
    logs = distiller.evaluate(X, verbose=0, return_dict=True)
    p, q = expit(dense(X, teacher)), expit(dense(X, student))
    expected = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum(-1)
    np.testing.assert_allclose(logs["divergence"], expected.mean(), rtol=1e-4)
    np.testing.assert_allclose(logs["agreement"], ((p > 0.5) == (q > 0.5)).mean(), rtol=1e-6)


# Seeds and steps.


def trained(seed, epochs=2, run_eagerly=False):
    distiller = Distiller(mlp(3, seed=1), mlp(8, seed=2), seed=seed)
    fit(distiller, numbers(16, SIZE, seed=5), batch_size=8, epochs=epochs, run_eagerly=run_eagerly)
    return distiller.student.get_weights()


def test_the_seed_determines_the_weights_bit_for_bit():
    first, again, other = trained(1), trained(1), trained(2)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert np.abs(first[0] - other[0]).max() > 1e-5


def test_sampling_goes_on_from_the_step_that_was_reached():
    recorder = Recorder()
    student = linear(weights(seed=2), recorder=recorder)
    distiller = Distiller(student, linear(weights(seed=3)), sampler="Mix")
    distiller.compile("sgd", run_eagerly=True)
    for fits in (1, 2):
        distiller.fit(X, batch_size=3, shuffle=False, verbose=0)
        assert int(distiller.step.numpy()) == 2 * fits
    first, _, second, _ = recorder.batches
    assert np.abs(first - second).max() > 1e-3


def test_two_fits_of_an_epoch_are_one_of_two():
    together = trained(1, epochs=2, run_eagerly=True)
    distiller = Distiller(mlp(3, seed=1), mlp(8, seed=2), seed=1)
    distiller.compile(keras.optimizers.SGD(RATE), run_eagerly=True)
    for _ in range(2):
        distiller.fit(numbers(16, SIZE, seed=5), batch_size=8, shuffle=False, epochs=1, verbose=0)
    for one, two in zip(distiller.student.get_weights(), together, strict=True):
        np.testing.assert_array_equal(one, two)


# Ways to run the step.


def test_several_steps_per_execution_are_the_same_steps():
    distiller = Distiller(mlp(3, seed=1), mlp(8, seed=2), seed=1)
    distiller.compile(keras.optimizers.SGD(RATE), steps_per_execution=2)
    distiller.fit(numbers(16, SIZE, seed=5), batch_size=8, epochs=2, shuffle=False, verbose=0)
    for one, two in zip(distiller.student.get_weights(), trained(1), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
    assert int(distiller.step.numpy()) == 4


@pytest.mark.parametrize("execution", [1, 4])
def test_a_training_traces_its_step_once(monkeypatch, execution):
    traced = []
    step = Distiller.train_step
    monkeypatch.setattr(Distiller, "train_step", lambda *args: traced.append(1) or step(*args))
    distiller = Distiller(mlp(3, seed=1), mlp(8, seed=2))
    distiller.compile("sgd", steps_per_execution=execution)
    x = numbers(64, SIZE, seed=5)
    for _ in range(2):
        distiller.fit(x, batch_size=8, epochs=3, validation_data=x, verbose=0)
    assert len(traced) <= execution  # Keras's loop traces one for each step of an execution.


def test_a_float16_student_has_its_loss_scaled_and_its_divergence_in_float32():
    dtypes = []

    def divergence(teacher, student):
        dtypes.append((teacher.logits.dtype, student.logits.dtype))
        p, q = tf.nn.log_softmax(teacher.logits), tf.nn.log_softmax(student.logits)
        return tf.reduce_sum(tf.exp(p) * (p - q), -1)

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        student = mlp(3, seed=1)
    finally:
        keras.config.set_dtype_policy(before)
    distiller = Distiller(student, mlp(8, seed=2), divergence=divergence)
    distiller.compile(keras.optimizers.SGD(0.1))
    weights_before = student.get_weights()
    history = distiller.fit(numbers(32, SIZE, seed=5), batch_size=8, epochs=2, verbose=0).history
    assert distiller.predict(X, verbose=0).dtype == np.float16
    assert isinstance(distiller.optimizer, keras.optimizers.LossScaleOptimizer)
    assert set(dtypes) == {(tf.float32, tf.float32)}
    assert np.isfinite(history["loss"]).all()
    for one, two in zip(student.get_weights(), weights_before, strict=True):
        assert np.isfinite(one).all()
        assert np.abs(one - two).max() > 0


def test_row_weights_may_have_any_dtype_and_a_column():
    """The weights of the last row are zero, so the loss is the mean over the others' sum."""
    logits = np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]], "float32")

    def loss_with(weights):
        student = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, use_bias=False)])
        teacher = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, use_bias=False)])
        student.set_weights([np.eye(2)])
        teacher.set_weights([2.0 * np.eye(2)])
        its = Distiller(student, teacher, sampler=samplers.Empirical())
        its.compile("sgd", run_eagerly=True)
        return its.train_on_batch(logits, sample_weight=weights, return_dict=True)["loss"]

    p, q = softmax(2 * logits, axis=1), softmax(logits, axis=1)
    rows = (p * np.log(p / q)).sum(1)
    expected = (0.5 * rows[0] + 2.0 * rows[1]) / 3
    for weights in ([0.5, 2.0, 0.0], [[0.5], [2.0], [0.0]]):
        for dtype in ("float32", "float64"):
            loss = float(loss_with(np.array(weights, dtype)))
            assert loss == pytest.approx(expected, rel=1e-5)


def test_weights_for_each_output_are_refused_with_the_remedy():
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    its = Distiller(network, keras.models.clone_model(network))
    its.compile("sgd", run_eagerly=True)
    x = tf.ones((4, 2))
    with pytest.raises(ValueError, match=r"one weight for each row.*Joint"):
        its.train_step((x, tf.zeros(4, tf.int64), {"a": tf.ones(4)}))


def test_inputs_beyond_float16_reach_a_student_that_scales_them_first():
    student = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Rescaling(1e-5, dtype="float32"),
            keras.layers.Dense(3, dtype="mixed_float16"),
        ]
    )
    x = np.array([[1e5, -1e5], [3e5, 2.0]], "float32")  # float16 ends at 65504.
    wanted = np.clip(x * 1e-5, -9, 9) @ student.layers[-1].get_weights()[0]
    teacher = keras.models.clone_model(student)
    teacher.set_weights(student.get_weights())
    distiller = Distiller(student, teacher)
    distiller.compile()
    for model in (distiller, distiller.teacher):
        np.testing.assert_allclose(model.predict(x, verbose=0), wanted, atol=5e-3)
