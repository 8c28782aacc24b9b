"""What is recorded is replayed: the same samples, the recorded answers, chosen at reading."""

import json

import keras
import numpy as np
import processes
import pytest
import tensorflow as tf

from ecl_tf import Distiller, outputs, replay, resume, samplers
from ecl_tf._internal import random

ROWS, BATCH = 70, 16
RNG = np.random.default_rng(0)
X = RNG.uniform(size=(ROWS, 4, 4, 1)).astype("float32")
Y = RNG.integers(0, 3, ROWS)
STEPS = 3 * (ROWS // BATCH)  # Of three epochs.


def network(units=3, seed=1):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(units)]
    )


def echo():
    """A teacher whose means are the inputs themselves, stored as float32."""
    image = keras.Input((4, 4, 1))
    flat = keras.layers.Flatten()(image)
    scales = keras.layers.Rescaling(0.0)(flat)
    return keras.Model(image, keras.layers.Concatenate()([flat, scales]))


def flip_and_halve(x, seed):
    return tf.where(random.uniform(seed, [1, 1, 1, 1]) < 0.5, x, x[:, :, ::-1]) / 2.0


def generator():
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Dense(16), keras.layers.Reshape((4, 4, 1))]
    return keras.Sequential([keras.Input((5,)), *layers])


