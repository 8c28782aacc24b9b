"""What a training step costs, as ratios of steps that take turns in one process.

Cases: LeNet from 3 convolutional networks on 8 x 8 images, 64 rows; ResNet-20 from 3 ResNet-56 on
32 x 32, 64 rows; MobileNetV2 from a ResNet-50 on 96 x 96, 16 rows. Random images and weights. In
every turn each of these trains for some steps by Keras's `fit`, and its time a step is taken:

    ERM        plain `compile` and `fit` on labels
    replayed   `Distiller` from a store of mixtures (`ecl_tf.replay`)
    live       `Distiller` that mixes and asks the teacher, whose `Ensemble` folds what pays
    folded     the same, the teacher's networks copied by `ecl_tf.inference_form`
    bfloat16   the same, by `ecl_tf.inference_form(..., "bfloat16")`
    keras      `keras.distillation.Distiller` with the teacher as one model, `KLDivergence()`, and
               the mixing in tf.data
    teacher    the teacher's forward pass alone
    sampler    the mixing alone
    PyTorch    a hand-written loop (`benchmarks.torch_steps`), with `pip install -e ".[benchmarks]"`

What counts are the medians over turns of the ratios within a turn, after two turns of warm-up
(parts are teacher and ERM). `python -m benchmarks` prints them.
"""

import functools
import importlib.util
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf

import ecl_tf
from ecl_tf import replay, samplers
from ecl_tf.data import splits

TRAININGS = ("ERM", "replayed", "live", "folded", "bfloat16", "keras")
CASES = {
    "small": {
        "shape": (8, 8, 1),
        "classes": 10,
        "rows": 64,
        "steps": 200,
        "execution": 20,
        "turns": 15,
        "members": ("convnet", {"width": 32}, 3),
        "student": ("lenet", {"padding": "same"}),
    },
    "medium": {
        "shape": (32, 32, 3),
        "classes": 100,
        "rows": 64,
        "steps": 4,
        "execution": 1,
        "turns": 7,
        "members": ("resnet", {"depth": 56}, 3),
        "student": ("resnet", {"depth": 20}),
    },
    "heavy": {
        "shape": (96, 96, 3),
        "classes": 100,
        "rows": 16,
        "steps": 4,
        "execution": 1,
        "turns": 7,
        "members": ("application", {"model": "ResNet50"}, 1),
        "student": ("application", {"model": "MobileNetV2"}),
    },
}


class Bench:
    """The data, networks and trainings of a case, each built when it is asked for."""

    def __init__(self, case):
        self.case, self.rows = case, case["rows"]
        rng = np.random.default_rng(0)
        self.x = rng.random((4 * self.rows, *case["shape"]), "float32")
        self.y = rng.integers(0, case["classes"], len(self.x))
        self.sampler = samplers.Mix()
        self.execution = {"steps_per_execution": case["execution"], "jit_compile": False}

    def build(self, name, arguments):
        return ecl_tf.models.build(name, self.case["shape"], self.case["classes"], **arguments)

    def student(self):
        return self.build(*self.case["student"])

    def optimizer(self):
        return keras.optimizers.SGD(1e-3, 0.9)

    @functools.cached_property
    def members(self):
        name, arguments, count = self.case["members"]
        members = [self.build(name, arguments) for _ in range(count)]
        for number, member in enumerate(members):
            member.name = f"member_{number}"
            settle(member, self.x)
        return members

    def teacher(self, form="live"):
        members = self.members
        if form != "live":
            dtype = "float32" if form == "folded" else form
            members = [ecl_tf.inference_form(member, dtype) for member in members]
        return ecl_tf.Ensemble(members, "categorical")

    def batches(self):
        held = (tf.constant(self.x), tf.constant(self.y))
        return splits.shuffled_batches(held, self.rows, seed=0)

    def training(self, kind, directory=None):
        """The compiled model and the data of a kind of training; `directory` is of its store."""
        if kind == "ERM":
            model = self.student()
            loss = ecl_tf.losses.NegativeLogLikelihood("categorical")
            model.compile(self.optimizer(), loss, **self.execution)
            return model, self.batches().prefetch(2)
        if kind == "keras":
            return self._keras(), self._mixed().prefetch(2)
        if kind == "replayed":
            store = replay.Store(directory or self.store(tempfile.mkdtemp()))
            return self._distiller(store.teacher), store.batches(self.x, self.y)
        return self._distiller(self.teacher(kind)), self.batches().prefetch(2)

    def store(self, directory):
        """Writes a store of mixtures; returns its directory."""
        settings = {"sampler": self.sampler, "batch_size": self.rows, "epochs": 4}
        replay.record(self.teacher(), self.x, self.y, directory=directory, **settings, verbose=0)
        shards = pathlib.Path(directory).glob("*.tfrecord")
        rows = settings["epochs"] * len(self.x)
        self.bytes_per_row = sum(path.stat().st_size for path in shards) / rows
        return directory

    def _distiller(self, teacher):
        made = ecl_tf.Distiller(self.student(), teacher, sampler=self.sampler)
        made.compile(self.optimizer(), **self.execution)
        return made

    def _keras(self):
        image = keras.Input(self.case["shape"])
        members = [member(image) for member in self.members]
        together = (
            keras.Model(image, keras.layers.Average()(members))
            if len(members) > 1
            else self.members[0]
        )
        theirs = keras.distillation.Distiller(
            together,
            self.student(),
            keras.distillation.LogitsDistillation(1.0, loss=keras.losses.KLDivergence()),
            student_loss_weight=0.0,
        )
        theirs.compile(self.optimizer(), "sparse_categorical_crossentropy", **self.execution)
        return theirs

    def _mixed(self):
        def mix(step, rows):
            seed = tf.stack([0, tf.cast(step, tf.int32)])
            return self.sampler(rows[0], seed).inputs, rows[1]

        return self.batches().enumerate().map(mix, num_parallel_calls=tf.data.AUTOTUNE)

    def calls(self):
        """Functions that do a part of a number of steps, and return the seconds taken."""
        members = self.members
        batch = tf.constant(self.x[: self.rows])
        forward = tf.function(lambda x: [m(x, training=False) for m in members], autograph=False)
        mix = tf.function(lambda x, seed: self.sampler(x, seed).inputs, autograph=False)

        def repeated(call):
            def run(steps):
                begun = time.perf_counter()
                for n in range(steps):
                    last = call(n)
                keras.tree.map_structure(lambda tensor: tensor.numpy(), last)
                return time.perf_counter() - begun

            return run

        return {
            "teacher": repeated(lambda n: forward(batch)),
            "sampler": repeated(lambda n: mix(batch, tf.constant([0, n]))),
        }


