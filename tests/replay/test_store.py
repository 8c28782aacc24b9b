"""What is recorded is replayed: the same samples, the recorded answers, chosen at reading."""

import itertools
import json

import keras
import numpy as np
import processes
import pytest
import scipy.special
import tensorflow as tf
from by_hand import assert_arrays, assert_same_weights

from ecl_tf import Distiller, data, outputs, replay, resume, samplers, teachers
from ecl_tf._internal import identity, random

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


def ensemble():
    return [network(seed=seed) for seed in (1, 2)]


def recorded(directory, teacher=None, x=X, y=Y, **arguments):
    settings = {"batch_size": BATCH, "epochs": 3, "shards": 2, "verbose": 0, **arguments}
    assert replay.record(teacher or ensemble(), x, y, directory=directory, **settings)
    return replay.Store(directory)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A store of three classes and two networks, on mixtures."""
    return recorded(tmp_path_factory.mktemp("mixed"), sampler="Mixup")


def everything(dataset, steps=STEPS):
    return list(dataset.take(steps).as_numpy_iterator())


EVERY_SAMPLER = samplers.Choice(
    [
        samplers.Empirical(),
        samplers.Mix(),
        samplers.Mixup(0.4),
        samplers.CutMix(group_size=4),
        samplers.DirichletMixup(),
        samplers.GaussianNoise(0.5),
        samplers.Augment(keras.layers.RandomRotation(0.3)),
        samplers.Generated(generator()),
        samplers.Chain([samplers.Augment(keras.layers.RandomTranslation(0.3, 0.3)), "Mix"]),
    ]
)


@pytest.mark.parametrize(
    "sampler",
    [samplers.Uncertain(candidates=2), pytest.param(EVERY_SAMPLER, marks=pytest.mark.slow)],
    ids=["chosen", "every sampler"],
)
def test_replayed_samples_are_the_bits_that_the_teacher_saw(sampler, tmp_path):
    store = recorded(
        tmp_path,
        echo(),
        output=outputs.Normal(16),
        sampler=sampler,
        prepare=flip_and_halve,
    )
    order = RNG.permutation(ROWS)  # Another order of the same rows.
    arguments = {"sampler": getattr(sampler, "base", sampler), "prepare": flip_and_halve}
    passes = []
    for memory in (0, 2**20):
        seen = []
        for samples, _ in everything(store.batches(X[order], Y[order], memory=memory, **arguments)):
            means = samples.member_outputs[0][:, :16]
            np.testing.assert_array_equal(means, samples.inputs.reshape(BATCH, 16))
            seen += [row.tobytes() for row in samples.inputs]
        passes.append(sorted(seen))
    assert passes[0] == passes[-1]  # Each stored row once in a pass.


@keras.saving.register_keras_serializable("test_store")
class Reverse(samplers.Empirical):
    """The batch from its end to its beginning."""

    def sample(self, inputs, seed):
        sources = tf.range(BATCH - 1, -1, -1)
        return samplers.Samples(tf.reverse(inputs, [0]), tf.ones([BATCH], tf.bool), sources)


def test_samples_that_the_teacher_has_moved_are_stored_with_their_labels(tmp_path):
    toward = samplers.TowardUncertainty(Reverse(), "disagreement", step=1e-4)
    half = samplers.Choice([Reverse(), toward])
    store = recorded(tmp_path, sampler=half)
    assert store.holds_samples and store.verify(ensemble(), X, Y, rows=40) < 1e-6
    for samples, labels in everything(store.batches(X, Y, sampler=half)):
        # Moved by so little that the nearest row is that which each was drawn from.
        distance = np.abs(samples.inputs[:, None] - X).max((2, 3, 4))
        assert distance.min(1).max() < 1e-3
        np.testing.assert_array_equal(samples.unmodified, distance.min(1) == 0.0)
        assert 0 < samples.unmodified.sum() < BATCH
        np.testing.assert_array_equal(labels, Y[distance.argmin(1)])
    distiller = Distiller(network(seed=7), store.teacher, sampler=half)
    history, _ = trained(distiller, store.batches(X, Y, sampler=half))
    assert history["loss"][1] < 0.9 * history["loss"][0] and "accuracy" in history


def in_files(directory, order, sizes):
    """The rows of X and Y as examples of files, in an order, with a text as their id."""
    paths, numbers = [], iter(order)
    for size in sizes:
        paths.append(directory / f"part-{len(paths)}.tfrecord")
        with tf.io.TFRecordWriter(str(paths[-1])) as writer:
            for n in itertools.islice(numbers, size):
                fields = [f"row {n}", X[n].tobytes(), np.int64(Y[n]).tobytes()]
                writer.write(tf.io.serialize_tensor(tf.constant(fields)).numpy())

    def fields_of(record):
        return tf.ensure_shape(tf.io.parse_tensor(record, tf.string), [3])

    def parse(record):
        _, pixels, label = tf.unstack(fields_of(record))
        image = tf.reshape(tf.io.decode_raw(pixels, tf.float32), [4, 4, 1])
        return image, tf.reshape(tf.io.decode_raw(label, tf.int64), [])

    return data.IndexedExamples(paths, parse, id_of=lambda record: fields_of(record)[0])


@pytest.mark.slow
def test_examples_in_files_are_found_by_their_ids_in_whatever_order(tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    arguments = {"batch_size": BATCH, "epochs": 3, "sampler": "Mixup", "prepare": flip_and_halve}
    first = in_files(tmp_path / "first", range(ROWS), (30, 40))
    directory = tmp_path / "store"
    replay.record(
        echo(), first, directory=directory, output=outputs.Normal(16), verbose=0, **arguments
    )
    store = replay.Store(directory)
    second = in_files(tmp_path / "second", RNG.permutation(ROWS), (20, 0, 50))
    order = RNG.permutation(ROWS)
    by_image = {X[n].tobytes(): Y[n] for n in order}
    for memory in (0, 2**20):
        batches = [
            everything(store.batches(x, prepare=flip_and_halve, memory=memory))
            for x in (first, second)
        ]
        for (samples, labels), (others, same_labels) in zip(*batches, strict=True):
            np.testing.assert_array_equal(samples.inputs, others.inputs)
            np.testing.assert_array_equal(labels, same_labels)
            means = others.member_outputs[0][:, :16]  # What the teacher saw.
            np.testing.assert_array_equal(means, others.inputs.reshape(BATCH, 16))
    # Labels go with their own image.
    images, labels = second(tf.range(ROWS))
    assert [by_image[image.tobytes()] for image in images.numpy()] == labels.numpy().tolist()
    with pytest.raises(ValueError, match=r"data\.rows \(70 there, 60 here\)"):
        store.batches(in_files(tmp_path / "second", range(60), (60,)), prepare=flip_and_halve)
    with pytest.raises(ValueError, match="Leave y out"):
        store.batches(first, Y, prepare=flip_and_halve)


@pytest.mark.slow
def test_rows_of_a_memory_mapped_file_are_those_of_an_array(mixed, tmp_path):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for memory in (0, 2**20):
        batches = [everything(mixed.batches(x, Y, memory=memory)) for x in (X, mapped)]
        for one, other in zip(*batches, strict=True):
            assert_arrays(keras.tree.flatten(one), keras.tree.flatten(other))


@pytest.mark.slow
def test_the_store_does_not_depend_on_the_order_of_the_data(mixed, tmp_path):
    order = RNG.permutation(ROWS)
    recorded(tmp_path, x=X[order], y=Y[order], sampler="Mixup")
    for path in sorted(mixed.directory.glob("shard-*")):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_missing_cells_are_recorded_for_a_teacher_that_takes_them(tmp_path):
    def teach(x):
        share = 0.1 + 0.8 * np.isnan(x).mean((1, 2, 3))
        return np.stack([share, 1.0 - share], 1)

    x = np.where(X > 0.5, np.nan, X)
    teacher = teachers.FunctionTeacher(teach, "categorical", x)
    store = recorded(tmp_path, teacher, x, sampler="Empirical", epochs=1, shards=1)
    samples, _ = next(iter(store.batches(x, Y)))
    answers = scipy.special.softmax(samples.member_outputs[0].numpy(), -1)
    np.testing.assert_allclose(answers, teach(samples.inputs.numpy()), atol=1e-3)


@pytest.mark.slow
def test_labels_are_those_of_the_rows(tmp_path):
    store = recorded(tmp_path, sampler="Empirical")
    label = {x.tobytes(): y for x, y in zip(X, Y, strict=True)}
    rows = set()
    for samples, labels in everything(store.batches(X, Y)):
        assert samples.unmodified.all()
        assert [label[x.tobytes()] for x in samples.inputs] == labels.tolist()
        rows |= {x.tobytes() for x in samples.inputs}
    assert len(rows) > ROWS - 6  # Each epoch leaves six out, others in each.


@pytest.mark.parametrize("memory", [0, 2**20])
def test_passes_differ_and_follow_from_the_seed(mixed, memory):
    def keys(seed, steps):
        data = everything(mixed.batches(X, Y, seed=seed, memory=memory), steps)
        return [row.tobytes() for samples, _ in data for row in samples.inputs]

    two, rows = keys(1, 2 * STEPS), STEPS * BATCH
    assert sorted(two[:rows]) == sorted(two[rows:]) and two[:rows] != two[rows:]
    assert keys(2, STEPS) != two[:rows]


@pytest.mark.parametrize(
    ("first", "memory", "chooses"),
    [(STEPS + 2, 0, True), (STEPS - 1, 2**20, False)],
)
def test_a_restart_goes_on_where_it_was(mixed, first, memory, chooses):
    sampler = samplers.Uncertain(mixed.sampler, 2, "teacher_uncertainty", 0.0) if chooses else None
    arguments = {"sampler": sampler, "memory": memory}
    whole = everything(mixed.batches(X, Y, **arguments), first + 3)[first:]
    rest = everything(mixed.batches(X, Y, first_step=first, **arguments), 3)
    keras.tree.map_structure(np.testing.assert_array_equal, rest, whole)


# Training from it.


def student_of(store, sampler=None):
    return Distiller(network(seed=7), store.teacher, sampler=sampler or store.sampler)


def trained(distiller, data, run_eagerly=False, **arguments):
    distiller.compile(keras.optimizers.SGD(0.3), metrics=["accuracy"], run_eagerly=run_eagerly)
    settings = {"steps_per_epoch": 12, "epochs": 2, "shuffle": False, "verbose": 0}
    history = distiller.fit(data, **settings, **arguments)
    return history.history, distiller.student.get_weights()


@pytest.mark.slow
def test_a_student_is_that_of_the_live_teacher_on_the_same_samples(mixed):
    data = mixed.batches(X, Y)
    history, weights = trained(student_of(mixed), data, validation_data=(X, Y))
    live = Distiller(network(seed=7), ensemble(), sampler="Empirical")
    inputs = data.map(lambda samples, y: samples.inputs)
    live_history, wanted = trained(live, inputs, run_eagerly=True)
    assert history["loss"][0] > 1.1 * history["loss"][1]
    np.testing.assert_allclose(history["loss"], live_history["loss"], rtol=0.01)
    assert_arrays(weights, wanted, atol=1e-3)
    # Validation is of the student alone.
    assert set(history) == {"loss", "divergence", "agreement", "val_accuracy"}


def test_uncertain_samples_are_chosen_by_the_stored_scores(mixed):
    sampler = samplers.Uncertain(mixed.sampler, 3, "disagreement", temperature=0.0)
    samples, labels = next(iter(mixed.batches(X, Y, sampler=sampler)))
    assert samples.inputs.shape == (3 * BATCH, 4, 4, 1)
    distiller = Distiller(network(), mixed.teacher, sampler=sampler)
    kept = sampler.keep(samples, random.seed_tensor(0), distiller._networks())
    p = np.stack([tf.nn.softmax(member(samples.inputs)) for member in ensemble()]).astype("float64")
    entropy = -(p * np.log(p)).sum(-1)
    scores = -(p.mean(0) * np.log(p.mean(0))).sum(-1) - entropy.mean(0)
    lowest = np.sort(scores)[-BATCH]
    own = scores[kept.sources.numpy()]
    assert (own >= lowest * 0.99).all() and own.mean() > scores.mean()
    np.testing.assert_array_equal(kept.inputs, samples.inputs.numpy()[kept.sources])
    assert kept.follow(labels).shape == (BATCH,)


@pytest.mark.slow
def test_chosen_samples_train_from_a_store(tmp_path):
    chosen = samplers.Uncertain(candidates=2, score="divergence", temperature=1.0)
    store = recorded(tmp_path, sampler=chosen)
    data = store.batches(X, Y, sampler=chosen)
    history, _ = trained(student_of(store, chosen), data, run_eagerly=True)
    assert history["loss"][1] < 0.9 * history["loss"][0]
    assert "accuracy" in history  # Of the rows that stayed as they were.


def test_candidates_must_be_read_for_the_distillers_own_sampler(mixed):
    chooses = samplers.Uncertain(mixed.sampler, candidates=2)
    of_more = samplers.Uncertain(mixed.sampler, candidates=4)
    plain, candidates = mixed.batches(X, Y), mixed.batches(X, Y, sampler=chooses)
    for of_distiller, batches in [
        (chooses, plain),
        (mixed.sampler, candidates),
        (of_more, candidates),
        (samplers.Empirical(), plain),
    ]:
        distiller = student_of(mixed, of_distiller)
        distiller.compile("sgd")
        with pytest.raises(ValueError, match="read for another sampler"):
            distiller.fit(batches, steps_per_epoch=1)


def test_the_divisor_is_the_number_of_rows_that_are_kept(mixed):
    sampler = samplers.Uncertain(mixed.sampler, 2, "teacher_uncertainty", 0.0)
    distiller = student_of(mixed, sampler)
    distiller.compile(keras.optimizers.SGD(1.0), run_eagerly=True)
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


@pytest.mark.slow
def test_a_distiller_of_a_store_is_saved_and_resumed(mixed, tmp_path):
    def batches(first_step):
        return mixed.batches(X, Y, first_step=first_step)

    def run(directory):
        distiller = student_of(mixed)
        distiller.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
        settings = {"steps": 8, "every_steps": 2, "verbose": 0}
        resume.fit(distiller, batches, directory, **settings)
        return distiller

    whole = run(tmp_path / "whole")
    (tmp_path / "parts").mkdir()
    (tmp_path / "whole" / "step-6.npz").rename(tmp_path / "parts" / "step-6.npz")
    again = run(tmp_path / "parts")
    assert_same_weights(again.student, whole.student)
    whole.save(tmp_path / "distiller.keras")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    assert isinstance(loaded.teacher, replay.RecordedTeacher)
    np.testing.assert_array_equal(loaded(X), whole(X))


class Unbuilt(keras.Model):
    """A student that Keras has a batch tried by before it trains."""

    def __init__(self):
        super().__init__()
        self.layer = keras.layers.Dense(3)

    def call(self, x):
        return self.layer(keras.ops.reshape(x, (-1, 16)))


def test_a_student_that_is_not_built_is_trained_as_by_fit(mixed, tmp_path):
    def compiled():
        keras.utils.set_random_seed(0)
        distiller = Distiller(Unbuilt(), mixed.teacher, sampler=mixed.sampler)
        distiller.compile("sgd", run_eagerly=True)
        return distiller

    one, other = compiled(), compiled()
    one.fit(mixed.batches(X, Y), steps_per_epoch=2, shuffle=False, verbose=0)
    resume.fit(
        other, lambda step: mixed.batches(X, Y, first_step=step), tmp_path, steps=2, verbose=0
    )
    assert_same_weights(one.student, other.student)


@pytest.mark.slow
def test_two_replicas_reach_the_weights_of_one():
    (ends,) = processes.results([processes.start("replay_on_replicas.py", VIRTUAL_DEVICES="2")])
    (history, weights), (its_history, its_weights) = ends
    assert history["loss"][1] < 0.5 * history["loss"][0]
    assert_arrays(weights, its_weights, atol=1e-5)
    assert history.keys() == its_history.keys()
    for name, values in history.items():
        np.testing.assert_allclose(values, its_history[name], rtol=1e-4)


# What is refused.


def test_a_store_answers_for_its_own_samples_only(mixed):
    def refuses(message, data, units=3, **arguments):
        arguments = {"sampler": mixed.sampler, **arguments}
        distiller = Distiller(network(units), mixed.teacher, **arguments)
        distiller.compile()
        with pytest.raises(ValueError, match=message):
            distiller.fit(data, steps_per_epoch=1, verbose=0)
        return distiller

    data = mixed.batches(X, Y)
    distiller = refuses(r"Fit it on the store's own samples.*store.batches", X)
    with pytest.raises(ValueError, match="answers other inputs than a store's"):
        distiller.compile(metrics=["accuracy"], teacher_metrics=True)
    refuses("needs the unmodified rows beside", data, label_weight=0.5)
    refuses(r"stored answers are categorical, of size 3.* size 5", data, units=5)
    refuses(r"stored answers are categorical.*normal, of size 3", data, units=6, output="normal")


def sequences(mask):
    """A network of sequences (4, 1) that masks steps of a value, or none."""
    layers = [] if mask is None else [keras.layers.Masking(mask)]
    layers += [keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(3)]
    return keras.Sequential([keras.Input((4, 1)), *layers])


def test_moved_samples_are_refused_by_a_student_that_masks_what_the_teacher_did_not(tmp_path):
    x = X[:, :, 0].copy()
    x[::2, 3] = 0.5  # Padding.
    toward = samplers.TowardUncertainty(step=1.0)
    store = recorded(tmp_path, sequences(0.5), x, None, sampler=toward, epochs=1, shards=1)
    (samples,) = next(iter(store.batches(x)))
    assert 0 < np.count_nonzero(samples.inputs == 0.5) < BATCH
    assert store.teacher.padding == [[0.5]]
    again = replay.RecordedTeacher.from_config(store.teacher.get_config())
    of_no_mask = replay.RecordedTeacher("categorical", "TowardUncertainty", BATCH, "", [[]])

    def fit(teacher, mask):
        distiller = Distiller(sequences(mask), teacher, sampler=toward)
        distiller.compile("sgd", run_eagerly=True)
        distiller.fit(store.batches(x), steps_per_epoch=1, verbose=0)

    fit(again, 0.5)
    message = r"moved, and the input with them, which the student .*layer 'masking.*does not"
    for teacher, mask in ((again, -1.0), (of_no_mask, 0.5)):
        with pytest.raises(ValueError, match=message):
            fit(teacher, mask)


def test_labels_that_are_missing_or_too_many_are_named(mixed, tmp_path):
    with pytest.raises(ValueError, match=r"with labels, give y too: store\.batches\(x, y\)"):
        mixed.batches(X)
    with pytest.raises(ValueError, match=r"lists of numbers\. Give np\.asarray\(x\)"):
        mixed.batches([1, 2])
    with pytest.raises(ValueError, match=r"is None.*two arguments, x and y"):
        mixed.batches((X, None, np.ones(len(X))))
    store = recorded(tmp_path, network(), y=None, sampler="Empirical", epochs=1, shards=1)
    with pytest.raises(ValueError, match=r"without labels\. Leave y out"):
        store.batches(X, Y)


def test_several_inputs_may_be_a_list(tmp_path):
    parts = [keras.Input((n,)) for n in (2, 3)]
    teacher = keras.Model(parts, keras.layers.Dense(3)(keras.layers.Concatenate()(parts)))
    flat = X.reshape(len(X), -1)
    x = [flat[:, :2], flat[:, 2:5]]
    settings = {"batch_size": 8, "epochs": 1, "sampler": "Empirical", "verbose": 0}
    replay.record(teacher, x, directory=tmp_path, **settings)
    samples, *_ = next(iter(replay.Store(tmp_path).batches(x)))
    np.testing.assert_allclose(
        tf.nn.softmax(teacher(list(samples.inputs))),
        tf.nn.softmax(samples.member_outputs[0]),
        atol=1e-3,
    )


def test_prepare_may_lose_sizes(tmp_path):
    def prepare(x, seed):
        return tf.py_function(lambda rows: rows, [x], x.dtype)

    store = recorded(tmp_path, sampler="Empirical", prepare=prepare, epochs=1, shards=1)
    samples, _ = store.batches(X, Y, prepare=prepare).element_spec
    assert samples.inputs.shape == (BATCH, 4, 4, 1)


def test_mixtures_of_whole_numbers_are_replayed_as_they_were_recorded(tmp_path):
    """A network of bytes cuts their fractions off, in the recording, live and replayed."""
    x = np.round(255.0 * X)
    teacher, student = (
        keras.Sequential([keras.Input((4, 4, 1), dtype="uint8"), keras.layers.Rescaling(1 / 255)])
        for _ in range(2)
    )
    for each in (teacher, student):
        each.add(keras.layers.Flatten())
        each.add(keras.layers.Dense(3))
    store = recorded(tmp_path, teacher, x, sampler="Mixup", epochs=1, shards=1)
    distiller = Distiller(student, store.teacher, sampler=store.sampler)
    distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    logs = distiller.fit(store.batches(x, Y), steps_per_epoch=1, verbose=0).history
    samples, _ = next(iter(store.batches(x, Y)))
    flat = np.floor(samples.inputs).reshape(BATCH, 16) / 255.0
    p, q = (
        scipy.special.log_softmax(flat @ kernel + bias, -1)
        for kernel, bias in (teacher.get_weights(), student.get_weights())
    )
    assert np.any(samples.inputs % 1.0)
    assert logs["loss"] == pytest.approx([np.sum(np.exp(p) * (p - q), -1).mean()], rel=1e-4)


@pytest.mark.parametrize("memory", [2**28, 0])
def test_a_damaged_record_that_nobody_looked_for_is_told(tmp_path, memory):
    recorded(tmp_path, sampler="Empirical")
    path = tmp_path / "shard-00001-of-00002.tfrecord"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    store = replay.Store(tmp_path, verify=False)
    distiller = Distiller(network(), store.teacher, sampler=store.sampler)
    distiller.compile(run_eagerly=True)
    said = "shard-00001-of-00002.tfrecord is damaged" if memory else "damaged.*without verify=False"
    with pytest.raises(ValueError, match=said):
        distiller.fit(store.batches(X, Y, memory=memory), steps_per_epoch=STEPS, verbose=0)


def test_what_does_not_fit_the_manifest_is_named(mixed, tmp_path):
    of_half = samplers.Uncertain(samplers.Mixup(0.5))
    same_means = {"prepare": lambda x, seed: x[:, :, ::-1]}
    for x, y, arguments, message in [
        (X + 1.0, Y, {}, r"data\.fingerprint"),
        (X[1:], Y[1:], {}, r"data\.rows \(70 there, 69 here"),
        (X, Y, {"sampler": of_half}, r"sampler\.config\.alpha \(1.0 there, 0.5 here"),
        (X, Y, {"prepare": flip_and_halve}, "Give the `prepare` that was recorded"),
        (X, Y, same_means, "Give the `prepare` that was recorded"),
        (X, Y, {"about": {"preprocessing": "flips"}}, r"about\.preprocessing"),
    ]:
        with pytest.raises(ValueError, match=message):
            mixed.batches(x, y, **arguments)
    generated = samplers.Generated(generator())
    store = recorded(tmp_path, sampler=generated, epochs=1, shards=1)
    generated.model.layers[0].kernel.assign_add(tf.ones((5, 16)))
    with pytest.raises(ValueError, match="generators"):
        store.batches(X, Y, sampler=generated)


def test_stored_rows_are_verified_live(mixed, monkeypatch):
    teacher, other = ensemble(), [network(seed=seed) for seed in (1, 3)]
    assert mixed.verify(teacher, X, Y, rows=40) < 1e-6
    with pytest.raises(ValueError, match=r"other settings.*teacher"):
        mixed.verify(other, X, Y, rows=1)
    plan = json.loads((mixed.directory / "manifest.json").read_text())["plan"]
    monkeypatch.setattr(
        identity,
        "fingerprint_of_models",
        lambda models: plan["teacher"] if models else plan["generators"],
    )
    with pytest.raises(ValueError, match=r"answers to step \d+ otherwise .* nats"):
        mixed.verify(other, X, Y, rows=1)
