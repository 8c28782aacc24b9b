"""What a training step costs, as ratios of steps that take turns in one process.

    python -m benchmarks.steps [small] [medium] [heavy]

Cases: LeNet from 3 convolutional networks on 8 x 8 images, 64 rows; ResNet-20 from 3 ResNet-56 on
32 x 32, 64 rows; MobileNetV2 from a ResNet-50 on 96 x 96, 16 rows. Random images and weights. In
every turn each of these trains for some steps by Keras's `fit`, and its time a step is taken:

    ERM        plain `compile` and `fit` on labels
    replayed   `Distiller` from a store of mixtures (`ecl_tf.replay`)
    live       `Distiller` that mixes and asks the teacher
    folded     the same, the teacher's networks in `ecl_tf.inference_form`
    bfloat16   the same, in `ecl_tf.inference_form(..., "bfloat16")`
    keras      `keras.distillation.Distiller` with the teacher as one model, `KLDivergence()`, and
               the mixing in tf.data
    teacher    the teacher's forward pass alone
    sampler    the mixing alone

Printed are the medians over turns of the ratios within a turn, after two turns of warm-up, and the
largest KL divergence in nats of the teacher's other forms from its own answers.

Measured with tensorflow 2.21 on 2 CPU cores with AVX-512 BF16:

| | small | medium | heavy |
|---|---|---|---|
| replayed / ERM | 1.069 | 1.010 | 1.020 |
| live / (teacher + ERM) | 0.931 | 0.987 | 0.900 |
| live / keras | 1.005 | 1.018 | 1.018 |
| folded / keras | 1.016 | 0.839 | 0.941 |
| bfloat16 / keras | 0.931 | 0.488 | 0.737 |
| sampler / live | 0.104 | 0.005 | 0.009 |
| nats, folded | 0 | 3e-7 | 3e-7 |
| nats, bfloat16 | 3e-7 | 6e-4 | 0.2 |
"""

import statistics
import sys
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf

import ecl_tf
from ecl_tf import replay, samplers
from ecl_tf.data import splits

TURNS = 7


def _build(name, shape, classes, **arguments):
    return ecl_tf.models.build(name, shape, classes, **arguments)


CASES = {
    "small": {
        "shape": (8, 8, 1),
        "classes": 10,
        "rows": 64,
        "steps": 200,
        "execution": 20,
        "members": ("convnet", {"width": 32}, 3),
        "student": ("lenet", {"padding": "same"}),
    },
    "medium": {
        "shape": (32, 32, 3),
        "classes": 100,
        "rows": 64,
        "steps": 4,
        "execution": 1,
        "members": ("resnet", {"depth": 56}, 3),
        "student": ("resnet", {"depth": 20}),
    },
    "heavy": {
        "shape": (96, 96, 3),
        "classes": 100,
        "rows": 16,
        "steps": 4,
        "execution": 1,
        "members": ("application", {"model": "ResNet50"}, 1),
        "student": ("application", {"model": "MobileNetV2"}),
    },
}


