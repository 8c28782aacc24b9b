"""The one-dimensional regression."""

import numpy as np
import pytest

from ecl_tf import data


def test_targets_are_a_sine_and_noise():
    splits = data.load("sine", train_size=24, test_size=20_000, noise=0.1)
    assert splits.input_shape == (1,) and splits.event_size == 1
    assert int(splits.train.cardinality()) == 24
    x, y = (np.asarray(part) for part in splits.test.batch(20_000).get_single_element())
    assert x.shape == y.shape == (20_000, 1) and x.dtype == y.dtype == np.float32
    assert abs(x).max() <= 3.0 and np.histogram(x, 6)[0].min() > 3000
    residual = y - np.sin(2.0 * x)
    assert residual.mean() == pytest.approx(0.0, abs=0.003)
    assert residual.std() == pytest.approx(0.1, abs=0.003)


def test_rows_follow_from_the_seed():
    first, again, other = (data.load("sine", seed=seed).train_rows[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.any(np.equal(first, other))


@pytest.mark.parametrize("argument", [{"train_size": 0}, {"test_size": -1}, {"noise": -0.1}])
def test_sizes_and_noise_are_checked(argument):
    with pytest.raises(ValueError, match="Sizes must be at least 1 and noise >= 0"):
        data.load("sine", **argument)
