"""Samplers and networks that don't suit each other are refused before the first step."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import Recorder, Subclassed, kl, network, numbers

import ecl_tf
from ecl_tf import Distiller, replay, samplers
from ecl_tf.samplers import (
    Augment,
    Choice,
    GaussianNoise,
    Generated,
    Mix,
    Swap,
    Uncertain,
    random,
    suitable,
)

L = keras.layers
WORDS = 20
TOKENS = np.random.default_rng(0).choice([1, 7, 19], (16, 6)).astype("float32")


def of_words(*layers, dtype="float32", **settings):
    """A network that looks words up, whatever their dtype."""
    embedding = L.Embedding(WORDS, 4, name="words", **settings)
    after = [embedding, L.GlobalAveragePooling1D(), L.Dense(3)]
    return keras.Sequential([keras.Input((6,), dtype=dtype), *layers, *after])


def of_all():
    """A network of an image, a number and an id."""
    image, age = keras.Input((6, 6, 1), name="image"), keras.Input((1,), name="age")
    camera = keras.Input((), name="camera")
    x = L.Concatenate()([L.Flatten()(image), age, L.Embedding(4, 2, name="cameras")(camera)])
    return keras.Model({"image": image, "age": age, "camera": camera}, L.Dense(3)(x))


def batch_of_all():
    cameras = np.random.default_rng(1).integers(0, 4, 16).astype("float32")
    return {"image": numbers(16, 6, 6, 1), "age": numbers(16, 1), "camera": cameras}


def fit(distiller, x, **arguments):
    distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    return distiller.fit(x, verbose=0, **arguments).history["divergence"]


@keras.saving.register_keras_serializable("ecl_tf_tests")
class Halve(samplers.Sampler):
    averages = True

    def sample(self, inputs, seed):
        return samplers.Samples(inputs / 2, tf.zeros([len(inputs)], tf.bool))


def generator(dtype):
    z = keras.Input((6,))
    ids = keras.ops.cast(keras.ops.argmax(L.Reshape((6, 1))(z) * tf.ones(WORDS), -1), dtype)
    return keras.Model(z, ids)


@pytest.mark.parametrize(
    "sampler",
    [
        None,
        "DirichletMixup",
        GaussianNoise(0.1),
        Augment(L.GaussianNoise(0.1)),
        Uncertain(Choice(["Empirical", Choice(["Swap", "Mixup"])])),
        "UncertaintyMixup",
        samplers.Chain(["Swap", "Mixup"]),
        Halve(),
    ],
    ids=repr,
)
def test_ids_are_not_averaged_by_any_sampler(sampler):
    message = r"the exact values of the input: its layer 'words'.*samplers\.Swap\(\).*'Empirical'"
    with pytest.raises(ValueError, match=message) as refusal:
        Distiller(of_words(), of_words(), sampler=sampler)
    assert "cast" not in str(refusal.value).lower()


def test_ids_are_found_in_either_network_and_at_the_latest_by_the_data(subtests):
    class Rule(ecl_tf.Teacher):
        def member_outputs(self, inputs):
            return [5.0 * tf.one_hot(tf.cast(inputs[:, 0], tf.int32) % 3, 3)]

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return (TOKENS,)

    dense = network(0, 6)
    with subtests.test("the teacher's alone"), pytest.raises(ValueError, match="the teacher"):
        Distiller(dense, [network(1, 6), of_words()])
    for what, student, x in (
        ("a subclassed network", Subclassed(3), TOKENS),
        ("data of unknown shape", Subclassed(3), Batches()),
    ):
        distiller = Distiller(student, Rule("categorical"))
        with subtests.test(what), pytest.raises(ValueError, match=r"the teacher 'rule.*Swap\(\)"):
            fit(distiller, x)
    image, camera = keras.Input((6, 6, 1)), keras.Input(())
    x = L.Concatenate()([L.Flatten()(image), L.Embedding(4, 2)(camera)])
    listed = keras.Model([image, camera], L.Dense(3)(x))
    x = numbers(16, 6, 6, 1), np.zeros(16, "float32")
    with subtests.test("a list"), pytest.raises(ValueError, match=r"input '1'.*swap=\['1'\]"):
        fit(Distiller(keras.models.clone_model(listed), listed), x)
    with subtests.test("a list that is swapped"):
        fit(Distiller(keras.models.clone_model(listed), listed, sampler=Mix(swap=[1])), x)
    with subtests.test("a sampler that is set later"), pytest.raises(ValueError, match="'words'"):
        Distiller(of_words(), of_words(), sampler="Empirical").sampler = "Mixup"


def test_words_that_are_swapped_are_words_that_there_are():
    recorder, student, teacher = Recorder(), of_words(), of_words()
    spied = keras.Model(teacher.inputs, teacher(recorder(teacher.inputs[0])))
    distiller = Distiller(student, spied, sampler=Swap(0.5))
    recorder.batches.clear()
    distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    divergence = distiller.fit(TOKENS, verbose=0, batch_size=16, shuffle=False)
    (asked,) = recorder.batches
    drawn = Swap(0.5)(TOKENS, random.fold_in(random.fold_in(0, 0), 0)).inputs
    np.testing.assert_array_equal(asked, drawn)
    assert np.any(asked != TOKENS) and set(asked.ravel()) == {1, 7, 19}
    expected = kl(teacher.predict(asked, verbose=0), student.predict(asked, verbose=0)).mean()
    assert abs(divergence.history["divergence"][0] - expected) < 1e-5


def test_texts_that_are_swapped_are_rows_that_there_are():
    def of_texts():
        words = L.TextVectorization(vocabulary=["a", "b"], output_sequence_length=2)
        layers = [words, L.Embedding(4, 2), L.Flatten(), L.Dense(3)]
        return keras.Sequential([keras.Input((1,), dtype="string"), *layers])

    texts = tf.constant([["a b"], ["b"], ["b a"], ["a"]])
    with pytest.raises(ValueError, match=r"no mean\. Where both networks.*Embedded\(padding=0\)"):
        fit(Distiller(of_texts(), of_texts(), sampler="Mixup"), texts)
    with pytest.warns(UserWarning, match=r"Swap exchanges whole rows.*Embedded\(padding=0\)"):
        fit(Distiller(of_texts(), of_texts(), sampler="Swap"), texts)


def test_one_row_in_two_forms_is_told_of():
    def of_form(name):
        ids = keras.Input((6,), name=name)
        return keras.Model({name: ids}, L.Dense(3)(L.Flatten()(L.Embedding(60, 2)(ids))))

    rows = {"pieces": TOKENS, "words": TOKENS}
    message = r"swaps cells of \['words'\], which the student alone .* \['pieces'\], the teacher's"
    with pytest.warns(UserWarning, match=message):
        fit(Distiller(of_form("words"), of_form("pieces"), sampler="Swap"), rows)


def test_grey_images_without_an_axis_of_channels_are_told_of():
    def of_images():
        return keras.Sequential([keras.Input((6, 6, 1)), L.Flatten(), L.Dense(3)])

    with pytest.warns(UserWarning, match=r"\(None, 6, 6\), and .* \(None, 6, 6, 1\)"):
        fit(Distiller(of_images(), of_images()), numbers(16, 6, 6))


def test_images_numbers_and_ids_together():
    message = r"input 'camera': its layer 'cameras'.*recipe\(swap=\['camera'\]\)"
    with pytest.raises(ValueError, match=message):
        Distiller(of_all(), of_all())
    sampler = samplers.recipe(swap=["camera"])
    assert np.isfinite(fit(Distiller(of_all(), of_all(), sampler=sampler), batch_of_all()))
    noise = GaussianNoise({"image": 0.1, "age": 0.1, "camera": None})
    flip = Augment(L.RandomFlip(), key="image")
    for kept in (noise, flip):
        Distiller(of_all(), of_all(), sampler=kept)


def test_masked_steps_stay_masked(subtests):
    masked = lambda: of_words(mask_zero=True)  # noqa: E731
    padded = np.where(np.arange(6) < 4, TOKENS, 0)
    with subtests.test("mixed"), pytest.raises(ValueError, match=r"Swap\(padding=0"):
        Distiller(masked(), masked())
    with subtests.test("swapped"), pytest.raises(ValueError, match=r"masks those.*padding=0"):
        Distiller(masked(), masked(), sampler="Swap")
    with subtests.test("with the padding"):
        assert np.isfinite(fit(Distiller(masked(), masked(), sampler=Swap(padding=0)), padded))

    def steps():
        layers = [L.Masking(-1.0, name="mask"), L.LSTM(3), L.Dense(3)]
        return keras.Sequential([keras.Input((5, 2)), *layers])

    message = r"'mask' compares it with -1\.0.*Swap\(padding=-1\.0\)"
    with subtests.test("features"), pytest.raises(ValueError, match=message):
        Distiller(steps(), steps(), sampler=GaussianNoise(0.1))


def transposed():
    inputs = keras.Input((3, 8, 8))
    return keras.Model(inputs, keras.ops.transpose(inputs, (0, 2, 3, 1)))


@pytest.mark.parametrize(
    "first",
    [
        [L.Permute((2, 3, 1)), L.Conv2D(2, 3)],
        [transposed(), L.Conv2D(2, 3)],
        [L.Rescaling(1.0), keras.Sequential([L.Permute((3, 2, 1)), L.Conv2D(2, 3)])],
        [L.AveragePooling2D(2, data_format="channels_first")],
    ],
    ids=["Permute", "transpose", "within a network, turned", "data_format"],
)
def test_samplers_look_for_the_channels_where_networks_do(first):
    def of_images(*layers):
        return keras.Sequential([keras.Input((3, 8, 8)), *layers, L.Flatten(), L.Dense(3)])

    plain, x = of_images(), numbers(16, 3, 8, 8)
    of_torch = of_images(*first)
    for networks, sampler in (
        ((of_torch, plain), None),
        ((of_torch, plain), "CutMix"),
        ((plain, of_torch), "Swap"),
        ((plain, of_torch), Uncertain(Choice(["Empirical", "Mix"]))),
    ):
        with pytest.raises(ValueError, match=r"channels_last.*data_format='channels_first'\)"):
            Distiller(*networks, sampler=sampler)
    for sampler in (samplers.recipe(data_format="channels_first"), "Mixup"):
        fit(Distiller(plain, of_torch, sampler=sampler), x)
    for layer in (L.Conv2D(2, 3), L.Lambda(lambda x: x)):  # As Keras has it, and not known.
        Distiller(plain, of_images(layer))


def test_a_mask_of_positions_is_no_column_to_swap():
    ids, mask = keras.Input((6,), name="ids"), keras.Input((6,), name="attention_mask")
    x = L.Embedding(WORDS, 4)(ids) * mask[..., None]
    model = keras.Model([ids, mask], L.Dense(3)(L.GlobalAveragePooling1D()(x)))
    length = np.arange(16)[:, None] % 6 + 1
    marks = (np.arange(6) < length).astype("float32")
    data = {"ids": TOKENS * marks, "attention_mask": marks}
    swapped = [Swap(0.5, padding={"ids": 0}), Mix(swap=["attention_mask", "ids"])]
    for sampler in (*swapped, Mix(swap=["ids"], padding={"ids": 0})):  # The last one averages it.
        with pytest.raises(ValueError, match=r"'attention_mask'.*by its name.*padding="):
            fit(Distiller(model, keras.models.clone_model(model), sampler=sampler), data)
    drawn = Swap(0.9, padding=0)(data, seed=0).inputs
    np.testing.assert_array_equal(drawn["ids"] != 0, marks)
    np.testing.assert_array_equal(drawn["attention_mask"], marks)
    Swap(0.5)({"mask": numbers(4, 3, 3, 1)}, seed=0)  # An image.
    mixes_steps = samplers.recipe(swap=["mask"], padding={"mask": 0})
    for own in (marks, marks[..., None]):  # As a product with the steps needs it.
        steps = {"steps": numbers(16, 6, 2), "mask": own}
        with pytest.raises(ValueError, match=r"sums of input 'steps'.*Swap\(padding={'steps': 0"):
            suitable.require(mixes_steps, steps)
        with pytest.raises(ValueError, match="sums of input 'mask'"):
            suitable.require(Mix(), steps)
        suitable.require(Swap(padding=0), steps)


def test_a_length_that_a_network_compares_with_positions_is_neither_mixed_nor_swapped(subtests):
    def of_lengths(positions, dtype):
        steps, length = keras.Input((6, 2), name="steps"), keras.Input((), dtype=dtype, name="n")
        is_step = L.Lambda(positions, output_shape=(6,))(length)
        means = L.GlobalAveragePooling1D()(L.Dense(4)(steps), mask=is_step)
        return keras.Model({"steps": steps, "n": length}, L.Dense(3)(means))

    for dtype, positions in {
        "float32": lambda n: tf.range(6.0) < n[:, None],
        "int32": lambda n: tf.sequence_mask(n, 6),
        "float64": lambda n: keras.ops.expand_dims(n, 1) >= np.arange(1.0, 7.0),
    }.items():
        student, teacher = of_lengths(positions, dtype), of_lengths(positions, dtype)
        data = {"steps": numbers(16, 6, 2), "n": (np.arange(16) % 6 + 1).astype(dtype)}
        for sampler in (samplers.recipe(swap=["n"]), Swap(padding=0)):
            refused = pytest.raises(ValueError, match=r"'n', which the student.* row's length")
            with subtests.test(dtype, sampler=type(sampler).__name__), refused:
                fit(Distiller(student, teacher, sampler=sampler), data)
    fit(Distiller(student, teacher, sampler="Empirical"), data)


def test_a_batch_of_one_row_is_told_of_where_others_are_needed(recwarn):
    suitable.warn_of_single_rows(Choice(["Empirical", GaussianNoise(1.0)]))
    assert not recwarn.list
    for sampler in (GaussianNoise(1.0, relative=True), samplers.TowardUncertainty()):
        with pytest.warns(UserWarning, match=f"so {type(sampler).__name__} leaves it as it is"):
            suitable.warn_of_single_rows(Choice([sampler]))


def test_a_generator_gives_ids_as_whole_numbers():
    with pytest.raises(ValueError, match=r"Generated computes .* 'words'"):
        Distiller(of_words(), of_words(), sampler=Generated(generator("float32")))
    Distiller(of_words(), of_words(), sampler=Generated(generator("int32")))


def test_recordings_of_ids(tmp_path):
    settings = {
        "directory": tmp_path / "store",
        "batch_size": 8,
        "epochs": 1,
        "shards": 1,
        "verbose": 0,
    }
    with pytest.raises(ValueError, match=r"the teacher .* 'words'"):
        replay.record(
            of_words(), TOKENS, sampler="Mixup", prepare=lambda x, seed: x + 0.0, **settings
        )
    assert not settings["directory"].exists() or not list(settings["directory"].iterdir())
    rows = np.arange(16 * 6).reshape(16, 6) % WORDS  # Rows of a store are not the same.
    replay.record(of_words(dtype="int32"), rows, sampler="Swap", **settings)
    store = replay.Store(tmp_path / "store")
    distiller = Distiller(of_words(dtype="int32"), store.teacher, sampler=store.sampler)
    assert np.isfinite(fit(distiller, store.batches(rows), steps_per_epoch=2))


def test_networks_of_a_state_or_of_fixed_rows(subtests):
    def stateful():
        recurrent = L.Bidirectional(L.LSTM(4, stateful=True))
        return keras.Sequential([keras.Input(batch_shape=(8, 5, 2)), recurrent, L.Dense(3)])

    def fixed():
        x = keras.Input(batch_shape=(8, 5, 2))
        return keras.Model(x, L.Dense(3)(keras.ops.reshape(x, (8, 10))))

    def of_any_rows():
        return keras.Sequential([keras.Input(batch_shape=(8, 5, 2)), L.Flatten(), L.Dense(3)])

    of_state, of_rows = (stateful(), stateful()), (fixed(), fixed())
    asks = {"sampler": "Uncertain"}
    appends = {"sampler": "Mixup", "label_weight": 0.5}
    scores = {"sampler": "UncertaintyMixup"}
    for what, networks, arguments in (
        ("candidates and a state", of_state, asks),
        ("labels and a state", of_state, appends),
        ("a score and a state", of_state, scores),
        ("candidates and fixed rows", of_rows, asks),
        ("labels and fixed rows", of_rows, appends),
    ):
        message = r"(stateful=True|a fixed number of rows).*sampler='Empirical'"
        with subtests.test(what), pytest.raises(ValueError, match=message):
            Distiller(*networks, **arguments)
    Distiller(*of_state, sampler="Empirical")
    Distiller(*of_rows, **scores)
    with subtests.test("a batch shape that does not matter"):
        fit(Distiller(of_any_rows(), of_any_rows(), **asks), numbers(16, 5, 2), batch_size=8)
    with subtests.test("labels that are set later"):
        distiller = Distiller(*of_state, sampler="Mixup")
        with pytest.raises(ValueError, match="stateful=True"):
            distiller.label_weight = 0.5


def test_ragged_and_sparse_tensors_are_named():
    for kind, tensor in (
        ("ragged", tf.ragged.constant([[1.0], [2.0, 3.0]])),
        ("sparse", tf.sparse.from_dense([[1.0, 0.0]])),
    ):
        with pytest.raises(ValueError, match=kind):
            Swap()({"x": tensor}, seed=0)
