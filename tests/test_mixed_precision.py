"""Both mixed policies against float32, and float16's overflows, on one and two replicas."""

import numpy as np
import processes
import pytest

STEPS = 20
# Of weights of about 1 after 20 steps; float16 has a rounding error of 0.0005, bfloat16 of 0.004.
TOLERANCES = {
    "mixed_float16": 5e-4,
    "mixed_bfloat16": 4e-3,
    "teacher": 5e-4,
}


@pytest.mark.slow
def test_mixed_precision(subtests):
    """One test, so that one process trains for all parts."""
    script = processes.start("train_in_low_precision.py", VIRTUAL_DEVICES="2")
    (trained,) = processes.results([script])
    for what in TOLERANCES:
        with subtests.test("mixed policies train as float32 does", what=what):
            trains_as_float32(trained, what)
    with subtests.test("the loss is scaled for float16 alone"):
        scales = {name: found["scale"] for name, found in trained.items()}
        assert scales["mixed_float16"] == 2.0**15
        assert scales["float32"] is None and scales["mixed_bfloat16"] is None
    for replicas in ("one", "two"):
        with subtests.test("an overflow of any replica is skipped", replicas=replicas):
            skips_overflows(trained, replicas)
    with subtests.test("so it is of a model of Keras's own, whose fit is patched"):
        assert np.isfinite(trained["of labels"]["weights"][0]).all()
        assert trained["of labels"]["updates"] == STEPS - 5


def trains_as_float32(trained, what):
    found, wanted, tolerance = trained[what], trained["float32"], TOLERANCES[what]
    assert found["updates"] == STEPS
    for got, want in zip(found["weights"], wanted["weights"], strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance)
    losses = wanted["history"]["loss"]
    np.testing.assert_allclose(found["history"]["loss"], losses, rtol=10 * tolerance)
    assert losses[-1] < losses[0] / 5  # It learnt something.


def skips_overflows(trained, replicas):
    found = trained[f"overflow on {replicas}"]
    # One batch of four has the row that overflows: it halves the scale in each of 5 epochs.
    assert (found["updates"], found["scale"]) == (STEPS - 5, 2.0**10)
    for name, values in found["history"].items():
        assert np.isfinite(values).all(), name  # Metrics are not poisoned.
    for got, want in zip(found["weights"], trained["overflow on one"]["weights"], strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=5e-4)
