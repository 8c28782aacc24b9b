"""`fit` and all around it on two worker processes, and what Keras lacks for it."""

import csv

import keras
import numpy as np
import processes
import pytest

import ecl_tf


@pytest.mark.slow
def test_two_workers(tmp_path, subtests):
    """One test, so that one pair of workers trains for all parts."""
    workers = processes.results(processes.start_workers(2, "run_as_worker.py", str(tmp_path)))
    with subtests.test("Keras still needs its fit to be patched"):
        for worker in workers:
            assert "PerReplica" in worker["stock"], (
                f"Keras {keras.__version__} trains under MultiWorkerMirroredStrategy by itself: "
                "see which remedies of ecl_tf/_internal/keras_fit.py are no longer needed."
            )
    for training in ("patched", "distilled"):
        with subtests.test("all workers report the same", training=training):
            first, second = (worker[training] for worker in workers)
            assert first == second
            history = first["history"]
            assert history["val_loss"][1] < history["val_loss"][0]
            for name, value in first["evaluated"].items():
                assert value == pytest.approx(history[f"val_{name}"][-1], rel=1e-6)
    with subtests.test("what the chief wrote is the student"):
        # As in run_as_worker.py.
        x = np.random.default_rng(0).normal(size=(48, 4)).astype("float32")
        predicted = np.array(workers[0]["distilled"]["predicted"])
        assert predicted.shape == (48, 3)
        for name in ("distiller", "checkpoint"):
            loaded = keras.models.load_model(tmp_path / f"{name}.keras")
            np.testing.assert_allclose(loaded(x), predicted, rtol=1e-5, atol=1e-6)
        served = ecl_tf.load_student(tmp_path / "export")
        probabilities = np.exp(predicted) / np.exp(predicted).sum(-1, keepdims=True)
        np.testing.assert_allclose(served(x).probs_parameter(), probabilities, rtol=1e-5, atol=1e-6)
        with open(tmp_path / "log.csv") as file:
            logged = [float(row["val_loss"]) for row in csv.DictReader(file)]
        of_other = workers[1]["distilled"]["history"]["val_loss"]
        np.testing.assert_allclose(logged, of_other, rtol=1e-6)
