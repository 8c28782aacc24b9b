"""What a checkpoint every 60 seconds costs.

    python -m benchmarks.checkpoints

trains by `ecl_tf.resume.fit` with a checkpoint after every step: a distilled student of dense
layers, and ResNet-50 with Adam. The time that a checkpoint takes (reading all variables, writing,
syncing, renaming, removing the oldest), over 60 seconds, is the share lost; medians of 10 after
the first.
"""

import statistics
import tempfile
import time

import keras
import numpy as np

import ecl_tf
from ecl_tf import resume


def student():
    network = ecl_tf.models.build("mlp", (28, 28, 1), 10, widths=(256, 256))
    teacher = ecl_tf.models.build("convnet", (28, 28, 1), 10, width=16)
    distiller = ecl_tf.Distiller(network, teacher)
    distiller.compile(keras.optimizers.Adam())
    return distiller, (28, 28, 1), 10


def resnet():
    network = keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classes=1000)
    network.compile(keras.optimizers.Adam(), "sparse_categorical_crossentropy")
    return network, (64, 64, 3), 1000


def main():
    rng = np.random.default_rng(0)
    for make in (student, resnet):
        model, shape, classes = make()
        x = rng.random((16, *shape), "float32")
        data = resume.batches((x, rng.integers(0, classes, 16)), batch_size=8, seed=0)
        times, sizes = [], []
        write = resume._Checkpointing._write

        def timed(checkpointing, times=times, sizes=sizes, write=write):
            begun = time.monotonic()
            write(checkpointing)
            times.append(time.monotonic() - begun)
            newest = max(checkpointing.files.directory.iterdir(), key=lambda p: p.stat().st_mtime)
            sizes.append(newest.stat().st_size)

        resume._Checkpointing._write = timed
        try:
            with tempfile.TemporaryDirectory() as directory:
                resume.fit(model, data, directory, steps=11, every_steps=1, verbose=0)
        finally:
            resume._Checkpointing._write = write
        seconds = statistics.median(times[1:])
        print(
            f"{make.__name__}: {sizes[-1] / 1e6:.0f} MB, {seconds:.3f} s a checkpoint, "
            f"{seconds / 60:.2%} of 60 s"
        )


if __name__ == "__main__":
    main()