def measure(case):
    """Yields what is measured in a case and the result: milliseconds, ratios, bytes, nats."""
    bench = Bench(case)
    live = bench.teacher()
    fits = {kind: bench.training(kind) for kind in TRAININGS}
    calls = bench.calls()
    if importlib.util.find_spec("torchvision"):
        calls["PyTorch"] = _pytorch(case)

    times: dict[str, list[float]] = {name: [] for name in (*fits, *calls)}
    for turn in range(2 + case["turns"]):
        for name, (model, data) in fits.items():
            clock = _Clock()
            model.fit(
                data, steps_per_epoch=case["steps"], epochs=2, callbacks=[clock], shuffle=False,
                verbose=0,
            )  # fmt: skip
            # The second epoch: in the first one the pipeline starts.
            times[name].append(clock.seconds[-1] / case["steps"])
        for name, call in calls.items():
            times[name].append(call(case["steps"]) / case["steps"])
        print(f"turn {turn + 1} of {2 + case['turns']}", end="\r", file=sys.stderr)
    times = {name: seconds[2:] for name, seconds in times.items()}
    for name, seconds in times.items():
        yield f"{name}, ms a step", f"{1000 * statistics.median(seconds):.1f}"
    times["parts"] = [t + s for t, s in zip(times["teacher"], times["ERM"], strict=True)]
    for top, bottom in [
        ("replayed", "ERM"),
        ("live", "parts"),
        ("live", "keras"),
        ("folded", "keras"),
        ("bfloat16", "keras"),
        *([("live", "PyTorch"), ("bfloat16", "PyTorch")] if "PyTorch" in times else []),
        ("sampler", "live"),
    ]:
        ratios = sorted(t / b for t, b in zip(times[top], times[bottom], strict=True))
        low, high = ratios[0], ratios[-1]
        yield f"{top} / {bottom}", f"{statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})"
    yield "store, bytes a row", f"{bench.bytes_per_row:.1f}"
    for form in ("folded", "bfloat16"):
        answers = bench.teacher(form).distribution(bench.x)
        nats = ecl_tf.divergences.kl(live.distribution(bench.x), answers)
        yield f"{form}, nats off at most", f"{float(tf.reduce_max(nats)):.0e}"


def _pytorch(case):
    """As `Bench.calls`: `benchmarks.torch_steps`, which waits in another process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.torch_steps", json.dumps(case)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def run(steps):
        print(steps, file=process.stdin, flush=True)
        return float(process.stdout.readline())

    return run


def settle(model, x):
    """Gives batch normalisation the statistics of some rows, as training would."""
    normalisations = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    momenta = [layer.momentum for layer in normalisations]
    for layer in normalisations:
        layer.momentum = 0.0
    model(x, training=True)
    for layer, momentum in zip(normalisations, momenta, strict=True):
        layer.momentum = momentum


class _Clock(keras.callbacks.Callback):
    """The seconds of every epoch."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self._begun = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self._begun)
