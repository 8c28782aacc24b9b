"""What a network is worth beyond its scores on clean data."""

from ecl_tf.evaluation.maps import draw_maps, uncertainty_maps

__all__ = ["draw_maps", "uncertainty_maps"]
