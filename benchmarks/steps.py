"""What a training step costs, as ratios of steps that take turns in one process.

    python -m benchmarks.steps [case ...] [--turns=N] [--device=gpu] [--rows=N]

The cases are those of `benchmarks.cases`, with random inputs and weights. In every turn each of
these trains for some steps, and its time a step is taken; the first ones by Keras's `fit`:

    ERM             plain `compile` and `fit` on labels
    replayed        `Distiller` from a store of mixtures (`ecl_tf.replay`)
    live            `Distiller` that mixes and asks the teacher: ours by default
    folded          the same, the teacher's networks copied by `ecl_tf.inference_form`
    bfloat16        the same, by `ecl_tf.inference_form(..., "bfloat16")`: ours at best, live
    keras           `keras.distillation.Distiller` with the teacher as one model,
                    `KLDivergence()`, and the mixing in tf.data
    Keras loop      a `tf.function` with a `GradientTape`, written by hand (`benchmarks.loops`)
    PyTorch         a loop in eager mode (`benchmarks.torch_steps`), where torch is installed
    torch.compile   the same, compiled
    JAX             a `jax.jit` step of the same Keras networks (`benchmarks.loops`), where jax is
    teacher         the teacher's forward pass alone
    sampler         the mixing alone
    limit, products the multiply-adds alone, in two ways (`benchmarks.limit`)

What counts are the medians over turns of the ratios within a turn, after two turns of warm-up
(parts are teacher and ERM). Where the teacher is a forest, what needs networks is left out, and the
limit is the student's.
"""

import argparse
import functools
import importlib.util
import json
import pathlib
import select
import statistics
import subprocess
import sys
import tempfile

import keras
import numpy as np
import tensorflow as tf

import ecl_tf
from benchmarks import cases, limit, loops
from benchmarks.cases import CASES
from benchmarks.clock import now
from ecl_tf import replay, samplers, teachers
from ecl_tf.data import splits
from ecl_tf.experiments.tables import markdown

_STARTING_SECONDS = 300  # For another process's first steps, in which it may compile.


def trainings(case):
    """The names of what is trained by `fit`."""
    of_networks = ("folded", "bfloat16", "keras")
    is_network = case["members"][0] != "forest"
    return ("ERM", "replayed", "live", *(of_networks if is_network else ()))


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
    def forest(self):
        return cases.forest(self.case)

    @functools.cached_property
    def members(self):
        """The teacher's networks; none of a forest."""
        if self.case["members"][0] == "forest":
            return []
        name, arguments, count = self.case["members"]
        members = [self.build(name, arguments) for _ in range(count)]
        for number, member in enumerate(members):
            member.name = f"member_{number}"
            settle(member, self.x)
        return members

    def teacher(self, form="live"):
        if self.case["members"][0] == "forest":
            return teachers.from_estimator(self.forest, "categorical", self.x)
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
        """Functions that do a number of steps, or a part of them, and return the seconds taken."""
        members, batch = self.members, tf.constant(self.x[: self.rows])

        def probabilities(x):
            if not members:
                found = tf.numpy_function(self.forest.predict_proba, [x], tf.float64)
                return tf.cast(tf.ensure_shape(found, [self.rows, None]), tf.float32)
            each = [tf.nn.softmax(member(x, training=False)) for member in members]
            return tf.add_n(each) / len(members)

        forward = tf.function(probabilities, autograph=False)
        mix = tf.function(lambda x, seed: self.sampler(x, seed).inputs, autograph=False)

        def repeated(call):
            def run(steps):
                begun = now()
                for n in range(steps):
                    last = call(n)
                keras.tree.map_structure(lambda tensor: tensor.numpy(), last)
                return now() - begun

            return run

        data = self.batches().prefetch(2)
        return {
            "Keras loop": loops.of_tensorflow(
                self.student(), probabilities, data, self.optimizer()
            ),
            "teacher": repeated(lambda n: forward(batch)),
            "sampler": repeated(lambda n: mix(batch, tf.constant([0, n]))),
            **limit.of(members, self.student(), batch),
        }


