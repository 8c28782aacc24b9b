"""The precision in which a `Distiller` asks its teacher.

With `teacher_precision="auto"` `fit` has it measured before the first step (by
`teachers/precision.py`), and the steps follow the choice.
"""

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import samplers, teachers
from ecl_tf._internal import batches, replicas
from ecl_tf.teachers import precision as precisions

_UNDECIDED, _FULL, _LOW = -1, 0, 1
_ROWS = 32  # Keras's own batch of arrays.


class _Asked:
    """Holds the teacher that is asked, so that Keras does not take it for a second one to save."""

    def __init__(self, teacher):
        self.teacher = teacher


class TeacherPrecision(keras.Model):
    """The part of a `Distiller` that chooses and follows its teacher's precision."""

    teacher: teachers.Teacher
    teacher_precision: str | None
    precision_choice: keras.Variable
    _trace_anew: Callable[..., None]  # Of `Settings`.

    def _take_teacher(self, teacher, precision, feature_losses):
        """Sets the teacher, its precision and, of "auto", the variable that holds the choice.

        The choice is a variable, so that checkpoints and files hold it: a training that goes on
        must not hang on what is measured anew.
        """
        self.teacher_precision = teachers.ensemble.require_precision(precision, "auto")
        chosen = precision or getattr(teacher, "precision", None)
        if chosen is not None and feature_losses:
            raise ValueError(
                f"The precision {chosen!r} of the teacher does not go with feature_losses, which "
                "compare its inner features as its layers give them. Leave out one of the two."
            )
        if precision in teachers.ensemble.PRECISIONS:
            full, teacher = teacher, teacher.with_precision(precision)
            if teacher is full and getattr(full, "precision", None) != precision:
                warnings.warn(
                    f"The teacher {teacher.name!r} answers as it was made, and not in {precision}: "
                    "a precision can be chosen for networks of Keras's layers alone.",
                    stacklevel=4,
                )
        self.teacher = teacher
        self._asked = _Asked(teacher)
        if precision == "auto":
            self.precision_choice = self.add_weight(
                dtype="int32",
                trainable=False,
                aggregation="only_first_replica",
                initializer=keras.initializers.Constant(_UNDECIDED),
                name="precision_choice",
            )

    def settle_teacher_precision(
        self, x: Any, batch_size: int | None = None, verbose: str | int = 1
    ) -> None:
        """Measures whether "auto" is to be bfloat16, if that is open, and follows the choice.

        The first batch is asked in both precisions, in turns; `ecl_tf.Distiller` says
        what decides. Of several workers the first one's choice holds. Without "auto", and with a
        choice that was made or loaded, nothing is measured.

        Args:
            x: what `fit` takes: arrays, a dataset or a `keras.utils.PyDataset`.
            batch_size: rows of the batches of arrays; None, the default, is 32.
            verbose: 0 leaves out the line that says what was chosen; 1 by default.

        Raises:
            ValueError: if the choice is open, and `x` is a generator, whose first batch would be
                lost, or distributed already.
        """
        if self.teacher_precision != "auto" or not self.teacher.answers_new_inputs:
            return
        if self._choice() == _UNDECIDED:
            inputs = _first_inputs(x, batch_size)
            is_low, why = precisions.choose(self.teacher, inputs)
            strategy = self.distribute_strategy
            copies = strategy.experimental_local_results(self.precision_choice.value)
            own = [np.array([_LOW if is_low else _FULL], np.int32)] * len(copies)
            choice = int(replicas.gather(strategy, own)[0][0])
            self.precision_choice.assign(choice)
            if verbose:
                chosen = "in bfloat16" if choice == _LOW else "as it was made"
                print(f"The teacher computes {chosen}. Measured on the first batch: {why}.")
        self.follow_precision()

    def make_train_function(self, force=False):
        """Keras's own, of the precision that the weights of now say."""
        self.follow_precision()
        super().make_train_function(force)

    def make_test_function(self, force=False):
        """Keras's own, of the precision that the weights of now say."""
        self.follow_precision()
        super().make_test_function(force)

    def follow_precision(self) -> None:
        """Asks the teacher as the choice says, also after weights with another one were loaded."""
        if self.teacher_precision != "auto":
            return
        is_low = self._choice() == _LOW
        if is_low != (self._asked.teacher is not self.teacher):
            low = self.teacher.with_precision("bfloat16") if is_low else self.teacher
            self._asked = _Asked(low)
            self._trace_anew()

    def _choice(self):
        return int(keras.ops.convert_to_numpy(self.precision_choice.value))


def _first_inputs(x, batch_size):
    if isinstance(x, keras.utils.PyDataset):
        batch = x[0]
    elif isinstance(x, tf.data.Dataset):
        batch = next(iter(x))
    elif hasattr(x, "__next__") or isinstance(x, tf.distribute.DistributedDataset):
        raise ValueError(
            'teacher_precision="auto" is measured on the first batch, which a generator can give '
            "only once. Give arrays, a tf.data.Dataset or a keras.utils.PyDataset, or say the "
            'precision: teacher_precision="bfloat16".'
        )
    else:
        rows = slice(0, batch_size or _ROWS)
        return keras.tree.map_structure(lambda leaf: tf.convert_to_tensor(leaf[rows]), x)
    inputs, *_ = batches.unpack(batch)
    return keras.tree.map_structure(tf.convert_to_tensor, samplers.inputs_of(inputs))
