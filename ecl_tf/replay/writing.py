"""Writes a store: a teacher's answers for every sample of some passes over the training set."""

import collections
import concurrent.futures
import itertools
import os
import re
import shutil
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import files, require
from ecl_tf.replay import manifest
from ecl_tf.replay.recording import Recording

PART_STEPS = 50  # A shard is written in parts of so many: a kill may cost one.


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
    directory = files.at_home(directory)
    if not 0 <= worker < workers:
        raise ValueError(
            f"worker={worker} of workers={workers}; expected a number from 0 to workers - 1."
        )
    _require_free(directory)
    recording = Recording(teacher, x, y, **settings)  # It reads all rows.
    _claim(directory, recording.plan, worker)
    if (directory / manifest.MANIFEST).exists():
        manifest.read(directory)
        return True
    mine = range(worker, recording.shards, workers)
    _write_shards(recording, directory, mine, verbose)
    names = manifest.shard_names(recording.plan)
    if not all((directory / name).exists() for name in names):
        return False
    for number in sorted({*range(recording.shards)} - {*mine}):  # By other workers.
        recording.require_whole(directory / names[number], *recording.shard_steps(number))
    content = {
        "format": manifest.FORMAT,
        "plan": recording.plan,
        **recording.layout,
        "shards": {name: manifest.describe_file(directory / name) for name in names},
    }
    files.write_json(directory / manifest.MANIFEST, manifest.with_hash(content), worker)
    return True


def _require_free(directory):
    """Refuses a file, and a directory that holds anything else than a store."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise ValueError(f"{directory} is a file; a store is a directory. Give a new one.")
    path = directory / manifest.PLAN
    # Listed first: another worker may write its plan, and parts, at any time.
    found = [each for each in directory.iterdir() if each != path]
    left = [each for each in found if not files.is_of_a_file_browser(each)]
    if not path.exists() and any(not each.name.startswith(files.UNFINISHED) for each in left):
        raise ValueError(f"{directory} is not empty and holds no store. Give a new directory.")


def _claim(directory, plan, worker):
    """Makes the directory one of this plan; ValueError if it is one of another."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / manifest.PLAN
    if not path.exists():
        files.write_json(path, plan, worker)
    manifest.require_equal(
        manifest.read_json(path, "Restore it from a copy, or give a new directory."),
        plan,
        directory,
        "Give the same settings to continue it, or another directory.",
    )


def _write_shards(recording, directory, numbers, verbose):
    """Writes what is missing of some shards, and tells how long it takes."""
    # All that is there is read before the teacher computes anything.
    begun = {number: _parts(recording, directory, number) for number in numbers}
    total = sum(last - first for first, last in map(recording.shard_steps, numbers))
    progress = keras.utils.Progbar(total, unit_name="step", verbose=int(verbose in ("auto", 1)))
    steps_left = {number: recording.shard_steps(number)[1] - begun[number][0] for number in numbers}
    started, to_answer = time.monotonic(), sum(steps_left.values())
    for written, number in enumerate(numbers, 1):
        step, paths = begun[number]
        _write_shard(recording, directory, number, step, paths, progress)
        steps_left[number] = 0
        if verbose == 2:
            still = sum(steps_left.values())
            each = (time.monotonic() - started) / max(to_answer - still, 1)
            print(f"[shard {written}/{len(numbers)}] about {still * each:,.0f} s left", flush=True)


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
    require.whole("steps", steps, 1)
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
