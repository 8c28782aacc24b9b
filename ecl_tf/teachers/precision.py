"""What a teacher's low precision does to its answers, and to the time that they take."""

import statistics
import time
from typing import Any, NamedTuple

import tensorflow as tf

from ecl_tf import divergences
from ecl_tf._internal import batches
from ecl_tf.teachers.teacher import Teacher

# Trained networks were 5e-5 and 9e-5 nats off in the mean (docs/results/speed.md). Ten times that
# is still little beside the divergence of a student.
LARGEST_MEAN = 1e-3
# "auto" takes what is at least this much faster: less is within the noise of a few steps.
_FASTER = 0.9
_TURNS, _SECONDS = 7, 20.0


class Rounding(NamedTuple):
    """How far a teacher in low precision answers from the same one in full precision.

    Attributes:
        mean: the divergence KL(full, low) in nats, a mean over rows.
        largest: that of the row with the largest.
    """

    mean: float
    largest: float

    def __str__(self):
        return f"{self.mean:.1e} nats off in the mean and {self.largest:.1e} at most"


def rounding(teacher: Teacher, inputs: Any, precision: str | None = None) -> Rounding:
    """Measures how far low precision moves a teacher's answers.

    KL(p_full || p_low), where p_full are the answers of the same networks as they were made.

    Args:
        teacher: an `ecl_tf.Ensemble` with a `precision`, or another one to be asked in it.
        inputs: a batch of inputs, typically 64 to 1,000 rows.
        precision: "bfloat16" or "float16"; None, the default, is the teacher's own.

    Returns:
        A `Rounding`: the mean and the largest divergence in nats. Both are 0 of a teacher that has
        no precision to be chosen.

    Raises:
        ValueError: of a dataset or a generator, and of a subclass of `Ensemble` with a precision of
            its own.

    Example:
    >>> import keras, numpy as np, ecl_tf
    >>> network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(64, "relu"),
    ...                             keras.layers.Dense(3)])
    >>> x = np.random.default_rng(0).random((100, 4), "float32")
    >>> found = rounding(ecl_tf.Ensemble(network, "categorical", precision="bfloat16"), x)
    >>> 0.0 < found.mean < found.largest < 1e-3
    True
    """
    if batches.is_stream(inputs):
        raise ValueError(
            f"rounding takes a batch of inputs as arrays; got a {type(inputs).__name__}. Give its "
            "first batch: inputs, *_ = next(iter(data))."
        )
    full, low = teacher.with_precision(None), teacher
    if precision is not None:
        low = teacher.with_precision(precision)
    if getattr(full, "precision", None) is not None:
        raise ValueError(
            f"{type(full).__name__} is a class of yours, which can't be had in full precision. "
            "Make a teacher without a precision, and compare the answers of the two."
        )
    return _between(full, low, inputs)


def choose(teacher: Teacher, inputs: Any, precision: str = "bfloat16") -> tuple[bool, str]:
    """Whether a teacher should compute in `precision` on this machine, and why in words.

    It should if that moves its answers by no more than `LARGEST_MEAN` in the mean, and takes at
    most 0.9 of the time: the median ratio of up to 7 turns, for at most about 20 seconds, after
    one turn of warm-up.

    Args:
        teacher: an `ecl_tf.Teacher`.
        inputs: a batch of inputs.
        precision: "bfloat16", the default, or "float16".
    """
    full, low = teacher, teacher.with_precision(precision)
    if low.fingerprint() == full.fingerprint():
        return False, f"it has no layers that could compute in {precision}"
    found = _between(full, low, inputs)
    if not found.mean <= LARGEST_MEAN:  # NaN, too.
        return False, f"{precision} would be {found}; {LARGEST_MEAN:g} are allowed in the mean"
    ratio = _ratio(low, full, inputs)
    return ratio <= _FASTER, f"{precision} takes {ratio:.2f} of the time, and is {found}"


def _between(full, low, inputs):
    output = full.output_kind
    nats = output.divergence(full.distribution(inputs), low.distribution(inputs), divergences.kl)
    return Rounding(float(tf.reduce_mean(nats)), float(tf.reduce_max(nats)))


def _ratio(one, other, inputs):
    asks = [tf.function(each.member_outputs, autograph=False) for each in (one, other)]
    began, ratios = time.perf_counter(), []
    for turn in range(1 + _TURNS):
        seconds = []
        for ask in asks:
            begun = time.perf_counter()
            # A device may still compute when a call returns, until its numbers are asked for.
            tf.nest.map_structure(lambda raw: raw.numpy(), ask(inputs))
            seconds.append(time.perf_counter() - begun)
        if turn:
            ratios.append(seconds[0] / seconds[1])
        if ratios and time.perf_counter() - began > _SECONDS:
            break
    return statistics.median(ratios)
