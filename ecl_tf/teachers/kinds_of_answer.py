"""What a function answers with, and how that is read as raw tensors."""

from typing import Any

import numpy as np
import tensorflow as tf
from scipy import stats

from ecl_tf import outputs
from ecl_tf._internal import require
from ecl_tf.teachers import answers

_OF_PROBABILITIES = ("probabilities", "logits", "members")
_OF_NUMBERS = ("mean", "mean_and_stddev", "mean_and_variance", "quantiles", "members")
_PAIRS = ("mean_and_stddev", "mean_and_variance")


class Kind:
    """How the answers of a teacher's functions are checked and read.

    Args:
        answer: as `kind_of_answer` returns it.
        output: the `ecl_tf.outputs.Output` of the raw tensors.
        levels: as in `FunctionTeacher`.
        least_probability: the same.

    Attributes:
        size: the number of target dimensions; None of classes and labels.
    """

    def __init__(self, answer, output, levels, least_probability):
        if not 0.0 <= require.number("least_probability", least_probability) < 0.5:
            raise ValueError(
                "least_probability must be a number from 0 to less than 0.5; got "
                f"{least_probability!r}."
            )
        self.answer, self.least_probability = answer, float(least_probability)
        self.size = output.size if output.family == "normal" else None
        self.levels = _levels(levels, answer)
        self._is_bernoulli = output.family == "bernoulli"
        self._are_classes = output.family == "categorical"

    def parts(self, answered):
        """The arrays of an answer: a pair of them, or one."""
        if self.answer not in _PAIRS:
            return [answered]
        if isinstance(answered, (tuple, list)) and len(answered) == 2:
            return list(answered)
        raise ValueError(
            f"For answer={self.answer!r} a function returns a pair of arrays, (mean, "
            f"{self.answer.removeprefix('mean_and_')}); got {type(answered).__name__}."
        )

    def shaped(self, array, rows, who):
        """An answer as float32, with all axes; ValueError if its shape is another one."""
        if array.dtype.kind not in "biuf":
            raise ValueError(
                f"The {who} answers with {array.dtype} such as "
                f"{array.ravel()[:1].tolist()}; expected numbers. For answer={self.answer!r} give "
                "those, not names of classes."
            )
        axes, expected = self._expected()
        full = array[..., None] if array.ndim == axes - 1 and self._may_lack_an_axis else array
        fits = full.ndim >= axes if self.size is None else full.ndim == axes
        fits &= full.shape[:1] == (rows,)
        if fits and self.size is not None:
            fits = full.shape[-1] == self.size
        if fits and self.answer == "quantiles":
            fits = full.shape[1] == len(self.levels)
        if not fits:
            raise ValueError(
                f"The {who} answers {rows} rows with an array of shape "
                f"{array.shape}; for answer={self.answer!r} expected {expected}."
            )
        return full.astype("float32")

    @property
    def _may_lack_an_axis(self):
        return self.size == 1 or self._is_bernoulli

    def _expected(self):
        """The number of axes of an answer, and its shape in words."""
        size = "classes or labels" if self.size is None else self.size
        middle = {
            "members": "members",
            "quantiles": None if self.levels is None else len(self.levels),
        }
        if self.answer in middle:
            return 3, f"(rows, {middle[self.answer]}, {size})" + (
                f" or (rows, {middle[self.answer]})" * bool(self._may_lack_an_axis)
            )
        return 2, f"(rows, {size})" + " or (rows,)" * bool(self._may_lack_an_axis)

    def require_values(self, found, who):
        """Raises ValueError of finite answers that are none of their kind."""
        rows = [array[np.isfinite(array.reshape(len(array), -1)).all(-1)] for array in found]
        if not all(map(len, rows)):
            return  # Whoever asks tells of NaN.
        if self.size is None and self.answer != "logits":
            low, high = float(rows[0].min()), float(rows[0].max())
            sums = rows[0].sum(-1)
            # Each may be rounded to two digits.
            is_one = np.abs(sums - 1.0) <= min(0.005 * rows[0].shape[-1], 0.05) + 1e-3
            if low < -1e-6 or high > 1.0 + 1e-3 or (self._are_classes and not is_one.all()):
                first = rows[0].reshape(-1, rows[0].shape[-1])[
                    int(np.argmax(np.abs(sums.ravel() - 1.0))) if self._are_classes else 0
                ]
                remedy = (
                    "Say answer='logits' if they are logits, or output='bernoulli' for independent "
                    "yes/no labels."
                )
                if self._are_classes and low >= 0.0 and sums.min() > 0.9 * sums.max():
                    remedy = "Divide them by their sum: p / p.sum(-1, keepdims=True)."
                raise ValueError(
                    f"The {who} answers with {first[:5].tolist()}, which are no "
                    "probabilities"
                    + (" of classes, that add up to 1. " if self._are_classes else " in [0, 1]. ")
                    + remedy
                )
        if self.answer in _PAIRS and float(rows[1].min()) < 0.0:
            what = self.answer.removeprefix("mean_and_")
            raise ValueError(
                f"The {who} answers with the {what} {float(rows[1].min()):g}, and none is below 0."
            )
        if self.answer == "quantiles" and np.any(np.mean(rows[0][:, -1] - rows[0][:, 0], 0) < 0.0):
            raise ValueError(
                f"The {who} answers with quantiles that fall where levels rise: "
                f"{rows[0][0, :, 0].tolist()} at {self.levels.tolist()}. Give levels in the order "
                "of the answers."
            )

    def raws(self, answered, output):
        """The raw tensors of the members, of what each function answered."""
        # An output's temperature belongs to what the teacher answers: p^(1/T), of its own p.
        own = output if output.temperature == 1.0 else output.tempered(1.0)
        raws = []
        for first, *second in answered:
            members = tf.unstack(first, axis=1) if self.answer == "members" else [first]
            raws += [answers.raw(own, self._parameters(each, *second)) for each in members]
        return raws

    def _parameters(self, first, second=None):
        """The parameters of the output, of one member's answer."""
        if self.answer == "logits":
            return {"logits": first}
        if self.size is None:
            least = self.least_probability
            most = 1.0 - least if self._is_bernoulli else np.inf  # "No" has the rest of "yes".
            return {"probabilities": tf.clip_by_value(first, least, most)}
        if self.answer == "quantiles":
            z = tf.constant(stats.norm.ppf(self.levels), tf.float32)[:, None]
            quantiles = tf.sort(first, axis=1)
            of_z, of_q = tf.reduce_mean(z, 0), tf.reduce_mean(quantiles, 1)
            slope = tf.reduce_sum((z - of_z) * (quantiles - of_q[:, None]), 1)
            stddev = slope / tf.reduce_sum((z - of_z) ** 2, 0)
            return {"mean": of_q - stddev * of_z, "stddev": stddev}
        if self.answer in _PAIRS:
            stddev = tf.sqrt(second) if self.answer == "mean_and_variance" else second
            return {"mean": first, "stddev": stddev}
        return {"mean": first}


