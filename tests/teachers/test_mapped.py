"""Teachers of other classes, of a part of the outputs, or of other inputs, against NumPy."""

import keras
import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf
from by_hand import (
    RATE,
    SIZE,
    assert_arrays,
    heads,
    kl,
    linear,
    logits,
    network,
    numbers,
    sgd,
    softmax,
    weights,
)
from scipy.special import log_softmax

import ecl_tf
from ecl_tf import Distiller, Ensemble, outputs, replay, uncertainty
from ecl_tf.teachers import FunctionTeacher, Mapped
from ecl_tf.teachers.function import explaining

X = numbers(12, SIZE)
THEIRS = [weights(5, seed=seed) for seed in (1, 2)]
STUDENT = weights(4, seed=9)
# Of the teacher's five classes two are one of the student's, one is left out; its 2 is unknown.
CLASSES, KNOWN, T = [0, 1, 0, None, 3], [0, 1, 3], 2.0


def members(count=2):
    return [linear(each) for each in THEIRS[:count]]


def mapped_by_hand(temperature=T):
    """The probabilities of every member for the student's known classes."""
    found = []
    for each in THEIRS:
        p = softmax(logits(X, each) / temperature)
        p = np.stack([p[:, 0] + p[:, 2], p[:, 1], p[:, 4]], 1)
        found.append(p / p.sum(1, keepdims=True))
    return found


def entropy(p):
    return -(p * np.log(p)).sum(-1)


def test_probabilities_are_summed_and_uncertainty_is_of_the_mapped_classes():
    teacher = Mapped(Ensemble(members(), outputs.Categorical(T)), CLASSES, size=4)
    by_hand = mapped_by_hand()
    p = np.mean(by_hand, 0)
    found = teacher.distribution(X).probs_parameter().numpy()
    np.testing.assert_allclose(found[:, KNOWN], p, atol=1e-6)
    assert (found[:, 2] == 0.0).all()
    aleatoric = np.mean([entropy(each) for each in by_hand], 0)
    parts = teacher.uncertainty(X)
    np.testing.assert_allclose(parts.aleatoric, aleatoric, atol=1e-6)
    np.testing.assert_allclose(parts.epistemic, entropy(p) - aleatoric, atol=1e-6)
    assert teacher.raw_shape == (None, 4) and teacher.member_count == 2
    # One to one, and none left out: it is the same teacher in another order.
    turned = Mapped(members(1), {j: 4 - j for j in range(5)}, size=5)
    p = turned.distribution(X).probs_parameter()
    np.testing.assert_allclose(p, softmax(logits(X, THEIRS[0]))[:, ::-1], atol=1e-6)
    assert turned.output_kind == outputs.Categorical()


def test_classes_that_are_not_known_stay_so_in_another_output_and_when_mapped_again():
    teacher = Mapped(members(1), CLASSES, size=4, output=outputs.Categorical(2.0))
    assert (teacher.output_kind.temperature, teacher.output_kind.known_classes) == (2.0, KNOWN)
    again = Mapped(teacher, {each: 4 - each for each in range(4)}, size=5)
    assert again.output_kind.known_classes == sorted(4 - each for each in KNOWN)


def test_a_step_compares_the_student_given_the_known_classes(eagerly):
    student = linear(STUDENT)
    teacher = Mapped(Ensemble(members(), outputs.Categorical(T)), CLASSES, size=4)
    distiller = Distiller(student, teacher, sampler="Empirical", temperature=3.0)
    distiller.compile(keras.optimizers.SGD(RATE))
    log_p = np.log(np.mean(mapped_by_hand(), 0)) / 3.0
    q = logits(X, STUDENT)[:, KNOWN] / 3.0
    history = distiller.fit(X, batch_size=len(X), verbose=0).history
    np.testing.assert_allclose(history["divergence"], 9.0 * kl(log_p, q).mean(), rtol=1e-5)
    agreement = (log_p.argmax(1) == q.argmax(1)).mean()
    np.testing.assert_allclose(history["agreement"], agreement, rtol=1e-6)
    gradient = np.zeros((len(X), 4))
    gradient[:, KNOWN] = 3.0 * (softmax(q) - softmax(log_p))
    assert_arrays(student.get_weights(), sgd(X, STUDENT, gradient), rtol=1e-4, atol=1e-5)


