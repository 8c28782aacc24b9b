"""How a student does where inputs are not those that it was trained on."""

from ecl_tf.evaluation import corruptions
from ecl_tf.evaluation.corruptions import corrupt

__all__ = ["corrupt", "corruptions"]
