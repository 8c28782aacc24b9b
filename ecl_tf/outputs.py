"""How a raw network tensor becomes a distribution, and an ensemble of them one.

This is the first of the method's three sentences: *model the output
distributions of student and teacher*. Every class here maps a raw tensor of
shape (batch..., size) to a `tensorflow_probability` distribution whose batch
shape is (batch...), always in float32, whatever the network computes in: a KL
divergence of 8e-5 is off by half in float16.
"""

import math
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import build

# `tensorflow_probability` costs a second of import, and most scripts' `--help`
# never needs it: it is imported in the functions that build distributions.

_PACKAGE = "ecl_tf"
_TINY = 1e-7
_LIMITS = np.finfo(np.float32)


class Uncertainty(NamedTuple):
    """The two parts of a teacher's predictive uncertainty.

    For categorical and Bernoulli outputs both are entropies in nats: the mean
    entropy of the members, and the mutual information between the label and the
    member. For normal outputs both are variances in squared target units, one
    per event dimension: the mean variance of the members, and the variance of
    their means. The two parts add up to the total of the combined distribution.
    """

    aleatoric: Any
    epistemic: Any


class Output:
    """Base class: the kind of distribution that a network's raw tensor stands for.

    Subclasses are small, stateless and serializable. `family` names the kind of
    distribution, so that a teacher of one parametrisation (say points with a
    measured spread) can teach a student of another (means and scales).
    """

    family: str | dict = ""
    takes_temperature = False
    makes_probabilities: str | None = None  # The activation that raw tensors may not have.
    closeness_names: tuple[str, ...] = ("agreement",)

    def __call__(self, raw):
        """Returns the distribution of a raw tensor (batch..., size)."""
        raise NotImplementedError

    def validate(self, shape, network):
        """Raises ValueError if a network's output `shape` can't be this output.

        Args:
            shape: the static shape of the raw tensor, batch dimension first.
            network: "student" or "teacher", for the message.
        """

    def event_size(self, shape):
        """The number of classes, labels or target dimensions for a raw `shape`."""
        return shape[-1]

    def tempered(self, temperature):
        """This output with another temperature T: each raw tensor stands for p^(1/T)."""
        return type(self).from_config({**self.get_config(), "temperature": temperature})

    def raw_size(self, event_size):
        """The last dimension of the raw tensor for a number of classes or targets."""
        return event_size

    def combine(self, raws):
        """Returns the one distribution of an ensemble's raw tensors.

        Args:
            raws: a list of M raw tensors, one per member.
        """
        raise NotImplementedError

    def uncertainty(self, raws):
        """Returns the ensemble's `Uncertainty`, aleatoric and epistemic parts."""
        raise NotImplementedError

    def score(self, uncertainty):
        """One number >= 0 per example, shape (batch,), of a part of an `Uncertainty`.

        Entropies are taken as they are; variances in units of `target_stddev`, summed
        over target dimensions. Positions of dense predictions are averaged.
        """
        return per_example(uncertainty)

    def raw(self, distribution):
        """The inverse of `__call__`: the raw tensor that gives `distribution`."""
        raise NotImplementedError

    def divergence(self, teacher, student, divergence, temperature=1.0):
        """Returns the divergence per example, shape (batch,).

        Positions of dense predictions (any batch axis after the first) are
        averaged.
        """
        del temperature
        return per_example(divergence(teacher, student))

    def negative_log_likelihood(self, distribution, labels):
        """Returns -log p(labels) per example in nats, shape (batch,)."""
        raise NotImplementedError

    def compare(self, teacher, student):
        """Returns a dict from `closeness_names` to closenesses of shape (batch,)."""
        raise NotImplementedError

    def prediction(self, raw):
        """What Keras's own metrics compare with labels: probabilities, or means."""
        raise NotImplementedError

    def parameters(self, distribution):
        """Returns the named parameters that an exported student answers with."""
        raise NotImplementedError

    def from_parameters(self, parameters):
        """The inverse of `parameters`."""
        raise NotImplementedError

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def __eq__(self, other):
        return type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self):
        return hash((type(self).__name__, str(self.get_config())))

    def __repr__(self):
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


