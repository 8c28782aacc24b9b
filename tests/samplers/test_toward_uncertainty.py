"""Samples moved toward uncertainty: where to, how far, what stays, and what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import CLASSES, SIZE, Recorder, kl, linear, logits, network, numbers, softmax, weights

from ecl_tf import Distiller, Ensemble, Teacher, outputs, samplers, uncertainty
from ecl_tf.samplers import Choice, TowardUncertainty, Uncertain

ONE, TWO, STUDENT = (weights(seed=seed) for seed in (1, 2, 3))
UNITS = np.float32([1.0, 10.0, 0.1, 3.0])
X = numbers(64, SIZE) * UNITS
STDDEV = X.std(0)
STEP = 0.01


def networks(*members, output="categorical"):
    """By default of two linear teachers and a linear student, whose logits are of any size."""
    scaled = [[kernel / UNITS[:, None], bias] for kernel, bias in (ONE, TWO, STUDENT)]
    members = members or (linear(scaled[0]), linear(scaled[1]))
    teacher = Ensemble(list(members), output)
    return uncertainty.Networks(teacher, linear(scaled[2]), teacher.output_kind)


def entropy(p):
    return -(p * np.log(p)).sum(-1)


def score_of(name, x):
    """A score by hand, in float64, (rows,)."""
    one, two, student = (
        logits(x, [kernel / UNITS[:, None], bias]) for kernel, bias in (ONE, TWO, STUDENT)
    )
    p = (softmax(one) + softmax(two)) / 2
    return {
        "teacher_uncertainty": entropy(p),
        "disagreement": entropy(p) - (entropy(softmax(one)) + entropy(softmax(two))) / 2,
        "student_uncertainty": entropy(softmax(student)),
        "divergence": kl(np.log(p), student),
    }[name]


def numerical_gradient(function, x, by=1e-4):
    """By central differences of steps that are small beside the units."""
    columns = []
    for column, unit in enumerate(UNITS.astype("float64")):
        shift = np.zeros(x.shape[1])
        shift[column] = by * unit
        x = x.astype("float64")
        columns.append((function(x + shift) - function(x - shift)) / (2 * by * unit))
    return np.stack(columns, 1)


def assert_moved(x, moved, gradient, step, **tolerance):
    """Whether rows have moved by a step along gradients, in standard deviations, and no further."""
    scaled = STDDEV * gradient
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    expected = x + step * np.sqrt(SIZE) * STDDEV * scaled / length
    expected = np.clip(expected, x.min(0), x.max(0))
    np.testing.assert_allclose((moved - x) / STDDEV, (expected - x) / STDDEV, **tolerance)


@pytest.mark.parametrize("name", list(uncertainty.SCORES))
def test_rows_move_along_the_gradient_by_hand(name):
    samples = TowardUncertainty("Empirical", name, STEP)(X, 0, networks())
    gradient = numerical_gradient(lambda x: score_of(name, x), X)
    assert_moved(X, samples.inputs.numpy(), gradient, STEP, atol=2e-5)
    assert not samples.unmodified.numpy().any()
    rises = score_of(name, samples.inputs.numpy()) > score_of(name, X)
    assert rises.mean() > 0.95
    falls = TowardUncertainty("Empirical", name, -STEP)(X, 0, networks()).inputs.numpy()
    assert (score_of(name, falls) < score_of(name, X)).mean() > 0.95


def test_an_output_direction_is_that_of_one_member_up_or_down():
    """Of two classes w p has the gradient of p_1 - p_0, times a number of either sign."""
    kernels = [numbers(SIZE, 2, seed=seed) / UNITS[:, None] for seed in (1, 2)]
    asked = networks(*(linear([kernel, np.zeros(2)]) for kernel in kernels))
    x, sampler, drawn = X, TowardUncertainty(step=STEP), []
    for seed in range(16):
        moved = sampler(x, seed, asked).inputs.numpy()
        inside = ((moved > x.min(0)) & (moved < x.max(0))).all(1)
        along = []
        for kernel in kernels:
            direction = STDDEV * (kernel[:, 1] - kernel[:, 0])
            direction *= STEP * np.sqrt(SIZE) / np.linalg.norm(direction)
            along.append(((moved - x) / STDDEV / direction)[inside])
        is_of = [np.allclose(np.abs(each), 1.0, atol=0.01) for each in along]
        assert sum(is_of) == 1  # All rows of a batch have the same member.
        drawn.append(is_of.index(True))
        up = (along[drawn[-1]][:, 0] > 0).mean()
        assert 0.2 < up < 0.8  # Each row has its own sign.
    assert 3 < sum(drawn) < 13


def test_regressions_named_outputs_and_other_teachers_have_directions():
    x = numbers(8, SIZE)

    class Rule(Teacher):
        def member_outputs(self, inputs):
            return [inputs @ ONE[0], inputs @ TWO[0]]

    inputs = keras.Input((SIZE,))
    heads = {"kind": keras.layers.Dense(3)(inputs), "place": keras.layers.Dense(4)(inputs)}
    named = Ensemble(keras.Model(inputs, heads), {"kind": "categorical", "place": "normal"})
    steps = keras.layers.Reshape((2, CLASSES))(keras.layers.Dense(2 * CLASSES)(inputs))
    for teacher in (
        Ensemble(network(1, classes=2), outputs.Normal(1)),
        Ensemble(network(1, classes=4), outputs.Normal(2, target_stddev=[1.0, 9.0])),
        named,
        Ensemble(keras.Model(inputs, steps), "categorical"),
        Rule("categorical"),
    ):
        asked = uncertainty.Networks(teacher, None, teacher.output_kind)
        moved = TowardUncertainty(step=STEP)(x, 0, asked).inputs.numpy()
        length = np.sqrt((((moved - x) / x.std(0)) ** 2).mean(1))
        # Rows at the batch's limits stay behind.
        assert length.max() == pytest.approx(STEP, rel=1e-3) and (length > 0).all()


# What stays.


def test_numbers_do_not_leave_the_batch_and_equal_ones_stay():
    x = np.concatenate([X[:, :3], np.full((64, 1), 7.0, "float32")], 1)
    moved = TowardUncertainty("Empirical", "disagreement", 5.0)(x, 0, networks()).inputs.numpy()
    assert (moved >= x.min(0)).all() and (moved <= x.max(0)).all()
    np.testing.assert_array_equal(moved[:, 3], 7.0)
    assert (np.abs(moved[:, :3] - x[:, :3]).max(0) > STDDEV[:3]).all()


def test_rows_without_a_gradient_come_back_as_they_were():
    flat = linear([np.zeros((SIZE, CLASSES), "float32"), np.zeros(CLASSES, "float32")])
    steep = linear([1e4 * ONE[0], ONE[1]])  # Its probabilities are 0 and 1.
    for teacher in (flat, steep):
        asked = networks(teacher)
        samples = TowardUncertainty("Empirical", "teacher_uncertainty")(X, 0, asked)
        stayed = (samples.inputs.numpy() == X).all(1)
        assert stayed.mean() > 0.9
        np.testing.assert_array_equal(samples.unmodified, stayed)
    alone = TowardUncertainty()(X[:1], 0, networks())
    np.testing.assert_array_equal(alone.inputs, X[:1])


def several_inputs():
    """Amounts, a sequence with padding of -1, and ids as whole numbers and as floats."""
    amounts = keras.Input((2,), name="amounts")
    sequence = keras.Input((3, 2), name="sequence")
    ids = keras.Input((), dtype="int32", name="ids")
    codes = keras.Input((1,), name="codes")
    masked = keras.layers.Masking(-1.0)(sequence)
    parts = [
        amounts,
        keras.layers.GlobalAveragePooling1D()(masked),
        keras.layers.Embedding(5, 2)(ids),
        keras.layers.Flatten()(keras.layers.Embedding(5, 2)(codes)),
    ]
    hidden = keras.layers.Dense(8, "tanh")(keras.layers.Concatenate()(parts))
    inputs = {"amounts": amounts, "sequence": sequence, "ids": ids, "codes": codes}
    return keras.Model(inputs, keras.layers.Dense(CLASSES)(hidden))


def test_a_mask_of_positions_stays_by_its_name():
    def of_steps():
        steps, mask = keras.Input((3, 2), name="steps"), keras.Input((3,), name="mask")
        mean = keras.layers.GlobalAveragePooling1D()(steps * mask[..., None])
        return keras.Model({"steps": steps, "mask": mask}, keras.layers.Dense(CLASSES)(mean))

    x = {"steps": numbers(32, 3, 2), "mask": np.tri(4, 3, dtype="float32")[np.arange(32) % 4]}
    teacher = Ensemble(of_steps(), "categorical")
    asked = uncertainty.Networks(teacher, of_steps(), teacher.output_kind)
    drawn = TowardUncertainty()(x, 0, asked).inputs
    np.testing.assert_array_equal(drawn["mask"], x["mask"])
    moved = (drawn["steps"].numpy() != x["steps"]).any(-1)
    assert not moved[x["mask"] == 0].any() and moved[x["mask"] == 1].mean() > 0.9


def test_named_inputs_move_together_and_ids_and_padding_stay():
    keras.utils.set_random_seed(0)
    x = {
        "amounts": 100.0 * numbers(32, 2),
        "sequence": numbers(32, 3, 2, seed=1),
        "ids": np.arange(32, dtype="int32") % 5,
        "codes": (np.arange(32, dtype="float32") % 5)[:, None],
    }
    x["sequence"][::2, 2] = -1.0
    asked = networks(several_inputs(), several_inputs())
    samples = TowardUncertainty("Empirical", "disagreement", STEP)(
        x, 0, asked._replace(student=None)
    )
    moved = {name: tensor.numpy() for name, tensor in samples.inputs.items()}
    for name in ("ids", "codes"):
        np.testing.assert_array_equal(moved[name], x[name])
    np.testing.assert_array_equal(moved["sequence"][::2, 2], -1.0)
    # Numbers at the batch's limits may stay, too.
    assert (moved["sequence"][1::2, 2] != x["sequence"][1::2, 2]).mean() > 0.8
    squares = sum(
        (((moved[name] - x[name]) / x[name].std(0)) ** 2).reshape(32, -1).sum(1)
        for name in ("amounts", "sequence")
    )
    assert np.sqrt(squares / 8).max() == pytest.approx(STEP, rel=1e-3)  # Of 2 + 6 numbers.


def test_no_position_becomes_padding():
    steps = keras.Input((4, 1))
    pooled = keras.layers.GlobalAveragePooling1D()(keras.layers.Masking(0.0)(steps))
    model = keras.Model(steps, keras.layers.Dense(2)(pooled))
    model.set_weights([np.float32([[-1.0, 1.0]]), np.zeros(2, "float32")])
    x = np.abs(numbers(64, 4, 1))
    x[::2, 3] = 0.0  # Also the limit below which no number goes.
    moved = TowardUncertainty(step=2.0)(x, 0, networks(model)).inputs.numpy()
    np.testing.assert_array_equal(moved == 0.0, x == 0.0)
    assert (moved != x).mean() > 0.4


# What it costs, and with other samplers.


@pytest.mark.slow
def test_a_step_asks_each_member_no_more_than_it_must():
    def asked_of(score):
        counters = [Recorder() for _ in range(3)]
        student, *teachers = (linear(weights(seed=n), each) for n, each in enumerate(counters))
        distiller = Distiller(student, teachers, sampler=TowardUncertainty(score=score))
        distiller.compile("sgd", run_eagerly=True)
        distiller.fit(X[:8], batch_size=8, verbose=0)
        return [len(each.batches) for each in counters]

    own, *members = asked_of("output_direction")
    assert own == 1 and sorted(members) == [1, 2]
    assert asked_of("disagreement") == [1, 2, 2]
    assert asked_of("student_uncertainty") == [2, 1, 1]


def test_it_moves_what_others_draw_and_others_take_what_it_draws():
    mixed = samplers.Mixup()(X, samplers.random.split(samplers.random.seed_tensor(4), 2)[0]).inputs
    moved = TowardUncertainty("Mixup", "disagreement", STEP)(X, 4, networks()).inputs.numpy()
    gradient = numerical_gradient(lambda x: score_of("disagreement", x), mixed.numpy())
    # The standard deviations are those of the mixtures.
    scaled = mixed.numpy().std(0) * gradient
    cosine = ((moved - mixed) / mixed.numpy().std(0) * scaled).numpy().sum(1)
    cosine /= np.linalg.norm((moved - mixed) / mixed.numpy().std(0), axis=1)
    cosine /= np.linalg.norm(scaled, axis=1)
    assert np.median(cosine) > 0.999

    half = Choice(["Empirical", TowardUncertainty(step=STEP)])(X, 0, networks())
    kept = half.unmodified.numpy()
    assert 16 < kept.sum() < 48
    np.testing.assert_array_equal((half.inputs.numpy() == X).all(1), kept)
    chosen = Uncertain(TowardUncertainty(step=STEP), 2, "disagreement", 0.0)(X, 0, networks())
    assert chosen.inputs.shape == X.shape and len(chosen.member_outputs) == 2


def test_rows_of_weight_zero_have_no_say_in_the_standard_deviations():
    """Padding rows of another size would move the others further."""
    seen = []

    class Watched(samplers.sampler.Empirical):
        def sample(self, inputs, seed):
            seen.append(inputs.numpy())
            return super().sample(inputs, seed)

    distiller = Distiller(network(1), network(2), sampler=TowardUncertainty(Watched()))
    distiller.compile("sgd", run_eagerly=True)
    x = np.concatenate([X[:6], 1e6 + X[:2]])
    weight = np.float32([1, 1, 1, 1, 1, 1, 0, 0])
    distiller.fit(x, sample_weight=weight, batch_size=8, shuffle=False, verbose=0)
    assert seen[0].shape == x.shape and np.abs(seen[0]).max() < 1e3


# Bits.


@pytest.mark.slow
def test_xla_gives_the_same_bits_twice_and_the_move_of_a_graph():
    sampler, asked = TowardUncertainty("Mixup", step=STEP), networks()

    def draw(x, seed):
        return sampler(x, seed, asked).inputs

    seed, compiled = tf.constant([3, 1]), tf.function(draw, jit_compile=True)
    first = compiled(X, seed)
    np.testing.assert_array_equal(first, compiled(X, seed))
    np.testing.assert_allclose(first / UNITS, draw(X, seed) / UNITS, atol=1e-5)
    assert np.any(first != compiled(X, tf.constant([3, 2])))


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"step": 0.0}, "step must be a number other than 0"),
        ({"step": float("nan")}, "step must be a number other than 0"),
        ({"score": "entropy"}, r"Unknown score 'entropy'.*'output_direction'.*'disagreement'"),
        ({"base": "mix-up"}, "Unknown sampler"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TowardUncertainty(**arguments)


def on_the_host(x):
    return tf.ensure_shape(
        tf.numpy_function(lambda rows: rows[:, :CLASSES], [x], x.dtype), [None, 3]
    )


def test_what_it_cannot_move_is_refused_before_the_first_step():
    inputs = keras.Input((SIZE,))
    box = keras.Model(inputs, keras.layers.Lambda(on_the_host, output_shape=(CLASSES,))(inputs))
    words = keras.Input((SIZE,), dtype="int32")
    of_words = keras.layers.Flatten()(keras.layers.Embedding(9, 2)(words))
    reader = keras.Model(words, keras.layers.Dense(CLASSES)(of_words))
    ids = np.ones((8, SIZE), "int32")
    for teacher, x, message in (
        (
            box,
            X[:8],
            r"score='output_direction'\) moves inputs along a gradient, and there is none",
        ),
        (reader, ids, r"moves floating-point inputs, and the inputs are int32.*Swap"),
        (reader, ids.astype("float32"), "there is none"),
    ):
        student = reader if teacher is reader else network(1)
        student = keras.models.clone_model(student)
        before = student.get_weights()
        distiller = Distiller(student, teacher, sampler=TowardUncertainty())
        distiller.compile("sgd")
        with pytest.raises(ValueError, match=message):
            distiller.fit(x, batch_size=4, verbose=0)
        assert int(distiller.step.numpy()) == 0
        for now, then in zip(student.get_weights(), before, strict=True):
            np.testing.assert_array_equal(now, then)
    with pytest.raises(ValueError, match=r"TowardUncertainty asks teacher and student.*networks="):
        TowardUncertainty()(X, 0)
    with pytest.raises(ValueError, match=r"single one.*two members or more"):
        Distiller(network(1), network(2), sampler=TowardUncertainty(score="disagreement"))
