"""The variables on which the next step of a model depends."""

import re

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import replicas


class State:
    """All variables on which the next step of a model depends.

    Attributes:
        variables: the model's, its metrics' and its optimizer's.
        optimizers: further ones that are attributes, as of a GAN.
        attributes: their variables, and those that are attributes, such as the state of an RNN:
            Keras lists neither.
    """

    def __init__(self, model, spec):
        self.model, self.strategy = model, model.distribute_strategy
        # A part of the data that is left out, like labels before weights, has no shape.
        spec = keras.tree.map_structure(lambda leaf: leaf if hasattr(leaf, "shape") else None, spec)
        with self.strategy.scope():
            # Metrics and optimizers have no variables before they see data.
            model._symbolic_build(data_batch=spec)
        describe = getattr(model, "describe_method", None)  # A distiller's, built by now.
        self.method = describe and describe()
        teacher = getattr(model, "teacher", None)  # A distiller's, which nothing changes.
        self.fixed = teacher.variables if isinstance(teacher, keras.Model) else []
        fixed = {id(variable) for variable in self.fixed}
        own = {id(v): v for v in model.variables if id(v) not in fixed}
        metrics = {id(v): v for v in model.metrics_variables if id(v) not in own}
        trained = [*model.trainable_variables, *model.optimizer.variables]
        later = {id(v): v for v in trained if id(v) not in own | metrics}
        # Files number them in this order. Metrics come and go with versions and with `compile`.
        self.variables = [*own.values(), *metrics.values(), *later.values()]
        self._before_metrics, self._after_metrics = len(own), len(later)
        self.metrics = set(metrics)
        # Every replica has a copy of its own of the others: metrics' sums differ.
        self.alike = {id(variable) for variable in trained}
        # A distiller's own are settings, of which others see to it.
        layers = model._flatten_layers(include_self=self.method is None)
        self.optimizers, found = _held(layers, model.optimizer)
        found += [v for optimizer in self.optimizers for v in optimizer.variables]
        known = {id(each) for v in [*self.variables, *self.fixed] for each in (v, v.value)}
        self.attributes = [*{id(v): v for v in found if id(v) not in known}.values()]

    def shapes(self):
        """What tells one model's variables from another's; their names count models."""
        count = self.strategy.num_replicas_in_sync
        return [
            [1 if id(variable) in self.alike else count, str(variable.dtype), *variable.shape]
            for variable in self.variables
        ]

    def attribute_shapes(self):
        return [[str(variable.dtype), *variable.shape] for variable in self.attributes]

    def metric_names(self):
        """Names of all metrics, without the number by which Keras tells those of one class."""
        found = [getattr(metric, "metrics", None) or [metric] for metric in self.model.metrics]
        return [re.sub(r"_\d+$", "", metric.name) for nest in found for metric in nest]

    def parted(self, shapes):
        """The shapes of a checkpoint's variables, or of these, without metrics', and metrics'."""
        after = len(shapes) - self._after_metrics
        without = shapes[: self._before_metrics] + shapes[max(after, self._before_metrics) :]
        return without, shapes[self._before_metrics : after]

    def numbered_as_here(self, arrays, shapes):
        """A checkpoint's arrays, of variables of these shapes, without those of other metrics."""
        after, shift = len(shapes) - self._after_metrics, len(self.variables) - len(shapes)
        found = {}
        for name, array in arrays.items():
            number, *replica = name.split(".")
            if not number.isdecimal() or int(number) < self._before_metrics:
                found[name] = array
            elif int(number) >= after:
                found[".".join([str(int(number) + shift), *replica])] = array
        return found

    def read(self):
        """All arrays by name; where there are several workers, all of them have to call it."""
        arrays, own = {}, {}
        for number, variable in enumerate(self.variables):
            copies = [_bytes(part) for part in self._copies(variable)]
            if id(variable) in self.alike:
                arrays[f"{number}"] = copies[0]
            else:
                own[number] = copies
        ends = np.cumsum([copies[0].size for copies in own.values()])[:-1]
        of_local = [np.concatenate(copies) for copies in zip(*own.values(), strict=True)]
        for replica, row in enumerate(replicas.gather(self.strategy, of_local)):
            for number, part in zip(own, np.split(row, ends), strict=True):
                arrays[f"{number}.{replica}"] = part
        for number, variable in enumerate(self.attributes):
            arrays[f"attribute.{number}"] = _bytes(self._copies(variable)[0])
        return arrays

    def write(self, arrays):
        for number, variable in enumerate(self.variables):
            copies = self._copies(variable)
            first = replicas.worker_number(self.strategy) * len(copies)
            for replica, part in enumerate(copies, first):
                name = f"{number}" if id(variable) in self.alike else f"{number}.{replica}"
                if name not in arrays and id(variable) in self.metrics:
                    continue  # They begin anew: see `numbered_as_here`.
                _assign(part, arrays[name])
        for number, variable in enumerate(self.attributes):
            for part in self._copies(variable):
                if (name := f"attribute.{number}") in arrays:  # Older checkpoints have none.
                    _assign(part, arrays[name])

    def _copies(self, variable):
        """The copies of this worker's replicas."""
        plain = variable if isinstance(variable, tf.Variable) else variable.value
        return self.strategy.experimental_local_results(plain)


def _held(layers, own):
    """Optimizers, but for those that Keras calls so itself, and variables in layers' attributes.

    Args:
        layers: the model's.
        own: the optimizer that the model was compiled with, which may have another name, too.

    Raises:
        ValueError: if an optimizer has no variables yet.
    """
    optimizers, variables = {}, []
    for layer in layers:
        for name, value in vars(layer).items():
            if name == "optimizer" or name.startswith("_self_"):  # Where TensorFlow tracks them.
                continue
            for item in _leaves(value):
                if isinstance(item, (tf.Variable, keras.Variable)) and item.dtype != tf.string:
                    variables.append(item)
                elif isinstance(item, keras.optimizers.Optimizer):
                    if any(item is each for each in (own, getattr(own, "inner_optimizer", None))):
                        continue
                    _require_built(item, f"{type(layer).__name__}.{name}")
                    optimizers[id(item)] = item
    return [*optimizers.values()], variables


def _leaves(value):
    """What lists, tuples and dicts hold, of those that TensorFlow wraps and of any keys."""
    if not isinstance(value, (dict, list, tuple)):
        yield value
        return
    for each in value.values() if isinstance(value, dict) else value:
        yield from _leaves(each)


def _require_built(optimizer, name):
    if not optimizer.built:
        raise ValueError(
            f"{name} is an optimizer that is not built, so a checkpoint could not be read into it. "
            f"Build it before resume.fit: {name}.build(the variables that it trains)."
        )


def _assign(part, array):
    part.assign(np.frombuffer(array, part.dtype.as_numpy_dtype).reshape(part.shape))


def _bytes(part):
    # NumPy's files know no bfloat16.
    return np.ravel(part.numpy()).view(np.uint8)