def measure(case):
    """Prints the ratios of a case."""
    shape, classes, rows = case["shape"], case["classes"], case["rows"]
    rng = np.random.default_rng(0)
    x = rng.random((4 * rows, *shape), "float32")
    y = rng.integers(0, classes, len(x))
    name, arguments, count = case["members"]
    members = [_build(name, shape, classes, **arguments) for _ in range(count)]
    for number, member in enumerate(members):
        member.name = f"member_{number}"
        _settle(member, x)
    teacher = ecl_tf.Ensemble(members, "categorical")
    batches = splits.shuffled_batches((tf.constant(x), tf.constant(y)), rows, seed=0)
    sampler = samplers.Mix()

    def student():
        name, arguments = case["student"]
        return _build(name, shape, classes, **arguments)

    def optimizer():
        return keras.optimizers.SGD(1e-3, 0.9)

    execution = {"steps_per_execution": case["execution"], "jit_compile": False}
    erm = student()
    erm.compile(optimizer(), ecl_tf.losses.NegativeLogLikelihood("categorical"), **execution)

    lives = {"live": teacher}
    for name, dtype in (("folded", "float32"), ("bfloat16", "bfloat16")):
        forms = [ecl_tf.inference_form(member, dtype) for member in members]
        lives[name] = ecl_tf.Ensemble(forms, "categorical")
    for name, each in lives.items():
        nats = ecl_tf.divergences.kl(teacher.distribution(x), each.distribution(x))
        print(f"  {name}: the teacher's answers differ by {float(tf.reduce_max(nats)):.1e} nats")

    def distiller(teacher):
        made = ecl_tf.Distiller(student(), teacher, sampler=sampler)
        made.compile(optimizer(), **execution)
        return made

    directory = tempfile.mkdtemp()
    replay.record(
        teacher, x, y, directory=directory, sampler=sampler, batch_size=rows, epochs=4, verbose=0
    )
    store = replay.Store(directory)
    image = keras.Input(shape)
    together = (
        keras.Model(image, keras.layers.Average()([member(image) for member in members]))
        if count > 1
        else members[0]
    )
    theirs = keras.distillation.Distiller(
        together,
        student(),
        keras.distillation.LogitsDistillation(1.0, loss=keras.losses.KLDivergence()),
        student_loss_weight=0.0,
    )
    theirs.compile(optimizer(), "sparse_categorical_crossentropy", **execution)
    mixed = batches.enumerate().map(
        lambda step, xy: (sampler(xy[0], tf.stack([0, tf.cast(step, tf.int32)])).inputs, xy[1]),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    fits = {
        "ERM": (erm, batches.prefetch(2)),
        "replayed": (distiller(store.teacher), store.batches(x, y)),
        **{name: (distiller(each), batches.prefetch(2)) for name, each in lives.items()},
        "keras": (theirs, mixed.prefetch(2)),
    }

    forward = tf.function(lambda x: [m(x, training=False) for m in members], autograph=False)
    mix = tf.function(lambda x, seed: sampler(x, seed).inputs, autograph=False)
    batch = tf.constant(x[:rows])
    calls = {
        "teacher": lambda n: forward(batch),
        "sampler": lambda n: mix(batch, tf.constant([0, n])),
    }

    times: dict[str, list[float]] = {name: [] for name in (*fits, *calls)}
    for turn in range(2 + TURNS):
        for name, (model, data) in fits.items():
            clock = _Clock()
            model.fit(
                data, steps_per_epoch=case["steps"], epochs=2, callbacks=[clock], shuffle=False,
                verbose=0,
            )  # fmt: skip
            # The second epoch: in the first one the pipeline starts.
            times[name].append(clock.seconds[-1] / case["steps"])
        for name, call in calls.items():
            begun = time.perf_counter()
            for n in range(case["steps"]):
                last = call(n)
            keras.tree.map_structure(lambda tensor: tensor.numpy(), last)
            times[name].append((time.perf_counter() - begun) / case["steps"])
        print(f"turn {turn + 1} of {2 + TURNS}", end="\r", file=sys.stderr)
    times = {name: seconds[2:] for name, seconds in times.items()}
    for name, seconds in times.items():
        print(f"  {name:9}{1000 * statistics.median(seconds):9.2f} ms a step")
    parts = [t + s for t, s in zip(times["teacher"], times["ERM"], strict=True)]
    for name, tops, bottoms in [
        ("replayed / ERM", times["replayed"], times["ERM"]),
        ("live / (teacher + ERM)", times["live"], parts),
        ("live / keras", times["live"], times["keras"]),
        ("folded / keras", times["folded"], times["keras"]),
        ("bfloat16 / keras", times["bfloat16"], times["keras"]),
        ("sampler / live", times["sampler"], times["live"]),
    ]:
        ratios = sorted(top / bottom for top, bottom in zip(tops, bottoms, strict=True))
        print(f"  {name:24}{statistics.median(ratios):6.3f}  ({ratios[0]:.3f} to {ratios[-1]:.3f})")


def _settle(model, x):
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


def main():
    for name in sys.argv[1:] or CASES:
        print(f"{name}:", flush=True)
        measure(CASES[name])


if __name__ == "__main__":
    main()