class _Logits(Output):
    """What the outputs whose raw tensors are logits share."""

    def __init__(self, temperature=1.0):
        self.temperature = _positive("temperature", temperature)

    def __call__(self, raw):
        return self._distribution(self.logits(raw))

    def logits(self, raw):
        """Those of the distribution, in float32: the raw tensor's over the temperature."""
        raw = _float32(raw)
        return raw if self.temperature == 1.0 else raw / self.temperature

    def _distribution(self, logits):
        raise NotImplementedError

    def get_config(self):
        return {"temperature": self.temperature}


@keras.saving.register_keras_serializable(_PACKAGE)
class Categorical(_Logits):
    """One of K classes: raw logits (..., K) give p(k) = softmax(logits)_k.

    An ensemble is the mean of its members' *probabilities*, taken in log space,
    log p(k) = logsumexp_m log p_m(k) - log M. (The mean of the logits is another,
    sharper distribution.) Labels are class indices (...,), or (soft) one-hot
    rows (..., K).

    Args:
        temperature: T > 0; the raw tensor stands for softmax(logits / T). Of a teacher,
            T is what `ecl_tf.calibrated` fits.

    Raises:
        ValueError: if the temperature is not a positive number.

    Example:
    >>> import numpy as np
    >>> output = Categorical()
    >>> print(output(np.log([[0.25, 0.75]])).probs_parameter().numpy().round(4))
    [[0.25 0.75]]

    Reference: tempering and its T^2 factor are Hinton, Vinyals and Dean,
    "Distilling the Knowledge in a Neural Network", 2015, section 2.
    """

    family = "categorical"
    takes_temperature = True
    makes_probabilities = "softmax"

    def _distribution(self, logits):
        from tensorflow_probability import distributions as tfd

        return tfd.Categorical(logits=logits)

    def validate(self, shape, network):
        if len(shape) < 2 or (shape[-1] is not None and shape[-1] < 2):
            raise ValueError(
                f"The output of the {network} has shape {tuple(shape)}; a categorical "
                "output needs one logit per class, (batch, classes) with at least 2 "
                "classes. For a single yes/no logit use output='bernoulli'."
            )

    def combine(self, raws):
        if len(raws) == 1:
            return self(raws[0])
        log_probabilities = tf.nn.log_softmax(self.logits(_stack(raws)), axis=-1)
        return self._distribution(tf.reduce_logsumexp(log_probabilities, 0) - math.log(len(raws)))

    def uncertainty(self, raws):
        aleatoric = tf.reduce_mean(self(_stack(raws)).entropy(), 0)
        total = self.combine(raws).entropy()
        return Uncertainty(aleatoric, tf.maximum(total - aleatoric, 0.0))

    def raw(self, distribution):
        return distribution.logits_parameter() * self.temperature

    def temper(self, distribution, temperature):
        """Returns softmax(logits / T), Hinton et al. 2015, equation 1."""
        return self._distribution(distribution.logits_parameter() / temperature)

    def divergence(self, teacher, student, divergence, temperature=1.0):
        """Returns T^2 * D(teacher^(1/T), student^(1/T)) per example.

        T^2 keeps the gradient's size independent of T.
        """
        if temperature != 1.0:
            teacher = self.temper(teacher, temperature)
            student = self.temper(student, temperature)
        return temperature**2 * per_example(divergence(teacher, student))

    def negative_log_likelihood(self, distribution, labels):
        logits = distribution.logits_parameter()
        if is_one_hot(labels, logits):
            loss = tf.nn.softmax_cross_entropy_with_logits(_float32(labels), logits)
        else:
            labels = tf.reshape(tf.cast(labels, tf.int64), tf.shape(logits)[:-1])
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return per_example(loss)

    def compare(self, teacher, student):
        same = tf.equal(
            tf.argmax(teacher.logits_parameter(), -1),
            tf.argmax(student.logits_parameter(), -1),
        )
        return {"agreement": per_example(_float32(same))}

    def prediction(self, raw):
        return tf.nn.softmax(self.logits(raw))

    def parameters(self, distribution):
        return {"probabilities": tf.nn.softmax(distribution.logits_parameter())}

    def from_parameters(self, parameters):
        # Those that were rounded to 0 would say that a class is impossible.
        probabilities = tf.maximum(_float32(parameters["probabilities"]), _LIMITS.tiny)
        return self._distribution(tf.math.log(probabilities))


