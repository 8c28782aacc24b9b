"""Functions of any library, asked about rows of inputs."""

import collections
import hashlib
import threading
import warnings

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import batches, own_inputs, probabilities
from ecl_tf.teachers.kinds_of_answer import Kind

_UNITS = 30.0  # So many times larger numbers are in other units.
_KNOWING_ROWS = 64  # Rows of x that a function is asked about when it becomes a teacher.
_ORDERED_ROWS = 8  # Of these, which it is asked about twice, in two orders.
_STEPS = 1000  # Into which a fingerprint divides the range of the answers.


class _FunctionError(ValueError):
    """A function's own error on rows."""


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
        looks_up: names of what takes some of the numbers for codes, as far as that is known.
    """

    def __init__(self, functions, output, x, answer, levels, least_probability, threads, name):
        self.threads, self._free = threads, threading.Semaphore(threads)
        self.functions, self.name = functions, name
        for function in functions:
            _require_function(function)
        if not functions:
            raise ValueError("A teacher needs at least one function; got none.")
        self.kind = Kind(answer, output, levels, least_probability)
        self.on_host = not all(map(_is_tensorflows, functions))
        self.failures: collections.deque[Exception] = collections.deque(maxlen=threads + 1)
        self.looks_up = sorted(set().union(*(getattr(f, "looks_up", ()) for f in functions)))
        self._spread = getattr(output, "stddev", None)
        if not hasattr(x, "columns"):
            own_inputs.require_dense(x)
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
        self.specs, self._shown = batches.specs(rows), rows
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
        raws = self.kind.raws(self._known, output)
        if answer == "logits" and any(probabilities.rows_that_look_like(output, r) for r in raws):
            raise ValueError(
                f"The teacher {name!r} {probabilities.OF_CLASSES}: they seem to be probabilities, "
                "and answer='logits' takes them for logits. Leave answer out."
            )
        rise = (probabilities.rise_to_1(output, np.asarray(raw)) for raw in raws)
        if answer == "logits" and any(rise):
            warnings.warn(f"The teacher {name!r} {probabilities.CUMULATIVE}", stacklevel=3)
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
        steps = np.ptp(flat, None if self.kind.size is None else 0) / _STEPS
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
        sizes = {
            found[0][-1] if self.kind.size is None else self.kind.size for found in self.shapes
        }
        if len(sizes) > 1:
            raise ValueError(
                f"The functions of the teacher {self.name!r} answer with different numbers of "
                f"classes or labels: {sorted(sizes)}. Give functions of the same ones, in one "
                "order."
            )

    def fingerprint(self):
        spread = None if self._spread is None else [f"{s:.5g}" for s in np.ravel(self._spread)]
        levels = None if self.kind.levels is None else self.kind.levels.tolist()
        about = [self.kind.answer, levels, spread, self.kind.least_probability]
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

    def compare(self, inputs):
        """Warns of inputs whose numbers are in other units than those of x.

        The largest sizes of a column in some rows are compared. The median of all columns decides,
        because one may grow with time, or be 0 in most rows.

        Args:
            inputs: arrays of a whole data set, or a batch.
        """
        ratios = []
        leaves = keras.tree.flatten(self.own(inputs))
        for leaf, shown in zip(leaves, keras.tree.flatten(self._shown), strict=True):
            if shown.dtype.is_floating:
                its, own = (np.abs(_some(each)).max(0).ravel() for each in (leaf, shown))
                ratios += [*(its[own > 0] / own[own > 0])]
        ratio = np.median(ratios) if len(ratios) > 1 else 1.0
        if ratio > _UNITS or ratio < 1 / _UNITS:
            warnings.warn(
                f"The numbers of the data are {ratio:.3g} times as large as those of the rows x "
                f"that the teacher {self.name!r} was made with (the median of their columns). Give "
                "both in the same units.",
                stacklevel=5,
            )

    def raws(self, inputs, output):
        """The raw tensors of all members, for a batch of inputs."""
        given = self.own(keras.tree.map_structure(tf.convert_to_tensor, inputs))
        inputs = keras.tree.map_structure(self._as_shown, given, self.specs)
        answered = [self._answered(number, inputs) for number in range(len(self.functions))]
        return self.kind.raws(answered, output)

    def _as_shown(self, leaf, spec):
        """Inputs of the type that x has."""
        if spec.dtype == tf.string:
            return leaf
        if (spec.dtype.is_integer or spec.dtype.is_bool) and leaf.dtype.is_floating:
            raise ValueError(
                f"The teacher {self.name!r} was shown {spec.dtype.name} as x, no fractions, and "
                f"is asked about {leaf.dtype.name}, which would be rounded. Give x as the student "
                "gets it: x.astype('float32')."
            )
        return batches.as_type(leaf, spec.dtype)

    def _answered(self, number, inputs):
        """The tensors that a function answers with."""
        shapes = self.shapes[number]
        leaves = keras.tree.flatten(inputs)
        if _is_tensorflows(self.functions[number]):
            found = self.kind.parts(self.functions[number](inputs))
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
            raise _FunctionError(
                f"The {self._named(number)} failed on {rows} rows of {_shapes(arrays)}: "
                f"{type(error).__name__}: {error}"
            ) from error
        who = self._named(number)
        parts = map(np.asarray, self.kind.parts(answered))
        found = [self.kind.shaped(part, rows, who) for part in parts]
        if self.shapes:
            shapes = [array.shape[1:] for array in found]
            if shapes != self.shapes[number]:
                raise ValueError(
                    f"The {who} answers {rows} rows with arrays (rows, ...) of "
                    f"{shapes}; it answered x with {self.shapes[number]}. It must give as many "
                    "numbers for every row, whatever it is asked."
                )
        self.kind.require_values(found, who)
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


def _in_shape(tensor, rows, shape):
    """A TensorFlow function's answer with all axes, which has to have so many rows."""
    tensor = tf.cast(tensor, tf.float32)
    if tensor.shape.rank == len(shape):
        tensor = tensor[..., None]
    return tf.reshape(tf.ensure_shape(tensor, (None, *shape)), [rows, *shape])


def _some(leaf):
    """Evenly spaced rows of an array."""
    rows = np.asarray(leaf)
    return rows[np.linspace(0, len(rows) - 1, _KNOWING_ROWS).astype(int)].astype("float64")


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
