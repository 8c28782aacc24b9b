"""What 8 bits cost in accuracy, and save in bytes.

    python -m benchmarks.quantization [CASE ...]

trains a teacher of ordinary labels, then for three seeds a student of it in float32, and one with
`quantization="int8"`. It prints the accuracy on validation rows of the first in float32, in float16
and with 8 bits measured on 500 training rows, and of the second, all as LiteRT files; and the
files' bytes. `fashion_mnist`, of which it trains on 3,000 images, comes through TFDS. Two seeds of
it, or of `bottlenecks`, took 25 minutes on 2 busy CPU cores, and `tails` and `no_tails` 3 minutes.

The cases are `digits`, `lenet`, `fashion_mnist`, `bottlenecks`, `tails` and `no_tails`. The student
of `lenet`, on the digits, has 131,080 weights in place of 6,090: the graph, which 8 bits do not
shrink, is a small part of its file.

The student of `bottlenecks`, on Fashion-MNIST, is deep and narrow: depthwise convolutions, each
between two that narrow and widen, with batch normalisation, as in MobileNetV2. Roundings of many
layers add up there.

`tails` is Friedman's first function in four classes of equal numbers of rows. Its columns have
log-normal distributions, with values of up to 26 standard deviations, so that 256 numbers of equal
distances hardly tell the others apart. In `no_tails` the student begins with a softsign, which
stays in floating point.
"""

import pathlib
import sys
import tempfile

import keras
import numpy as np
import scipy.stats
import sklearn.datasets

import ecl_tf

# Training rows, validation rows, epochs, the highest learning rate.
CASES = {
    "digits": (1000, 797, 60, 2e-3),
    "lenet": (1000, 797, 60, 2e-3),
    "fashion_mnist": (3000, 10000, 20, 2e-3),
    "bottlenecks": (3000, 10000, 20, 1e-2),
    "tails": (2000, 5000, 60, 3e-3),
    "no_tails": (2000, 5000, 60, 3e-3),
}


def load(name):
    """Images from 0 to 1, or rows of a table, and labels, in random order."""
    if "tails" in name:
        uniform, target = sklearn.datasets.make_friedman1(7000, random_state=0)
        x = np.exp(scipy.stats.norm.ppf(uniform))
        x = (x - x.mean(0)) / x.std(0)
        y = np.searchsorted(np.quantile(target, [0.25, 0.5, 0.75]), target)
    elif name in ("digits", "lenet"):
        found = sklearn.datasets.load_digits()
        x, y = found.images[..., None] / 16.0, found.target
    else:
        import tensorflow_datasets as tfds

        found = tfds.load("fashion_mnist", split="train", as_supervised=True, batch_size=-1)
        x, y = tfds.as_numpy(found)
        x = x / 255.0
    order = np.random.default_rng(0).permutation(len(x))
    return x[order].astype("float32"), y[order]


def network(shape, width, seed):
    keras.utils.set_random_seed(seed)
    if len(shape) == 1:
        return ecl_tf.models.build("mlp", shape, 4, widths=(width, width, width))
    return ecl_tf.models.build("convnet", shape, 10, width=width)


def bottlenecks(shape, seed, width=4, depth=10):
    """Inverted bottlenecks, half of them on 7x7 pixels of 28x28."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers

    def convolved(x, layer, activates=True):
        x = layers.BatchNormalization(momentum=0.9)(layer(x))
        return layers.ReLU(6.0)(x) if activates else x

    def pointwise(channels):
        return layers.Conv2D(channels, 1, use_bias=False)

    def by_channel(strides):
        return layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False)

    inputs = keras.Input(shape)
    first = layers.Conv2D(2 * width, 3, strides=2, padding="same", use_bias=False)
    x = convolved(convolved(inputs, first), pointwise(width), activates=False)
    for number in range(depth):
        strides = 2 if number == depth // 2 else 1
        inner = convolved(x, pointwise(4 * width))
        inner = convolved(inner, by_channel(strides))
        inner = convolved(inner, pointwise(width), activates=False)
        x = inner if strides == 2 else layers.Add()([x, inner])
    x = layers.GlobalAveragePooling2D()(convolved(x, pointwise(8 * width)))
    return keras.Model(inputs, layers.Dense(10)(x))


def student_of(name, shape, seed):
    if name == "bottlenecks":
        return bottlenecks(shape, seed)
    if name == "lenet":
        keras.utils.set_random_seed(seed)
        return ecl_tf.models.build("lenet", shape, 10, padding="same")
    student = network(shape, 16 if name == "digits" else 32, seed)
    first = [keras.layers.Activation("softsign")] if name == "no_tails" else []
    return ecl_tf.preprocessing.with_preprocessing(student, first, shape)


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
    train, _, epochs, rate = CASES[name]
    for quantization in (None, "int8"):
        student = student_of(name, x.shape[1:], seed)
        distiller = ecl_tf.Distiller(student, teacher, quantization=quantization, seed=seed)
        schedule = keras.optimizers.schedules.CosineDecay(rate, train // 64 * epochs)
        distiller.compile(keras.optimizers.Adam(schedule))
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
        teacher = network(x.shape[1:], 32 if x.ndim == 4 else 128, 100)
        teacher.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        epochs = 12 if x.ndim == 4 else 40
        teacher.fit(x[:train], y[:train], epochs=epochs, batch_size=64, verbose=0)
        for seed in range(3):
            directory = pathlib.Path(tempfile.mkdtemp())
            students(name, seed, teacher, x[:train], directory)
            for path in sorted(directory.iterdir()):
                found = accuracy(path, *rows)
                print(name, seed, path.stem, f"{found:.2f} %", path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
