"""Batches against the rows that they are made of; nothing here reads a real data set."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ecl_tf import data

SIZE = 50  # Three whole batches of 16, two rows left over.


def rows(inputs, labels=None):
    labels = np.arange(SIZE) if labels is None else labels
    return tf.data.Dataset.from_tensor_slices((inputs, labels))


def numbered(inputs=None, **arguments):
    """Splits whose labels are the numbers of their rows."""
    inputs = np.arange(SIZE, dtype="float32")[:, None] if inputs is None else inputs
    dataset = rows(inputs)
    return data.Splits(dataset, dataset, dataset, event_size=1, **arguments)


def pixels():
    return np.random.default_rng(0).integers(0, 256, (SIZE, 3, 2, 1), dtype=np.uint8)


def encoded(size=SIZE, **arguments):
    """Splits whose training rows are strings, as files would be."""

    def decode(text, seed):
        # The seed takes the place of pixels, so that the tests can see it.
        return {"number": tf.strings.to_number(text, tf.int32), "seed": seed}

    train = rows(np.array([f"{n}" for n in range(size)]), np.arange(size))
    validation = rows({"number": np.arange(3), "seed": np.zeros((3, 2), np.int32)}, np.arange(3))
    arguments = {"decode": decode, **arguments}
    return data.Splits(train, validation, validation, event_size=1, **arguments)


def take(splits, count, batch_size=16, seed=0):
    """`count` batches as NumPy arrays."""
    batches = data.training_batches(splits, batch_size, seed).take(count)
    return list(batches.as_numpy_iterator())


def labels_of(batches):
    return np.concatenate([labels for _, labels in batches])


# From memory


def test_every_pass_holds_each_row_at_most_once_in_another_order():
    batches = take(numbered(), 12)
    assert [len(labels) for _, labels in batches] == [16] * 12
    passes = labels_of(batches).reshape(4, 48)
    for one in passes:
        assert len(set(one)) == 48
        assert set(one) <= set(range(SIZE))
    assert len({one.tobytes() for one in passes}) == 4


def test_every_row_is_as_likely_to_come_first_and_to_be_left_out():
    passes = labels_of(take(numbered(), 3 * 400)).reshape(400, 48)
    counts = np.bincount(passes.ravel(), minlength=SIZE)
    # Binomial with 400 trials of 48/50: the standard deviation is 3.9.
    np.testing.assert_allclose(counts, 400 * 48 / 50, atol=5 * 3.9)
    # 8 rows a place are expected, with a standard deviation of 2.8.
    assert np.bincount(passes[:, 0], minlength=SIZE).max() < 8 + 5 * 2.8


def test_the_seed_alone_decides_the_order():
    batches = data.training_batches(numbered(), 16, 5).take(6)
    first, again = (labels_of(batches.as_numpy_iterator()) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    keras.utils.set_random_seed(123)
    np.testing.assert_array_equal(labels_of(take(numbered(), 6, seed=5)), first)
    assert not np.array_equal(labels_of(take(numbered(), 6, seed=6)), first)


def test_a_batch_may_be_the_whole_data():
    passes = [labels.tolist() for _, labels in take(numbered(), 3, batch_size=SIZE)]
    assert all(sorted(one) == list(range(SIZE)) for one in passes)
    assert passes[0] != passes[1]


def test_nested_inputs_stay_together_and_bytes_become_floats_from_0_to_1():
    images, poses = pixels(), np.random.default_rng(1).normal(size=(SIZE, 2)).astype("float32")
    images[0] = 255
    splits = numbered({"image": images, "pose": poses})
    assert splits.input_shape == {"image": (3, 2, 1), "pose": (2,)}
    for x, labels in take(splits, 4):
        assert x["image"].dtype == np.float32
        np.testing.assert_allclose(x["image"], images[labels] / 255, rtol=1e-6)
        np.testing.assert_array_equal(x["pose"], poses[labels])


@pytest.mark.parametrize("dtype", ["float64", "int32"])
def test_other_inputs_and_labels_of_bytes_stay_as_they_are(dtype):
    values = np.random.default_rng(0).normal(100, 300, (SIZE, 4)).astype(dtype)
    labels = np.arange(SIZE, dtype=np.uint8)
    splits = data.Splits(*[rows(values, labels)] * 3, event_size=1)
    for x, labels in [*take(splits, 3), *data.evaluation_batches(splits.test, 16)]:
        assert x.dtype == dtype and labels.dtype == np.uint8
        np.testing.assert_array_equal(x, values[labels])


def test_shapes_and_dtypes_are_known_before_the_first_batch():
    images, labels = data.training_batches(numbered(pixels()), 16, 0).element_spec
    assert tuple(images.shape[1:]) == (3, 2, 1) and images.dtype == tf.float32
    assert labels.shape.rank == 1


# Augmentation


def show_seed(x, seed):
    assert x.dtype == tf.uint8  # Before the conversion.
    return {"image": x, "seed": tf.convert_to_tensor(seed)}


def test_augmentation_sees_bytes_and_another_seed_every_step():
    images = pixels()
    splits = numbered(images, augment=show_seed)
    runs = [take(splits, 20, seed=seed) for seed in (0, 0, 1)]
    seeds = [[tuple(x["seed"]) for x, _ in run] for run in runs]
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0] + seeds[2])) == 40
    for x, labels in runs[0]:
        np.testing.assert_allclose(x["image"], images[labels] / 255, rtol=1e-6)
    # It does not change the order.
    np.testing.assert_array_equal(labels_of(take(numbered(images), 20)), labels_of(runs[0]))


def test_validation_is_never_augmented():
    splits = numbered(pixels(), augment=lambda x, seed: x * 0)
    batches = data.evaluation_batches(splits.validation)
    np.testing.assert_allclose(next(iter(batches))[0], pixels() / 255, rtol=1e-6)


# Streamed


def test_a_stream_holds_each_example_once_a_pass_in_another_order():
    splits = encoded()
    batches = take(splits, 25, batch_size=10)
    for x, labels in batches:
        np.testing.assert_array_equal(x["number"], labels)
        assert labels.shape == (10,)
    passes = labels_of(batches).reshape(5, SIZE)
    assert all(sorted(one) == list(range(SIZE)) for one in passes)
    assert len({one.tobytes() for one in passes}) == 5
    assert passes[0].tolist() != list(range(SIZE))


def test_a_stream_goes_on_whatever_the_batch_size():
    batches = take(encoded(), 25, batch_size=16)
    counts = np.bincount(labels_of(batches), minlength=SIZE)
    assert len(labels_of(batches)) == 25 * 16 and counts.max() - counts.min() <= 2


def test_a_stream_follows_from_its_seed_and_every_decoding_has_its_own():
    runs = []
    for number, seed in enumerate((7, 7, 8)):
        keras.utils.set_random_seed(number)
        runs.append(take(encoded(), 8, seed=seed))
    for (x, labels), (y, same) in zip(*runs[:2], strict=True):
        np.testing.assert_array_equal(labels, same)
        np.testing.assert_array_equal(x["seed"], y["seed"])
    assert not np.array_equal(labels_of(runs[0]), labels_of(runs[2]))
    seeds = {tuple(seed) for run in runs[1:] for x, _ in run for seed in x["seed"]}
    assert len(seeds) == 2 * 8 * 16


@pytest.mark.parametrize("known", [True, False])
def test_a_stream_after_a_number_of_steps_is_that_of_the_whole(known):
    splits = encoded()
    if not known:
        train = splits.train.filter(lambda text, label: True)
        splits = data.Splits(train, splits.validation, splits.test, 1, decode=splits.decode)
    whole = take(splits, 8)
    assert set(range(SIZE)) == set(labels_of(whole[:4]))
    for first in (1, 4):  # A pass ends within the fourth batch.
        rest = data.training_batches(splits, 16, seed=0, first_step=first).take(8 - first)
        for (x, labels), (y, same) in zip(whole[first:], rest, strict=True):
            np.testing.assert_array_equal(labels, same)
            np.testing.assert_array_equal(x["seed"], y["seed"])


def test_a_stream_is_decoded_then_augmented():
    augmented = []

    def augment(x, seed):
        augmented.append(x["number"].shape)
        return {**x, "step_seed": tf.convert_to_tensor(seed)}

    batches = take(encoded(augment=augment), 20)
    assert [tuple(shape) for shape in augmented] == [(16,)]
    assert len({tuple(x["step_seed"]) for x, _ in batches}) == 20
    every = {tuple(seed) for x, _ in batches for seed in x["seed"]}
    assert not every & {tuple(x["step_seed"]) for x, _ in batches}


def test_the_input_shape_is_that_of_decoded_examples():
    assert encoded().input_shape == {"number": (), "seed": (2,)}


# Whole splits and evaluation


def test_train_rows_are_the_training_split_in_its_order():
    inputs = {"image": pixels(), "pose": np.ones((SIZE, 2), "float32")}
    splits = numbered(inputs)
    x, labels = splits.train_rows
    np.testing.assert_array_equal(x["image"], inputs["image"])
    np.testing.assert_array_equal(x["pose"], inputs["pose"])
    np.testing.assert_array_equal(labels, np.arange(SIZE))
    assert x["image"].dtype == tf.uint8
    assert splits.train_rows[1] is labels  # Read once.


@pytest.mark.parametrize("make", [numbered, encoded])
def test_less_data_than_a_batch_is_refused(make):
    with pytest.raises(ValueError, match=r"holds 50 examples.*batch of 51.*smaller batch size"):
        data.training_batches(make(), 51, 0)


def test_evaluation_batches_keep_order_convert_and_end_with_what_is_left():
    batches = list(data.evaluation_batches(rows({"image": pixels()}), 20).as_numpy_iterator())
    assert [len(labels) for _, labels in batches] == [20, 20, 10]
    images = np.concatenate([x["image"] for x, _ in batches])
    np.testing.assert_allclose(images, pixels() / 255, rtol=1e-6)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(labels_of(batches), np.arange(SIZE))
