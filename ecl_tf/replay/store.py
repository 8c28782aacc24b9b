"""Reads a store: the recorded samples, drawn again, with the teacher's answers."""

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import divergences, outputs, samplers
from ecl_tf._internal import files, identity, in_place, random
from ecl_tf.data import splits
from ecl_tf.replay import compact, draws, manifest
from ecl_tf.replay.recording import Recording, candidates_of, means
from ecl_tf.teachers import Teacher

# Records, of one step each: so many, or as many as these bytes hold.
_SHUFFLE_BUFFER, _SHUFFLE_BYTES = 4096, 2**28
_TOLERANCE = 1e-4  # Nats between an answer and its recomputation.


@keras.saving.register_keras_serializable("ecl_tf")
class RecordedTeacher(Teacher):
    """A teacher whose answers come with the samples of a `Store`; it holds no network.

    Args:
        output: the `ecl_tf.outputs.Output` of the stored raw tensors.
        sampler: the class name of the recorded sampler.
        batch_size: rows of a recorded step.
        teacher: the fingerprint of the teacher that answered.
        padding: of stored samples that were moved, for every input the values of its padding,
            which stayed, or None where all of it did; None, the default, for samples that are
            drawn again.
        name: of the Keras model, "recorded" by default.
        **kwargs: of `keras.Model`.
    """

    answers_new_inputs = False

    def __init__(
        self,
        output: str | dict | outputs.Output,
        sampler: str,
        batch_size: int,
        teacher: str,
        padding: Sequence | None = None,
        name: str = "recorded",
        **kwargs: Any,
    ):
        super().__init__(output, name=name, **kwargs)
        self.sampler, self.batch_size, self.teacher = sampler, batch_size, teacher
        self.padding = padding
        self.built = True

    def member_outputs(self, inputs: Any) -> list:
        raise ValueError("A store of recorded answers has none for other inputs than its own.")

    def fingerprint(self) -> str:
        return self.teacher

    def get_config(self) -> dict[str, Any]:
        output = keras.saving.serialize_keras_object(self.output_kind)
        own = {
            name: getattr(self, name) for name in ("sampler", "batch_size", "teacher", "padding")
        }
        return {**super().get_config(), "output": output, **own}


