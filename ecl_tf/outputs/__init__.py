"""How a raw network tensor becomes a distribution, and an ensemble of them one.

This is the first of the method's three sentences: *model the output distributions of student and
teacher*. Every class here maps a raw tensor of shape (batch..., size) to a
`tensorflow_probability` distribution whose batch shape is (batch...), always in float32, whatever
the network computes in: a KL divergence of 8e-5 is off by half in float16.

| targets | output |
|---|---|
| one of several classes | `Categorical` |
| yes/no labels | `Bernoulli` |
| real numbers | `Normal`; `StudentT` with heavy tails; `NormalMixture` with several likely values |
| numbers above 0 | `LogNormal` |
| counts | `NegativeBinomial`, `Poisson` |
| several of these | `Joint` |
"""

from ecl_tf.outputs.bernoulli import Bernoulli
from ecl_tf.outputs.categorical import Categorical
from ecl_tf.outputs.counts import NegativeBinomial, Poisson
from ecl_tf.outputs.gaussian import Normal, Point
from ecl_tf.outputs.joint import Joint, get, parts_of
from ecl_tf.outputs.log_normal import LogNormal
from ecl_tf.outputs.mixture import NormalMixture
from ecl_tf.outputs.numeric import Numeric
from ecl_tf.outputs.output import Output, Uncertainty, is_one_hot, per_example
from ecl_tf.outputs.student_t import StudentT

__all__ = [
    "Bernoulli",
    "Categorical",
    "Joint",
    "LogNormal",
    "NegativeBinomial",
    "Normal",
    "NormalMixture",
    "Numeric",
    "Output",
    "Point",
    "Poisson",
    "StudentT",
    "Uncertainty",
    "get",
    "is_one_hot",
    "parts_of",
    "per_example",
]
