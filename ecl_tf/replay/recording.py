"""What a store is to hold: samples of the training set, and a teacher's answers to them."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from google.protobuf import message

from ecl_tf import outputs, samplers, teachers, uncertainty
from ecl_tf._internal import (
    batches,
    finite,
    identity,
    own_inputs,
    random,
    ranges,
    require,
    symbolic,
)
from ecl_tf.replay import compact, draws
from ecl_tf.samplers import suitable
from ecl_tf.samplers.fields import described

_GOLDEN_SECTION = 0.6180339887498949
_FUNCTION_ROWS = 2048  # A function is asked about at a time.


class Recording:
    """What is to be recorded; by `record`, `estimate` and `verify`.

    Args:
        teacher: an `ecl_tf.Teacher`, a `keras.Model`, or a sequence of them.
        x: inputs, nested arrays or tensors of shape (rows, ...), of which a `numpy.memmap` stays
            in its file; or `ecl_tf.data.IndexedExamples`.
        y: labels, the same arrays; None by default. They are not stored, but tell rows apart.
        output: the teacher's, where it is no `ecl_tf.Teacher`; "categorical" by default.
        sampler: an `ecl_tf.samplers.Sampler`, its name or config. None, the default, is that
            of the default recipe. Of an `Uncertain` one its candidates are recorded, all of
            them; it chooses when the store is read. Of one that asks the teacher, such as
            `TowardUncertainty`, the store holds the samples, too.
        prepare: a pure function (inputs, seed) -> inputs, in TensorFlow operations, of a batch
            before it is sampled (augmentation, scaling); None by default.
        batch_size: B, rows of each step, 64 by default.
        epochs: R, passes over the training set, 10 by default. Rows beyond a pass's last full
            batch are left out, others in each pass.
        seed: an integer from which all orders and samples follow, 0 by default.
        top_k: K, of categorical outputs (see `ecl_tf.replay.compact`), 10 by default.
        shards: the number of files, 8 by default; no more than steps are written.
        about: a dict of what else the store depends on, as JSON has it (the names and
            versions of data and preprocessing); None by default. A reader may give it again,
            to be compared.

    Raises:
        ValueError: if an argument is out of its range, the sampler depends on the student (but
            for what an `Uncertain` one chooses), or can't work on the inputs of this teacher.
    """

    def __init__(
        self,
        teacher: keras.Model | Sequence[keras.Model],
        x: Any,
        y: Any = None,
        *,
        output: str | dict | outputs.Output = "categorical",
        sampler: str | dict | samplers.Sampler | None = None,
        prepare: Callable | None = None,
        batch_size: int = 64,
        epochs: int = 10,
        seed: int = 0,
        top_k: int = 10,
        shards: int = 8,
        about: dict | None = None,
    ):
        self.teacher = teachers.get(teacher, output)
        if batches.is_stream(x):
            raise ValueError(
                "A recording takes arrays, whose rows it draws in orders of its own; got a "
                f"{type(x).__name__}. Give arrays (rows, ...) of inputs and labels, or of examples "
                "in TFRecord files ecl_tf.data.IndexedExamples."
            )
        # As JSON has them: NumPy's numbers become Python's.
        self.batch_size = batch_size = require.whole("batch_size", batch_size, 1)
        self.seed = seed = require.integer("seed", seed)
        epochs, shards = require.whole("epochs", epochs, 1), require.whole("shards", shards, 1)
        about = identity.as_json("about", about or {})
        self.rows = draws.Rows(x, y)
        self.sampler = candidates_of(samplers.get(sampler))
        if batch_size > self.rows.count:
            raise ValueError(
                f"The data holds {self.rows.count} rows, less than one batch of {batch_size}. "
                "Choose a smaller batch_size."
            )
        prepared = draws.prepared(self.rows, prepare)
        self._members = getattr(self.teacher, "members", [self.teacher])
        self._require_inputs(prepared, prepare)
        networks = uncertainty.Networks(self.teacher, None, self.teacher.output_kind)
        self.holds_samples = self.sampler.asks_networks
        self._require_sampler(prepared, networks)
        self._padding = suitable.padding(prepared, networks) if self.holds_samples else None
        self.compact = compact.get(self.teacher.output_kind, top_k)
        self.steps = epochs * (self.rows.count // batch_size)
        self.shards = min(shards, self.steps)
        self.plan = self._planned(epochs, int(top_k), about)
        # In every record, because the files of two stores have the same names.
        self._mark = bytes.fromhex(identity.fingerprint_of_record(self.plan))[:8]
        self._draw = draws.drawing(self.rows, self.sampler, prepare, seed, networks)
        self._answer = tf.function(self._answer_of, autograph=False)
        # How many steps a teacher is asked about at once, and how many times at a time.
        self.group, self.threads = 1, 1
        if isinstance(self.teacher, teachers.FunctionTeacher):
            self.group = max(_FUNCTION_ROWS // batch_size, 1)
            self.threads = self.teacher.threads
        if any(symbolic.inputs_of(each) is None for each in getattr(self.teacher, "members", [])):
            _, _, samples = next(iter(self.drawn()))
            self.teacher.check_members(batches.specs(samples.inputs))

    def _require_inputs(self, prepared, prepare):
        """Refuses a teacher that can't answer to these inputs, or of which a weight is NaN."""
        for member in self._members:
            finite.require_weights(member, "teacher")
        asked = [("teacher", member) for member in self._members]
        own_inputs.require_fit(prepared, asked)
        if self.teacher.raw_shape is not None:  # One that knows without members what it takes.
            self.teacher.check_members(batches.specs(prepared))
        inputs, *_ = self.rows(tf.range(min(self.batch_size, self.rows.count)))
        if prepare is not None:
            inputs = prepare(inputs, random.fold_in(self.seed, 1))
        ranges.require_within(asked, inputs, suitable.expected_ranges(self.sampler))
        if isinstance(self.teacher, teachers.FunctionTeacher):
            self.teacher._compare(inputs)

    def _require_sampler(self, prepared, networks):
        """Refuses a sampler that does not suit the inputs, or whose samples a store can't hold."""
        suitable.require(self.sampler, prepared, networks)
        suitable.warn_of_codes(self.sampler, prepared, self.teacher)
        if self.batch_size == 1:
            suitable.warn_of_single_rows(self.sampler)
        mixes_within = any(part.mixes_within for part in self.sampler.parts)
        if mixes_within or self.holds_samples:
            self.sampler.validate_networks(networks)
        if mixes_within and self.holds_samples:
            raise ValueError(
                f"A store can't hold samples of {self.sampler!r}: it asks the teacher, so that "
                "they are stored themselves, and Embedded mixes them within the networks. "
                "Record one of the two."
            )
        if self.holds_samples:
            _require_storable(self.sampler, prepared)

    def _planned(self, epochs, top_k, about):
        """All that the store depends on, as JSON has it."""
        plan = {
            "data": {"fingerprint": self.rows.fingerprint, "rows": self.rows.count},
            "teacher": self.teacher.fingerprint(),
            "dtype": [member.dtype_policy.name for member in self._members],
            "output": identity.config_of(self.teacher.output_kind),
            "sampler": identity.config_of(self.sampler),
            "generators": identity.fingerprint_of_models(self.sampler.models),
            "top_k": top_k,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "epochs": epochs,
            "steps": self.steps,
            "shards": self.shards,
            "about": about,
        }
        if isinstance(self.teacher, teachers.Ensemble) and self.teacher.precision is not None:
            plan["precision"] = self.teacher.precision  # Also in its fingerprint.
        return plan

    def drawn(self, first_step=0):
        """Steps without end, the identities of their rows, and the samples drawn from these."""
        return self.draw(draws.steps(self.rows, self.batch_size, self.seed, first_step))

    def draw(self, steps):
        """The samples of steps, from a dataset of steps and identities."""

        @tf.autograph.experimental.do_not_convert
        def with_samples(step, identities):
            samples, *_ = self._draw(step, identities)
            return step, identities, samples

        if self.holds_samples:  # Functions of a dataset would keep the teacher from a GPU.
            return itertools.starmap(with_samples, steps)
        return steps.map(with_samples, tf.data.AUTOTUNE).prefetch(2)

    def _answer_of(self, inputs, mixture=()):
        samples = samplers.Samples(inputs, tf.zeros([], tf.bool), mixture=mixture)
        networks = uncertainty.Networks(self.teacher, None, self.teacher.output_kind)
        with samplers.mixing(samples, self.sampler, networks, "teacher"):
            raws = self.teacher.member_outputs(inputs)
        output = self.teacher.output_kind
        return self.compact.encode(output.combine(raws), output.uncertainty(raws))

    def _ask(self, inputs, mixture=()):
        with teachers.function.explaining(self.teacher, self.sampler):
            return self._answer(inputs, mixture)

    def answer(self, step, identities, samples, answered=None):
        """The fields of a step, as arrays; raises if the teacher gave no finite answer.

        Args:
            step: its number.
            identities: of its rows.
            samples: that were drawn from these.
            answered: the fields of the teacher's answers; None, the default, asks it.
        """
        held = draws.fields_of(samples) if self.holds_samples else {}
        answered = self._ask(samples.inputs, samples.mixture) if answered is None else answered
        fields = {"identities": identities, **held, **answered}
        arrays = {name: tensor.numpy() for name, tensor in fields.items()}
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise FloatingPointError(
                    f"The teacher's answers to step {int(step)} can't be stored: {name} is not "
                    "finite in float16, or at all. Look at the teacher's outputs there; for a "
                    "normal output give target_stddev, in whose unit deviations are stored."
                )
        return arrays

    def examples(self, drawn):
        """The records of some steps, serialized, of which the teacher is asked at once.

        Args:
            drawn: a list of what `drawn` yields.
        """
        if len(drawn) == 1:
            return [self.example(*drawn[0])]
        inputs = [samples.inputs for _, _, samples in drawn]
        together = keras.tree.map_structure(lambda *leaves: tf.concat(leaves, 0), *inputs)
        parts = {name: tf.split(tensor, len(drawn)) for name, tensor in self._ask(together).items()}
        return [
            self.example(step, identities, samples, {n: part[place] for n, part in parts.items()})
            for place, (step, identities, samples) in enumerate(drawn)
        ]

    def example(self, step, identities, samples, answered=None):
        """A step's record, serialized; `answer` has the arguments."""
        features = {
            name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[array.tobytes()]))
            for name, array in self.answer(step, identities, samples, answered).items()
        }
        features["plan"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[self._mark]))
        features["step"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[int(step)]))
        example = tf.train.Example(features=tf.train.Features(feature=features))
        return example.SerializeToString(deterministic=True)

    def shard_steps(self, number):
        """The first step of a shard, and that after its last."""
        return tuple(self.steps * n // self.shards for n in (number, number + 1))

    def require_whole(self, path, first, last):
        """Reads a shard, or a part of one, that is to hold the steps from `first` to before `last`.

        Raises:
            ValueError: if it is no file, is damaged or truncated, or holds something else.
        """
        if path.is_symlink() or not path.is_file():
            flaw = "is a link or a directory"
        elif not first < last:
            flaw = "has the name of no part of this recording"
        else:
            flaw = self._flaw(path, first, last)
        if flaw:
            raise ValueError(
                f"The recording can't go on: {path} {flaw}. Delete it: the same command writes it "
                "again."
            )

    def _flaw(self, path, first, last):
        """What is wrong with a file of records, in words; None if nothing is."""
        sizes = {
            name: self.batch_size * math.prod(shape) * np.dtype(kind).itemsize
            for name, (kind, *shape) in self.layout["fields"].items()
        }
        step = first
        try:
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                features = tf.train.Example.FromString(record).features.feature
                found = {name: b"".join(each.bytes_list.value) for name, each in features.items()}
                found_step = [*features["step"].int64_list.value]
                if found.pop("plan", self._mark) != self._mark:  # Old records have no mark.
                    return "holds answers of another recording"
                found.pop("step", None)
                if {name: len(text) for name, text in found.items()} != sizes:
                    return f"has records with other fields than {[*sizes]}"
                if step == last or found_step != [step]:
                    return f"holds other steps than {first} to {last - 1}"
                step += 1
        except (tf.errors.DataLossError, message.DecodeError):
            return "is damaged: a record does not have its checksum, or ends too early"
        if step < last:
            return f"is truncated: it holds {step - first} of {last - first} steps"
        return None

    @functools.cached_property
    def layout(self):
        """What the manifest says of a record: type and shape of every field, and of the inputs
        of the first step a weighted mean of every row, by which a reader knows that it draws
        the same. Of stored samples also what stayed of the inputs (see `suitable.padding`).
        """
        step, identities, samples = next(iter(self.drawn()))
        fields = self.answer(step, identities, samples)
        raw_shape = keras.tree.map_structure(
            lambda raw: raw.shape, self.teacher.member_outputs(samples.inputs)[0]
        )
        return {
            "fields": {
                name: [array.dtype.name, *array.shape[1:]] for name, array in fields.items()
            },
            "event_size": self.teacher.output_kind.event_size(raw_shape),
            "first_inputs": means((samples.inputs, samples.mixture)),
            **({} if self._padding is None else {"padding": self._padding}),
        }


def means(inputs):
    """A mean of every row of every input, as lists, that tells a row from its mirror image.

    Every place has a weight of its own: multiples of the golden section, without their whole
    part, which look like random numbers and are the same everywhere.
    """
    rows = [
        np.asarray(_numbers(leaf), "float64").reshape(len(leaf), -1)
        for leaf in keras.tree.flatten(inputs)
    ]
    return [
        (each * (0.5 + np.arange(each.shape[1]) * _GOLDEN_SECTION % 1.0)).mean(1).tolist()
        for each in rows
    ]


def _numbers(leaf):
    """Numbers as they are, and texts by a hash that is the same everywhere."""
    is_text = tf.as_dtype(leaf.dtype) == tf.string
    return tf.strings.to_hash_bucket_fast(leaf, 2**31) if is_text else leaf


def candidates_of(sampler):
    """The sampler whose draws are recorded: they don't depend on a student."""
    base = sampler.proposer
    if not base.is_recordable:
        raise ValueError(
            f"{base!r} asks the student in every draw, or keeps some of its samples, which a store "
            "can't repeat. Record a sampler that does not, such as TowardUncertainty(score="
            "'disagreement'), and choose uncertain samples by samplers.Uncertain when the store "
            "is read."
        )
    return base


def _require_storable(sampler, inputs):
    """Raises ValueError if inputs are of a type that a store can't hold."""
    for path, leaf in keras.tree.flatten_with_path(inputs):
        name = tf.as_dtype(leaf.dtype).name
        if name not in draws.STORABLE:
            raise ValueError(
                f"{sampler!r} asks the teacher, so that the store holds the samples, and "
                f"{described(path)} is {name}, which it can't hold. Give numbers of one of "
                f"{[*draws.STORABLE]}, e.g. strings by keras.layers.StringLookup."
            )
