"""Examples are read from their files by place, and known by their ids."""

import numpy as np
import pytest
import tensorflow as tf

from ecl_tf import data


def record_of(number):
    content = tf.fill([number % 3 + 1], number)  # Of different lengths.
    return tf.io.serialize_tensor(content).numpy()


def write(path, numbers):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in numbers:
            writer.write(record_of(number))
    return path


def parse(record):
    return (tf.reduce_max(tf.io.parse_tensor(record, tf.int32)),)


def id_of(record):
    return 100 + parse(record)[0]


@pytest.fixture
def paths(tmp_path):
    return [write(tmp_path / "a", range(5)), write(tmp_path / "b", range(5, 9))]


def test_examples_at_places(paths):
    examples = data.IndexedExamples(paths, parse)
    assert examples.count == 9
    (found,) = examples(tf.constant([8, 0, 4, 5, 0]))
    assert found.numpy().tolist() == [8, 0, 4, 5, 0]
    part = data.IndexedExamples([(paths[0], 2, 2), (paths[1], 1, 3)], parse)
    assert part(tf.range(5))[0].numpy().tolist() == [2, 3, 6, 7, 8]
    assert part.first(3).ids.tolist() == [b"a__2", b"a__3", b"b__1"]
    assert part.ids.tolist() == [b"a__2", b"a__3", b"b__1", b"b__2", b"b__3"]


def test_ids_and_the_fingerprint_do_not_depend_on_the_order(paths, tmp_path):
    examples = data.IndexedExamples(paths, parse, id_of)
    assert examples.ids.tolist() == [str(100 + n).encode() for n in range(9)]
    others = data.IndexedExamples(
        [write(tmp_path / "c", [8, 3, 1, 0]), write(tmp_path / "d", [2, 7, 6, 5, 4])], parse, id_of
    )
    assert examples.fingerprint == others.fingerprint
    (found,) = others(tf.constant(others.order))
    assert found.numpy().tolist() == list(range(9))
    changed = data.IndexedExamples([write(tmp_path / "e", range(1, 10))], parse, id_of)
    assert changed.fingerprint != examples.fingerprint


def test_without_an_id_a_changed_example_is_noticed_by_its_checksum(tmp_path):
    path, fingerprints = tmp_path / "a", set()
    for numbers in ([0, 3], [0, 6]):  # Of the same lengths.
        fingerprints.add(data.IndexedExamples([write(path, numbers)], parse).fingerprint)
    assert len(fingerprints) == 2


def test_what_is_wrong_with_files_is_said(paths, tmp_path):
    twice = data.IndexedExamples([*paths, paths[0]], parse, id_of)
    with pytest.raises(ValueError, match=r"same id, '100' \(5 of 14"):
        _ = twice.order
    with pytest.raises(ValueError, match="holds 5 records; expected 7"):
        _ = data.IndexedExamples([(paths[0], 2, 5)], parse).count
    content = paths[0].read_bytes()
    for name, damaged in {"cut": content[:-1], "text": b"This is a text of some length."}.items():
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(ValueError, match=r"is truncated after . records, or is no TFRecord"):
            _ = data.IndexedExamples([tmp_path / name], parse).count
    with pytest.raises(ValueError, match="at least one file"):
        data.IndexedExamples([], parse)
    examples = data.IndexedExamples(paths, parse)
    assert examples.count == 9
    paths[1].write_bytes(paths[1].read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"Record 3 of the file .*b is damaged"):
        examples(tf.constant([8, 0]))
    damaged = bytearray(content)
    damaged[content.index(record_of(4)) + 5] ^= 1
    paths[0].write_bytes(damaged)
    assert examples(tf.constant([3]))[0].numpy() == [3]
    with pytest.raises(ValueError, match=r"Record 4 of the file .*a is damaged"):
        examples(tf.constant([3, 4]))


def test_the_ids_are_those_of_tfds(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    features = tfds.features.FeaturesDict({"n": tfds.features.Scalar(np.int64)})
    tfds.dataset_builders.store_as_tfds_dataset(
        "numbers", "1.0.0", features, {"train": [(n, {"n": n}) for n in range(20)]},
        data_dir=tmp_path,
    )  # fmt: skip
    builder = tfds.builder("numbers", data_dir=tmp_path)
    config = tfds.ReadConfig(add_tfds_id=True)
    wanted = {
        each["tfds_id"]: each["n"]
        for each in builder.as_dataset("train[5:]", read_config=config).as_numpy_iterator()
    }
    parts = [
        (each.filename, each.skip, each.take)
        for each in builder.info.splits["train[5:]"].file_instructions
    ]
    examples = data.IndexedExamples(
        parts, lambda record: (builder.info.features.deserialize_example(record)["n"],)
    )
    (found,) = examples(tf.range(examples.count))
    assert dict(zip(examples.ids.tolist(), found.numpy().tolist(), strict=True)) == wanted
