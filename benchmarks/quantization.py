"""What 8 bits cost in accuracy, and save in bytes.

    python -m benchmarks.quantization [digits] [fashion_mnist]

trains a teacher of ordinary labels, then for three seeds a convolutional student of it in float32,
and one with `quantization="int8"`. It prints the accuracy on validation rows of the first in
float32, in float16 and with 8 bits measured on 500 training rows, and of the second, all as LiteRT
files; and the files' bytes. `fashion_mnist`, of which it trains on 3,000 images, comes through
TFDS. Two seeds of `fashion_mnist` took 25 minutes on 2 busy CPU cores.
"""

import pathlib
import sys
import tempfile

import keras
import numpy as np
import sklearn.datasets

import ecl_tf

# Training rows, validation rows, the student's width, epochs.
CASES = {"digits": (1000, 797, 16, 60), "fashion_mnist": (3000, 10000, 32, 20)}


def load(name):
    """Images from 0 to 1, and labels, in random order."""
    if name == "digits":
        found = sklearn.datasets.load_digits()
        x, y = found.images[..., None] / 16.0, found.target
    else:
        import tensorflow_datasets as tfds

        x, y = tfds.as_numpy(tfds.load(name, split="train", as_supervised=True, batch_size=-1))
        x = x / 255.0
    order = np.random.default_rng(0).permutation(len(x))
    return x[order].astype("float32"), y[order]


def network(shape, width, seed):
    keras.utils.set_random_seed(seed)
    return ecl_tf.models.build("convnet", shape, 10, width=width)


def accuracy(path, x, y):
    """Of a file, in percent."""
    student = ecl_tf.load_student(path)
    found = [
        student.parameters(x[start : start + 500])["probabilities"]
        for start in range(0, len(x), 500)
    ]
    return 100.0 * float((np.argmax(np.concatenate(found), -1) == y).mean())


def students(name, seed, teacher, x, directory):
    """Writes the files of one seed."""
    train, _, width, epochs = CASES[name]
    for quantization in (None, "int8"):
        student = network(x.shape[1:], width, seed)
        distiller = ecl_tf.Distiller(student, teacher, quantization=quantization, seed=seed)
        rate = keras.optimizers.schedules.CosineDecay(2e-3, train // 64 * epochs)
        distiller.compile(keras.optimizers.Adam(rate))
        distiller.fit(x, batch_size=64, epochs=epochs, verbose=0)
        if quantization:
            distiller.export(directory / "trained.tflite", format="litert")
            continue
        for bits in (None, "float16", "int8"):
            path = directory / f"{bits or 'float32'}.tflite"
            distiller.export(path, format="litert", quantization=bits, examples=x[:500])


def main():
    for name in sys.argv[1:] or CASES:
        x, y = load(name)
        train, validation, *_ = CASES[name]
        rows = x[-validation:], y[-validation:]
        teacher = network(x.shape[1:], 32, 100)
        teacher.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        teacher.fit(x[:train], y[:train], epochs=12, batch_size=64, verbose=0)
        for seed in range(3):
            directory = pathlib.Path(tempfile.mkdtemp())
            students(name, seed, teacher, x[:train], directory)
            for path in sorted(directory.iterdir()):
                found = accuracy(path, *rows)
                print(name, seed, path.stem, f"{found:.2f} %", path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
