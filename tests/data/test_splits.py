"""Batches against the rows that they are made of; nothing here reads a real data set."""

import dataclasses
import sys
import types
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from dataset_arrays import arrays, assert_same

from ecl_tf import data
from ecl_tf.data import splits

SIZE = 50  # Three whole batches of 16, two rows left over.
PIXELS = np.random.default_rng(0).integers(0, 256, (SIZE, 3, 2, 1), dtype=np.uint8)


def numbered(inputs=PIXELS, **arguments):
    """Splits whose labels are the numbers of their rows, as bytes."""
    dataset = tf.data.Dataset.from_tensor_slices((inputs, np.arange(SIZE, dtype=np.uint8)))
    return data.Splits(dataset, dataset, dataset, event_size=1, **arguments)


def encoded(**arguments):
    """Splits whose training rows are strings, as files would be."""

    def decode(text, seed):
        # The seed takes the place of pixels, so that the tests can see it.
        return {"number": tf.strings.to_number(text, tf.int32), "seed": seed}

    rows = tf.data.Dataset.range(SIZE)
    train = rows.map(lambda n: (tf.strings.as_string(n), n))
    validation = rows.map(lambda n: ({"number": n, "seed": tf.zeros(2, tf.int32)}, n))
    return data.Splits(train, validation, validation, event_size=1, decode=decode, **arguments)


def batches(splits, count, batch_size=16, seed=0, **arguments):
    """The examples of `count` batches."""
    return data.training_batches(splits, batch_size, seed, **arguments).take(count).unbatch()


def labels_of(splits, count, **arguments):
    return arrays(batches(splits, count, **arguments))[1]


# Orders


@pytest.mark.parametrize(
    ("make", "batch_size", "batches_a_pass"),
    [(numbered, 16, 3), (numbered, SIZE, 1), (encoded, 10, 5)],
)
def test_every_pass_holds_each_row_at_most_once_in_another_order(make, batch_size, batches_a_pass):
    found = list(data.training_batches(make(), batch_size, 0).take(4 * batches_a_pass))
    assert {len(labels) for _, labels in found} == {batch_size}
    passes = np.reshape([labels for _, labels in found], (4, -1)).tolist()
    for one in passes:
        assert len(set(one)) == batch_size * batches_a_pass and set(one) <= set(range(SIZE))
    assert len({tuple(one) for one in [*passes, range(SIZE)]}) == 5


def test_every_row_is_as_likely_to_come_first_and_to_be_left_out():
    passes = labels_of(numbered(), 3 * 400).reshape(400, 48)
    counts = np.bincount(passes.ravel(), minlength=SIZE)
    # Binomial with 400 trials of 48/50: the standard deviation is 3.9.
    np.testing.assert_allclose(counts, 400 * 48 / 50, atol=5 * 3.9)
    # 8 rows a place are expected, with a standard deviation of 2.8.
    assert np.bincount(passes[:, 0], minlength=SIZE).max() < 8 + 5 * 2.8


def test_lists_of_inputs_stay_several():
    x = [np.arange(6.0), np.zeros((6, 2, 3))]
    (found, y), *_ = splits.shuffled_batches((x, np.arange(6)), 2, seed=0).take(1)
    assert [part.shape for part in found] == [(2,), (2, 2, 3)]
    np.testing.assert_array_equal(found[0], y)


def test_inputs_without_columns_are_batched_beside_others():
    rows = tf.zeros([6, 0]), tf.range(6)
    batches = splits.shuffled_batches(rows, 2, seed=0).take(3)
    found = [(tuple(x.shape), y.numpy().tolist()) for x, y in batches]
    assert [shape for shape, _ in found] == [(2, 0)] * 3
    assert sorted(label for _, labels in found for label in labels) == [*range(6)]


@pytest.mark.parametrize("make", [numbered, encoded])
def test_the_seed_alone_decides_order_and_decoding(make):
    first = batches(make(), 6, seed=5)
    assert_same(first, first)
    keras.utils.set_random_seed(123)
    assert_same(first, batches(make(), 6, seed=5))
    assert not np.array_equal(arrays(first)[1], labels_of(make(), 6, seed=6))


