"""Shared by all tests: quiet TensorFlow, the same random numbers, and tiny experiments.

Before pytest starts its workers, it imports this file itself, and runs no test. So what takes
seconds to import is imported by the fixtures.
"""

import dataclasses
import functools
import gc
import importlib
import os
import signal
import types

import pytest
from absl import flags
from absl.testing import flagsaver
from tiny import shrink

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Tolerances are of float32; on recent GPUs products would be in TF32, to about three digits.
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
# As the scripts have it, so that theirs and these numbers are the same on any processor.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def pytest_collection_finish():
    """Keeps the garbage collector from what was imported: a tenth of the time of the tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def seeded(request):
    """The same random numbers whichever tests the worker ran before: a module's `RNG`, too."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(0)
    if generator := getattr(getattr(request.node, "module", None), "RNG", None):
        generator.bit_generator.state = np.random.default_rng(0).bit_generator.state


@pytest.fixture
def ctrl_c():
    """Ctrl-C as in a terminal: what runs in the background may have been told to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def parsed_flags():
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


@pytest.fixture(autouse=True, scope="session")
def made_data_is_loaded_once():
    """Data sets that read no file of a test are read and looked through once a worker."""
    from ecl_tf import data

    load = data.load
    once = functools.lru_cache(None, typed=True)(load)
    made = ("digits", "rotated_digits", "digit_scenes", "tests.dense:")

    @functools.wraps(load)
    def loaded(name, **arguments):
        if name.startswith(made):
            return dataclasses.replace(once(name, **arguments))  # A test may change its own.
        return load(name, **arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(data, "load", loaded)
        yield


@pytest.fixture
def digits_config():
    from configs import digits

    return shrink(digits.get_config("one_split"))


@pytest.fixture
def rotated_digits_config():
    from configs import rotated_digits

    return shrink(rotated_digits.get_config())


@pytest.fixture
def casp_config(tmp_path):
    import numpy as np

    from configs import casp

    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 3))
    np.savez(tmp_path / "table.npz", x=x, y=20.0 + 5.0 * x[:, 0] + rng.normal(size=100))
    config = casp.get_config()
    config.data.path = str(tmp_path / "table.npz")
    config.data.validation_size = 0.3
    config.export.measures = False
    config.teacher.members = 2
    config.teacher.network.widths = (4,)
    config.student.network.update({"widths": (4,), "scale_branch": 0})
    for section in (config.teacher, config.student):
        section.train.update({"steps": 4, "batch_size": 16, "steps_per_execution": 2})
    config.student.train.epochs = 2
    return config


@pytest.fixture
def eagerly():
    """For a few steps of many trainings, whose graphs would take longer than all steps."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def briefly(monkeypatch):
    """Every `fit` takes two steps."""
    import keras

    from ecl_tf import Distiller

    for kind in (keras.Model, Distiller):

        def fit(self, *given, fit=kind.fit, kind=kind, **arguments):
            if isinstance(self, Distiller) == (kind is Distiller):  # Whose fit calls the other.
                self.steps_per_execution = 1
                arguments |= {"epochs": 1, "steps_per_epoch": 2, "validation_freq": 1}
            return fit(self, *given, **arguments)

        monkeypatch.setattr(kind, "fit", fit)


@pytest.fixture
def run_script(monkeypatch):
    """Runs trainers.NAME with a config object and other flags by keyword.

    Size and speed, which take a process of TensorFlow's own, are measured with `measures=True`.
    With `rehearses=False` no student's training is tried before, with `draws=False` a comparison
    has no page, and with `ships=False` there is no directory best/.
    """

    def run(
        name, config, workdir, measures=False, rehearses=True, draws=True, ships=True, **others
    ):
        from ecl_tf.experiments import rehearsal

        if "export" in config:
            config.export.measures = measures
        script = importlib.import_module(f"trainers.{name}")
        for flag, value in (("CONFIG", config), ("WORKDIR", str(workdir))):
            monkeypatch.setattr(script.command_line, flag, types.SimpleNamespace(value=value))
        with flagsaver.flagsaver(**others), monkeypatch.context() as patch:
            # A script of its own has said nothing yet, whatever ran in this process before.
            patch.setattr("ecl_tf.experiments.progress._said", set())
            if not rehearses:
                patch.setattr("ecl_tf.experiments.comparison.rehearse", lambda *given: None)
                for part in ("distillation", "export"):
                    patch.setattr(rehearsal.Rehearsal, part, lambda *given, **count: None)
            if not draws:
                patch.setattr("ecl_tf.experiments.report.page", lambda *given: "")
            if not ships:
                patch.setattr("ecl_tf.experiments.best.keep", lambda *given: False)
            script.main([])

    return run
