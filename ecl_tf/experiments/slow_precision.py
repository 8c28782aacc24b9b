"""Tells where 16 bits are slower than 32: many processors only imitate their arithmetic."""

import functools
import time

import tensorflow as tf

from ecl_tf.experiments import progress, settings

_SLOWER = 2.0  # Times; less is within what a busy machine gives.
_TURNS = 5


def tell(config: settings.Settings) -> None:
    """Prints a line for each network whose `dtype` has this machine train more slowly."""
    for name in ("teacher", "student"):
        network = getattr(config, name).network or {}
        policy = network.get("dtype") or "float32"
        dtype = str(policy).removeprefix("mixed_")
        if dtype in ("bfloat16", "float16"):
            times = _seconds(dtype) / _seconds("float32")
            if times > _SLOWER:
                setting = f"--config.{name}.network.dtype"
                progress.announce_once(
                    [
                        f"{setting}={policy}: a convolution's gradient takes {times:.0f} times "
                        f"as long here in {dtype} as in float32, because this machine has no "
                        f"arithmetic for it. {setting}=float32 is likely faster."
                    ]
                )


@functools.cache
def _seconds(dtype):
    """Of the gradient of a small convolution, the fastest of some turns."""
    images = tf.ones((16, 16, 16, 64), dtype)
    kernel = tf.ones((3, 3, 64, 64), dtype)

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            answers = tf.nn.conv2d(images, kernel, 1, "SAME")
        return tape.gradient(answers, kernel)

    gradient()
    taken = []
    for _ in range(_TURNS):
        begun = time.perf_counter()
        gradient().numpy()
        taken.append(time.perf_counter() - begun)
    return min(taken)