def test_nested_inputs_stay_together_and_only_bytes_of_inputs_become_floats_from_0_to_1():
    values = np.random.default_rng(1).normal(100, 300, (SIZE, 2))
    inputs = {dtype: values.astype(dtype) for dtype in ("float32", "float64", "int32")}
    splits = numbered({"image": PIXELS, **inputs})
    shapes = {"image": (3, 2, 1), **dict.fromkeys(inputs, (2,))}
    assert splits.input_shape == shapes
    batched = data.training_batches(splits, 16, 0)
    types = {"image": tf.float32, **{name: tf.as_dtype(name) for name in inputs}}
    for name, spec in batched.element_spec[0].items():  # Known before the first batch.
        assert (tuple(spec.shape[1:]), spec.dtype) == (shapes[name], types[name])
    x, labels = arrays(batched.take(4).unbatch())
    assert labels.dtype == np.uint8
    np.testing.assert_allclose(x["image"], PIXELS[labels] / 255, rtol=1e-6)
    for name, each in inputs.items():
        np.testing.assert_array_equal(x[name], each[labels])


# Augmentation


def show_seed(x, seed):
    assert x.dtype == tf.uint8  # Before the conversion.
    return {"image": x, "seed": tf.convert_to_tensor(seed)}


def test_augmentation_sees_bytes_and_another_seed_every_step():
    splits = numbered(augment=show_seed)
    runs = [data.training_batches(splits, 16, seed).take(20) for seed in (0, 1)]
    assert_same(runs[0], runs[0])
    seeds = [tuple(x["seed"]) for run in runs for x, _ in run.as_numpy_iterator()]
    assert len(set(seeds)) == 40
    for x, labels in runs[0].as_numpy_iterator():
        np.testing.assert_allclose(x["image"], PIXELS[labels] / 255, rtol=1e-6)
    # It does not change the order.
    order = [labels for _, labels in runs[0].as_numpy_iterator()]
    np.testing.assert_array_equal(np.concatenate(order), labels_of(numbered(), 20))


def test_a_name_in_the_place_of_a_function_is_refused():
    three = [tf.data.Dataset.from_tensors((1.0, 0))] * 3
    with pytest.raises(ValueError, match=r"a function \(inputs, seed\) .* as augment; got 'flip'"):
        splits.Splits(*three, 2, augment="flip")


def test_a_stream_is_decoded_then_augmented():
    augmented = []

    def augment(x, seed):
        augmented.append(tuple(x["number"].shape))
        return {**x, "step_seed": tf.repeat(tf.convert_to_tensor(seed)[None], 16, axis=0)}

    x, labels = arrays(batches(encoded(augment=augment), 20))
    assert augmented == [(16,)]
    assert encoded().input_shape == {"number": (), "seed": (2,)}  # Of decoded examples.
    np.testing.assert_array_equal(x["number"], labels)
    every_step, every_row = (set(map(tuple, x[name])) for name in ("step_seed", "seed"))
    assert (len(every_step), len(every_row)) == (20, 320) and not every_step & every_row


# Streamed


def test_a_stream_goes_on_whatever_the_batch_size():
    labels = labels_of(encoded(), 25, batch_size=16)
    counts = np.bincount(labels, minlength=SIZE)
    assert len(labels) == 25 * 16 and counts.max() - counts.min() <= 2


@pytest.mark.parametrize(("known", "first"), [(True, 4), (False, 1)])
def test_a_stream_after_a_number_of_steps_is_that_of_the_whole(known, first):
    """A pass ends within the fourth batch."""
    splits = encoded()
    if not known:
        train = splits.train.filter(lambda text, label: True)
        splits = dataclasses.replace(splits, train=train)
    assert set(range(SIZE)) == set(labels_of(splits, 4))
    rest = batches(splits, 8 - first, first_step=first)
    assert_same(rest, batches(splits, 8).skip(16 * first))


