"""Functions of any library, asked about rows, and their answers read as raw tensors."""

import collections
import hashlib
import threading
import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy import stats

from ecl_tf import outputs
from ecl_tf._internal import batches, probabilities, require
from ecl_tf.teachers import answers

_KNOWING_ROWS = 64  # Rows of x that a function is asked about when it becomes a teacher.
_ORDERED_ROWS = 8  # Of these, which it is asked about twice, in two orders.
_STEPS = 1000  # Into which a fingerprint divides the range of the answers.
_OF_PROBABILITIES = ("probabilities", "logits", "members")
_OF_NUMBERS = ("mean", "mean_and_stddev", "mean_and_variance", "quantiles", "members")
_PAIRS = ("mean_and_stddev", "mean_and_variance")


class Functions:
    """Functions with all that is needed to ask them, and to read their answers.

    Args:
        functions: a list of them.
        output: the `ecl_tf.outputs.Output` of the raw tensors.
        x: rows of inputs.
        answer: as in `FunctionTeacher`, like the next three.
        levels: the same.
        least_probability: the same.
        threads: the same.
        name: of the teacher, for messages.

    Attributes:
        members: the number of members of all functions together.
        on_host: whether one runs outside of TensorFlow.
        raw_shape: the shape of a member's raw tensor, None for the rows.
        failures: the last errors of functions within a graph.
    """

    def __init__(self, functions, output, x, answer, levels, least_probability, threads, name):
        self.threads, self._free = threads, threading.Semaphore(threads)
        self.functions, self.answer, self.name = functions, answer, name
        for function in functions:
            _require_function(function)
        if not functions:
            raise ValueError("A teacher needs at least one function; got none.")
        if not 0.0 <= require.number("least_probability", least_probability) < 0.5:
            raise ValueError(
                "least_probability must be a number from 0 to less than 0.5; got "
                f"{least_probability!r}."
            )
        self.least_probability = float(least_probability)
        self._size = output.size if output.family == "normal" else None
        self._levels = _levels(levels, answer)
        self._is_bernoulli = output.family == "bernoulli"
        self._are_classes = output.family == "categorical"
        self.on_host = not all(map(_is_tensorflows, functions))
        self.failures: collections.deque[Exception] = collections.deque(maxlen=threads + 1)
        self._spread = getattr(output, "stddev", None)
        rows = keras.tree.map_structure(_as_tensor, x)
        counts = {leaf.shape[0] if leaf.shape.rank else 0 for leaf in keras.tree.flatten(rows)}
        if len(counts) != 1 or not min(counts):
            raise ValueError(
                "x must hold rows of inputs, an array (rows, ...) or a dict of such arrays with "
                f"equally many rows; got rows {sorted(counts)}."
            )
        (count,) = counts
        places = np.unique(np.linspace(0, count - 1, _KNOWING_ROWS).astype(int))
        rows = keras.tree.map_structure(lambda leaf: tf.gather(leaf, places), rows)
        self.specs = batches.specs(rows)
        self.shapes: list[list[tuple]] = []  # Not known before the first answer.
        arrays = keras.tree.map_structure(lambda leaf: leaf.numpy(), rows)
        self._known = [self._ask_one(number, arrays) for number in range(len(functions))]
        self.shapes = [[array.shape[1:] for array in found] for found in self._known]
        for number, found in enumerate(self._known):
            if not all(np.isfinite(array).all() for array in found):
                raise ValueError(
                    f"The {self._named(number)} answers with NaN or Inf to rows of x. Give rows "
                    "that it can answer, or have it answer all of them."
                )
            self._require_order(number, arrays)
        self._require_equal_sizes()
        raws = self._read(self._known, output)
        if answer == "logits" and any(probabilities.rows_that_look_like(output, r) for r in raws):
            raise ValueError(
                f"The teacher {name!r} {probabilities.OF_CLASSES}: they seem to be probabilities, "
                "and answer='logits' takes them for logits. Leave answer out."
            )
        self.members, self.raw_shape = len(raws), (None, *raws[0].shape[1:])
        output.validate(self.raw_shape, f"teacher {name!r}")

    def _require_order(self, number, arrays):
        """Refuses answers that are not in the rows' order; warns if rows change each other's.

        A few rows are asked about twice, the second time the last one first.
        """
        few = keras.tree.map_structure(lambda array: array[:_ORDERED_ROWS], arrays)
        try:
            first = self._ask_one(number, few)
        except ValueError:  # It may work on a fixed number of rows.
            few, first = arrays, self._known[number]
        turned = self._ask_one(number, keras.tree.map_structure(lambda array: array[::-1], few))
        flat, other = (
            np.concatenate([array.reshape(len(array), -1) for array in found], -1)
            for found in (first, turned)
        )
        # Probabilities have one unit. Columns of numbers may have one each, and no range at all.
        shares = self._are_classes or self._is_bernoulli
        steps = np.ptp(flat, None if shares else 0) / _STEPS
        near = np.maximum(steps, 1e-6 * np.maximum(abs(flat).max(0), 1e-3))  # Or by rounding.
        if (abs(flat - other[::-1]) <= near).all():
            return
        of_each = [(abs(other - one) <= near).all(-1).any() for one in flat]
        kinds = len(np.unique(np.round(flat / near), axis=0))
        if all(of_each) and 2 * kinds > len(flat):  # Of fewer kinds they may be alike by chance.
            raise ValueError(
                f"The {self._named(number)} answers in another order than that of the rows it is "
                f"asked about: {len(flat)} rows have the same answers turned round, in other "
                "places. It must answer row by row; perhaps it sorts or groups them."
            )
        warnings.warn(
            f"The {self._named(number)} answers a row otherwise when it is asked again with other "
            "rows beside it. Students learn from what it says at the time; stored answers and "
            "fingerprints need a function that answers each row by itself.",
            stacklevel=4,
        )

    def _named(self, number):
        several = f" {number} (from 0)" if len(self.functions) > 1 else ""
        return f"function{several} of the teacher {self.name!r}"

    def _require_equal_sizes(self):
        sizes = {found[0][-1] if self._size is None else self._size for found in self.shapes}
        if len(sizes) > 1:
            raise ValueError(
                f"The functions of the teacher {self.name!r} answer with different numbers of "
                f"classes or labels: {sorted(sizes)}. Give functions of the same ones, in one "
                "order."
            )

    def fingerprint(self):
        spread = None if self._spread is None else [f"{s:.5g}" for s in np.ravel(self._spread)]
        levels = None if self._levels is None else self._levels.tolist()
        about = [self.answer, levels, spread, self.least_probability]
        digest = hashlib.sha256(repr(about).encode())
        for found in self._known:
            for array in found:
                low, high = float(array.min()), float(array.max())
                steps = np.round((array - low) / ((high - low) or 1.0) * _STEPS).astype("int32")
                digest.update(f"{steps.shape} {low:.3g} {high:.3g}".encode())
                digest.update(steps.tobytes())
        return digest.hexdigest()

    def own(self, inputs):
        """The inputs of the functions, of those that the data has, or specs of them.

        Raises:
            ValueError: if their names or shapes are others than those of x.
        """
        if isinstance(self.specs, dict) and isinstance(inputs, dict):
            if missing := sorted(set(self.specs) - set(inputs)):
                raise ValueError(
                    f"The teacher {self.name!r} takes the inputs {sorted(self.specs)}, as in its "
                    f"x, and the data has {sorted(inputs)}: {missing} is missing."
                )
            inputs = {name: inputs[name] for name in self.specs}
        try:
            keras.tree.assert_same_structure(self.specs, inputs)
            pairs = zip(keras.tree.flatten(self.specs), keras.tree.flatten(inputs), strict=True)
            fit = all(spec.shape.is_compatible_with((None, *i.shape[1:])) for spec, i in pairs)
        except ValueError:
            fit = False
        if not fit:
            raise ValueError(
                f"The teacher {self.name!r} was shown rows x of {_shapes(self.specs)}, and is "
                f"asked about {_shapes(inputs)}. Give it the inputs that x had."
            )
        return inputs

    def raws(self, inputs, output):
        """The raw tensors of all members, for a batch of inputs."""
        given = self.own(keras.tree.map_structure(tf.convert_to_tensor, inputs))
        inputs = keras.tree.map_structure(self._as_shown, given, self.specs)
        return self._read([self._answered(n, inputs) for n in range(len(self.functions))], output)

    def _as_shown(self, leaf, spec):
        """Inputs of the type that x has."""
        if spec.dtype == tf.string:
            return leaf
        if spec.dtype.is_integer and leaf.dtype.is_floating:
            raise ValueError(
                f"The teacher {self.name!r} was shown whole numbers as x ({spec.dtype.name}), and "
                f"is asked about {leaf.dtype.name}, which would be rounded. Give x as the student "
                "gets it: x.astype('float32')."
            )
        return batches.as_type(leaf, spec.dtype)

    def _answered(self, number, inputs):
        """The tensors that a function answers with."""
        shapes = self.shapes[number]
        leaves = keras.tree.flatten(inputs)
        if _is_tensorflows(self.functions[number]):
            found = _parts(self.answer, self.functions[number](inputs))
            return [
                _in_shape(each, tf.shape(leaves[0])[0], shape)
                for each, shape in zip(found, shapes, strict=True)
            ]
        if tf.executing_eagerly():
            arrays = keras.tree.map_structure(lambda leaf: leaf.numpy(), inputs)
            return [tf.constant(array) for array in self._ask_one(number, arrays)]

        def on_host(*arrays):
            try:
                return self._ask_one(number, keras.tree.pack_sequence_as(self.specs, arrays))
            except Exception as error:
                self.failures.append(error)
                raise

        found = tf.numpy_function(on_host, leaves, [tf.float32] * len(shapes))
        found = list(found) if isinstance(found, (list, tuple)) else [found]
        for tensor, shape in zip(found, shapes, strict=True):
            tensor.set_shape((leaves[0].shape[0], *shape))
        return found

    def _ask_one(self, number, arrays):
        """The float32 arrays (rows, ...) that a function answers with, checked."""
        function, rows = self.functions[number], len(keras.tree.flatten(arrays)[0])
        if rows == 0 and self.shapes:  # Of a replica that got none.
            return [np.zeros((0, *shape), "float32") for shape in self.shapes[number]]
        try:
            # A function may change its rows in place, which are the student's, too.
            copied = tf.constant if _is_tensorflows(function) else np.array
            given = keras.tree.map_structure(copied, arrays)
            with self._free:
                answered = function(given)
        except Exception as error:  # Every library has exceptions of its own.
            raise ValueError(
                f"The {self._named(number)} failed on {rows} rows of {_shapes(arrays)}: "
                f"{type(error).__name__}: {error}"
            ) from error
        found = [
            self._shaped(np.asarray(part), rows, number) for part in _parts(self.answer, answered)
        ]
        if self.shapes:
            shapes = [array.shape[1:] for array in found]
            if shapes != self.shapes[number]:
                raise ValueError(
                    f"The {self._named(number)} answers {rows} rows with arrays (rows, ...) of "
                    f"{shapes}; it answered x with {self.shapes[number]}. It must give as many "
                    "numbers for every row, whatever it is asked."
                )
        self._require_values(found, number)
        return found

    def _shaped(self, array, rows, number):
        """An answer as float32, with all axes; ValueError if its shape is another one."""
        if array.dtype.kind not in "biuf":
            raise ValueError(
                f"The {self._named(number)} answers with {array.dtype} such as "
                f"{array.ravel()[:1].tolist()}; expected numbers. For answer={self.answer!r} give "
                "those, not names of classes."
            )
        axes, expected = self._expected()
        full = array[..., None] if array.ndim == axes - 1 and self._may_lack_an_axis else array
        fits = full.ndim >= axes if self._size is None else full.ndim == axes
        fits &= full.shape[:1] == (rows,)
        if fits and self._size is not None:
            fits = full.shape[-1] == self._size
        if fits and self.answer == "quantiles":
            fits = full.shape[1] == len(self._levels)
        if not fits:
            raise ValueError(
                f"The {self._named(number)} answers {rows} rows with an array of shape "
                f"{array.shape}; for answer={self.answer!r} expected {expected}."
            )
        return full.astype("float32")

    @property
    def _may_lack_an_axis(self):
        return self._size == 1 or self._is_bernoulli

    def _expected(self):
        """The number of axes of an answer, and its shape in words."""
        size = "classes or labels" if self._size is None else self._size
        middle = {
            "members": "members",
            "quantiles": None if self._levels is None else len(self._levels),
        }
        if self.answer in middle:
            return 3, f"(rows, {middle[self.answer]}, {size})" + (
                f" or (rows, {middle[self.answer]})" * bool(self._may_lack_an_axis)
            )
        return 2, f"(rows, {size})" + " or (rows,)" * bool(self._may_lack_an_axis)

    def _require_values(self, found, number):
        """Raises ValueError of finite answers that are none of their kind."""
        rows = [array[np.isfinite(array.reshape(len(array), -1)).all(-1)] for array in found]
        if not all(map(len, rows)):
            return  # Whoever asks tells of NaN.
        if self._size is None and self.answer != "logits":
            low, high = float(rows[0].min()), float(rows[0].max())
            sums = rows[0].sum(-1)
            is_one = np.abs(sums - 1.0) <= 1e-2
            if low < -1e-6 or high > 1.0 + 1e-3 or (self._are_classes and not is_one.all()):
                first = rows[0].reshape(-1, rows[0].shape[-1])[
                    int(np.argmax(np.abs(sums.ravel() - 1.0))) if self._are_classes else 0
                ]
                raise ValueError(
                    f"The {self._named(number)} answers with {first[:5].tolist()}, which are no "
                    "probabilities"
                    + (" of classes, that add up to 1. " if self._are_classes else " in [0, 1]. ")
                    + "Say answer='logits' if they are logits, or output='bernoulli' for "
                    "independent yes/no labels."
                )
        if self.answer in _PAIRS and float(rows[1].min()) < 0.0:
            what = self.answer.removeprefix("mean_and_")
            raise ValueError(
                f"The {self._named(number)} answers with the {what} {float(rows[1].min()):g}, and "
                "none is below 0."
            )
        if self.answer == "quantiles" and np.any(np.mean(rows[0][:, -1] - rows[0][:, 0], 0) < 0.0):
            raise ValueError(
                f"The {self._named(number)} answers with quantiles that fall where levels rise: "
                f"{rows[0][0, :, 0].tolist()} at {self._levels.tolist()}. Give levels in the order "
                "of the answers."
            )

    def _read(self, answered, output):
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
        if self._size is None:
            return {"probabilities": tf.maximum(first, self.least_probability)}
        if self.answer == "quantiles":
            z = tf.constant(stats.norm.ppf(self._levels), tf.float32)[:, None]
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