def measure(case, device="cpu"):
    """Yields what is measured in a case and the result: milliseconds, ratios, bytes, nats."""
    bench = Bench(case)
    fits = {kind: bench.training(kind) for kind in trainings(case)}
    calls = bench.calls()
    others = {}
    if importlib.util.find_spec("torch"):
        script = ["benchmarks.torch_steps", f"--device={device}"]
        others["PyTorch"] = _Other(script, case)
        others["torch.compile"] = _Other([*script, "--compiled"], case)
    if importlib.util.find_spec("jax") and bench.members:
        networks = [bench.members[0].to_json(), bench.student().to_json()]
        others["JAX"] = _Other(["benchmarks.loops"], {**case, "networks": networks})
    for name, other in others.items():  # One by one, so that each compiles on its own.
        if failure := other.start():
            yield f"{name}, not measured", failure
        else:
            calls[name] = other

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
    for other in others.values():
        other.process.kill()
    times = {name: seconds[2:] for name, seconds in times.items()}
    for name, seconds in times.items():
        yield f"{name}, ms a step", f"{1000 * statistics.median(seconds):.2f}"
    times["parts"] = [t + s for t, s in zip(times["teacher"], times["ERM"], strict=True)]
    rivals = ("keras", "Keras loop", *others, "limit", "products")
    for top, bottom in [
        ("replayed", "ERM"),
        ("live", "parts"),
        ("folded", "keras"),
        *((ours, rival) for ours in ("live", "bfloat16") for rival in rivals),
        ("sampler", "live"),
    ]:
        if top in times and bottom in times:
            ratios = sorted(t / b for t, b in zip(times[top], times[bottom], strict=True))
            low, high = ratios[0], ratios[-1]
            yield f"{top} / {bottom}", f"{statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})"
    yield "store, bytes a row", f"{bench.bytes_per_row:.1f}"
    for form in ("folded", "bfloat16") if bench.members else ():
        live, answers = (bench.teacher(each).distribution(bench.x) for each in ("live", form))
        nats = ecl_tf.divergences.kl(live, answers)
        yield f"{form}, nats off at most", f"{float(tf.reduce_max(nats)):.0e}"


class _Other:
    """As a function of `Bench.calls`: a script that waits in another process.

    Args:
        script: the module and its flags.
        case: what it reads on its first line.
    """

    def __init__(self, script, case):
        self._script, self._case = script, case

    def start(self):
        """Has it do its first steps; returns what went wrong, or None."""
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (as long as the process)
        self.process = subprocess.Popen(
            [sys.executable, "-m", *self._script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        print(json.dumps(self._case), 2, sep="\n", file=self.process.stdin, flush=True)
        if not select.select([self.process.stdout], [], [], _STARTING_SECONDS)[0]:
            self.process.kill()
            return f"its first steps took more than {_STARTING_SECONDS} s"
        if self.process.stdout.readline():
            return None
        self._errors.seek(0)
        return [*self._errors.read().strip().splitlines(), "it ended"][-2]

    def __call__(self, steps):
        print(steps, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


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
        self._begun = now()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(now() - self._begun)


def table(columns):
    """A Markdown table of results by what and by case."""
    names = dict.fromkeys(what for column in columns.values() for what in column)
    rows = [[what, *(column.get(what, "") for column in columns.values())] for what in names]
    return markdown([["", *columns], *rows])


def collect(columns, name, results):
    """Adds what was measured to a case's column, and tells it at once."""
    for what, result in results:
        print(f"{name}: {what}: {result}", file=sys.stderr, flush=True)
        columns.setdefault(name, {})[what] = result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*", default=[*CASES], metavar="case")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--rows", type=int, help="Of a batch, in place of the case's.")
    parser.add_argument("--turns", type=int, help="In place of the case's.")
    flags = parser.parse_args()
    given = {"rows": flags.rows, "turns": flags.turns}
    given = {name: value for name, value in given.items() if value is not None}
    if flags.device == "gpu" and not tf.config.list_physical_devices("GPU"):
        raise SystemExit("--device=gpu needs a GPU, and TensorFlow finds none.")
    if flags.device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    columns: dict[str, dict[str, str]] = {}
    for name in flags.cases:
        if name not in CASES:
            raise SystemExit(f"There is no case {name!r}; expected some of {[*CASES]}.")
        collect(columns, name, measure({**CASES[name], **given}, flags.device))
    print(table(columns))


if __name__ == "__main__":
    main()
