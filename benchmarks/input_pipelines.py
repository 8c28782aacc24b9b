"""Whether the input pipelines keep up with the students, in rows a second.

    python -m benchmarks.input_pipelines

For each system: the rows a second of its pipeline alone, and of its config's student alone
(forward, backward and update on one fixed batch, in the config's batch size, ImageNet's in
batches of 32; a teacher would only make the step longer), in alternating runs, as medians.
Random rows in memory stand for the small data sets, at their real size; for ImageNet 10,000
JPEG files of its usual size (500x375 pixels, 97 kB) are written and read through TFDS. Its
memory is the growth of the process over three passes through a shuffle buffer that holds
fewer than all of them.

Measured with tensorflow 2.21 on 2 CPU cores, in 5 minutes 20 seconds: ratio of the pipeline's
rate to the step's 2.69 for casp (1,745,091 rows/s), 25 for fashion_mnist (402,018), 187 for
mpii_gaze (159,673), 439 for cifar100 (116,331) and 160 for ImageNet (540). Memory above the
start: at most 1.06, 1.18 and 1.22 GB in the three passes.
"""

import importlib
import io
import statistics
import tempfile
import time

import keras
import numpy as np
import psutil
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import app

import ecl_tf
from benchmarks.processes import steps_a_second
from ecl_tf import data, models, outputs
from ecl_tf.data import images
from ecl_tf.experiments import optimizers, settings

RUNS = 5


def main(_):
    generator = np.random.default_rng(0)

    def pixels(*shape):
        return generator.integers(0, 256, shape, dtype=np.uint8)

    angles = generator.normal(size=(39_000, 2)).astype("float32")
    table = generator.normal(size=(35_215, 10)).astype("float32")
    systems = {
        "casp": in_memory(table[:, :9], table[:, 9:], 1),
        "fashion_mnist": in_memory(
            pixels(55_000, 28, 28, 1), generator.integers(10, size=55_000), 10
        ),
        "mpii_gaze": in_memory(
            {"image": pixels(39_000, 36, 60, 1), "head_pose": angles}, angles, 2
        ),
        "cifar100": in_memory(
            pixels(45_000, 32, 32, 3),
            generator.integers(100, size=45_000),
            100,
            augment=images.shift_and_mirror,
        ),
    }
    for name, splits in systems.items():
        compare(name, splits)
    with tempfile.TemporaryDirectory() as directory:
        write_imagenet(directory, generator)
        splits = images.imagenet2012(validation_size=100, data_dir=directory)
        compare("imagenet", splits, batch_size=32)
        measure_memory(splits)


def in_memory(inputs, labels, event_size, **arguments):
    rows = tf.data.Dataset.from_tensor_slices((inputs, labels))
    return data.Splits(rows, rows, rows, event_size, **arguments)


def compare(name, splits, batch_size=None):
    """Prints both rates and the median of their ratios."""
    config = importlib.import_module(f"configs.{name}").get_config()
    section = config.student
    section.train.batch_size = batch_size or section.train.batch_size
    batches = data.training_batches(splits, section.train.batch_size, seed=0)
    iterator = iter(batches)
    student = train_function(config, splits, next(iterator))

    def rate(function):
        """Rows a second."""
        least = section.train.steps_per_execution
        return section.train.batch_size * steps_a_second(function, time.perf_counter, least)

    pairs = [(rate(lambda n: read(iterator, n)), rate(student)) for _ in range(RUNS + 1)]
    pipeline, step = (statistics.median(column) for column in zip(*pairs[1:], strict=True))
    ratio = statistics.median(p / s for p, s in pairs[1:])
    print(
        f"{name}: pipeline {pipeline:,.0f} rows/s, student's step {step:,.0f} rows/s, "
        f"ratio {ratio:.2f}",
        flush=True,
    )


def read(iterator, count):
    for _ in range(count):
        next(iterator)


def train_function(config, splits, batch):
    """A function that trains the config's student for some steps on one batch."""
    config = settings.parse(config)
    section, output = config.student, outputs.get(config.output)
    network = {k: v for k, v in section.network.items() if k != "preprocessing"}
    shape, units = splits.input_shape, output.raw_size(splits.event_size)
    model = models.build(input_shape=shape, units=units, **network)
    model.compile(
        optimizers.build(section.train),
        ecl_tf.losses.NegativeLogLikelihood(output),
        steps_per_execution=section.train.steps_per_execution,
        jit_compile=False,
    )
    same = tf.data.Dataset.from_tensors(batch).repeat()
    return lambda count: model.fit(same, steps_per_epoch=count, verbose=0, shuffle=False)


def write_imagenet(directory, generator, count=10_000, distinct=50):
    """Prepares a TFDS copy of random photographs, of which some repeat."""

    def photograph():
        small = generator.integers(0, 256, (47, 63, 3), dtype=np.uint8)
        large = tf.image.resize(small, (375, 500), method="bicubic")
        noisy = large + generator.normal(scale=12.0, size=large.shape)
        return tf.io.encode_jpeg(tf.cast(tf.clip_by_value(noisy, 0, 255), tf.uint8), quality=90)

    encoded = [photograph().numpy() for _ in range(distinct)]
    print(f"images of {statistics.mean(map(len, encoded)) / 1000:.0f} kB", flush=True)

    class Imagenet2012(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("5.1.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(num_classes=1000),
                "file_name": tfds.features.Text(),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, dl_manager):
            return {"train": self._examples(count), "validation": self._examples(100)}

        def _generate_examples(self, size):
            for n in range(size):
                image = io.BytesIO(encoded[n % distinct])
                yield n, {"image": image, "label": n % 1000, "file_name": f"{n}.JPEG"}

        _examples = _generate_examples

    Imagenet2012(data_dir=directory).download_and_prepare()


def measure_memory(splits, batch_size=128):
    iterator = iter(data.training_batches(splits, batch_size, seed=0))
    keras.backend.clear_session()
    process = psutil.Process()
    before = process.memory_info().rss
    steps = int(splits.train.cardinality()) // batch_size
    for number in range(3):
        peak = 0
        for _ in range(steps):
            next(iterator)
            peak = max(peak, process.memory_info().rss - before)
        print(
            f"imagenet, pass {number + 1}: at most {peak / 1e9:.2f} GB above the start", flush=True
        )


if __name__ == "__main__":
    app.run(main)
