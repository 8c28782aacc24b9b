"""What an exported student is: a function of named inputs, and a description of its answers."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from ecl_tf import outputs
from ecl_tf._internal import multiply_adds
from ecl_tf._internal.fake_quantization import FakeQuantized
from ecl_tf.data.columns import Category, Columns
from ecl_tf.prediction_sets import PredictionSets

# In the description, beside the output.
RANGES, COLUMNS, CLASS_NAMES = "ranges_of_inputs", "columns", "class_names"
CONFORMAL, TARGET_UNITS = "conformal", "target_units"
INPUTS, PARAMETERS = "inputs", "parameters"
COUNTS, COUNTED = "counts", ("parameters", "multiply_adds")
# Keras numbers the inputs that have no name of their own, and counts on in a process.
_AUTOMATIC = re.compile(r"(keras_tensor|input_layer)(_\d+)?")
_REFUSED = re.compile(r"[^A-Za-z0-9_.\-/]")  # By TensorFlow, in a signature's names.


class LackingError(Exception):
    """What a format lacks of a student, in words."""


class Served:
    """A student with all that its file holds.

    Args:
        student: the Keras model, giving raw outputs.
        inputs: the nesting of `tf.TensorSpec` that the student takes, with their served names.
        ranges: what is known of the inputs' ranges in the training, by name, as JSON.
        columns: the `ecl_tf.data.Columns` that it takes in place of the inputs, or None.
        class_names: what the classes are called, or None.
        target_units: the units of the targets, or None.
        conformal: its `PredictionSets`, or None.
        quantization: the `FakeQuantized` student, to be served in 8-bit integers, "float16", or
            None, the default.
    """

    def __init__(
        self,
        student: keras.Model,
        output: outputs.Output,
        inputs: Any,
        ranges: dict[str, Any],
        columns: Columns | None,
        class_names: Sequence[str] | None,
        target_units: Any,
        conformal: PredictionSets | None,
        quantization: FakeQuantized | str | None = None,
    ):
        self.student, self.output, self.inputs, self.columns = student, output, inputs, columns
        self.quantization = quantization
        self.ranges = ranges
        self._conformal, self._class_names, self._units = conformal, class_names, target_units

    def answers(self, rows: Any) -> dict[str, tf.Tensor]:
        """Returns the named parameters of encoded rows."""
        return self.parameters(self.raw(rows))

    def raw(self, rows: Any) -> Any:
        """Returns the raw output of encoded rows, in 8 bits if these are served."""
        if isinstance(self.quantization, FakeQuantized):
            # The converter has to see constants.
            is_written = not tf.executing_eagerly()
            return (self.quantization.frozen if is_written else self.quantization)(rows)
        return self.student(rows, training=False)

    def parameters(self, raw: Any) -> dict[str, tf.Tensor]:
        """Returns the named parameters of raw outputs."""
        distribution = self.output(raw)
        sets = {} if self._conformal is None else self._conformal.parameters(distribution)
        return {**self.output.parameters(distribution), **sets}

    def function(
        self, ids: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]] | None = None
    ) -> tuple[Callable[[Any], dict[str, tf.Tensor]], Any, list[keras.Model]]:
        """Returns the function to export, the specs of its argument, and the models in it.

        Args:
            ids: how categories become ids: `ids_by_comparison`, or `ids_as_given` where they are
                ids already. None, the default, is a table of TensorFlow, for text.
        """
        if self.columns is None:
            return self.answers, self.inputs, [self.student]
        specs = self.columns.signature()
        if ids == self.ids_as_given:
            specs |= {n: tf.TensorSpec((None,), tf.int64, n) for n in self.vocabularies()}
        encoder = self.columns.encoder(of_ids=ids is not None)
        served = [*self.columns.served.values()]

        def answers_of_columns(features):
            found = features if ids is None else ids(features)
            return self.answers(encoder([found[name] for name in served], training=False))

        return answers_of_columns, specs, [self.student, encoder]

    def vocabularies(self) -> dict[str, tuple[list[str], list[int]]]:
        """The texts and ids of each category, by served name; others have the id 0."""
        specs = [] if self.columns is None else self.columns.specs
        served = {} if self.columns is None else self.columns.served
        return {
            served[spec.name]: ([*spec.values], [*range(1, len(spec.values) + 1)])
            for spec in specs
            if isinstance(spec, Category)
        }

    def ids_by_comparison(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Features with ids for text, by comparison with each category.

        That is all of text that LiteRT computes without TensorFlow.
        """
        found = dict(features)
        for name, (texts, ids) in self.vocabularies().items():
            same = tf.equal(features[name][:, None], tf.constant([texts]))
            found[name] = tf.reduce_sum(tf.cast(same, tf.int64) * tf.constant(ids, tf.int64), -1)
        return found

    def ids_as_given(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Features that hold ids already, for a file with a lookup of its own."""
        return features

    def description(self) -> dict[str, Any]:
        """What `load_student` needs to know of the answers, as JSON."""
        about = {**keras.saving.serialize_keras_object(self.output), RANGES: self.ranges}
        if self.columns is not None:
            about[COLUMNS] = self.columns.get_config()
        if self._class_names is not None:
            about[CLASS_NAMES] = [*self._class_names]
        if self._units is not None:
            about[TARGET_UNITS] = self._units
        if self._conformal is not None:
            about[CONFORMAL] = self._conformal.describe()
        return about | {COUNTS: self.counts()}

    def counts(self) -> dict[str, int | None]:
        """The number of weights, and of multiply-adds for a row, None where it can't be known."""

        def raw(rows):
            return self.student(rows, training=False)

        counted = self.student.count_params(), multiply_adds.of_a_row(raw, self.inputs)
        return dict(zip(COUNTED, counted, strict=True))

    def full_description(self, answered: Mapping[str, Any]) -> dict[str, Any]:
        """The description with the specs of inputs and parameters, for files that have none.

        Args:
            answered: the parameters of a traced function, by name.
        """
        given = self.inputs if self.columns is None else self.columns.signature()
        return {
            **self.description(),
            INPUTS: {spec.name: _as_json(spec) for spec in keras.tree.flatten(given)},
            PARAMETERS: {name: _as_json(spec) for name, spec in answered.items()},
        }


def traced(function: Callable[[Any], dict[str, tf.Tensor]], specs: Any) -> Any:
    """Returns a function as a `tf.function` that was traced for specs; one that is, as it is."""
    if isinstance(function, tf.types.experimental.GenericFunction):
        return function
    made = tf.function(function, input_signature=[specs], autograph=False)
    made.get_concrete_function()
    return made


def specs_of(described: dict[str, Any]) -> dict[str, tf.TensorSpec]:
    """The specs that `Served.full_description` describes, by name."""
    return {
        name: tf.TensorSpec(each["shape"], tf.as_dtype(each["dtype"]), name)
        for name, each in described.items()
    }


def _as_json(spec):
    return {"shape": spec.shape.as_list(), "dtype": spec.dtype.name}


def signature(inputs: Any, student: keras.Model) -> Any:
    """Returns specs of the inputs, each with its name in the file.

    Args:
        inputs: the nesting of symbolic inputs, or of specs of a batch.
        student: whose they are, for the message.

    Raises:
        ValueError: if two inputs would have the same name.
    """

    def named(place, tensor):
        own = getattr(tensor, "name", None)
        keys = [each for each in place if not isinstance(each, int)]
        if own and not keys and not _AUTOMATIC.fullmatch(own):
            name = own
        elif len(leaves) == 1 and not keys:
            name = "inputs"
        else:
            name = "_".join(map(str, place if keys else ("inputs", *place)))
        name = _REFUSED.sub("_", name)
        return tf.TensorSpec((None, *tensor.shape[1:]), tf.as_dtype(tensor.dtype), name)

    leaves = keras.tree.flatten(inputs)
    specs = _map_with_places(named, inputs)
    names = [spec.name for spec in keras.tree.flatten(specs)]
    if len(set(names)) < len(names):
        raise ValueError(
            f"The inputs of student {student.name!r} would be served under the names {names}, "
            "which must differ. Give each keras.Input a name of its own."
        )
    return specs


def _map_with_places(function, nest, place=()):
    """The nesting with function(keys and indices, leaf) in place of each leaf."""
    if isinstance(nest, dict):
        return {k: _map_with_places(function, v, (*place, k)) for k, v in nest.items()}
    if isinstance(nest, (list, tuple)):
        return [_map_with_places(function, v, (*place, i)) for i, v in enumerate(nest)]
    return function(place, nest)