def _require_function(function):
    if isinstance(function, keras.Model):
        raise ValueError(
            f"The network {function.name!r} is a Keras model, which ecl_tf.Ensemble takes as it "
            "is. Give that, or tf.function(model) for an answer that Ensemble does not know."
        )
    if hasattr(function, "predict"):
        raise ValueError(
            f"{type(function).__name__} is an estimator, and no function. Give "
            "ecl_tf.teachers.from_estimator(estimator, output, x, y), or its method, such as "
            "estimator.predict_proba."
        )
    if not callable(function):
        raise ValueError(f"A teacher's function must be callable; got {function!r}.")


def _is_tensorflows(function):
    return isinstance(function, tf.types.experimental.GenericFunction)


def _parts(answer, answered):
    """The arrays of an answer: a pair of them, or one."""
    if answer not in _PAIRS:
        return [answered]
    if isinstance(answered, (tuple, list)) and len(answered) == 2:
        return list(answered)
    raise ValueError(
        f"For answer={answer!r} a function returns a pair of arrays, (mean, "
        f"{answer.removeprefix('mean_and_')}); got {type(answered).__name__}."
    )


def _in_shape(tensor, rows, shape):
    """A TensorFlow function's answer with all axes, which has to have so many rows."""
    tensor = tf.cast(tensor, tf.float32)
    if tensor.shape.rank == len(shape):
        tensor = tensor[..., None]
    return tf.reshape(tf.ensure_shape(tensor, (None, *shape)), [rows, *shape])


def _as_tensor(leaf):
    """As `fit` gives data to networks: numbers with a fraction are float32."""
    try:
        tensor = tf.convert_to_tensor(leaf)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"x has to hold rows of numbers or texts of one kind: {error} Give the columns of a "
            "table as a dict of arrays: {name: frame[name].to_numpy() for name in frame}."
        ) from error
    return tf.cast(tensor, tf.float32) if tensor.dtype == tf.float64 else tensor


def _shapes(inputs):
    """The shapes of inputs in words."""
    found = keras.tree.map_structure(lambda leaf: (None, *leaf.shape[1:]), inputs)
    if isinstance(found, dict):
        return ", ".join(f"{name!r} {shape}" for name, shape in found.items())
    return f"shape {found}"
