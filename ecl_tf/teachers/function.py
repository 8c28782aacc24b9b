"""Functions as teachers: predictions of any library, in NumPy or TensorFlow."""

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy import stats

from ecl_tf import outputs
from ecl_tf._internal import batches, require
from ecl_tf.teachers import answers
from ecl_tf.teachers.ensemble import Teacher

_KNOWING_ROWS = 64  # Rows of x that a function is asked about when it becomes a teacher.
_STEPS = 1000  # Into which a fingerprint divides the range of the answers.
_OF_PROBABILITIES = ("probabilities", "logits", "members")
_OF_NUMBERS = ("mean", "mean_and_stddev", "mean_and_variance", "quantiles", "members")
_PAIRS = ("mean_and_stddev", "mean_and_variance")


@keras.saving.register_keras_serializable("ecl_tf")
class FunctionTeacher(Teacher):
    """A teacher that is a function of rows, such as the `predict_proba` of scikit-learn.

    A function takes a NumPy array of rows (a dict of arrays, where x is one) and returns an array
    with an answer for each row, in their order. It runs on the host, outside of TensorFlow; XLA
    can't compile it (`jit_compile=True` warns and goes without).
    A `tf.function` runs in the graph as it is.

    What a function returns for n rows, K classes or labels, and d target dimensions, goes by
    `answer`:

        "probabilities"      (n, K), of classes or yes/no labels
        "logits"             (n, K), the raw output itself
        "mean"               (n, d); the spread is `stddev`, and what several functions differ by
        "mean_and_stddev"    a pair of arrays, each (n, d)
        "mean_and_variance"  the same
        "quantiles"          (n, Q) for one target, else (n, Q, d), at Q `levels`
        "members"            (n, M, K), probabilities, or (n, M, d), means, of M members, such as
                             the trees of a forest; (n, M) for one target

    For d = 1, and for one yes/no label, the last axis may be left out. Of quantiles q_k at the
    levels a_k the teacher takes the normal distribution whose quantiles are nearest to them, by
    least squares on z_k = Phi^-1(a_k):

        stddev = sum_k (z_k - z) (q_k - q) / sum_k (z_k - z)^2      mean = q - stddev z

    with the means z and q over k; quantiles that cross each other are sorted first. Several
    functions, and "members", are an ensemble with both parts of the uncertainty (see
    `ecl_tf.outputs`).

    Every answer is checked for its shape, its number of rows, and whether probabilities are some;
    those of a `tf.function` only when it becomes a teacher. The teacher is known by its answers to
    64 rows of `x` (`fingerprint`).

    A distiller is saved with the fingerprint, and without the function. After loading, student and
    export can be used; `give` gives the teacher its function again.

    Args:
        function: from rows to answers, or a sequence of such functions, which is an ensemble.
        output: the `ecl_tf.outputs.Output` that is taught, or its name; `Normal(d)` for numbers.
        x: some rows of inputs, as the student gets them. The function is asked about 64 of them
            at once, evenly spaced, so that what does not fit is refused here.
        answer: as above; None, the default, is "probabilities" for classes and yes/no labels, and
            "mean" for numbers.
        levels: of "quantiles", at least two numbers between 0 and 1 that rise, such as
            (0.05, 0.5, 0.95); None by default.
        stddev: of "mean" and "members", a standard deviation in the target's units, or one for
            each target dimension: that of the residuals on held-out rows, as
            `ecl_tf.teachers.residual_stddev` measures it. None, the default, takes what the
            functions or members differ by.
        least_probability: what probabilities are raised to before they are normalised; 0.0 by
            default, typically 0.001 for forests, which say 0 where no tree has a vote.
        threads: how many calls may be under way at a time, by several replicas or by
            `ecl_tf.replay.record`; 1 by default, typically some for a function that waits, such
            as for a server.
        name: of the Keras model, "function_teacher" by default.

    Raises:
        ValueError: if an argument is out of its range, the function fails on the rows of x, or its
            answers have another number of rows, another shape, are no probabilities, or not finite.

    Example:
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> x = np.random.default_rng(0).normal(size=(200, 4)).astype("float32")
    >>> forest = RandomForestClassifier(10, random_state=0).fit(x, x[:, 0] > 0.0)
    >>> teacher = FunctionTeacher(forest.predict_proba, "categorical", x)
    >>> p = teacher.distribution(x[:5]).probs_parameter()
    >>> bool(np.allclose(p, forest.predict_proba(x[:5]), atol=1e-6))
    True

    Reference: sorting quantiles is Chernozhukov et al., "Quantile and Probability Curves Without
    Crossing", 2010.
    """

    def __init__(
        self,
        function: Callable | Sequence[Callable],
        output: str | dict | outputs.Output,
        x: Any,
        answer: str | None = None,
        *,
        levels: Sequence[float] | None = None,
        stddev: float | Sequence[float] | None = None,
        least_probability: float = 0.0,
        threads: int = 1,
        name: str = "function_teacher",
    ):
        """Takes the arguments that the class describes."""
        threads = require.whole("threads", threads, 1)
        functions = list(function) if isinstance(function, (list, tuple)) else [function]
        output = outputs.get(output)
        answer = _answer(answer, output)
        output = _spread_of(output, answer, stddev)
        asked = _Functions(functions, output, x, answer, levels, least_probability, threads, name)
        if isinstance(output, outputs.Point) and output.stddev is None and asked.members == 1:
            raise ValueError(
                f"The function of {name!r} gives means and no spread, so it has no distribution to "
                "match. Give stddev, in the target's units, as "
                "ecl_tf.teachers.residual_stddev measures it on held-out rows; or several "
                "functions, whose disagreement is the spread; or use "
                "ecl_tf.teachers.from_estimator(estimator, output, x, y) with held-out rows."
            )
        self._set_up(output, name, asked, asked.fingerprint(), asked.raw_shape)

    def _set_up(self, output, name, asked, fingerprint, raw_shape):
        Teacher.__init__(self, output, name=name)
        self._asked, self._fingerprint, self._raw_shape = asked, fingerprint, raw_shape
        self.built = True
        if asked is None or asked.on_host:
            self.supports_jit = False

    @classmethod
    def _made_of(cls, *parts):
        teacher = cls.__new__(cls)
        teacher._set_up(*parts)
        return teacher

    @property
    def raw_shape(self) -> tuple[int | None, ...]:
        return self._raw_shape

    @property
    def threads(self) -> int:
        """How many calls of the function may be under way at a time."""
        return 1 if self._asked is None else self._asked.threads

    def with_output(self, output: outputs.Output) -> "FunctionTeacher":
        name, fingerprint = self.name, self._fingerprint
        return self._made_of(output, name, self._asked, fingerprint, self._raw_shape)

    def give(self, teacher: "FunctionTeacher") -> None:
        """Gives a teacher that was loaded from a file its function again.

        Args:
            teacher: a `FunctionTeacher` made as the one that was saved: of the same function, with
                the same rows `x` and settings.

        Raises:
            ValueError: if it answers otherwise than the one that was saved.

        Example:
        >>> rows = np.ones((4, 2), "float32")
        >>> teacher = FunctionTeacher(lambda x: x / x.sum(1, keepdims=True), "categorical", rows)
        >>> loaded = FunctionTeacher.from_config(teacher.get_config())
        >>> loaded.give(teacher)
        >>> print(loaded.distribution(rows[:1]).probs_parameter().numpy())
        [[0.5 0.5]]
        """
        if not isinstance(teacher, FunctionTeacher) or teacher._asked is None:
            raise ValueError(
                f"give takes an ecl_tf.teachers.FunctionTeacher with its function; got {teacher!r}."
            )
        if teacher.fingerprint() != self.fingerprint():
            raise ValueError(
                f"The teacher {teacher.name!r} is another one than {self.name!r} was when it was "
                f"saved: the fingerprint of its answers is {teacher.fingerprint()[:12]}, that of "
                f"the saved one {self.fingerprint()[:12]}. Give the same function, rows x and "
                "settings."
            )
        self._asked = teacher._asked

    def check_members(self, inputs: Any = None) -> None:
        """Raises ValueError if inputs have other names or shapes than those of `x`.

        Args:
            inputs: a batch of inputs, or its specs; None, the default, for none.
        """
        if inputs is not None and self._asked is not None:
            self._asked.own(inputs)

    def member_outputs(self, inputs: Any) -> list:
        if self._asked is None:
            raise ValueError(
                f"The teacher {self.name!r} was saved without its function, which must be given "
                "again before it is asked: distiller.teacher.give(teacher), with a FunctionTeacher "
                "made as before. The student works without it."
            )
        return self._asked.raws(inputs, self.output_kind)

    def fingerprint(self) -> str:
        """A hash of the answers to 64 rows of `x`, in steps of a thousandth of their range.

        So it is the same in another process and, but for answers at the edge of a step, on other
        processors. A function that was trained again has another one.
        """
        return self._fingerprint

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "output": keras.saving.serialize_keras_object(self.output_kind),
            "fingerprint": self._fingerprint,
            "raw_shape": list(self._raw_shape),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "FunctionTeacher":
        output = outputs.get(keras.saving.deserialize_keras_object(config["output"]))
        shape = tuple(config["raw_shape"])
        return cls._made_of(output, config["name"], None, config["fingerprint"], shape)


