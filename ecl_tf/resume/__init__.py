"""Training that ends in the same bits however often it was killed."""

from ecl_tf.resume.data import batches
from ecl_tf.resume.interruptions import PREEMPTED
from ecl_tf.resume.training import fit

__all__ = ["PREEMPTED", "batches", "fit"]