@keras.saving.register_keras_serializable(_PACKAGE)
class Bernoulli(_Logits):
    """K independent yes/no labels: raw logits (..., K) give p_k = sigmoid(logits_k).

    The event is the row of K labels. An ensemble is the mean of its members'
    probabilities, label by label, in log space. Labels are 0/1 rows (..., K).

    Args:
        temperature: T > 0, as in `Categorical`: sigmoid(logits / T).

    Raises:
        ValueError: if the temperature is not a positive number.

    Example:
    >>> output = Bernoulli()
    >>> float(output([[0.0, 0.0]]).prob([[1.0, 0.0]])[0])
    0.25
    """

    family = "bernoulli"
    makes_probabilities = "sigmoid"

    def _distribution(self, logits):
        from tensorflow_probability import distributions as tfd

        return tfd.Independent(tfd.Bernoulli(logits=logits), 1)

    def validate(self, shape, network):
        if len(shape) < 2:
            raise ValueError(
                f"The output of the {network} has shape {tuple(shape)}; a Bernoulli output "
                "needs one logit per label, (batch, labels)."
            )

    def combine(self, raws):
        logits = self.logits(_stack(raws))
        yes = tf.reduce_logsumexp(tf.math.log_sigmoid(logits), 0)
        no = tf.reduce_logsumexp(tf.math.log_sigmoid(-logits), 0)
        return self._distribution(yes - no)

    def uncertainty(self, raws):
        entropy = self(_stack(raws)).distribution.entropy()
        aleatoric = tf.reduce_mean(entropy, 0)
        total = self.combine(raws).distribution.entropy()
        return Uncertainty(
            tf.reduce_sum(aleatoric, -1),
            tf.reduce_sum(tf.maximum(total - aleatoric, 0.0), -1),
        )

    def raw(self, distribution):
        return distribution.distribution.logits_parameter() * self.temperature

    def negative_log_likelihood(self, distribution, labels):
        # From logits for any labels in [0, 1]: finite where probabilities round to 0.
        logits = distribution.distribution.logits_parameter()
        labels = tf.reshape(_float32(labels), tf.shape(logits))
        loss = tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)
        return per_example(tf.reduce_sum(loss, -1))

    def compare(self, teacher, student):
        same = tf.equal(self.raw(teacher) > 0.0, self.raw(student) > 0.0)
        return {"agreement": per_example(_float32(same))}

    def prediction(self, raw):
        return tf.sigmoid(self.logits(raw))

    def parameters(self, distribution):
        return {"probabilities": tf.sigmoid(distribution.distribution.logits_parameter())}

    def from_parameters(self, parameters):
        # Those that were rounded to 0 or 1 would say that a label is impossible.
        probabilities = tf.clip_by_value(
            _float32(parameters["probabilities"]), _LIMITS.tiny, 1.0 - _LIMITS.epsneg
        )
        return self._distribution(tf.math.log(probabilities) - tf.math.log1p(-probabilities))