@contextlib.contextmanager
def explaining(teacher: Teacher) -> Iterator[None]:
    """Raises what a teacher's function did wrong in place of TensorFlow's error around it."""
    try:
        yield
    except tf.errors.OpError as error:
        asked = getattr(teacher, "_asked", None)
        if asked is not None and asked.failure is not None:
            failure, asked.failure = asked.failure, None
            raise failure from error
        raise


class _Functions:
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
        failure: the last error of a function within a graph, or None.
    """

    def __init__(self, functions, output, x, answer, levels, least_probability, threads, name):
        self.threads, self._free = threads, threading.Semaphore(threads)
        self.functions, self.answer, self.name = functions, answer, name
        for function in functions:
            _require_function(function)
        if not functions:
            raise ValueError("A teacher needs at least one function; got none.")
        if not 0.0 <= least_probability < 0.5:
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
        self.failure: Exception | None = None
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
        self._require_equal_sizes()
        raws = self._read(self._known, output)
        self.members, self.raw_shape = len(raws), (None, *raws[0].shape[1:])
        output.validate(self.raw_shape, f"teacher {name!r}")

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
                self.failure = error
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
            given = arrays
            if _is_tensorflows(function):
                given = keras.tree.map_structure(tf.constant, arrays)
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


def _answer(answer, output):
    """What a function answers with, for an output."""
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


def _spread_of(output, answer, stddev):
    """The output of the raw tensors: points in the target's units, where means alone are given."""
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
