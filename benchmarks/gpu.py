"""All that a few minutes of a GPU can tell, each part in a process of its own with a time limit.

    python -m benchmarks.gpu --out=DIRECTORY [--device=cpu] [--short]

The parts run one after another, and what one prints, to its last word, is kept in a file of the
directory, also where it crashes or takes too long; a line for each says how it ended. All together
end within 8 minutes, and parts for which no time was left are named.

    XLA      `tf.argsort`, a step, and a step with each sampler, by `jit_compile=True`: which of
             them XLA can't compile on a device, and why
    steps    `benchmarks.steps` on the small and the medium case, batches of 128 and of 512 rows
    tests    those of random numbers, of the step and of exports, and those of continued trainings
             with TensorFlow's operations made deterministic (TF_DETERMINISTIC_OPS)

`--device=cpu --short` tries all of it where there is no GPU, with fewer samplers, rows and tests,
and five times the time.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import time

_SECONDS = 480  # Of all parts together.
_SAMPLERS = (
    *("Empirical", "Mixup", "CutMix", "Mix", "DirichletMixup", "Munge", "UncertaintyMixup"),
    *("TowardUncertainty", "Uncertain"),
)


def parts(device, short):
    """(name, arguments of Python, seconds at most, more of the environment) of each part."""
    for piece in ("argsort", "step", *(_SAMPLERS[:1] if short else _SAMPLERS)):
        yield f"xla_{piece}", ["-m", "benchmarks.gpu", f"--piece={piece}"], 60, {}
    for case in ("small",) if short else ("small", "medium"):
        for rows in (32,) if short else (128, 512):
            given = [f"--device={device}", f"--rows={rows}", f"--turns={1 if short else 3}"]
            yield f"steps_{case}_{rows}", ["-m", "benchmarks.steps", case, *given], 120, {}
    pytest = ["-m", "pytest", "-q", "-m", "not slow"]
    others = [] if short else ["tests/test_distiller.py", "tests/test_export.py"]
    yield "tests", [*pytest, "tests/internal/test_random.py", *others], 120, {}
    again = ["tests/resume/test_resume.py", *(["-k", "undisturbed"] if short else [])]
    yield "tests_bit_for_bit", [*pytest, *again], 120, {"TF_DETERMINISTIC_OPS": "1"}


def compile_piece(name):
    """Compiles a piece by XLA, and runs it."""
    import keras
    import numpy as np
    import tensorflow as tf

    import ecl_tf
    from ecl_tf import samplers

    x = tf.constant(np.random.default_rng(0).random((64, 8, 8, 1), "float32"))
    if name == "argsort":
        order = tf.function(lambda x: tf.argsort(x, stable=True), jit_compile=True)
        numbers = tf.reshape(x, [-1])
        np.testing.assert_array_equal(order(numbers), np.argsort(numbers, kind="stable"))
    else:
        sampler = samplers.Mix() if name == "step" else samplers.get(name)
        teacher = [ecl_tf.models.build("convnet", (8, 8, 1), 10, width=8) for _ in range(2)]
        student = ecl_tf.models.build("lenet", (8, 8, 1), 10, padding="same")
        rate = 0.1 if name == "step" else 0.0
        for jit_compile in (False, True):
            distiller = ecl_tf.Distiller(student, teacher, sampler=sampler)
            distiller.compile(keras.optimizers.SGD(rate), jit_compile=jit_compile)
            history = distiller.fit(x, batch_size=64, verbose=0, shuffle=False).history
            print("XLA" if jit_compile else "TensorFlow", history)
    print(f"{name} is compiled on {[each.name for each in tf.config.list_logical_devices()]}.")


def run(arguments, seconds, environment, path):
    """Runs Python with a time limit, keeps what it says, and tells how it ended."""
    with open(path, "w") as file:
        try:
            code = subprocess.run(
                [sys.executable, *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                timeout=seconds,
            ).returncode
        except subprocess.TimeoutExpired:
            return f"took more than {seconds} s"
    return "done" if code == 0 else f"ended with {code}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/gpu"))
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--piece", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.piece:
        compile_piece(flags.piece)
        return
    flags.out.mkdir(parents=True, exist_ok=True)
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if flags.device == "cpu" else {}
    started, slower = time.monotonic(), 5 if flags.device == "cpu" else 1
    for name, arguments, limit, environment in parts(flags.device, flags.short):
        begun, path = time.monotonic(), flags.out / f"{name}.txt"
        seconds = min(slower * limit, int(started + slower * _SECONDS - begun))
        if seconds <= 0:
            print(f"{name}: no time was left", flush=True)
            continue
        how = run(arguments, seconds, {**hidden, **environment}, path)
        print(f"{name}: {how}, {time.monotonic() - begun:.0f} s, {path}", flush=True)


if __name__ == "__main__":
    main()