# Whole splits and evaluation


def test_train_rows_are_the_training_split_in_its_order():
    splits = numbered({"image": PIXELS, "pose": np.ones((SIZE, 2), "float32")})
    tf.nest.map_structure(np.testing.assert_array_equal, splits.train_rows, arrays(splits.train))
    assert splits.train_rows[0]["image"].dtype == tf.uint8
    assert splits.train_rows[1] is splits.train_rows[1]  # Read once.


@pytest.mark.parametrize("make", [numbered, encoded])
def test_less_data_than_a_batch_is_refused(make):
    with pytest.raises(ValueError, match=r"holds 50 examples.*batch of 51.*smaller batch size"):
        data.training_batches(make(), 51, 0)


def test_evaluation_batches_keep_order_convert_and_end_with_what_is_left_never_augmented():
    splits = numbered({"image": PIXELS, "number": np.arange(SIZE)}, augment=lambda x, seed: x * 0)
    evaluation = data.evaluation_batches(splits.validation, 20)
    assert [len(labels) for _, labels in evaluation] == [20, 20, 10]
    x, labels = arrays(evaluation.unbatch())
    np.testing.assert_allclose(x["image"], PIXELS / 255, rtol=1e-6)
    assert x["image"].dtype == np.float32
    np.testing.assert_array_equal(x["number"], labels)
    np.testing.assert_array_equal(labels, np.arange(SIZE))


# What is read once, before anything long begins


def own(monkeypatch, splits):
    """What `data.load` gives of a user's function."""
    monkeypatch.setitem(sys.modules, "own_data", types.SimpleNamespace(load=lambda: splits))
    return data.load("own_data:load")


def test_splits_that_cant_be_used_are_refused_by_part_and_place(monkeypatch, subtests):
    def rows(changed=None, value=np.nan, rows=300):
        x, y = np.zeros((rows, 4, 2), "float32"), np.zeros(rows, "float32")
        if changed == "x":
            x[277, 3, 1] = value
        elif changed == "y":
            y[277] = value
        return tf.data.Dataset.from_tensor_slices(({"age": x}, y))

    good = data.Splits(rows(), rows(), rows(), 1)
    assert own(monkeypatch, good) is good
    for change, message in [
        ({"train": rows("x")}, r"train split of 'own_data:load' has nan in the inputs\['age'\] of "
         r"row 277 \(from 0\), at \(3, 1\)"),
        ({"test": rows("y", -np.inf)}, r"test split .* has -inf in the label of row 277"),
        ({"validation": rows().take(0)}, "validation split .* is empty"),
        ({"validation": rows().repeat()}, r"validation split .* is without end"),
        ({"train": rows().filter(lambda x, y: True)}, r"unknown length.*assert_cardinality"),
    ]:  # fmt: skip
        with subtests.test(message=message), pytest.raises(ValueError, match=message):
            own(monkeypatch, dataclasses.replace(good, **change))
    with pytest.raises(
        ValueError, match=r"is tuple; its function must return ecl_tf\.data\.Splits"
    ):
        own(monkeypatch, (rows(), rows()))
    own(monkeypatch, encoded())  # A stream is not read.


def test_parts_of_the_same_rows_are_told_of(monkeypatch):
    x, y = np.random.default_rng(0).normal(size=(300, 2)), np.arange(300) % 3

    def rows(start, stop):
        return tf.data.Dataset.from_tensor_slices((x[start:stop], y[start:stop]))

    train, half = rows(0, 100), rows(0, 50)
    for validation, test, told in [
        (rows(100, 200), rows(200, 300), []),
        (train, rows(200, 300), []),  # No validation rows, as some commands allow.
        (rows(100, 200), rows(0, 100), ["The train and the test"]),
        (half, half, ["The validation and the test"]),
        (rows(0, 100), train, [f"The {pair}" for pair in (
            "train and the validation", "train and the test", "validation and the test"
        )]),
    ]:  # fmt: skip
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            own(monkeypatch, data.Splits(train, validation, test, 3))
        found = [str(each.message) for each in caught if each.category is UserWarning]
        assert [each.partition(" split")[0] for each in found] == told


