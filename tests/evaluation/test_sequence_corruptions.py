"""Corrupted sequences: of steps with features, and of token ids."""

import numpy as np
import pytest

from ecl_tf.evaluation import corrupt, corruptions

NAMES = corruptions.NAMES["sequence"]
RNG = np.random.default_rng(0)
STEPS = RNG.normal([1, -3], [1, 5], (300, 20, 2)).astype("float32")
TRAINING = RNG.normal([1, -3], [2, 10], (200, 30, 2)).astype("float32")
TOKENS = RNG.integers(1, 50, (300, 20))
LENGTHS = RNG.integers(2, 21, 300)
REAL = np.arange(20) < LENGTHS[:, None]
PADDED = np.where(REAL, TOKENS, 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_corruption_is_seeded_by_row_and_grows_with_severity(name):
    cases = [(STEPS, {"reference": TRAINING}), (PADDED, {"reference": PADDED, "padding": 0})]
    for x, options in cases:
        whole = corrupt(x, name, seed=2, kind="sequence", **options)
        assert whole.dtype == x.dtype and whole.shape == x.shape
        np.testing.assert_array_equal(whole, corrupt(x, name, 3, 2, "sequence", **options))
        part = corrupt(x[50:60], name, seed=2, kind="sequence", first_row=50, **options)
        np.testing.assert_array_equal(part, whole[50:60])
        other = corrupt(x, name, seed=3, kind="sequence", **options)
        assert np.array_equal(other, whole) == (name == "cut")
        changed = [corrupt(x, name, s, 2, "sequence", **options) - x for s in (1, 2, 3, 4, 5)]
        assert (np.diff([np.abs(each).mean() for each in changed]) > 0).all()
        if x is PADDED:
            assert (whole[~REAL] == 0).all()
            assert name == "cut" or (whole[REAL] != 0).all()


def test_steps_by_hand():
    options = {"kind": "sequence", "reference": TRAINING}
    noise = (corrupt(STEPS, "noise", 5, **options) - STEPS) / TRAINING.std((0, 1))
    np.testing.assert_allclose(noise.std((0, 1)), 0.8, rtol=0.03)
    filled = corrupt(STEPS, "missing", 5, **options)
    changed = (filled != STEPS).any(-1)
    assert changed.mean() == pytest.approx(0.5, abs=0.03)
    mean = np.tile(TRAINING.mean((0, 1)), (changed.sum(), 1))
    np.testing.assert_allclose(filled[changed], mean, rtol=1e-4)
    gaps = corrupt(STEPS, "missing", 5, missing=float("nan"), **options)
    np.testing.assert_array_equal(np.isnan(gaps), np.stack([changed, changed], -1))
    cut = corrupt(STEPS, "cut", 3, **options)  # 30 % of 20 steps.
    np.testing.assert_array_equal(cut[:, :14], STEPS[:, :14])
    np.testing.assert_array_equal(cut[:, 14:], np.tile(STEPS[:, 13:14], (1, 6, 1)))
    numbers = np.tile(np.arange(20), (300, 1))
    swapped = corrupt(numbers, "swapped", 5, kind="sequence")
    np.testing.assert_array_equal(np.sort(swapped, 1), numbers)
    assert np.abs(swapped - numbers).max() == 1
    # A step begins a swap with 1/2 unless the one before did: 1/3 of all do.
    assert (swapped > numbers).mean() == pytest.approx(1 / 3, abs=0.03)
    # One number a step.
    assert corrupt(STEPS[..., 0], "noise", kind="sequence").shape == (300, 20)


def test_tokens_by_hand():
    options = {"kind": "sequence", "padding": 0}
    noise = corrupt(PADDED, "noise", 5, **options)
    changed = (noise != PADDED)[REAL].mean()
    assert changed == pytest.approx(0.2 * 48 / 49, abs=0.03)
    assert set(noise[REAL]) <= set(range(1, 50))
    often = np.where(RNG.random(PADDED.shape) < 0.5, 7, PADDED) * REAL
    filled = corrupt(often, "missing", 5, **options)
    assert (filled == 7)[REAL].mean() == pytest.approx(0.75, abs=0.03)
    unknown = corrupt(PADDED, "missing", 5, missing=99, **options)
    assert (unknown == 99)[REAL].mean() == pytest.approx(0.5, abs=0.03)
    cut = corrupt(PADDED, "cut", 5, **options)
    left = np.arange(20) < (LENGTHS - np.rint(LENGTHS / 2))[:, None]
    np.testing.assert_array_equal(cut, PADDED * left)
    # Padding before a sequence, and a mask in place of a padding value.
    cut = corrupt(PADDED[:, ::-1], "cut", 5, **options)
    first = np.arange(20) < 20 - np.rint(LENGTHS / 2)[:, None]
    np.testing.assert_array_equal(cut, PADDED[:, ::-1] * first)
    masked = corrupt(TOKENS, "missing", 5, kind="sequence", missing=99, mask=REAL)
    np.testing.assert_array_equal(masked == 99, unknown == 99)
    np.testing.assert_array_equal(masked[~REAL], TOKENS[~REAL])
    nothing = np.zeros((2, 5), int)
    for name in NAMES:
        np.testing.assert_array_equal(corrupt(nothing, name, 5, **options), nothing)


def test_padding_of_nan():
    x = np.where(REAL[..., None], STEPS, np.nan)
    for name in NAMES:
        found = corrupt(x, name, 5, kind="sequence", padding=np.nan)
        is_left = ~np.isnan(found).any(-1)
        assert (is_left <= REAL).all()
        assert name == "cut" or (is_left == REAL).all()


def test_refusals():
    with pytest.raises(ValueError, match=r"got the shape \(20,\). Of one sequence give x\[None\]"):
        corrupt(TOKENS[0], "noise", kind="sequence")
    with pytest.raises(ValueError, match=r"mask has the shape \(20,\); expected \(batch, steps\)"):
        corrupt(TOKENS, "noise", kind="sequence", mask=REAL[0])
    with pytest.raises(ValueError, match="The sequences hold NaN"):
        corrupt(np.where(REAL[..., None], STEPS, np.nan), "noise", kind="sequence")
    with pytest.raises(ValueError, match="The reference has other columns"):
        corrupt(STEPS, "noise", kind="sequence", reference=TRAINING[..., :1])
    with pytest.raises(ValueError, match="no corruption 'fog' of kind 'sequence'; expected noise,"):
        corrupt(STEPS, "fog", kind="sequence")
