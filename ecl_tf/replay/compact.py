"""A teacher's distribution and uncertainty in a few bytes a row, and back.

| output | stored of a row, beside the uncertainty's two parts | bytes |
|---|---|---|
| categorical, C classes | the K most probable ones, the logarithms of their probabilities | |
| | and of that of all others together | 3 K + 6; 4 K + 6 if C > 256 |
| | if K >= C the logarithms of all probabilities | 2 C + 4 |
| bernoulli, L labels | logits | 2 L + 4 |
| normal, d dimensions | means; the two parts are standard deviations | 8 d |
| other numbers, d dimensions | the raw tensor, of r numbers; the same parts | 4 r + 4 d |

Means and raw tensors are float32, all else float16. The mass r of the classes that are left out
is spread evenly over them, which costs KL(p || stored) = r (ln(C - K) - H(the rest)) <= r ln(C - K)
nats, H being the entropy of the teacher within the rest; nothing is renormalised but for float16's
rounding, which changes a log probability by less than 1 part in 2,000 of itself.
"""

import tensorflow as tf

from ecl_tf import outputs
from ecl_tf._internal import require
from ecl_tf.outputs.output import Uncertainty, float32

# Less than any probability that matters, and a number that float16 has.
_LOWEST = -1e4


def get(output, top_k):
    """What stores the answers of a teacher with such an `ecl_tf.outputs.Output`.

    Args:
        output: the teacher's.
        top_k: K >= 1, the number of classes whose probabilities are kept apart.

    Returns:
        An object with `output`, which reads the raw tensor that `restore` gives; `encode(
        distribution, uncertainty)`, to a dict of tensors (batch, ...); and `restore(fields,
        event_size)`, to that raw tensor and the `Uncertainty`; the event size is the number of
        classes, labels or dimensions, a dict of them for named outputs.

    Raises:
        ValueError: if top_k is not a whole number >= 1, or nothing stores such an output.
    """
    require.whole("top_k", top_k, 1, "a whole number of classes")
    if isinstance(output, outputs.Joint):
        return _Joint(output, top_k)
    if output.family in _COMPACT:
        return _COMPACT[output.family](output, top_k)
    if isinstance(output, outputs.Numeric):
        return _Numeric(output, top_k)
    raise ValueError(
        f"Answers of {output!r} can't be stored; expected one of the outputs in ecl_tf.outputs."
    )


class _Categorical:
    def __init__(self, output, top_k):
        known = getattr(output, "known_classes", None)  # A user's output may have none.
        self.output, self.top_k = outputs.Categorical(known_classes=known), top_k

    def encode(self, distribution, uncertainty):
        log_probabilities = tf.nn.log_softmax(distribution.logits_parameter())
        classes = log_probabilities.shape[-1]
        fields = _parts(uncertainty)
        if self.top_k < classes:
            values, indices = tf.math.top_k(log_probabilities, classes)
            log_probabilities = values[..., : self.top_k]
            rest = tf.reduce_logsumexp(values[..., self.top_k :], -1, keepdims=True)
            kind = tf.uint8 if classes <= 2**8 else tf.uint16 if classes <= 2**16 else tf.int32
            fields |= {
                "log_rest": _float16(tf.maximum(rest, _LOWEST)),
                "classes": tf.cast(indices[..., : self.top_k], kind),
            }
        return {"log_probabilities": _float16(tf.maximum(log_probabilities, _LOWEST)), **fields}

    def restore(self, fields, classes):
        logits = float32(fields["log_probabilities"])
        if "classes" in fields:
            known = self.output.known_classes
            others = classes - self.top_k if known is None else max(len(known) - self.top_k, 1)
            each = float32(fields["log_rest"]) - tf.math.log(tf.cast(others, tf.float32))
            shape = tf.concat([tf.shape(logits)[:-1], [classes]], 0)
            kept = tf.reshape(tf.cast(fields["classes"], tf.int32), [-1, self.top_k])
            row = tf.broadcast_to(tf.range(tf.shape(kept)[0])[:, None], tf.shape(kept))
            logits = tf.tensor_scatter_nd_update(
                tf.broadcast_to(tf.reshape(each, [-1, 1]), [tf.shape(kept)[0], classes]),
                tf.stack([row, kept], -1),
                tf.reshape(logits, [-1, self.top_k]),
            )
            logits = tf.reshape(logits, shape)
        return logits, _uncertainty(fields)


class _Gaussian:
    def __init__(self, output, top_k):
        self.floor = output.min_scale
        # A smaller one than the teacher's, above which its own stays representable.
        self.output = outputs.Normal(
            output.size, 1e-3 * output.min_scale, output.target_mean, output.target_stddev
        )

    def encode(self, distribution, uncertainty):
        unit = float32(self.output.target_stddev)
        return {
            "mean": distribution.mean(),
            "aleatoric": _float16(tf.sqrt(uncertainty.aleatoric) / unit),
            "epistemic": _float16(tf.sqrt(uncertainty.epistemic) / unit),
        }

    def restore(self, fields, size):
        unit = float32(self.output.target_stddev)
        parts = Uncertainty(*(float32(fields[name]) ** 2 for name in Uncertainty._fields))
        stddev = unit * tf.sqrt(tf.maximum(parts.aleatoric + parts.epistemic, self.floor**2))
        raw = self.output.raw(
            self.output.from_parameters({"mean": fields["mean"], "stddev": stddev})
        )
        return raw, Uncertainty(*(part * unit**2 for part in parts))


class _Numeric:
    def __init__(self, output, top_k):
        self.output = output

    def encode(self, distribution, uncertainty):
        unit = float32(self.output.unit)
        parts = {
            name: _float16(tf.sqrt(each) / unit) for name, each in uncertainty._asdict().items()
        }
        return {"raw": self.output.raw(distribution), **parts}

    def restore(self, fields, size):
        unit = float32(self.output.unit)
        parts = ((unit * float32(fields[name])) ** 2 for name in Uncertainty._fields)
        return fields["raw"], Uncertainty(*parts)


class _Bernoulli:
    def __init__(self, output, top_k):
        self.output = outputs.Bernoulli()

    def encode(self, distribution, uncertainty):
        logits = self.output.raw(distribution)
        logits = _float16(tf.clip_by_value(logits, _LOWEST, -_LOWEST))
        return {"logits": logits, **_parts(uncertainty)}

    def restore(self, fields, size):
        return float32(fields["logits"]), _uncertainty(fields)


class _Joint:
    def __init__(self, output, top_k):
        self.compact = {name: get(each, top_k) for name, each in output.outputs.items()}
        stored = {name: compact.output for name, compact in self.compact.items()}
        self.output = outputs.Joint(stored, output.weights)

    def encode(self, distribution, uncertainty):
        return {
            f"{name}/{field}": tensor
            for name, compact in self.compact.items()
            for field, tensor in compact.encode(distribution[name], uncertainty[name]).items()
        }

    def restore(self, fields, size):
        raws, parts = {}, {}
        for name, compact in self.compact.items():
            own = {
                field.removeprefix(f"{name}/"): tensor
                for field, tensor in fields.items()
                if field.rpartition("/")[0] == name
            }
            raws[name], parts[name] = compact.restore(own, size[name])
        return raws, parts


_COMPACT = {"categorical": _Categorical, "normal": _Gaussian, "bernoulli": _Bernoulli}


def _parts(uncertainty):
    return {name: _float16(part) for name, part in uncertainty._asdict().items()}


def _uncertainty(fields):
    return Uncertainty(*(float32(fields[name]) for name in Uncertainty._fields))


def _float16(tensor):
    return tf.cast(tensor, tf.float16)