def test_batches_of_one_size_are_told_of():
    x, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 2

    def told(train):
        test = train.take(2)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            data.require_usable(splits.Splits(train, test, test, event_size=2), "mine")
        return [each for each in caught if "train split of 'mine' is batched" in str(each.message)]

    batched = tf.data.Dataset.from_tensor_slices((x, y)).batch(6, drop_remainder=True)
    assert len(told(batched)) == len(told(batched.prefetch(1))) == 1
    tagged = tf.data.Dataset.from_tensor_slices((x.reshape(10, 6, 3), y.reshape(10, 6)))
    rows = batched.unbatch().apply(tf.data.experimental.assert_cardinality(60))
    assert not told(tagged) and not told(rows)


def test_images_of_0_to_255_are_uint8_in_every_part(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3))

    def dataset(dtype, scale=1.0):
        x = (images * scale).astype(dtype)
        return tf.data.Dataset.from_tensor_slices((x, np.arange(20) % 3))

    def load(*parts, **arguments):
        splits = data.Splits(*parts, 3, **arguments)
        monkeypatch.setattr("ecl_tf.data._DATASETS", {"own": lambda: splits})
        return data.load("own")

    small, standard = dataset("float32", 1 / 255), dataset("float32", 0.01)
    for parts in ([dataset("uint8")] * 3, [small] * 3, [standard] * 3):
        load(*parts)
    for dtype in ("float32", "int32"):
        with pytest.raises(ValueError, match=rf"test split .* {dtype} from 0 to 25\d.*/ 255\.0"):
            load(dataset("uint8"), dataset("uint8"), dataset(dtype))
    load(dataset("uint8"), small, small)  # All in [0, 1].
    with pytest.raises(ValueError, match=r"train split .* float32 from 0"):  # Once decoded.
        load(*[dataset("uint8")] * 3, decode=lambda x, seed: tf.cast(x, tf.float32))


def test_bytes_that_are_no_pixels_are_told_of():
    x, y = np.zeros((6, 2), "uint8"), np.arange(6) % 3
    train, test = (tf.data.Dataset.from_tensor_slices((x + n, y)) for n in (0, 1))
    with pytest.warns(UserWarning, match=r"uint8 and shape \(2,\), which are divided by 255"):
        data.require_usable(splits.Splits(train, train.skip(3), test, event_size=3), "mine")


def test_parts_that_are_no_pairs_of_inputs_and_a_label_are_refused():
    x, y = np.zeros((6, 2), "float32"), np.arange(6) % 3
    tensors = tf.data.Dataset.from_tensor_slices
    right = tensors((x, y))
    for part, message in [
        ((x, y), r"test split of 'mine' is a tuple; .*from_tensor_slices"),
        (tensors(x), r"examples without labels.*\(inputs, label\)"),
        (tensors((x, y, np.ones(6))), r"examples of 3 parts.*Weights"),
        (tensors({"image": x, "label": y}), r"without labels.*row\['label'\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            data.require_usable(splits.Splits(right, right, part, event_size=3), "mine")


def test_batches_and_other_shapes_are_refused():
    def part(labels, size=2):
        x = np.zeros((len(labels), size), "float32")
        return tf.data.Dataset.from_tensor_slices((x, np.asarray(labels)))

    def check(train, test):
        data.require_usable(splits.Splits(train, train, test, event_size=3), "mine")

    right = part([0, 1, 2])
    check(right, right)
    for test, message in [
        (right.batch(2), "test split of 'mine' is batched; expected single examples"),
        (part([0]).map(lambda x, y: (tf.as_string(x[None]), y)), r"string and shape \(1, 2\)"),
        (part([0], size=5), r"shape \(5,\), and the train split \(2,\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            check(right, test)