class _Gaussian(Output):
    """What the two Gaussian parametrisations, `Normal` and `Point`, share."""

    family = "normal"
    closeness_names = ("mean_error",)

    def __init__(
        self, event_size, min_scale=1e-3, target_mean=0.0, target_stddev=1.0, temperature=1.0
    ):
        if isinstance(event_size, bool) or int(event_size) != event_size or event_size < 1:
            raise ValueError(
                f"event_size must be a whole number of target dimensions, at least 1; "
                f"got {event_size!r}."
            )
        if not min_scale > 0.0:
            raise ValueError(
                f"min_scale must be positive, got {min_scale!r}: without a floor one "
                "confident row can make the divergence 1e11."
            )
        self.size = int(event_size)
        self.min_scale = float(min_scale)
        self.target_mean = self._per_dimension("target_mean", target_mean)
        self.target_stddev = self._per_dimension("target_stddev", target_stddev, positive=True)
        self.temperature = _positive("temperature", temperature)

    def _per_dimension(self, name, value, positive=False):
        """A number, or a list of one for each target dimension."""
        values = [float(each) for each in np.ravel(value)]
        lowest = 0.0 if positive else -math.inf
        if len(values) not in (1, self.size) or not all(lowest < v < math.inf for v in values):
            raise ValueError(
                f"{name} must be one {'positive' if positive else 'finite'} number, or "
                f"{self.size} of them (one per target dimension); got {value!r}."
            )
        return values if len(values) > 1 else values[0]

    def event_size(self, shape):
        del shape
        return self.size

    def moments(self, raw):
        """Returns mean and standard deviation at temperature 1, each (..., d)."""
        raise NotImplementedError

    def __call__(self, raw):
        mean, stddev = self.moments(_float32(raw))
        return self._distribution(mean, math.sqrt(self.temperature) * stddev)

    def _distribution(self, mean, stddev):
        from tensorflow_probability import distributions as tfd

        return tfd.Independent(tfd.Normal(mean, stddev), 1)

    def combine(self, raws):
        means, _ = self.moments(_stack(raws))
        floor = self.min_scale * _float32(self.target_stddev)
        stddev = tf.sqrt(tf.maximum(sum(self.uncertainty(raws)), floor**2))
        return self._distribution(tf.reduce_mean(means, 0), stddev)

    def uncertainty(self, raws):
        means, stddevs = self.moments(_stack(raws))
        parts = tf.reduce_mean(stddevs**2, 0), tf.math.reduce_variance(means, 0)
        return Uncertainty(*(self.temperature * part for part in parts))

    def score(self, uncertainty):
        unit = _float32(self.target_stddev)
        return per_example(tf.reduce_sum(uncertainty / unit**2, -1))

    def negative_log_likelihood(self, distribution, labels):
        labels = tf.reshape(_float32(labels), tf.shape(distribution.mean()))
        return per_example(-distribution.log_prob(labels))

    def compare(self, teacher, student):
        error = tf.abs(teacher.mean() - student.mean())
        return {"mean_error": per_example(tf.reduce_mean(error, -1))}

    def prediction(self, raw):
        return self.moments(_float32(raw))[0]

    def parameters(self, distribution):
        return {"mean": distribution.mean(), "stddev": distribution.stddev()}

    def from_parameters(self, parameters):
        return self._distribution(_float32(parameters["mean"]), _float32(parameters["stddev"]))

    def standardise(self, mean):
        """The inverse of what `moments` does to the means: from the target's units."""
        return (mean - _float32(self.target_mean)) / _float32(self.target_stddev)

    def get_config(self):
        return {
            "event_size": self.size,
            "min_scale": self.min_scale,
            "target_mean": self.target_mean,
            "target_stddev": self.target_stddev,
            "temperature": self.temperature,
        }


