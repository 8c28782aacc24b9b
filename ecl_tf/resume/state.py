"""The variables on which the next step of a model depends."""

import keras
import numpy as np

from ecl_tf._internal import replicas


class State:
    """All variables on which the next step of a model depends."""

    def __init__(self, model, spec):
        self.model, self.strategy = model, model.distribute_strategy
        with self.strategy.scope():
            # Metrics and optimizers have no variables before they see data.
            model._symbolic_build(data_batch=spec)
        describe = getattr(model, "describe_method", None)  # A distiller's, built by now.
        self.method = describe and describe()
        trained = [*model.trainable_variables, *model.optimizer.variables]
        variables = [*model.variables, *model.metrics_variables, *trained]
        teacher = getattr(model, "teacher", None)  # A distiller's, which nothing changes.
        fixed = {id(v) for v in teacher.variables} if isinstance(teacher, keras.Model) else set()
        self.variables = list({id(v): v for v in variables if id(v) not in fixed}.values())
        self.metrics = {id(variable) for variable in model.metrics_variables}
        # Every replica has a copy of its own of the others: metrics' sums differ.
        self.alike = {id(variable) for variable in trained}

    def shapes(self):
        """What tells one model's variables from another's; their names count models."""
        count = self.strategy.num_replicas_in_sync
        return [
            [1 if id(variable) in self.alike else count, str(variable.dtype), *variable.shape]
            for variable in self.variables
        ]

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
        return arrays

    def write(self, arrays, only_metrics=False):
        for number, variable in enumerate(self.variables):
            if only_metrics and id(variable) not in self.metrics:
                continue
            copies = self._copies(variable)
            first = replicas.worker_number(self.strategy) * len(copies)
            for replica, part in enumerate(copies, first):
                name = f"{number}" if id(variable) in self.alike else f"{number}.{replica}"
                value = np.frombuffer(arrays[name], part.dtype.as_numpy_dtype)
                part.assign(value.reshape(part.shape))

    def _copies(self, variable):
        """The copies of this worker's replicas."""
        return self.strategy.experimental_local_results(variable.value)


def _bytes(part):
    # NumPy's files know no bfloat16.
    return np.ravel(part.numpy()).view(np.uint8)
