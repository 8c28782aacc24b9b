"""What a trained teacher's inference forms save, and how far they move its answers.

    python -m benchmarks.inference_forms --data_dir=TFDS_DIRECTORY [--steps=300] [medium] [heavy]

A member of the teachers of `benchmarks.steps`, trained on Fashion-MNIST enlarged to its size for
300 steps of 32 images, answers 992 test images and as many mixtures of them (`samplers.Mix`, the
default recipe's). Printed of each form: the KL divergence in nats of its answers from those of
the network itself, mean and largest; how often the most probable class is the same; its accuracy
on the images; and the time of a batch of 32, compiled by TensorFlow and by XLA, as a ratio to the
network's own by TensorFlow: medians over turns in which each answers once.

Measured on one core with AVX-512 BF16 (heavy: --steps=200); nats and shares are the worse ones of
images and mixtures:

| member | form | nats, mean | largest | same class | accuracy | time, TensorFlow | XLA |
|---|---|---|---|---|---|---|---|
| ResNet-56 | itself | | | | 83.8 % | 1 | 1.47 |
| | float32, folded | 3e-9 | 2e-7 | 100 % | 83.8 % | 0.83 | 1.42 |
| | bfloat16 | 9e-5 | 1e-3 | 99.3 % | 83.8 % | 0.45 | 1.43 |
| ResNet-50 | itself | | | | 82.9 % | 1 | 1.10 |
| | float32, folded | 3e-9 | 2e-7 | 100 % | 82.9 % | 0.94 | 1.05 |
| | bfloat16 | 5e-5 | 9e-4 | 99.5 % | 83.0 % | 0.49 | 1.10 |

XLA never helps here, so `jit_compile` stays off on CPUs.
"""

import argparse
import statistics
import time

import keras
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

import ecl_tf
from benchmarks import steps
from ecl_tf import samplers

ROWS, TEST_ROWS, TURNS = 32, 992, 20


def read(split, size, data_dir):
    """Images of the size, shape (rows, size, size, 3) in [0, 1], and labels."""
    images, labels = tfds.load(
        "fashion_mnist", split=split, data_dir=data_dir, batch_size=-1, as_supervised=True
    )
    images = tf.image.grayscale_to_rgb(tf.cast(images, tf.float32) / 255.0)
    return tf.image.resize(images, (size, size)), labels


def train(network, x, y):
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, len(x) // ROWS)
    loss = ecl_tf.losses.NegativeLogLikelihood("categorical")
    network.compile(keras.optimizers.AdamW(schedule), loss, jit_compile=False)
    network.fit(x, y, batch_size=ROWS, verbose=2)
    # So few steps leave batch normalisation's averages where they began.
    steps.settle(network, x[:256])


def answer(call, x):
    """The logits of rows, in batches of `ROWS`."""
    return np.concatenate([call(x[n : n + ROWS]) for n in range(0, len(x), ROWS)])


def measure(case, data_dir, training_steps):
    name, arguments, _ = case["members"]
    network = ecl_tf.models.build(name, case["shape"], 10, **arguments)
    train(network, *read(f"train[:{training_steps * ROWS}]", case["shape"][0], data_dir))
    x, y = read(f"test[:{TEST_ROWS}]", case["shape"][0], data_dir)
    mixtures = samplers.Mix()(x, tf.constant([0, 0])).inputs

    forms = {"itself": network}
    for dtype in ("float32", "bfloat16"):
        forms[dtype] = ecl_tf.inference_form(network, dtype)
    calls = {
        (form, compiler): tf.function(
            lambda rows, made=made: made(rows, training=False), jit_compile=compiler == "XLA"
        )
        for form, made in forms.items()
        for compiler in ("TensorFlow", "XLA")
    }
    own = [answer(calls["itself", "TensorFlow"], inputs) for inputs in (x, mixtures)]
    for (form, compiler), call in calls.items():
        logits = [answer(call, inputs) for inputs in (x, mixtures)]
        accuracy = np.mean(np.argmax(logits[0], -1) == y)
        for inputs, before, after in zip(("images", "mixtures"), own, logits, strict=True):
            nats = keras.losses.kl_divergence(tf.nn.softmax(before), tf.nn.softmax(after)).numpy()
            same = np.mean(np.argmax(before, -1) == np.argmax(after, -1))
            print(
                f"  {form}, {compiler}: {inputs}: nats mean {nats.mean():.1e}, largest "
                f"{nats.max():.1e}, same class {same:.4f}, accuracy {accuracy:.4f}",
                flush=True,
            )

    ratios: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    for _ in range(TURNS):
        seconds = {}
        for key, call in calls.items():
            begun = time.perf_counter()
            call(x[:ROWS]).numpy()
            seconds[key] = time.perf_counter() - begun
        for key in calls:
            ratios[key].append(seconds[key] / seconds["itself", "TensorFlow"])
    for (form, compiler), values in ratios.items():
        print(f"  {form}, {compiler}: time {statistics.median(values):.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*", default=["medium", "heavy"])
    parser.add_argument("--data_dir")
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    for name in arguments.cases:
        print(f"{name}:", flush=True)
        measure(steps.CASES[name], arguments.data_dir, arguments.steps)


if __name__ == "__main__":
    main()