class Store:
    """What `ecl_tf.replay.record` wrote: a student is trained from it without the teacher.

    `Distiller(student, store.teacher, sampler=store.sampler)` and `fit(store.batches(x, y),
    steps_per_epoch=...)` match the student to the recorded answers on the recorded samples,
    which are drawn again, bit for bit, from the training rows and the store's seed. Samples of a
    sampler that asks the teacher (`samplers.TowardUncertainty`) are in the store themselves.

    Uncertain samples are chosen when the store is read, and may be chosen otherwise every time:
    with `samplers.Uncertain(store.sampler, candidates=r, score=...)` every step reads r recorded
    ones, and the distiller keeps one of r, by the stored uncertainty, or by the student's own.

    Args:
        directory: of the store.
        verify: whether all shards are read once, to compare their checksums; True by default. Their
            sizes are compared in any case.

    Attributes:
        teacher: the `RecordedTeacher`.
        sampler: the `ecl_tf.samplers.Sampler` that was recorded. One that draws from models
            (`Generated`) is to be given to `batches` instead.
        plan: what the store was recorded of.
        steps: how many are stored.

    Raises:
        ValueError: if there is no whole store, or a shard is missing, truncated, damaged,
            swapped, or of another store.
    """

    def __init__(self, directory: str | os.PathLike, verify: bool = True):
        """Takes the arguments that the class describes."""
        self.directory = files.at_home(directory)
        self._manifest = manifest.read(self.directory)
        self.plan = self._manifest["plan"]
        self.steps, self.batch_size = self.plan["steps"], self.plan["batch_size"]
        manifest.require_known(self.directory, self._manifest["shards"])
        check = manifest.verify_files if verify else manifest.verify_sizes
        check(self.directory, self._manifest["shards"])
        recorded = keras.saving.deserialize_keras_object(self.plan["output"])
        self._compact = compact.get(recorded, self.plan["top_k"])
        sampler = self.plan["sampler"]["class_name"]
        self.teacher = RecordedTeacher(
            self._compact.output,
            sampler,
            self.batch_size,
            self.plan["teacher"],
            self._manifest.get("padding"),
        )

    @property
    def sampler(self) -> samplers.Sampler:
        return samplers.get(self.plan["sampler"])

    @property
    def holds_samples(self) -> bool:
        """Whether samples are stored, not drawn again: those of a sampler that asks the teacher."""
        return "sources" in self._manifest["fields"]

    def batches(
        self,
        x: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        sampler: str | dict | samplers.Sampler | None = None,
        prepare: Callable | None = None,
        about: dict | None = None,
        seed: int = 0,
        first_step: int = 0,
        memory: int = 2**28,
    ) -> tf.data.Dataset:
        """The recorded samples and answers, without end, for `Distiller.fit`.

        Passes over what is stored are each in another order.

        Args:
            x: the training inputs that were recorded, in any order, or the same examples in files
                (`ecl_tf.data.IndexedExamples`), of any order, too.
            y: their labels, if they were given to `record`; None by default.
            sample_weight: weights of the rows of x, as `Distiller.fit` takes them, which need not
                have been recorded; None by default.
            sampler: the distiller's: None (the default) for the recorded one, or an `Uncertain`
                of it.
            prepare: the function that was recorded; None by default.
            about: compared with what was recorded, if it is given; None by default.
            seed: an integer, of the passes' orders; 0 by default.
            first_step: so many training steps are left out, as after a kill; 0 by default. For
                `ecl_tf.resume.fit` give `lambda step: store.batches(x, y, first_step=step)`.
            memory: where all samples of the store take no more bytes than this (256 MiB by
                default), they are drawn once, and batches are made of their rows. Where they
                take more, every step is drawn when its turn comes, and its rows stay together. So
                it is with `samplers.Embedded`, whose rows need each other.

        Returns:
            A `tf.data.Dataset` of (`ecl_tf.samplers.Samples`, labels), or (samples, labels,
            weights).

        Raises:
            ValueError: if the store was recorded of other data, another sampler or another
                preparation, naming it.
        """
        sampler = self.sampler if sampler is None else samplers.get(sampler)
        base = candidates_of(sampler)
        rows = draws.Rows(x, y, sample_weight)
        here = {
            "data": {"fingerprint": rows.fingerprint, "rows": rows.count},
            "sampler": identity.config_of(base),
            "generators": identity.fingerprint_of_models(base.models),
            **({} if about is None else {"about": about}),
        }
        self._require(here, x, y)
        if self.holds_samples:
            samples_of = self._held(rows, prepare)
        else:
            samples_of = self._drawn_again(rows, base, prepare)

        @tf.autograph.experimental.do_not_convert
        def read(record):
            step, fields = self._parse(record)
            samples, *labels = samples_of(step, fields)
            raw, uncertainty = self._compact.restore(fields, self._manifest["event_size"])
            if sampler.candidates == 1:  # Nothing is chosen: without it every step is shorter.
                uncertainty = ()
            answered = {"sources": (), "member_outputs": (raw,), "uncertainty": uncertainty}
            return samples._replace(**answered), *labels

        size = self.batch_size * sampler.candidates
        once = self._records(seed, 0).take(self.steps).map(read, tf.data.AUTOTUNE)
        leaves = keras.tree.flatten(once.element_spec)
        step_bytes = sum(leaf.shape.num_elements() * leaf.dtype.size for leaf in leaves)
        # Mixed rows find their partners within their step.
        may_part = not once.element_spec[0].mixture
        fits = self.steps * step_bytes <= memory and self.steps >= sampler.candidates
        if may_part and fits:
            with self._naming_a_damaged_shard():
                held = _in_memory(once, self.steps)
            result = splits.shuffled_batches(held, size, seed, first_step)
        else:
            records = self._records(seed, first_step * sampler.candidates)
            result = records.map(read, tf.data.AUTOTUNE)
            if sampler.candidates > 1:
                result = result.batch(sampler.candidates, drop_remainder=True).map(
                    lambda *element: keras.tree.map_structure(_joined, element)
                )
        if sample_weight is not None and y is None:
            result = result.map(lambda samples, weights: (samples, None, weights))
        options, policies = tf.data.Options(), tf.data.experimental.AutoShardPolicy
        # Every worker reads all, and takes its replicas' rows.
        options.experimental_distribute.auto_shard_policy = policies.DATA
        return splits.prefetched(splits.endless(result), size).with_options(options)

    def verify(
        self,
        teacher: Any,
        x: Any,
        y: Any = None,
        *,
        rows: int,
        prepare: Callable | None = None,
        sampler: str | dict | samplers.Sampler | None = None,
        about: dict | None = None,
        seed: int = 0,
    ) -> float:
        """Recomputes some stored rows by the teacher, and compares.

        Args:
            teacher: what was given to `record`.
            x: the same.
            y: the same; None by default.
            rows: how many at least, typically 1,000; whole steps are recomputed, chosen at
                random.
            prepare: what was given to `record`; None by default.
            sampler: the recorded one, needed where it draws from models; None by default.
            about: what was given to `record`; None by default.
            seed: an integer, of the choice of steps; 0 by default.

        Returns:
            The largest KL divergence in nats between a stored and a recomputed answer.

        Raises:
            ValueError: if one differs by more than 1e-4 nats, or something else than the
                recorded teacher, data or sampler was given.
        """
        settings = ("batch_size", "epochs", "seed", "top_k", "shards")
        recording = Recording(
            teacher,
            x,
            y,
            output=keras.saving.deserialize_keras_object(self.plan["output"]),
            sampler=self.sampler if sampler is None else sampler,
            prepare=prepare,
            about=about,
            **{name: self.plan[name] for name in settings},
        )
        self._require(recording.plan, x, y)
        largest, count = 0.0, min(-(-rows // self.batch_size), self.steps)
        records = self._records(seed, 0).take(count).map(self._parse)
        if self.holds_samples:
            held = self._held(recording.rows, prepare)
            drawn = ((step, each["identities"], held(step, each)[0]) for step, each in records)
        else:
            drawn = recording.draw(records.map(lambda step, fields: (step, fields["identities"])))
        for (_, stored), (step, identities, samples) in zip(records, drawn, strict=True):
            again = recording.answer(step, identities, samples)
            again = {name: tf.constant(array) for name, array in again.items()}
            size, output = self._manifest["event_size"], self._compact.output
            raws = (self._compact.restore(fields, size)[0] for fields in (stored, again))
            divergence = output.divergence(*map(output, raws), divergences.kl)
            largest = max(largest, float(tf.reduce_max(divergence)))
            if not largest <= _TOLERANCE:
                raise ValueError(
                    f"The teacher now answers to step {int(step)} otherwise than the store "
                    f"{self.directory} says, by {largest:.2g} nats. Its weights are those that "
                    "were recorded: software or hardware compute otherwise, or `prepare` differs."
                )
        return largest

    def _require(self, here, x, y):
        """Raises ValueError unless these parts of the plan, of x and y, are those of the store."""
        there = {name: self.plan.get(name) for name in here}
        remedy = "Give what was recorded, or record again."
        recorded = self.plan["data"].get("fingerprint")
        if recorded != here["data"]["fingerprint"]:
            if y is None:
                remedy += " If it was recorded with labels, give y too: store.batches(x, y)."
            elif draws.Rows(x).fingerprint == recorded:
                remedy = "It was recorded without labels. Leave y out: store.batches(x)."
        manifest.require_equal(there, here, self.directory, remedy)

    @contextlib.contextmanager
    def _naming_a_damaged_shard(self):
        """TensorFlow says that a record is damaged, and not of which file."""
        try:
            yield
        except tf.errors.DataLossError:
            manifest.verify_files(self.directory, self._manifest["shards"])
            raise

    def _records(self, seed, first):
        """Serialized records without end, each pass over the store in another order."""
        names = tf.constant([str(self.directory / name) for name in self._manifest["shards"]])
        stored = sum(shard["bytes"] for shard in self._manifest["shards"].values())
        buffer = max(min(_SHUFFLE_BUFFER, _SHUFFLE_BYTES * self.steps // stored), 1)
        first_pass, within = divmod(first, self.steps)

        def one_pass(number):
            tf.random.set_seed(1)  # Of this function: else the global seed would come in.
            key = random.fold_in(seed, number)
            order = tf.random.experimental.stateless_shuffle(names, key)
            records = tf.data.TFRecordDataset(order, num_parallel_reads=4)
            return records.shuffle(
                buffer, seed=tf.bitcast(key, tf.int64), reshuffle_each_iteration=False
            )

        return tf.data.Dataset.range(first_pass, tf.int64.max).flat_map(one_pass).skip(within)

    def _parse(self, record):
        """The step of a record, and its fields."""
        layout = self._manifest["fields"]
        texts = {name: tf.io.FixedLenFeature([], tf.string) for name in layout}
        parsed = tf.io.parse_single_example(
            record, {**texts, "step": tf.io.FixedLenFeature([], tf.int64)}
        )
        step = parsed.pop("step")
        fields = {
            name: tf.reshape(tf.io.decode_raw(parsed[name], kind), [self.batch_size, *shape])
            for name, (kind, *shape) in layout.items()
        }
        return step, fields

    def _held(self, rows, prepare):
        """A function from a step and its fields to the stored samples, and their labels."""
        like = draws.prepared(rows, prepare)

        def samples_of(_, fields):
            samples = draws.samples_of(fields, like)
            _, *labels = rows(fields["identities"])
            return samples, *(samples.follow(each) for each in labels)

        return samples_of

    def _drawn_again(self, rows, sampler, prepare):
        """A function from a step and its fields to its samples, drawn again, and their labels."""
        draw = draws.drawing(rows, sampler, prepare, self.plan["seed"])
        first = self._first_draw(rows, draw)

        def samples_of(step, fields):
            return keras.tree.map_structure(
                # With the sizes that `prepare` may have lost.
                lambda tensor, drawn: tf.ensure_shape(tensor, drawn.shape),
                draw(step, fields["identities"]),
                first,
            )

        return samples_of

    def _first_draw(self, rows, draw):
        """What is drawn here in the first step; ValueError if the recorded inputs were others."""
        drawn, *labels = draw(*next(iter(draws.steps(rows, self.batch_size, self.plan["seed"]))))
        for here, there in zip(
            means((drawn.inputs, drawn.mixture)), self._manifest["first_inputs"], strict=True
        ):
            if not np.allclose(here, there, rtol=1e-4, atol=1e-6, equal_nan=True):
                raise ValueError(
                    f"The samples drawn here are not those that the store {self.directory} was "
                    "recorded on, though rows and sampler are the same. Give the `prepare` that "
                    "was recorded (augmentation, scaling)."
                )
        return drawn, *labels


def _in_memory(steps, count):
    """All rows of a number of steps, as tensors. (`batch(count)` would hold them twice.)"""
    held = in_place.joined(steps.batch(max(count // 100, 1)), count)
    return keras.tree.map_structure(_joined, held)


def _joined(tensor):
    """(steps, rows, ...) as (steps * rows, ...)."""
    shape = tensor.shape
    return tf.reshape(tensor, [shape[0] * shape[1], *shape[2:]])