def recorded(directory, teacher=None, **arguments):
    settings = {"batch_size": BATCH, "epochs": 3, "shards": 4, "verbose": 0, **arguments}
    teacher = [network(seed=s) for s in (1, 2)] if teacher is None else teacher
    assert replay.record(teacher, X, Y, directory=directory, **settings)
    return replay.Store(directory)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A store of three classes and two networks, on mixtures."""
    return recorded(tmp_path_factory.mktemp("mixed"), sampler="Mixup")


def everything(dataset, steps=STEPS):
    return list(dataset.take(steps).as_numpy_iterator())


SAMPLERS = {
    "Empirical": samplers.Empirical(),
    "Mix": samplers.Mix(),
    "Mixup": samplers.Mixup(0.4),
    "CutMix": samplers.CutMix(group_size=4),
    "DirichletMixup": samplers.DirichletMixup(),
    "GaussianNoise": samplers.GaussianNoise(0.5),
    "Augment": samplers.Augment(keras.layers.RandomRotation(0.3)),
    "Choice": samplers.Choice(["Empirical", "CutMix", "Mixup"]),
    "Generated": samplers.Generated(generator()),
    "Uncertain": samplers.Uncertain(candidates=2),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_replayed_samples_are_the_bits_that_the_teacher_saw(name, tmp_path):
    sampler = SAMPLERS[name]
    size = outputs.Normal(16)
    store = recorded(
        tmp_path, echo(), output=size, sampler=sampler, prepare=flip_and_halve, shards=2
    )
    order = RNG.permutation(ROWS)  # Another order of the same rows.
    base = sampler.base if name == "Uncertain" else sampler
    passes = []
    for memory in (0, 2**20):
        data = store.batches(
            X[order], Y[order], sampler=base, prepare=flip_and_halve, seed=5, memory=memory
        )
        seen = []
        for samples, _ in everything(data):
            means = samples.member_outputs[0][:, :16]
            np.testing.assert_array_equal(means, samples.inputs.reshape(BATCH, 16))
            seen += [row.tobytes() for row in samples.inputs]
        passes.append(sorted(seen))
    assert passes[0] == passes[1]  # Each stored row once in a pass.


def test_the_store_does_not_depend_on_the_order_of_the_data(mixed, tmp_path):
    order = RNG.permutation(ROWS)
    replay.record(
        [network(seed=s) for s in (1, 2)],
        X[order],
        Y[order],
        directory=tmp_path,
        sampler="Mixup",
        batch_size=BATCH,
        epochs=3,
        shards=4,
        verbose=0,
    )
    for path in sorted(mixed.directory.glob("shard-*")):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_labels_are_those_of_the_rows(tmp_path):
    store = recorded(tmp_path, sampler="Empirical")
    label = {x.tobytes(): y for x, y in zip(X, Y, strict=True)}
    rows = set()
    for samples, labels in everything(store.batches(X, Y)):
        assert samples.unmodified.all()
        assert [label[x.tobytes()] for x in samples.inputs] == labels.tolist()
        rows |= {x.tobytes() for x in samples.inputs}
    assert len(rows) > ROWS - 6  # Each epoch leaves six out, others in each.


def test_answers_are_the_teachers_own(mixed):
    teacher = [network(seed=s) for s in (1, 2)]
    for samples, _ in everything(mixed.batches(X, Y), 3):
        p = np.mean([tf.nn.softmax(member(samples.inputs)) for member in teacher], 0)
        np.testing.assert_allclose(tf.nn.softmax(samples.member_outputs[0]), p, atol=1e-3)


@pytest.mark.parametrize("memory", [0, 2**20])
def test_passes_differ_and_follow_from_the_seed(mixed, memory):
    def keys(seed, steps):
        data = everything(mixed.batches(X, Y, seed=seed, memory=memory), steps)
        return [row.tobytes() for samples, _ in data for row in samples.inputs]

    two, rows = keys(1, 2 * STEPS), STEPS * BATCH
    assert sorted(two[:rows]) == sorted(two[rows:]) and two[:rows] != two[rows:]
    assert keys(1, STEPS) == two[:rows]
    assert keys(2, STEPS) != two[:rows]


@pytest.mark.parametrize("first", [1, STEPS - 1, STEPS + 2])
def test_a_restart_goes_on_where_it_was(mixed, first):
    sampler = samplers.Uncertain(mixed.sampler, candidates=2)
    for arguments in ({}, {"memory": 0}, {"sampler": sampler}, {"sampler": sampler, "memory": 0}):
        whole = everything(mixed.batches(X, Y, **arguments), first + 3)[first:]
        rest = everything(mixed.batches(X, Y, first_step=first, **arguments), 3)
        keras.tree.map_structure(np.testing.assert_array_equal, rest, whole)


# Training from it.


def trained(distiller, data, steps=12):
    distiller.compile(keras.optimizers.SGD(0.3), metrics=["accuracy"])
    history = distiller.fit(data, steps_per_epoch=steps, epochs=2, shuffle=False, verbose=0)
    return history.history, distiller.student.get_weights()


def test_a_student_is_that_of_the_live_teacher_on_the_same_samples(mixed):
    data = mixed.batches(X, Y)
    stored = Distiller(network(seed=7), mixed.teacher, sampler=mixed.sampler)
    history, weights = trained(stored, data)
    live = Distiller(network(seed=7), [network(seed=s) for s in (1, 2)], sampler="Empirical")
    live_history, wanted = trained(live, data.map(lambda samples, y: samples.inputs))
    assert history["loss"][0] > 1.2 * history["loss"][1]
    np.testing.assert_allclose(history["loss"], live_history["loss"], rtol=0.01)
    for one, two in zip(weights, wanted, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-3)


def test_temperature_and_reverse_divergence_work_from_the_store(mixed):
    distiller = Distiller(
        network(seed=7),
        mixed.teacher,
        sampler=mixed.sampler,
        temperature=4.0,
        divergence="reverse_kl",
    )
    history, _ = trained(distiller, mixed.batches(X, Y))
    assert history["loss"][1] < history["loss"][0]


@pytest.mark.parametrize("score", ["teacher_uncertainty", "disagreement"])
def test_uncertain_samples_are_chosen_by_the_stored_scores(mixed, score):
    sampler = samplers.Uncertain(mixed.sampler, candidates=3, score=score, temperature=0.0)
    samples, labels = next(iter(mixed.batches(X, Y, sampler=sampler)))
    assert samples.inputs.shape == (3 * BATCH, 4, 4, 1)
    distiller = Distiller(network(), mixed.teacher, sampler=sampler)
    kept = sampler.keep(samples, random.seed_tensor(0), distiller._networks())
    p = np.stack([tf.nn.softmax(network(seed=s)(samples.inputs)) for s in (1, 2)]).astype("float64")
    entropy = -(p * np.log(p)).sum(-1)
    total = -(p.mean(0) * np.log(p.mean(0))).sum(-1)
    scores = total if score == "teacher_uncertainty" else total - entropy.mean(0)
    lowest = np.sort(scores)[-BATCH]
    own = scores[kept.sources.numpy()]
    assert (own >= lowest * 0.99).all() and own.mean() > scores.mean()
    np.testing.assert_array_equal(kept.inputs, samples.inputs.numpy()[kept.sources])
    assert kept.follow(labels).shape == (BATCH,)


@pytest.mark.parametrize("score", ["student_uncertainty", "divergence"])
def test_the_default_recipe_trains_from_a_store(tmp_path, score):
    recipe = samplers.Uncertain(candidates=2, score=score, temperature=1.0)
    store = recorded(tmp_path, sampler=recipe)
    distiller = Distiller(network(seed=7), store.teacher, sampler=recipe)
    history, _ = trained(distiller, store.batches(X, Y, sampler=recipe))
    assert history["loss"][1] < 0.9 * history["loss"][0]
    assert "accuracy" in history  # Of the rows that stayed as they were.


def test_candidates_must_be_read_for_the_distillers_own_sampler(mixed):
    chooses = samplers.Uncertain(mixed.sampler, candidates=2)
    of_more = samplers.Uncertain(mixed.sampler, candidates=4)
    for of_distiller, of_batches in [
        (chooses, None),
        (mixed.sampler, chooses),
        (of_more, chooses),
        (samplers.Empirical(), None),
    ]:
        distiller = Distiller(network(seed=7), mixed.teacher, sampler=of_distiller)
        distiller.compile("sgd")
        with pytest.raises(ValueError, match="read for another sampler"):
            distiller.fit(mixed.batches(X, Y, sampler=of_batches), steps_per_epoch=1)


def test_the_divisor_is_the_number_of_rows_that_are_kept(mixed):
    sampler = samplers.Uncertain(mixed.sampler, 2, "teacher_uncertainty", 0.0)
    distiller = Distiller(network(seed=7), mixed.teacher, sampler=sampler)
    distiller.compile(keras.optimizers.SGD(1.0))
    before = distiller.student.get_weights()
    data = mixed.batches(X, Y, sampler=sampler)
    samples = next(iter(data))[0]
    distiller.fit(data, steps_per_epoch=1, verbose=0)
    kept = sampler.keep(samples, random.seed_tensor(0), distiller._networks())
    # The gradient of the mean KL in a linear layer's bias is the mean of q - p.
    rows = kept.inputs.numpy().reshape(BATCH, 16)
    q = tf.nn.softmax(rows @ before[0] + before[1])
    wanted = before[1] - np.mean(q - tf.nn.softmax(kept.member_outputs[0]), 0)
    np.testing.assert_allclose(distiller.student.get_weights()[1], wanted, atol=1e-5)


def test_validation_evaluates_the_student_alone(mixed):
    distiller = Distiller(network(seed=7), mixed.teacher, sampler=mixed.sampler)
    distiller.compile("sgd", metrics=["accuracy"])
    history = distiller.fit(
        mixed.batches(X, Y), steps_per_epoch=4, validation_data=(X, Y), verbose=0
    ).history
    assert set(history) == {"loss", "divergence", "agreement", "val_accuracy"}


def test_a_distiller_of_a_store_is_saved_and_resumed(mixed, tmp_path):
    def run(directory, steps):
        distiller = Distiller(network(seed=7), mixed.teacher, sampler=mixed.sampler)
        distiller.compile(keras.optimizers.Adam(0.01))
        resume.fit(
            distiller, lambda step: mixed.batches(X, Y, first_step=step), directory,
            steps=steps, every_steps=2, verbose=0,
        )  # fmt: skip
        return distiller

    whole = run(tmp_path / "whole", 8)
    (tmp_path / "parts").mkdir()
    part = tmp_path / "whole" / "step-6.npz"
    part.rename(tmp_path / "parts" / part.name)
    again = run(tmp_path / "parts", 8)
    for one, two in zip(again.student.get_weights(), whole.student.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    whole.save(tmp_path / "distiller.keras")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    assert isinstance(loaded.teacher, replay.RecordedTeacher)
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), whole.predict(X, verbose=0))


@pytest.mark.slow
def test_two_replicas_reach_the_weights_of_one():
    (ends,) = processes.results([processes.start("replay_on_replicas.py", VIRTUAL_DEVICES="2")])
    (history, weights), (its_history, its_weights) = ends
    assert history["loss"][1] < 0.5 * history["loss"][0]
    for one, two in zip(weights, its_weights, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
    assert history.keys() == its_history.keys()
    for name, values in history.items():
        np.testing.assert_allclose(values, its_history[name], rtol=1e-4)


# What is refused.


def test_a_store_answers_for_its_own_samples_only(mixed):
    distiller = Distiller(network(), mixed.teacher, sampler=mixed.sampler)
    distiller.compile()
    with pytest.raises(ValueError, match=r"Fit it on the store's own samples.*store.batches"):
        distiller.fit(X, verbose=0)
    with pytest.raises(ValueError, match="answers other inputs than a store's"):
        distiller.compile(metrics=["accuracy"], teacher_metrics=True)
    labelled = Distiller(network(), mixed.teacher, sampler=mixed.sampler, label_weight=0.5)
    labelled.compile()
    with pytest.raises(ValueError, match="needs the unmodified rows beside"):
        labelled.fit(mixed.batches(X, Y), steps_per_epoch=1, verbose=0)
    small = Distiller(network(5), mixed.teacher, sampler=mixed.sampler)
    small.compile()
    with pytest.raises(ValueError, match=r"stored answers are categorical, of size 3.* size 5"):
        small.fit(mixed.batches(X, Y), steps_per_epoch=1, verbose=0)
    other = Distiller(network(6), mixed.teacher, output="normal", sampler=mixed.sampler)
    other.compile()
    with pytest.raises(ValueError, match=r"stored answers are categorical.*normal, of size 3"):
        other.fit(mixed.batches(X, Y), steps_per_epoch=1, verbose=0)


def test_prepare_may_lose_sizes(tmp_path):
    def prepare(x, seed):
        return tf.py_function(lambda rows: rows, [x], x.dtype)

    store = recorded(tmp_path, sampler="Empirical", prepare=prepare)
    samples, _ = store.batches(X, Y, prepare=prepare).element_spec
    assert samples.inputs.shape == (BATCH, 4, 4, 1)


def test_what_does_not_fit_the_manifest_is_named(mixed, tmp_path):
    with pytest.raises(ValueError, match=r"data\.fingerprint"):
        mixed.batches(X + 1.0, Y)
    with pytest.raises(ValueError, match=r"data\.rows \(70 there, 69 here"):
        mixed.batches(X[1:], Y[1:])
    with pytest.raises(ValueError, match=r"sampler\.config\.alpha \(1.0 there, 0.5 here"):
        mixed.batches(X, Y, sampler=samplers.Uncertain(samplers.Mixup(0.5)))
    with pytest.raises(ValueError, match="Give the `prepare` that was recorded"):
        mixed.batches(X, Y, prepare=flip_and_halve)
    with pytest.raises(ValueError, match="Give the `prepare` that was recorded"):
        mixed.batches(X, Y, prepare=lambda x, seed: x[:, :, ::-1])  # Of the same means.
    with pytest.raises(ValueError, match=r"about\.preprocessing"):
        mixed.batches(X, Y, about={"preprocessing": "flips"})
    generated = samplers.Generated(generator())
    store = recorded(tmp_path, sampler=generated)
    generated.model.layers[0].kernel.assign_add(tf.ones((5, 16)))
    with pytest.raises(ValueError, match="generators"):
        store.batches(X, Y, sampler=generated)


def test_stored_rows_are_verified_live(mixed):
    teacher = [network(seed=s) for s in (1, 2)]
    assert mixed.verify(teacher, X, Y, rows=40) < 1e-6
    with pytest.raises(ValueError, match=r"other settings.*teacher"):
        mixed.verify([network(seed=s) for s in (1, 3)], X, Y, rows=1)


def test_answers_that_changed_fail_the_verification(mixed, monkeypatch):
    teacher = [network(seed=s) for s in (1, 2)]
    plan = json.loads((mixed.directory / "manifest.json").read_text())["plan"]
    other = [network(seed=s) for s in (1, 3)]
    monkeypatch.setattr(
        "ecl_tf.identity.fingerprint_of_models",
        lambda models: plan["teacher"] if models else plan["generators"],
    )
    assert mixed.verify(teacher, X, Y, rows=1) < 1e-6
    with pytest.raises(ValueError, match=r"answers to step \d+ otherwise .* nats"):
        mixed.verify(other, X, Y, rows=1)
