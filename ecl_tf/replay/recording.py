"""Writes a store: a teacher's answers for every sample of some passes over the training set."""

import collections
import concurrent.futures
import functools
import itertools
import math
import numbers
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from google.protobuf import message

from ecl_tf import outputs, samplers, teachers, uncertainty
from ecl_tf._internal import (
    batches,
    files,
    finite,
    identity,
    own_inputs,
    random,
    ranges,
    symbolic,
)
from ecl_tf.replay import compact, draws, manifest
from ecl_tf.samplers import suitable
from ecl_tf.samplers.fields import described

_GOLDEN_SECTION = 0.6180339887498949
_FUNCTION_ROWS = 2048  # A function is asked about at a time.
PART_STEPS = 50  # A shard is written in parts of so many: a kill may cost one.


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
        if isinstance(x, tf.data.Dataset):
            raise ValueError(
                "A recording takes arrays, whose rows it draws in orders of its own; got a "
                "dataset. Give arrays (rows, ...) of inputs and labels, or of examples in TFRecord "
                "files ecl_tf.data.IndexedExamples."
            )
        own_inputs.require_dense(x)
        self.rows = draws.Rows(x, y)
        self.sampler = candidates_of(samplers.get(sampler))
        self.batch_size, self.seed = batch_size, seed
        for name, value in {"epochs": epochs, "batch_size": batch_size, "shards": shards}.items():
            if not isinstance(value, numbers.Integral) or value < 1:
                raise ValueError(f"{name} must be at least 1; got {value!r}.")
        if batch_size > self.rows.count:
            raise ValueError(
                f"The data holds {self.rows.count} rows, less than one batch of {batch_size}. "
                "Choose a smaller batch_size."
            )
        prepared = draws.prepared(self.rows, prepare)
        members = getattr(self.teacher, "members", [self.teacher])
        for member in members:
            finite.require_weights(member, "teacher")
        asked = [("teacher", member) for member in members]
        own_inputs.require_fit(prepared, asked)
        if self.teacher.raw_shape is not None:  # One that knows without members what it takes.
            self.teacher.check_members(batches.specs(prepared))
        inputs, *_ = self.rows(tf.range(min(batch_size, self.rows.count)))
        if prepare is not None:
            inputs = prepare(inputs, random.fold_in(seed, 1))
        ranges.require_within(asked, inputs, suitable.expected_ranges(self.sampler))
        networks = uncertainty.Networks(self.teacher, None, self.teacher.output_kind)
        suitable.require(self.sampler, prepared, networks)
        self.holds_samples = self.sampler.asks_networks
        if any(part.mixes_within for part in self.sampler.parts):
            self.sampler.validate_networks(networks)
            if self.holds_samples:
                raise ValueError(
                    f"A store can't hold samples of {self.sampler!r}: it asks the teacher, so that "
                    "they are stored themselves, and Embedded mixes them within the networks. "
                    "Record one of the two."
                )
        if self.holds_samples:
            self.sampler.validate_networks(networks)
            _require_storable(self.sampler, prepared)
        self._padding = suitable.padding(prepared, networks) if self.holds_samples else None
        self.compact = compact.get(self.teacher.output_kind, top_k)
        self.steps = epochs * (self.rows.count // batch_size)
        self.shards = min(shards, self.steps)
        self.plan = {
            "data": {"fingerprint": self.rows.fingerprint, "rows": self.rows.count},
            "teacher": self.teacher.fingerprint(),
            "dtype": [member.dtype_policy.name for member in members],
            "output": identity.config_of(self.teacher.output_kind),
            "sampler": identity.config_of(self.sampler),
            "generators": identity.fingerprint_of_models(self.sampler.models),
            "top_k": top_k,
            "seed": seed,
            "batch_size": batch_size,
            "epochs": epochs,
            "steps": self.steps,
            "shards": self.shards,
            "about": about or {},
        }
        if isinstance(self.teacher, teachers.Ensemble) and self.teacher.precision is not None:
            self.plan["precision"] = self.teacher.precision  # Also in its fingerprint.
        # In every record, because the files of two stores have the same names.
        self._mark = bytes.fromhex(identity.fingerprint_of_record(self.plan))[:8]
        self._draw = draws.drawing(self.rows, self.sampler, prepare, seed, networks)
        self._answer = tf.function(self._answer_of, autograph=False)
        # How many steps a teacher is asked about at once, and how many times at a time.
        self.group, self.threads = 1, 1
        if isinstance(self.teacher, teachers.FunctionTeacher):
            self.group = max(_FUNCTION_ROWS // batch_size, 1)
            self.threads = self.teacher.threads
        members = getattr(self.teacher, "members", [])
        if any(symbolic.inputs_of(member) is None for member in members):
            _, _, samples = next(iter(self.drawn()))
            self.teacher.check_members(batches.specs(samples.inputs))

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
        with teachers.function.explaining(self.teacher):
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
        np.asarray(leaf, "float64").reshape(len(leaf), -1) for leaf in keras.tree.flatten(inputs)
    ]
    return [
        (each * (0.5 + np.arange(each.shape[1]) * _GOLDEN_SECTION % 1.0)).mean(1).tolist()
        for each in rows
    ]


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


def record(
    teacher: keras.Model | Sequence[keras.Model],
    x: Any,
    y: Any = None,
    *,
    directory: str | os.PathLike,
    worker: int = 0,
    workers: int = 1,
    verbose: str | int = "auto",
    **settings: Any,
) -> bool:
    """Runs the teacher over R epochs of samples, and stores what it answers.

    The store is a directory of TFRecord shards of `tf.train.Example`s, one for each step: the
    identities of its rows, from which (and the seed) the samples are drawn again, and the
    teacher's answers (see `ecl_tf.replay.compact`). Shards are written in parts that are whole or
    not there; the same call continues a recording that was killed. `manifest.json`, written at the
    end, has the hashes of the data, of the networks' weights, and of all shards.

    An `ecl_tf.teachers.FunctionTeacher` is asked about 2,048 rows at a time, whatever the batch
    size: most functions take hardly longer for many rows than for a few, and spread many over the
    processors. If it allows several `threads`, as many such groups are under way.

    Several workers, each of which makes the same call with a number of its own, write different
    shards of one directory, and need not know of each other.

    Args:
        teacher: an `ecl_tf.Teacher`, a `keras.Model`, or a sequence of them.
        x: inputs, nested arrays or tensors of shape (rows, ...), of which a `numpy.memmap` stays
            in its file; or `ecl_tf.data.IndexedExamples`, which stay in theirs.
        y: labels, the same arrays; None by default. They are not stored, but tell rows apart.
        directory: of the store; new, empty, or of this recording.
        worker: the number of this worker, 0 by default.
        workers: how many there are, 1 by default.
        verbose: as Keras's: 0 is silent, "auto" (the default) and 1 a moving bar, 2 a line a
            shard. Both tell the time that is left.
        **settings: the other arguments of `Recording`: `output`, `sampler`, `prepare`,
            `batch_size=64`, `epochs=10`, `seed=0`, `top_k=10`, `shards=8`, `about`.

    Returns:
        True if the store is whole; False if other workers have yet to write their shards.

    Raises:
        ValueError: if an argument is out of its range, the directory holds something else, or a
            file of the recording that it goes on with is damaged or of another recording.
        FloatingPointError: if the teacher gives no finite answer.
        OSError: if the disk is full; what was written stays.
    """
    recording, directory = Recording(teacher, x, y, **settings), files.at_home(directory)
    if not 0 <= worker < workers:
        raise ValueError(
            f"worker={worker} of workers={workers}; expected a number from 0 to workers - 1."
        )
    if directory.exists() and not directory.is_dir():
        raise ValueError(f"{directory} is a file; a store is a directory. Give a new one.")
    directory.mkdir(parents=True, exist_ok=True)
    plan = directory / manifest.PLAN
    # Listed first: another worker may write its plan, and parts, at any time.
    names = [path.name for path in directory.iterdir() if path != plan]
    found = [name for name in names if not name.startswith(files.UNFINISHED)]
    if not plan.exists():
        if found:
            raise ValueError(f"{directory} is not empty and holds no store. Give a new directory.")
        files.write_json(plan, recording.plan, worker)
    manifest.require_equal(
        manifest.read_json(plan, "Restore it from a copy, or give a new directory."),
        recording.plan,
        directory,
        "Give the same settings to continue it, or another directory.",
    )
    if (directory / manifest.MANIFEST).exists():
        manifest.read(directory)
        return True
    mine = range(worker, recording.shards, workers)
    # All that is there is read before the teacher computes anything.
    begun = {number: _parts(recording, directory, number) for number in mine}
    total = sum(last - first for first, last in map(recording.shard_steps, mine))
    progress = keras.utils.Progbar(total, unit_name="step", verbose=int(verbose in ("auto", 1)))
    steps_left = {number: recording.shard_steps(number)[1] - begun[number][0] for number in mine}
    started, to_answer = time.monotonic(), sum(steps_left.values())
    for written, number in enumerate(mine, 1):
        step, paths = begun[number]
        _write_shard(recording, directory, number, step, paths, progress)
        steps_left[number] = 0
        if verbose == 2:
            still = sum(steps_left.values())
            each = (time.monotonic() - started) / max(to_answer - still, 1)
            print(f"[shard {written}/{len(mine)}] about {still * each:,.0f} s left", flush=True)
    names = manifest.shard_names(recording.plan)
    if not all((directory / name).exists() for name in names):
        return False
    for number in sorted({*range(recording.shards)} - {*mine}):  # By other workers.
        recording.require_whole(directory / names[number], *recording.shard_steps(number))
    shards = {name: manifest.describe_file(directory / name) for name in names}
    content = {
        "format": manifest.FORMAT,
        "plan": recording.plan,
        **recording.layout,
        "shards": shards,
    }
    files.write_json(directory / manifest.MANIFEST, content, worker)
    return True


def _parts(recording, directory, number):
    """The step to which a shard is written, and the files of its parts up to there."""
    first, last = recording.shard_steps(number)
    target = directory / manifest.shard_name(number, recording.shards)
    parts = {}
    for path in sorted(directory.glob(f"{target.stem}.part-*")):
        if span := re.fullmatch(r".*\.part-(\d{9})-(\d{9})", path.name):
            begin, end = map(int, span.groups())
            parts[begin] = (end, path)
    if target.exists() or target.is_symlink():
        recording.require_whole(target, first, last)
        return last, [path for _, path in parts.values()]  # Of a kill before they were removed.
    step, paths = first, []
    while step in parts:
        end, path = parts[step]
        end = min(end, last)
        recording.require_whole(path, step, end)
        paths.append(path)
        step = end
    return step, paths


def _write_shard(recording, directory, number, step, paths, progress):
    """Writes a shard from where its parts end, and joins them."""
    first, last = recording.shard_steps(number)
    target = directory / manifest.shard_name(number, recording.shards)
    progress.add(step - first)
    groups = _grouped(itertools.islice(recording.drawn(step), last - step), recording.group)
    made = _in_order(recording.examples, groups, recording.threads)
    examples = itertools.chain.from_iterable(made)
    while step < last:
        end = min(step + PART_STEPS, last)
        path = target.with_name(f"{target.stem}.part-{step:09d}-{end:09d}")
        with files.whole(path) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
            for example in itertools.islice(examples, end - step):
                writer.write(example)
                progress.add(1)
        paths.append(path)
        step = end
    if not target.exists():
        with files.whole(target) as temporary, open(temporary, "wb") as file:
            for path in paths:
                with open(path, "rb") as part:
                    shutil.copyfileobj(part, file)
    for path in paths:
        path.unlink()


def _grouped(items, size):
    """Lists of so many items, one after another; the last one has what is left."""
    items = iter(items)
    while group := list(itertools.islice(items, size)):
        yield group


def _in_order(function, items, threads):
    """Yields what a function makes of items, in their order, of so many at a time."""
    if threads == 1:
        yield from map(function, items)
        return
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    try:
        # Twice as many are begun, so that no thread waits for one that takes long.
        waiting = collections.deque(
            pool.submit(function, item) for item in itertools.islice(items, 2 * threads)
        )
        while waiting:
            made = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in itertools.islice(items, 1))
            yield made
    finally:
        pool.shutdown(cancel_futures=True)


