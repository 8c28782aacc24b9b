"""Rows that are mixed within the networks, against a forward and a backward pass in NumPy."""

import types

import keras
import numpy as np
import processes
import pytest
import tensorflow as tf
from by_hand import RATE, Recorder, kl, numbers, softmax

from ecl_tf import Distiller, Ensemble, replay, samplers, teachers, uncertainty
from ecl_tf._checks import data as checks
from ecl_tf.samplers import Chain, Choice, DirichletMixup, Embedded, Mixup, Swap

L = keras.layers
WORDS, LENGTH, CLASSES = 7, 4, 3
IDS = np.array([[1, 2, 3, 0], [4, 5, 0, 0], [6, 1, 2, 4], [3, 0, 0, 0]], "int32")
LABELS = np.array([0, 1, 2, 0])


def tables(width, seed):
    """A table of vectors, and a dense layer's kernel and bias."""
    shapes = (WORDS, width), (width, CLASSES), (CLASSES,)
    return [numbers(*shape, seed=seed + n) for n, shape in enumerate(shapes)]


TEACHER, STUDENT = tables(5, 10), tables(2, 20)


def network(weights, name="embedding", mask_zero=True, subclassed=False, after=()):
    """Vectors of ids, their mean over what is not masked, and a dense layer."""
    embedding = L.Embedding(WORDS, weights[0].shape[1], mask_zero=mask_zero, name=name)
    layers = [embedding, *after, L.GlobalAveragePooling1D(), L.Dense(CLASSES)]
    if subclassed:
        model = OfLayers(layers)
        model(IDS)
    else:
        model = keras.Sequential([keras.Input((LENGTH,), dtype="int32"), *layers])
    model.set_weights(weights)
    return model


class OfLayers(keras.Model):
    def __init__(self, parts, unused=None):
        super().__init__()
        self.parts, self.unused = parts, unused

    def call(self, x):
        for layer in self.parts:
            x = layer(x)
        return x


def by_hand(ids, weights, mixture, padding=0):
    """The mixed vectors, the mask, and the logits, in NumPy."""
    table, kernel, bias = weights
    partners, shares = (np.asarray(each) for each in mixture)
    vectors, real = table[ids], ids != 0
    mixed = np.zeros_like(vectors)
    for row in range(len(ids)):
        for place in range(ids.shape[1]):
            mixed[row, place] = vectors[row, place]
            for distance, share in zip(partners[row], shares[row], strict=True):
                other = row + distance
                if padding in (ids[row, place], ids[other, place]):
                    continue
                mixed[row, place] += share * (vectors[other, place] - vectors[row, place])
    mean = (mixed * real[..., None]).sum(1) / real.sum(1, keepdims=True)
    return mixed, real, mean @ kernel + bias, mean


def gradients(ids, weights, mixture, of_logits):
    """Of the three weights, from the loss's gradient in the logits."""
    _, real, _, mean = by_hand(ids, weights, mixture)
    of_table = np.zeros_like(weights[0])
    of_mean = of_logits @ weights[1].T
    partners, shares = (np.asarray(each)[:, 0] for each in mixture)
    for row in range(len(ids)):
        for place in np.flatnonzero(real[row]):
            other = row + partners[row]
            share = shares[row] if real[other, place] else 0.0
            its = of_mean[row] / real[row].sum()
            of_table[ids[row, place]] += (1 - share) * its
            of_table[ids[other, place]] += share * its
    return [of_table, mean.T @ of_logits, of_logits.sum(0)]


def mixture_of(sampler, seed=0):
    return sampler(IDS, seed=seed).mixture


@pytest.mark.parametrize("base", [Mixup(), Mixup(0.3, group_size=2), DirichletMixup(3)])
def test_partners_and_shares_are_those_by_which_the_base_mixes(base):
    x = numbers(6, 4)
    samples = Embedded(base)({"ids": np.zeros((6, 2), int), "numbers": x}, seed=3)
    partners, shares = (each.numpy() for each in samples.mixture)
    mixed = (1 - shares.sum(1, keepdims=True)) * x
    for place in range(partners.shape[1]):
        mixed += shares[:, place, None] * x[np.arange(6) + partners[:, place]]
    np.testing.assert_allclose(base(x, seed=3).inputs, mixed, atol=1e-6)
    np.testing.assert_allclose(samples.inputs["numbers"], mixed, atol=1e-6)
    assert samplers.swapping(Embedded(base), ["ids"]).get_config() == Embedded(base).get_config()
    assert not samples.inputs["ids"].numpy().any() and not samples.unmodified.numpy().any()