@keras.saving.register_keras_serializable(_PACKAGE)
class Normal(_Gaussian):
    """A diagonal Gaussian over d dimensions: raw (..., 2d) is means, then scales.

    mean = target_mean + target_stddev * raw[..., :d] and
    stddev = target_stddev * (min_scale + softplus(raw[..., d:])), both in the target's
    units. With the training targets' mean and standard deviation a network learns in
    standardised units, and its distribution, its export and all metrics are in the
    target's own; by default raw tensors are in those units, too.

    An ensemble is the Gaussian with the mixture's first two moments, mean = E_m[mean_m]
    and variance = E_m[variance_m] + Var_m[mean_m]. For a Gaussian student the KL
    divergence from the mixture itself differs from that by a constant, so nothing is
    lost.

    Args:
        event_size: d, the number of target dimensions.
        min_scale: the smallest standard deviation, in units of `target_stddev`. Choose
            it well below the noise of the labels.
        target_mean: a number or one per dimension, in the target's units.
        target_stddev: the same, positive.
        temperature: T > 0; the distribution is p^(1/T), whose variance is T times that
            above, both parts of an ensemble's. Of a teacher, T is what
            `ecl_tf.calibrated` fits.

    Raises:
        ValueError: if `event_size` < 1, or `min_scale`, `target_stddev` or `temperature` <= 0.

    Example:
    >>> output = Normal(1, min_scale=0.5)
    >>> print(output([[3.0, 0.0]]).stddev().numpy())  # 0.5 + ln 2
    [[1.1931472]]

    Reference: Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty
    Estimation using Deep Ensembles", 2017, section 2.4.
    """

    def validate(self, shape, network):
        if len(shape) < 2 or shape[-1] != 2 * self.size:
            raise ValueError(
                f"The output of the {network} has shape {tuple(shape)}; Normal(event_size="
                f"{self.size}) needs a last dimension of {2 * self.size}: {self.size} "
                "mean(s), then as many unconstrained scales."
            )

    def raw_size(self, event_size):
        return 2 * event_size

    def moments(self, raw):
        mean, scale = tf.split(raw, 2, axis=-1)
        unit = _float32(self.target_stddev)
        stddev = unit * (self.min_scale + tf.nn.softplus(scale))
        return _float32(self.target_mean) + unit * mean, stddev

    def raw(self, distribution):
        unit = math.sqrt(self.temperature) * _float32(self.target_stddev)
        stddev = distribution.stddev() / unit
        excess = tf.maximum(stddev - self.min_scale, _TINY)
        # The inverse of softplus, log(exp(s) - 1), without overflow for large s.
        scale = excess + tf.math.log(-tf.math.expm1(-excess))
        return tf.concat([self.standardise(distribution.mean()), scale], axis=-1)


@keras.saving.register_keras_serializable(_PACKAGE)
class Point(_Gaussian):
    """A teacher that gives points only: raw (..., d) is the mean of a Gaussian.

    mean = target_mean + target_stddev * raw, as in `Normal`; its spread is `stddev`,
    given or measured (`ecl_tf.teachers.residual_stddev`), and what an ensemble's members
    differ by: variance = stddev^2 + Var_m[mean_m].

    Args:
        event_size: d, the number of target dimensions.
        stddev: standard deviation in the target's units, a number or one per
            dimension; None takes the spread from the ensemble alone.
        min_scale: the smallest standard deviation of the combined distribution, in
            units of `target_stddev`.
        target_mean: as in `Normal`.
        target_stddev: as in `Normal`.
        temperature: as in `Normal`.

    Raises:
        ValueError: if a `stddev` is not positive, or if there is none and only
            one member to take it from.
    """

    def __init__(
        self,
        event_size,
        stddev=None,
        min_scale=1e-3,
        target_mean=0.0,
        target_stddev=1.0,
        temperature=1.0,
    ):
        super().__init__(event_size, min_scale, target_mean, target_stddev, temperature)
        if stddev is not None:
            stddev = self._per_dimension("stddev", stddev, positive=True)
        self.stddev = stddev

    def validate(self, shape, network):
        if len(shape) < 2 or shape[-1] != self.size:
            raise ValueError(
                f"The output of the {network} has shape {tuple(shape)}; Point(event_size="
                f"{self.size}) needs a last dimension of {self.size}."
            )

    def moments(self, raw):
        spread = 0.0 if self.stddev is None else self.stddev
        mean = _float32(self.target_mean) + _float32(self.target_stddev) * raw
        return mean, tf.broadcast_to(_float32(spread), tf.shape(raw))

    def __call__(self, raw):
        return self.combine([raw])

    def combine(self, raws):
        if len(raws) == 1 and self.stddev is None:
            raise ValueError(
                "This teacher gives points and no spread, so it has no distribution to "
                "match. Give one: ecl_tf.Ensemble([teacher], output=ecl_tf.outputs.Point("
                f"{self.size}, stddev=...)), with the standard deviation in the target's "
                "units, known or measured on held-out data by "
                "ecl_tf.teachers.residual_stddev; or give an ensemble of two or more "
                "models, whose disagreement is the spread."
            )
        return super().combine(raws)

    def raw(self, distribution):
        return self.standardise(distribution.mean())

    def get_config(self):
        return {**super().get_config(), "stddev": self.stddev}


