"""Functions as teachers: predictions of any library, in NumPy or TensorFlow."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from ecl_tf import outputs, samplers
from ecl_tf._internal import require
from ecl_tf.teachers import asking
from ecl_tf.teachers.kinds_of_answer import kind_of_answer, with_spread
from ecl_tf.teachers.teacher import Teacher


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
            at once, evenly spaced, and about 8 of these in two orders, so that what does not fit
            is refused here.
        answer: as above; None, the default, is "probabilities" for classes and yes/no labels, and
            "mean" for numbers.
        levels: of "quantiles", at least two numbers between 0 and 1 that rise, such as
            (0.05, 0.5, 0.95); None by default.
        stddev: of "mean" and "members", a standard deviation in the target's units, or one for
            each target dimension: that of the residuals on held-out rows, as
            `ecl_tf.teachers.residual_stddev` measures it. None, the default, takes what the
            functions or members differ by.
        least_probability: what probabilities are raised to before they are normalised, of yes/no
            labels those of no, too; 0.0 by default, typically 0.001 for forests, which say 0 where
            no tree has a vote.
        threads: how many calls may be under way at a time, by several replicas or by
            `ecl_tf.replay.record`; 1 by default, typically some for a function that waits, such
            as for a server.
        name: of the Keras model, "function_teacher" by default.

    Raises:
        ValueError: if an argument is out of its range, the function fails on the rows of x, or its
            answers have another number of rows, another order, another shape, are no
            probabilities, or not finite.

    Example:
    >>> import numpy as np
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
        answer = kind_of_answer(answer, output)
        output = with_spread(output, answer, stddev)
        asked = asking.Functions(
            functions, output, x, answer, levels, least_probability, threads, name
        )
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

    @property
    def looks_up(self) -> list[str]:
        """The names of an estimator's steps that take some of the numbers for codes."""
        return [] if self._asked is None else self._asked.looks_up

    @property
    def member_count(self) -> int | None:
        """How many members answer, of all functions together; None without its function."""
        return None if self._asked is None else self._asked.members

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
        >>> import numpy as np
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

    def _compare(self, inputs):
        """Warns of inputs whose numbers are in other units than those of `x`."""
        if self._asked is not None:
            self._asked.compare(inputs)

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
def explaining(teacher: Teacher, sampler: samplers.Sampler | None = None) -> Iterator[None]:
    """Raises what a teacher's function did wrong in place of TensorFlow's error around it.

    Args:
        teacher: the teacher.
        sampler: that draws the rows; None, the default, for rows of the data itself.
    """
    try:
        yield
    except asking._FunctionError as error:
        raise _told(error, sampler) from error
    except tf.errors.OpError as error:
        # Several threads may fail at once, so an error is known by its words.
        for failure in _failures(teacher):
            if str(failure) in str(error):
                raise _told(failure, sampler) from error
        raise


def _told(failure, sampler):
    """A failure, with where the rows come from if perhaps the data has none like them."""
    if not isinstance(failure, asking._FunctionError):
        return failure
    if sampler is None or isinstance(sampler.proposer, samplers.Empirical):
        return ValueError(str(failure))
    return ValueError(
        f"{failure} These rows were drawn by the sampler {sampler!r}. If it answers those of the "
        "data, let it meet values of the data alone: sampler='Swap', for single inputs "
        "swap=[names] of Mixup, or sampler='Empirical', which takes the rows as they are."
    )


def _failures(teacher):
    """The last errors of a teacher's functions, and of those of the teachers that it is made of."""
    yield from getattr(getattr(teacher, "_asked", None), "failures", ())
    for each in getattr(teacher, "teachers", ()):
        yield from _failures(each)