def test_a_step_is_that_of_the_mixed_vectors_of_both_networks():
    sampler = Embedded(padding=0)
    student = network(STUDENT)
    distiller = Distiller(student, network(TEACHER), sampler=sampler, seed=4)
    distiller.compile(keras.optimizers.SGD(RATE))
    history = distiller.fit(IDS, batch_size=4, verbose=0, shuffle=False).history

    seed = samplers.random.fold_in(samplers.random.fold_in(4, tf.zeros((), tf.int64)), 0)
    mixture = mixture_of(sampler, seed)
    p, q = (by_hand(IDS, each, mixture)[2] for each in (TEACHER, STUDENT))
    np.testing.assert_allclose(history["divergence"], kl(p, q).mean(), rtol=1e-5)
    of_weights = gradients(IDS, STUDENT, mixture, (softmax(q) - softmax(p)) / len(IDS))
    for weight, before, gradient in zip(student.get_weights(), STUDENT, of_weights, strict=True):
        np.testing.assert_allclose(weight, before - RATE * gradient, atol=1e-5)
    for each in (distiller.student, *distiller.teacher.members):
        assert "call" not in vars(each.layers[0])


@pytest.mark.parametrize("subclassed", [False, True])
def test_rows_that_are_appended_stay_and_the_embedding_layer_runs_once(subclassed):
    seen = Recorder()
    student = network(STUDENT, subclassed=subclassed, after=[seen])
    sampler = Embedded(DirichletMixup(3), padding=0)
    networks = uncertainty.Networks(Ensemble(network(TEACHER), "categorical"), student, None)
    samples = sampler(IDS, seed=1)
    seen.batches.clear()
    with samplers.mixing(samples, sampler, networks, "student"):
        logits = student(np.concatenate([IDS, IDS[:2]]))
    (vectors,) = seen.batches
    expected, _, of_mixed, _ = by_hand(IDS, STUDENT, samples.mixture)
    np.testing.assert_allclose(vectors, [*expected, *STUDENT[0][IDS[:2]]], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(logits[:4], of_mixed, rtol=1e-5, atol=1e-5)
    assert np.allclose(logits[4:], student(IDS[:2]))


def test_in_a_choice_rows_that_are_not_mixed_are_unmodified_and_learn_labels(tmp_path):
    sampler = Choice(
        ["Empirical", Swap(padding=0), Embedded(padding=0), Embedded("DirichletMixup", padding=0)]
    )
    samples = sampler(np.repeat(IDS, 10, 0), seed=0)
    mixed = samples.mixture.shares.numpy().any(1)
    assert samples.mixture.shares.shape == (40, 2)
    assert 10 < mixed.sum() < 30 and not samples.unmodified.numpy()[mixed].any()
    student = network(STUDENT)
    settings = {"label_weight": 0.5, "label_rows": "unmodified", "sampler": sampler}
    distiller = Distiller(student, [network(TEACHER), network(STUDENT)], **settings)
    distiller.compile(keras.optimizers.SGD(RATE), metrics=["accuracy"], run_eagerly=True)
    assert np.isfinite(distiller.fit(IDS, LABELS, verbose=0).history["loss"]).all()
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    assert loaded.sampler.get_config() == sampler.get_config()
    for each in (distiller, loaded):
        each.fit(IDS, LABELS, verbose=0)
    for one, other in zip(student.get_weights(), loaded.student.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_store_holds_the_answers_to_mixtures(tmp_path):
    sampler, teacher = Embedded(padding=0), Ensemble(network(TEACHER), "categorical")
    x = np.tile(IDS, (2, 1))
    settings = {"sampler": sampler, "batch_size": 4, "epochs": 1, "shards": 1}
    replay.record(teacher, x, directory=tmp_path / "store", verbose=0, **settings)
    store = replay.Store(tmp_path / "store")
    batches = store.batches(x)
    samples, *_ = next(iter(batches))
    ids = samples.inputs.numpy()
    answered = softmax(samples.member_outputs[0])
    mixed = softmax(by_hand(ids, TEACHER, samples.mixture)[2])
    np.testing.assert_allclose(answered, mixed, atol=2e-3)
    assert not np.allclose(answered, softmax(teacher(ids)), atol=2e-2)

    student = network(STUDENT)
    distiller = Distiller(student, store.teacher, sampler=store.sampler)
    distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    history = distiller.fit(batches, steps_per_epoch=1, verbose=0).history
    q = by_hand(ids, STUDENT, samples.mixture)[2]
    wanted = kl(np.log(mixed), q).mean()
    np.testing.assert_allclose(history["divergence"], wanted, rtol=5e-3)

    distiller = types.SimpleNamespace(
        **{"_networks": distiller._networks, "sampler": sampler, "label_weight": 0.0},
        label_rows="appended",
        distribute_strategy=types.SimpleNamespace(num_replicas_in_sync=2),
    )
    with pytest.raises(ValueError, match="without their partners"):
        checks._of_training(batches, None, distiller)


def two_tables():
    ids = keras.Input((LENGTH,), dtype="int32")
    both = [L.Embedding(WORDS, 3, name=name)(ids) for name in ("words", "places")]
    pooled = L.GlobalAveragePooling1D()(L.Add()(both))
    return keras.Model(ids, L.Dense(CLASSES)(pooled))


def of_ids_and_number():
    ids, number = keras.Input((LENGTH,), name="ids"), keras.Input((2,), name="number")
    pooled = L.GlobalAveragePooling1D()(L.Embedding(WORDS, 3)(ids))
    inputs = {"ids": ids, "number": number}
    return keras.Model(inputs, L.Dense(CLASSES)(L.Concatenate()([pooled, number])))


def test_ids_that_are_floating_point_stay_if_they_are_named():
    sampler = Embedded(unchanged=["ids"])
    distiller = Distiller(of_ids_and_number(), of_ids_and_number(), sampler=sampler)
    distiller.compile("sgd", run_eagerly=True)
    rows = {"ids": IDS.astype("float32"), "number": numbers(4, 2)}
    assert np.isfinite(distiller.fit(rows, verbose=0).history["loss"]).all()
    drawn = sampler(rows, seed=0).inputs
    np.testing.assert_array_equal(drawn["ids"], IDS)
    assert not np.allclose(drawn["number"], rows["number"])


def rule(rows):
    return np.full((len(rows), CLASSES), 1 / CLASSES)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Embedded("CutMix"), "as Mixup or DirichletMixup say it"),
        (lambda: Embedded(layer={"pupil": "words"}), "layer is a layer's name"),
        (lambda: Embedded(unchanged="ids"), "unchanged is a list of names"),
        (lambda: Chain([Embedded(), "Empirical"]), "as the last of a Chain"),
        (lambda: samplers.Uncertain(Embedded()), "Embedded mixes rows later"),
        (lambda: samplers.TowardUncertainty(Embedded()), "Embedded mixes rows later"),
        (lambda: Embedded(unchanged=["ids"])(IDS, seed=0), r"unchanged for \['ids'\]"),
        (lambda: of(Embedded()), r"masks those that are 0.*padding=0\)"),
        (
            lambda: of(
                Embedded(), *(network(each, subclassed=True) for each in (STUDENT, TEACHER))
            ),
            r"mix padding with words .*'embedding' masks those that are 0.*padding=0\)",
        ),
        (lambda: of(Embedded(padding=0), two_tables()), r"2 layers .*\['words', 'places'\]"),
        (
            lambda: Distiller(of_ids_and_number(), of_ids_and_number(), sampler=Embedded()),
            r"input 'ids'.*Embedded\(\.\.\., unchanged=\['ids'\]\)",
        ),
        (lambda: of(Embedded(layer="words", padding=0)), r"no layer 'words' in the student"),
        (lambda: of(Embedded(padding=0), teacher=keras.Sequential([L.Dense(3)])), "no layer .*tea"),
        (
            lambda: of(
                Embedded(padding=0), teacher=teachers.FunctionTeacher(rule, "categorical", IDS)
            ),
            "is no network of Keras",
        ),
        (
            lambda: replay.record(
                network(TEACHER, mask_zero=False),
                IDS,
                directory="nowhere",
                batch_size=2,
                sampler=Choice([Embedded(layer="none"), "Empirical"]),
            ),
            "no layer 'none'",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def of(sampler, student=None, teacher=None):
    student = network(STUDENT) if student is None else student
    teacher = network(TEACHER) if teacher is None else teacher
    return Distiller(student, teacher, sampler=sampler)


def test_layers_that_give_no_rows_or_are_not_called_are_refused_in_the_step(subtests):
    class Positions(L.Embedding):
        def call(self, ids):
            return super().call(tf.range(LENGTH))

    ids = keras.Input((LENGTH,), dtype="int32")
    words, places = L.Embedding(WORDS, 2, name="words"), Positions(LENGTH, 2, name="places")
    pooled = L.GlobalAveragePooling1D()(words(ids) + places(ids))
    student = keras.Model(ids, L.Dense(CLASSES)(pooled))
    unused = OfLayers([L.Embedding(WORDS, 2)], L.Embedding(WORDS, 2, name="unused"))
    x = np.tile(IDS, (2, 1))
    apart = Choice([Embedded(layer="words"), Embedded(layer="words", padding=0)])
    for name, sampler, its, message in [
        ("positions", Embedded(layer="places"), student, "whose first axis is not the batch"),
        ("dense", Embedded(layer="dense", padding=0), student, "no vector for each id"),
        ("uncalled", Embedded(layer="unused"), unused, "did not call it"),
        ("apart", apart, student, "and with one padding"),
    ]:
        with subtests.test(name):
            samples = sampler(x, seed=0)
            student.layers[-1].name = "dense"
            networks = uncertainty.Networks(None, its, None)
            with (
                pytest.raises(ValueError, match=message),
                samplers.mixing(samples, sampler, networks, "student"),
            ):
                its(x)


@pytest.mark.slow
def test_two_replicas_learn_what_one_does():
    script = processes.start("embed_on_replicas.py", VIRTUAL_DEVICES="2")
    ((one, two),) = processes.results([script])
    assert (one["replicas"], two["replicas"]) == (1, 2)
    for name in ("loss", "weights"):
        for mine, other in zip(one[name], two[name], strict=True):
            np.testing.assert_allclose(other, mine, rtol=1e-4, atol=1e-5)