def test_labels_of_classes_that_it_does_not_know_are_unknown_to_it():
    labels = np.array(KNOWN)[mapped_by_hand()[0].argmax(1)]
    labels[::3] = np.arange(4)  # Not all of them are likely.
    is_known = np.isin(labels, KNOWN)
    teacher = ecl_tf.calibrated(Mapped(members(1), CLASSES, size=4), X, labels)

    def loss(temperature):
        p = mapped_by_hand(1.0)[0]
        log_p = log_softmax(np.log(p) / temperature, -1)
        return -log_p[is_known, np.searchsorted(KNOWN, labels[is_known])].mean()

    best = scipy.optimize.minimize_scalar(loss, bounds=(0.05, 20.0), method="bounded").x
    found = teacher.output_kind
    np.testing.assert_allclose(found.temperature, best, rtol=1e-2)
    assert isinstance(teacher, Mapped) and found.known_classes == KNOWN
    raw, one_hot = teacher.member_outputs(X)[0], np.eye(4, dtype="float32")[labels]
    for each in (labels, one_hot):
        likelihood = found.negative_log_likelihoods(found(raw), each).numpy()
        assert (likelihood[~is_known] == 0.0).all() and (likelihood[is_known] > 0.0).all()
    ignoring = outputs.Categorical(ignore_class=1, known_classes=KNOWN)
    known = ignoring.known(labels, raw).numpy().astype(bool)
    np.testing.assert_array_equal(known, is_known & (labels != 1))


def test_every_output_has_the_members_of_its_own_teacher(eagerly):
    kind = [network(seed, classes=3) for seed in (1, 2, 3)]
    place = [network(seed, classes=2) for seed in (4, 5)]
    of_two = Ensemble(heads(a=3, b=2), {"a": "categorical", "b": "bernoulli"})
    teacher = Mapped(
        {
            "kind": Ensemble(kind, outputs.Categorical(T)),
            "place": Ensemble(place, outputs.Normal(1)),
            "a": of_two,
            "b": of_two,
            "mapped": Mapped(members(1), [0, 0, 1, 1, 1], size=2),
        }
    )
    assert len(teacher.teachers) == 4 and len(teacher.networks) == 7 and teacher.member_count == 6
    own = {
        name: Ensemble(each, teacher.output_kind.outputs[name])
        for name, each in {"kind": kind, "place": place}.items()
    }
    found, parts = teacher.distribution(X), teacher.uncertainty(X)
    p = np.mean([softmax(each.predict(X, verbose=0) / T) for each in kind], 0)
    np.testing.assert_allclose(found["kind"].probs_parameter(), p, atol=1e-6)
    np.testing.assert_allclose(
        found["place"].mean(), own["place"].distribution(X).mean(), atol=1e-6
    )
    np.testing.assert_allclose(found["b"].mean(), tf.sigmoid(of_two.members[0](X)["b"]), atol=1e-6)
    for name, each in own.items():
        assert_arrays(parts[name], each.uncertainty(X), rtol=1e-5, atol=1e-6)

    again = Mapped.from_config(teacher.get_config())
    assert again.places == teacher.places and len(again.teachers) == 4
    assert again.output_kind == teacher.output_kind

    student = heads(kind=3, place=2, a=3, b=2, mapped=2)
    distiller = Distiller(student, teacher, output=teacher.output_kind, sampler="Mixup")
    distiller.compile("sgd", run_eagerly=True)
    assert np.isfinite(distiller.fit(X, verbose=0).history["loss"]).all()