def kind_of_answer(answer: str | None, output: outputs.Output) -> str:
    """What a function answers with, for an output.

    Args:
        answer: as in `FunctionTeacher`.
        output: the `ecl_tf.outputs.Output` that is taught.

    Raises:
        ValueError: if no function can teach it, or not by such answers.
    """
    if isinstance(output, outputs.Joint) or output.family not in (
        "categorical",
        "bernoulli",
        "normal",
    ):
        raise ValueError(
            "A FunctionTeacher teaches one output of classes, yes/no labels or numbers; got "
            f"{output!r}. Subclass ecl_tf.Teacher for others: its member_outputs may call "
            "tf.numpy_function."
        )
    known = _OF_NUMBERS if output.family == "normal" else _OF_PROBABILITIES
    if answer is None:
        return "mean" if output.family == "normal" else "probabilities"
    if answer not in known:
        raise ValueError(f"answer must be one of {[*known]} for {output!r}; got {answer!r}.")
    return answer


def with_spread(output: Any, answer: str, stddev: Any) -> Any:
    """The output of the raw tensors: points in the target's units, where means alone are given.

    Args:
        output: the `ecl_tf.outputs.Output` that is taught.
        answer: as `kind_of_answer` returns it.
        stddev: as in `FunctionTeacher`.

    Raises:
        ValueError: if the spread is given twice.
    """
    gives_points = output.family == "normal" and answer in ("mean", "members")
    if stddev is not None and not gives_points:
        raise ValueError(
            f"stddev is for answer='mean' and 'members' of numbers; with answer={answer!r} the "
            "function gives the spread. Leave it out."
        )
    if gives_points:
        point = output if isinstance(output, outputs.Point) else answers.points(output)
        own = {"temperature": output.temperature}
        if stddev is not None:
            own["stddev"] = stddev
        return outputs.Point.from_config({**point.get_config(), **own})
    if isinstance(output, outputs.Point):
        raise ValueError(
            f"answer={answer!r} gives a spread, and {output!r} has one of its own. Give "
            f"ecl_tf.outputs.Normal({output.size})."
        )
    return output


def _levels(levels, answer):
    if (levels is None) == (answer == "quantiles"):
        raise ValueError(
            f"levels are of answer='quantiles', which needs them; got levels={levels!r} with "
            f"answer={answer!r}."
        )
    if levels is None:
        return None
    found = np.asarray(levels, "float64")
    if (
        found.ndim != 1
        or len(found) < 2
        or not (found.min() > 0.0 and found.max() < 1.0 and np.all(np.diff(found) > 0.0))
    ):
        raise ValueError(
            "levels must be at least two numbers between 0 and 1 that rise, such as "
            f"(0.05, 0.5, 0.95); got {levels!r}."
        )
    return found