def estimate(
    teacher: keras.Model | Sequence[keras.Model],
    x: Any,
    y: Any = None,
    *,
    steps: int = 5,
    **settings: Any,
) -> dict[str, float]:
    """What a recording would cost, from a few steps of it; nothing is written.

    Args:
        teacher: as in `record`, like `x`, `y` and the other settings.
        x: inputs.
        y: labels; None by default.
        steps: how many are measured, after a first one; 5 by default.
        **settings: as in `record`.

    Returns:
        A dict: `rows` and `bytes` in all, `bytes_per_row`, and the teacher's `seconds` in all, in
        one thread.
    """
    recording = Recording(teacher, x, y, **settings)
    sizes, seconds = [], []
    groups = _grouped(itertools.islice(recording.drawn(), recording.steps), recording.group)
    for _ in range(1 + steps):
        begun = time.perf_counter()
        group = next(groups, None)
        if group is None:
            break
        if not recording.holds_samples:  # Otherwise the teacher is asked for them.
            begun = time.perf_counter()
        sizes += [len(example) + 16 for example in recording.examples(group)]  # TFRecord's frame.
        seconds.append((time.perf_counter() - begun) / len(group))
    rows = recording.steps * recording.batch_size
    each = float(np.mean(sizes))
    return {
        "rows": rows,
        "bytes": int(each * recording.steps),
        "bytes_per_row": each / recording.batch_size,
        "seconds": float(np.median(seconds[1:] or seconds)) * recording.steps,
    }