@keras.saving.register_keras_serializable(_PACKAGE)
class Joint(Output):
    """Several named outputs, each with a distribution of its own, independent.

    Everything that the other outputs do with a tensor or a distribution, this one
    does with a dict of them; divergences and likelihoods are summed with weights.
    A dict given as `output` becomes a `Joint`.

    Args:
        outputs: dict from output name to `Output` (or its name).
        weights: dict from output name to its weight in the loss; 1 by default.

    Example:
    >>> joint = Joint({"digit": "categorical", "angle": Normal(1)}, {"angle": 0.1})
    >>> sorted(joint({"digit": [[0.0, 1.0]], "angle": [[0.0, 0.0]]}))
    ['angle', 'digit']
    """

    def __init__(self, outputs, weights=None):
        if not outputs:
            raise ValueError("A joint output needs at least one named output; got none.")
        weights = dict(weights or {})
        unknown = sorted(set(weights) - set(outputs))
        if unknown or not all(weight >= 0 for weight in weights.values()):
            raise ValueError(
                f"weights must map output names {sorted(outputs)} to numbers >= 0; got {weights}."
            )
        self.outputs = {name: get(output) for name, output in outputs.items()}
        self.weights = {name: float(weights.get(name, 1.0)) for name in outputs}

    @property
    def family(self):  # type: ignore[override]
        return {name: output.family for name, output in self.outputs.items()}

    @property
    def closeness_names(self):  # type: ignore[override]
        return tuple(
            f"{name}_{closeness}"
            for name, output in self.outputs.items()
            for closeness in output.closeness_names
        )

    @property
    def takes_temperature(self):  # type: ignore[override]
        return any(output.takes_temperature for output in self.outputs.values())

    def _map(self, function, *structures):
        return {
            name: function(output, *(structure[name] for structure in structures))
            for name, output in self.outputs.items()
        }

    def _sum(self, function, *structures):
        terms = self._map(function, *structures)
        return tf.add_n([self.weights[name] * term for name, term in terms.items()])

    def __call__(self, raw):
        return self._map(lambda output, r: output(r), raw)

    def validate(self, shape, network):
        if not isinstance(shape, dict) or set(shape) != set(self.outputs):
            found = sorted(shape) if isinstance(shape, dict) else "one unnamed tensor"
            raise ValueError(
                f"The outputs of the {network} are {found}; expected a dict with the names "
                f"{sorted(self.outputs)} of `output`. Build the network with "
                "keras.Model(inputs, {name: tensor, ...})."
            )
        for name, output in self.outputs.items():
            output.validate(shape[name], f"{network} (output {name!r})")

    def event_size(self, shape):
        return self._map(lambda output, s: output.event_size(s), shape)

    def raw_size(self, event_size):
        return self._map(lambda output, size: output.raw_size(size), event_size)

    def tempered(self, temperature):
        named = {name: output.tempered(temperature) for name, output in self.outputs.items()}
        return Joint(named, self.weights)

    def combine(self, raws):
        return {
            name: output.combine([raw[name] for raw in raws])
            for name, output in self.outputs.items()
        }

    def uncertainty(self, raws):
        return {
            name: output.uncertainty([raw[name] for raw in raws])
            for name, output in self.outputs.items()
        }

    def score(self, uncertainty):
        return self._sum(lambda output, u: output.score(u), uncertainty)

    def raw(self, distribution):
        return self._map(lambda output, d: output.raw(d), distribution)

    def divergence(self, teacher, student, divergence, temperature=1.0):
        return self._sum(
            lambda output, p, q: output.divergence(p, q, divergence, temperature),
            teacher,
            student,
        )

    def negative_log_likelihood(self, distribution, labels):
        return self._sum(
            lambda output, d, y: output.negative_log_likelihood(d, y), distribution, labels
        )

    def compare(self, teacher, student):
        closeness = self._map(lambda output, p, q: output.compare(p, q), teacher, student)
        return _prefixed(closeness)

    def prediction(self, raw):
        return self._map(lambda output, r: output.prediction(r), raw)

    def parameters(self, distribution):
        return _prefixed(self._map(lambda output, d: output.parameters(d), distribution))

    def from_parameters(self, parameters):
        return {
            name: output.from_parameters(
                {
                    key.removeprefix(f"{name}_"): value
                    for key, value in parameters.items()
                    if key.startswith(f"{name}_")
                }
            )
            for name, output in self.outputs.items()
        }

    def get_config(self):
        return {
            "outputs": {
                name: keras.saving.serialize_keras_object(output)
                for name, output in self.outputs.items()
            },
            "weights": self.weights,
        }