def test_inputs_are_prepared_for_the_teacher_alone_and_it_is_saved(tmp_path, eagerly):
    keras.utils.set_random_seed(3)
    image = keras.Input((4, 4, 1))
    large = keras.Model(image, keras.layers.Dense(5)(keras.layers.Flatten()(image)))
    image = keras.Input((2, 2, 1))
    student = keras.Model(image, keras.layers.Dense(4)(keras.layers.Flatten()(image)))
    x = numbers(12, 2, 2, 1)
    settings = {"preprocessing": [keras.layers.Resizing(4, 4, "nearest")]}
    teacher = Mapped(large, CLASSES, size=4, **settings)
    p = softmax(large(x.repeat(2, 1).repeat(2, 2)))
    p = np.stack([p[:, 0] + p[:, 2], p[:, 1], p[:, 4]], 1)
    wanted = p / p.sum(1, keepdims=True)
    answered = teacher.distribution(x).probs_parameter().numpy()
    np.testing.assert_allclose(answered[:, KNOWN], wanted, atol=1e-6)

    teacher = teacher.with_output(outputs.Categorical(1.5, known_classes=KNOWN))
    distiller = Distiller(student, teacher)
    distiller.compile("sgd")
    distiller.fit(x, verbose=0)
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    assert loaded.teacher.fingerprint() == teacher.fingerprint()
    assert loaded.teacher.output_kind == teacher.output_kind
    assert_arrays(loaded.teacher.member_outputs(x), teacher.member_outputs(x))
    loaded.fit(x, verbose=0)
    with pytest.raises(ValueError, match=r"takes \(None, 4, 4, 1\)"):
        Mapped(large, CLASSES, size=4).check_members(x)
    others = [Mapped(large, {0: 0, 1: 1}, size=4, **settings), Mapped(large, CLASSES, size=4)]
    assert len({teacher.fingerprint(), *(each.fingerprint() for each in others)}) == 3

    named = keras.Sequential([keras.Input((2,), name="a"), keras.layers.Identity()])
    both = Mapped({"kind": named}, preprocessing={"a": ["Flatten"]})
    rows = {"a": numbers(6, 2, 1), "b": numbers(6, 1)}
    both.check_members(rows)
    np.testing.assert_allclose(both.member_outputs(rows)[0]["kind"], rows["a"][..., 0])


def test_a_store_knows_which_classes_its_teacher_knew(tmp_path, eagerly):
    teacher = Mapped(Ensemble(members(), outputs.Categorical(T)), CLASSES, size=4)
    where = {"directory": tmp_path / "store", "verbose": 0, "shards": 1}
    settings = {"sampler": "Empirical", "batch_size": 12, "epochs": 1, "top_k": 2}
    replay.record(teacher, X, **where, **settings)
    store = replay.Store(tmp_path / "store")
    samples, *_ = next(iter(store.batches(X)))
    found = store.teacher.output_kind.combine(samples.member_outputs)
    live = teacher.distribution(samples.inputs)
    np.testing.assert_allclose(found.probs_parameter(), live.probs_parameter(), atol=1e-3)
    student = linear(STUDENT)
    answers = uncertainty.Answers(
        uncertainty.Networks(teacher, student, outputs.Categorical()), samples.inputs
    )
    divergence = outputs.Categorical().divergence(
        found, outputs.Categorical()(student(samples.inputs)), ecl_tf.divergences.kl
    )
    np.testing.assert_allclose(divergence, uncertainty.divergence(answers), atol=5e-3)


def rule(rows):
    if np.isnan(rows).any():
        raise ValueError("no answer to what is missing")
    return softmax(rows[:, :3])


@pytest.mark.slow
def test_a_function_can_be_mapped_and_says_what_went_wrong():
    teacher = Mapped(FunctionTeacher(rule, "categorical", X), [0, 0, 1], size=2)
    p = softmax(X[:, :3])
    wanted = np.stack([p[:, 0] + p[:, 1], p[:, 2]], 1)
    np.testing.assert_allclose(teacher.distribution(X).probs_parameter(), wanted, atol=1e-5)
    assert teacher.networks == [] and teacher.member_count == 1
    distiller = Distiller(network(1, classes=2), teacher, sampler="Empirical")
    distiller.compile("sgd")
    with pytest.raises(ValueError, match="no answer to what is missing"):
        distiller.fit(np.where(X > 1.0, np.nan, X), verbose=0)
    with (
        pytest.raises(ValueError, match="no answer to what is missing"),
        explaining(Mapped({"kind": teacher})),
    ):
        tf.function(teacher.member_outputs)(np.where(X > 1.0, np.nan, X))


