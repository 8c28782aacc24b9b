"""Examples that stay in their files, each found by its id."""

import functools
import hashlib
import os
import struct
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import files

# A record is its length (8 bytes), a checksum of that (4), its content, and a checksum of it (4).
_HEAD, _TAIL = 12, 4


class IndexedExamples:
    """Examples of TFRecord files, read one by one from the places where they are.

    `ecl_tf.replay` takes them in the place of arrays, for data that memory does not hold. Memory
    holds a place and an id for every example, about 100 bytes. The order of the files, and with
    `id_of` also the files in which examples are, makes no difference: rows are known by their ids.

    The files are looked through when something is first asked for. Without `id_of` that reads 16
    bytes of every record; with it every record is read once. A record that is read is compared with
    its checksum, as by `tf.data.TFRecordDataset`.

    Args:
        paths: of the TFRecord files, which must be files of this machine (or mounted there), not
            compressed; each a path, or (path, first, count) for a part of its records.
        parse: a function (record) -> (inputs, label) or (inputs,) of a scalar string, in TensorFlow
            operations. Inputs may stay encoded, for a `prepare` that decodes them.
        id_of: a function (record) -> id of a scalar string, in TensorFlow operations; the id is a
            scalar string or a whole number, and no two examples share one. None, the default, is
            the file's name and the record's number there, NAME__NUMBER: the `tfds_id` of
            `tfds.ReadConfig(add_tfds_id=True)`.

    Raises:
        ValueError: when it is first used, if a file is truncated, or is no TFRecord file, or two
            examples have the same id; when a record is read, if it is damaged.

    Example:
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "numbers.tfrecord")
    >>> with tf.io.TFRecordWriter(path) as writer:
    ...     for number in range(3):
    ...         writer.write(tf.io.serialize_tensor(tf.fill([2], number)).numpy())
    >>> parse = lambda record: (tf.ensure_shape(tf.io.parse_tensor(record, tf.int32), [2]),)
    >>> examples = IndexedExamples([path], parse)
    >>> examples.ids.tolist()[2], examples(tf.constant([2, 0]))[0].numpy().tolist()
    (b'numbers.tfrecord__2', [[2, 2], [0, 0]])
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike | tuple[str | os.PathLike, int, int]],
        parse: Callable[[tf.Tensor], tuple],
        id_of: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ):
        """Takes the arguments that the class describes."""
        parts = [each if isinstance(each, tuple) else (each, 0, None) for each in paths]
        self._parts = [(files.at_home(path), first, count) for path, first, count in parts]
        if not self._parts:
            raise ValueError("IndexedExamples needs the path of at least one file; got none.")
        self._parse, self._id_of = parse, id_of

    @functools.cached_property
    def _index(self):
        """Of every example its file's number, its offset there, its length, and its checksum."""
        found = [_records(*part) for part in self._parts]
        numbers = np.repeat(np.arange(len(found)), [len(each) for each in found])
        return numbers, np.concatenate(found)

    @functools.cached_property
    def ids(self) -> np.ndarray:
        """(rows,) of bytes, in the order of `paths`."""
        numbers, _ = self._index
        if self._id_of is None:
            firsts = [first for _, first, _ in self._parts]
            counts = np.bincount(numbers, minlength=len(firsts))
            within = np.concatenate([np.arange(n) + f for n, f in zip(counts, firsts, strict=True)])
            names = [path.name for path, _, _ in self._parts]
            ids = [f"{names[n]}__{w}".encode() for n, w in zip(numbers, within, strict=True)]
        else:
            places = tf.data.Dataset.range(len(numbers)).batch(256)
            text = functools.partial(_text, self._id_of)
            texts = places.map(lambda some: tf.map_fn(text, self._records_at(some)))
            ids = np.concatenate([*texts.as_numpy_iterator()]).tolist()
        return np.array(ids)

    def first(self, count: int) -> "IndexedExamples":
        """Returns the first examples alone, as many as `count` or all."""
        counts = np.bincount(self._index[0][:count], minlength=len(self._parts)).tolist()
        parts = [
            (path, first, its)
            for (path, first, _), its in zip(self._parts, counts, strict=True)
            if its
        ]
        return IndexedExamples(parts, self._parse, self._id_of)

    @property
    def count(self) -> int:
        """The number of examples."""
        return len(self._index[0])

    @functools.cached_property
    def order(self) -> np.ndarray:
        """int64 (rows,): the places of the examples in the order of their ids.

        Raises:
            ValueError: if two examples have the same id.
        """
        order = np.argsort(self.ids, kind="stable")
        ids = self.ids[order]
        if len(same := np.flatnonzero(ids[1:] == ids[:-1])):
            raise ValueError(
                f"Two examples have the same id, {ids[same[0]].decode(errors='replace')!r} "
                f"({len(same)} of {len(ids)} are not new). Give another `id_of`, whose ids differ; "
                "and each file once."
            )
        return order

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of all ids and of the checksums that the files hold, whatever their order."""
        _, index = self._index
        digest = hashlib.blake2b(digest_size=16)
        for place in self.order:
            digest.update(self.ids[place] + b"\0" + index[place, 2].tobytes())
        return digest.hexdigest()

    def __call__(self, places: tf.Tensor) -> tuple:
        """The examples at some places, as a batch.

        Args:
            places: whole numbers (batch,), each from 0 to `count` - 1.

        Returns:
            What `parse` returns, with tensors of shape (batch, ...).
        """
        parse = tf.function(self._parse, autograph=False)
        traced = parse.get_concrete_function(tf.TensorSpec([], tf.string))
        specs = keras.tree.map_structure(
            lambda each: tf.TensorSpec(each.shape, each.dtype), traced.structured_outputs
        )
        return tf.map_fn(self._parse, self._records_at(places), fn_output_signature=specs)

    def _records_at(self, places):
        records = tf.numpy_function(self._read, [places], tf.string, stateful=False)
        return tf.ensure_shape(records, places.shape)

    def _read(self, places):
        # What TensorFlow has to read a record by its offset, and compare it with its checksum.
        # It is private, so only who reads records needs it.
        from tensorflow.python.lib.io import _pywrap_record_io

        numbers, index = self._index
        contents, opened = np.empty(len(places), object), None
        reader: Any = None
        for n in np.argsort(numbers[places], kind="stable"):  # Opening takes longer than reading.
            number, (offset, length, _) = numbers[places[n]], index[places[n]]
            path, first, _ = self._parts[number]
            if opened != number:
                opened, reader = number, _pywrap_record_io.RandomRecordReader(str(path))
            try:
                contents[n], _ = reader.read(int(offset) - _HEAD)
            except (IndexError, tf.errors.DataLossError):  # Cut off, or another checksum.
                contents[n] = None
            if contents[n] is None or len(contents[n]) != length:
                record = first + places[n] - np.searchsorted(numbers, number)
                raise ValueError(
                    f"Record {record} of the file {path} is damaged, or has changed since the file "
                    "was looked through. Restore it from a copy."
                )
        return contents


def _text(id_of, record):
    found = tf.convert_to_tensor(id_of(record))
    return found if found.dtype == tf.string else tf.as_string(found)


def _records(path, first, count):
    """int64 (records, 3) of a file: where a record's content begins, its length, its checksum."""
    found: list[tuple[int, int, int]] = []
    offset, size = 0, path.stat().st_size
    with open(path, "rb", buffering=0) as file:
        head = file.read(_HEAD)
        while offset < size and (count is None or len(found) < first + count):
            length = struct.unpack("<Q", head[:8])[0] if len(head) == _HEAD else size
            end = offset + _HEAD + length
            if end + _TAIL > size:
                raise ValueError(
                    f"The file {path} is truncated after {len(found)} records, or is no TFRecord "
                    "file (or a compressed one). Restore it from a copy."
                )
            # The content's checksum, and the head of the next record.
            tail = os.pread(file.fileno(), _TAIL + _HEAD, end)
            found.append((offset + _HEAD, length, struct.unpack("<I", tail[:_TAIL])[0]))
            offset, head = end + _TAIL, tail[_TAIL:]
    if count is not None and len(found) < first + count:
        raise ValueError(
            f"The file {path} holds {len(found)} records; expected {first + count} at least. "
            "Restore it from a copy."
        )
    return np.array(found[first:], np.int64).reshape(-1, 3)