_OUTPUTS = {cls.__name__: cls for cls in (Categorical, Normal, Bernoulli, Point, Joint)}


def get(identifier, shape=None):
    """Returns the `Output` that a string, dict, config or instance stands for.

    Args:
        identifier: "categorical", "bernoulli", "normal" (whose event size is half
            of the last dimension of `shape`), an `Output`, a config such as
            {"class_name": "Normal", "config": {"event_size": 1}}, or a dict from output
            names to any of these.
        shape: the static shape(s) of the student's raw output, where known.

    Raises:
        ValueError: if the identifier is not one of these.
    """
    if isinstance(identifier, Output):
        return identifier
    if isinstance(identifier, dict):
        if build.is_named(identifier, _OUTPUTS):
            return _OUTPUTS[identifier["class_name"]].from_config(identifier.get("config", {}))
        if "class_name" in identifier:
            return keras.saving.deserialize_keras_object(identifier)
        return Joint(
            {
                name: get(value, shape.get(name) if isinstance(shape, dict) else None)
                for name, value in identifier.items()
            }
        )
    if identifier == "categorical":
        return Categorical()
    if identifier == "bernoulli":
        return Bernoulli()
    if identifier == "normal":
        if shape is None or shape[-1] is None or shape[-1] % 2:
            raise ValueError(
                "output='normal' takes its event size from the student's last dimension "
                "(twice the target's: means, then scales), which here is "
                f"{'unknown' if shape is None else shape[-1]}. Use "
                "ecl_tf.outputs.Normal(event_size)."
            )
        return Normal(shape[-1] // 2)
    raise ValueError(
        f"Unknown output {identifier!r}; expected 'categorical', 'normal', 'bernoulli', an "
        "ecl_tf.outputs.Output, or a dict of them for a network with named outputs."
    )


def per_example(values):
    """Averages every axis after the first: (batch, positions...) to (batch,)."""
    if values.shape.rank is not None and values.shape.rank > 1:
        return tf.reduce_mean(values, axis=list(range(1, values.shape.rank)))
    return values


def is_one_hot(labels, logits):
    """Whether labels are (soft) one-hot rows (..., K) and not class indices."""
    labels = tf.convert_to_tensor(labels)
    return labels.shape.rank == logits.shape.rank and labels.shape[-1] == logits.shape[-1]


def _positive(name, value):
    if not 0.0 < value < math.inf:
        raise ValueError(f"{name} must be a positive number; got {value!r}.")
    return float(value)


def _float32(values):
    return tf.cast(tf.convert_to_tensor(values), tf.float32)


def _stack(raws):
    return tf.stack([_float32(raw) for raw in raws])


def _prefixed(nested):
    return {
        f"{name}_{key}": value for name, values in nested.items() for key, value in values.items()
    }