def test_inputs_of_another_scale_are_refused_as_for_the_network_itself():
    image = keras.Input((4, 4, 1))
    x = keras.layers.Rescaling(1 / 255)(image)
    of_bytes = keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    student = ecl_tf.models.build("mlp", (4, 4, 1), 3, widths=(2,))
    images = np.random.default_rng(0).random((8, 4, 4, 1), "float32")
    for layers, is_refused in ([], True), ([keras.layers.Rescaling(255.0)], False):
        teacher = Mapped(of_bytes, preprocessing=layers)
        assert len(teacher.plain_networks) == int(is_refused)
        distiller = Distiller(student, teacher)
        distiller.compile("sgd", run_eagerly=True)
        if is_refused:
            with pytest.raises(ValueError, match="255"):
                distiller.fit(images, verbose=0)
        else:
            distiller.fit(images, verbose=0)


def shared():
    x = keras.Input((SIZE,))
    trunk = keras.layers.Dense(4)
    nets = [keras.Model(x, keras.layers.Dense(2)(trunk(x)), name=name) for name in ("one", "two")]
    return Mapped({net.name: net for net in nets})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mapped(members(), {}, size=4), "at least two of the student's classes"),
        (lambda: Mapped(members(), {0: 1, 1: 1}, size=4), r"at least two.*\[1\]"),
        (lambda: Mapped(members(), {0: 0, 5: 1}, size=4), "class 5, and it has the classes 0 to 4"),
        (lambda: Mapped(members(), {0: 0, 1: 4}, size=4), "maps 1 to 4"),
        (lambda: Mapped(members(), {0: 0, np.int64(1): 1, 1.5: 1}, size=4), "got 1.5"),
        (lambda: Mapped(members(), {0: 0, -1: 1}, size=4), ">= 0; got -1"),
        (lambda: Mapped(members(), [0, 1, 2], size=4), "has 3 items, and .* has 5 classes"),
        (lambda: Mapped(members(), [0, 1, 2, 3, 0]), "together with `size`"),
        (lambda: Mapped({"a": members()}, CLASSES, size=4), "Map each by itself"),
        (lambda: Mapped({}), "one teacher and `classes`, or a dict"),
        (
            lambda: Mapped(
                {"c": Ensemble(heads(a=3, b=2), {"a": "categorical", "b": "bernoulli"})}
            ),
            r"outputs \['a', 'b'\], and none called 'c'",
        ),
        (
            lambda: Mapped(Ensemble(members(), "categorical", members_per_step=1)),
            "has members_per_step",
        ),
        (lambda: Mapped(Ensemble(members(), "bernoulli"), CLASSES, size=4), "of a categorical out"),
        (lambda: Mapped(members(), output=outputs.Bernoulli()), "got the output"),
        (lambda: Mapped(members(), preprocessing=adapted()), "has weights, or what it was adapted"),
        (
            lambda: Mapped(members(), preprocessing={"a": ["Flatten"]})(X),
            r"named \['a'\], and .*one",
        ),
        (
            lambda: Mapped(members(), preprocessing=["Flatten"])({"a": X}),
            "a list of layers, for one",
        ),
        (lambda: shared().get_config(), "'one' and 'two' share the layer"),
        (lambda: outputs.Categorical(known_classes=[1, 1]), "at least two different classes"),
        (
            lambda: Ensemble(members(), outputs.Categorical(known_classes=[0, 7])),
            "known_classes holds 7",
        ),
        (
            lambda: Distiller(linear(STUDENT), Mapped(members(), [0, 1, 2, 0, 1], size=3)),
            "3 classes",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def adapted():
    layer = keras.layers.Normalization()
    layer.adapt(X)
    return layer
