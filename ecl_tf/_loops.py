"""`fit`, `evaluate`, `predict` and their like: Keras's loops around a `Distiller`'s step.

Each checks its arguments and data before the first batch, runs Keras's own loop, and says what an
error or NaN in a step means. `distiller.py` has the step.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ecl_tf import _checks, _validation_scores
from ecl_tf._class_weights import ClassWeights
from ecl_tf._internal import batches, endless, finite, own_inputs, ranges, replicas, require
from ecl_tf._teacher_precision import TeacherPrecision
from ecl_tf.teachers import function

# Arguments of Keras's `fit` that are None or a number from 1.
_COUNTS = ("steps_per_epoch", "validation_steps", "validation_batch_size")


class Loops(TeacherPrecision):
    """The part of a `Distiller` that runs its steps over data."""

    _refusal = ""  # What `predict_step` says of inputs of another scale.

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Evaluates the student; takes all that `keras.Model.evaluate` does, with its defaults.

        A warning tells if inputs or answers are NaN or infinite; the results are NaN then.

        Raises:
            ValueError: before the first batch, if the networks can't take the data's inputs, a
                weight of one is NaN or infinite, the data is empty or endless, or there are labels
                that no network can have.
        """
        require.counts(batch_size=batch_size, steps=steps)
        x, y, sample_weight = own_inputs.arrays_of_frames(x, y, sample_weight)
        _checks.data.evaluation(self, x, y, sample_weight, batch_size, steps, "steps")
        if not self._is_fitting:  # Otherwise the networks are those of the training.
            _checks.networks.finite_weights(self._networks())
        self.follow_attributes()
        was_checked = batches.are_arrays(x)
        self._follow_data("test", x, y, sample_weight, was_checked=was_checked)
        callbacks = endless.watched(callbacks, test=(x, steps, "steps"))
        x, y, sample_weight = batches.keeping_weights(x, y, sample_weight)
        callbacks = finite.stop_before(callbacks, self)
        self._mode = "test"
        try:
            with self._explaining_errors(x):
                return super().evaluate(
                    x, y, batch_size, verbose, sample_weight, steps, callbacks, **kwargs
                )
        finally:
            self._mode = "train"

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: dict[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Makes one step; takes what `keras.Model.train_on_batch` does, with its defaults.

        `class_weight` is that of `fit`, and both weights may be given: they are multiplied.

        Raises:
            ValueError: if the step refuses the batch: inputs of another scale, or labels out of
                range. Student and optimizer are those of the step before. Also of weights that
                `fit` refuses; but those of a batch may all be 0.
            FloatingPointError: after NaN or Inf, as of `fit`.
        """
        data = x, y, sample_weight, class_weight
        return self._on_batch("train", super().train_on_batch, *data, return_dict)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Evaluates a batch; takes what `keras.Model.test_on_batch` does, with its defaults.

        A warning tells of NaN and Inf.

        Raises:
            ValueError: if the step refuses the batch, as of `train_on_batch`.
        """
        data = x, y, sample_weight, None
        return self._on_batch("test", super().test_on_batch, *data, return_dict)

    def _on_batch(self, mode, run, x, y, sample_weight, class_weight, return_dict):
        """Runs one of Keras's steps on a batch, and tells of what it refused, as its loops do."""
        x, y, sample_weight = own_inputs.arrays_of_frames(x, y, sample_weight)
        _checks.data.batch(self, x, y, sample_weight, class_weight)
        if class_weight is not None:
            weigh = ClassWeights(class_weight, x, self.student, self.output_kind)
            x, y, sample_weight = batches.weighted(x, y, sample_weight, weigh)
        self._follow_data(mode, x, y, sample_weight, was_checked=False)
        data = keras.tree.map_structure(  # An eager step would get arrays.
            lambda leaf: tf.convert_to_tensor(leaf) if hasattr(leaf, "__array__") else leaf,
            (x, y, sample_weight),
        )
        watch = finite.StopOnNonFinite()
        watch.set_model(self)
        self.non_finite.reset_state()
        watch.on_train_batch_begin(0)
        self._mode = mode
        try:
            logged = run(*data, return_dict=return_dict)
        finally:
            self._mode = "train"
        if mode == "train":
            watch.on_train_batch_end(0)
        else:
            watch.tell_of_evaluated()  # All weights of one batch may be 0.
        return logged

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
    ) -> Any:
        """Returns the student's raw outputs, as `keras.Model.predict` does, with its defaults.

        Raises:
            ValueError: if the data is empty, or endless and `steps` is None, its inputs have
                another shape or scale than the student's, or a weight of the student is NaN or
                infinite.
        """
        require.counts(batch_size=batch_size, steps=steps)
        x, *_ = own_inputs.arrays_of_frames(x)
        _checks.data.prediction(self, x, steps)
        self.follow_attributes()
        finite.require_weights(self.student, "student")
        callbacks = endless.watched(callbacks, predict=(x, steps, "steps"))
        try:
            with self._explaining_refusals(x):
                return super().predict(x, batch_size, verbose, steps, callbacks)
        except UnboundLocalError as error:  # Keras joins batches of which there were none.
            raise ValueError(batches.NO_ROWS.format("predict from")) from error

    def predict_on_batch(self, x: Any) -> Any:
        """Returns the student's raw outputs, as `keras.Model.predict_on_batch` does.

        Raises:
            ValueError: if its inputs have another scale than the student's.
        """
        x, *_ = own_inputs.arrays_of_frames(x)
        self.follow_attributes()
        with self._explaining_refusals(x):
            return super().predict_on_batch(x)

    @contextlib.contextmanager
    def _explaining_refusals(self, x):
        """Has an error in a prediction from the data `x` say what `predict_step` refuses."""
        try:
            with _checks.rows.explaining_a_failed_step(self._networks(), x):
                yield
        except tf.errors.InvalidArgumentError as error:
            # TensorFlow escapes quotes.
            if self._refusal and self._refusal in str(error).replace("\\'", "'"):
                raise ValueError(self._refusal) from error
            raise

    def predict_step(self, data: Any) -> Any:
        """Answers a batch; refuses inputs of another scale than the networks expect."""
        x, *_ = keras.utils.unpack_x_y_sample_weight(data)
        x = keras.tree.map_structure(tf.convert_to_tensor, x)
        asked = _checks.networks.with_roles(self._networks())
        is_outside, self._refusal = ranges.outside(asked, x, may_be_narrow=True)
        if is_outside is None:
            return super().predict_step((x,))
        right = tf.debugging.assert_equal(is_outside, False, self._refusal)
        with tf.control_dependencies([] if right is None else [right]):  # Eagerly it raises.
            return super().predict_step((keras.tree.map_structure(tf.identity, x),))

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains the student; takes all that `keras.Model.fit` takes, with its defaults.

        Labels may be left out: `fit(x)`, or a dataset of inputs alone. Weights may have the
        shape (batch,) or that of the output's positions; see `ecl_tf.losses` for masks.

        `class_weight`, for one output of classes, is a dict from class to weight. Every row or
        position has the weight of its label's class, 1 for unknown labels and for classes that the
        dict leaves out, multiplied by its `sample_weight`. It weighs the divergence as well as the
        label loss, as weights of rows do. Sums are divided by the number of positions that count
        and not by their weights, as in Keras. Give weights with a mean of 1 over the data if the
        loss is to keep its size. Validation data has no weights of classes.

        Raises:
            ValueError: before the first step, if the distiller is not compiled, no weight of the
                student is trained, or others than when it was compiled, a weight of a network is
                NaN or infinite, the data is empty or endless without `steps_per_epoch`, labels are
                none that a network can have, the sampler can't work on the inputs, the networks
                don't fit them, or a strategy can't run them (see
                `ecl_tf._internal.replicas.validate`).
            FloatingPointError: after a step that met NaN or Inf, naming the step and where it
                came from. Student and optimizer are those of the step before.
            RuntimeError: if another worker of a MultiWorkerMirroredStrategy was lost.
            ImportError: if TensorBoard's callback is given, and TensorBoard is not installed.
        """
        if not self.compiled or self.optimizer is None:
            raise ValueError('Call compile before fit: distiller.compile("adam").')
        _checks.callbacks.packages(callbacks)
        _checks.callbacks.monitors(callbacks, self)
        self.follow_sampler()
        x, y, sample_weight = own_inputs.arrays_of_frames(x, y, sample_weight)
        counts = {name: kwargs.get(name) for name in _COUNTS}
        require.counts(batch_size=batch_size, **counts)
        require.whole("epochs", epochs, 0)
        require.whole("initial_epoch", kwargs.get("initial_epoch", 0), 0)
        if not isinstance(every := kwargs.get("validation_freq", 1), list):
            kwargs["validation_freq"] = require.whole("validation_freq", every, 1)
        require.share("validation_split", validation_split or 0.0)
        steps = counts["steps_per_epoch"]
        _checks.data.training(self, x, y, sample_weight, batch_size, steps, class_weight)
        self.built = self.student.built  # By the check, from the data's specs.
        self.settle_teacher_precision(x, batch_size, verbose)
        was_checked = batches.are_arrays(x)
        self._follow_data("train", x, y, sample_weight, was_checked=was_checked)

        scored = validation_data
        if validation_data is None and validation_split and batches.are_arrays(x):
            scored = batches.held_out(validation_split, x, y, sample_weight)
            if class_weight is not None:  # Keras would give classes weights in both parts.
                x, y, sample_weight = batches.kept(validation_split, x, y, sample_weight)
                validation_data, validation_split = scored, 0.0
        watched = {"train": (x, steps, "steps_per_epoch")}
        if validation_data is not None:
            its = keras.utils.unpack_x_y_sample_weight(validation_data)
            its = own_inputs.arrays_of_frames(*its)
            watched["test"] = self._check_validation(x, its, batch_size, counts)
            validation_data = batches.packed(*batches.keeping_weights(*its))
        replicas.validate(self, batches.smallest(x, batch_size))
        if self.built and not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)

        callbacks = finite.stop_before(endless.watched(callbacks, **watched), self)
        if class_weight is not None:
            weigh = ClassWeights(class_weight, x, self.student, self.output_kind)
            x, y, sample_weight = batches.weighted(x, y, sample_weight, weigh)
        x, y, sample_weight = batches.keeping_weights(x, y, sample_weight)
        # A list of callbacks that were used before has logged their epochs, too. The step itself
        # does not tell: a callback may put back all weights, and the step is one.
        is_used = isinstance(callbacks, keras.callbacks.CallbackList)
        before = len(self.history.history.get("loss", ())) if is_used else 0
        with replicas.explaining_a_lost_worker(), self._explaining_errors(x), self._fitting():
            history = super().fit(
                x,
                y,
                batch_size,
                epochs,
                verbose,
                callbacks,
                validation_split,
                validation_data,
                shuffle,
                sample_weight=sample_weight,
                **kwargs,
            )
        if history.epoch and len(history.history.get("loss", ())) == before:
            raise ValueError(batches.NO_ROWS.format("train on"))
        if verbose and scored is not None:
            self._tell_scores(scored, batch_size, counts["validation_steps"])
        return history

    def _tell_scores(self, data, batch_size, steps):
        """Prints how good both networks are on validation labels, where the loss takes none."""
        # Of several workers one may be silent, and they can't score without each other.
        if replicas.workers(self.distribute_strategy) > 1:
            return
        if said := _validation_scores.describe(self, data, batch_size, steps):
            print(said)

    @contextlib.contextmanager
    def _explaining_errors(self, x):
        """Has an error in a step on the data `x` say what it means, and how to mend it."""
        of_rows = _checks.rows.explaining_fixed_rows(self._networks())
        with (
            # An evaluation within `fit` is explained by it.
            contextlib.nullcontext() if self._is_fitting else of_rows,
            _checks.rows.explaining_a_failed_step(self._networks(), x),
            function.explaining(self.teacher, self.sampler if self._mode == "train" else None),
        ):
            yield

    @contextlib.contextmanager
    def _fitting(self):
        """Has `compile` and `evaluate` know that they are called within `fit`."""
        self._is_fitting = True
        try:
            yield
        finally:
            self._is_fitting = False

    def _check_validation(self, train_x, data, batch_size, arguments):
        """Refuses validation data that can't be evaluated; returns what `endless.watched` takes."""
        x, y, sample_weight = data
        steps, name = arguments.get("validation_steps"), "validation_steps"
        rows = arguments.get("validation_batch_size") or batch_size
        _checks.data.evaluation(self, x, y, sample_weight, rows, steps, name)
        _checks.data.same_scale(train_x, x)
        return x, steps, name
