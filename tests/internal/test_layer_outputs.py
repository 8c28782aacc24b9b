"""What a layer gives is changed in one thread, while asked, and the layer is left alone."""

import concurrent.futures

import keras
import numpy as np

from ecl_tf._internal import layer_outputs


def test_a_change_is_one_threads_own_and_leaves_no_trace():
    layer, other = keras.layers.Rescaling(2.0), keras.layers.Rescaling(3.0)
    own = vars(other)["call"] = lambda x: 5.0 * x  # As a user might have put it there.
    x = np.ones(2)

    def plus_one(layer, outputs, args, kwargs):
        return outputs + 1.0

    def minus_one(layer, outputs, args, kwargs):
        return outputs - 1.0

    with layer_outputs.changed([layer, other], plus_one) as called:
        assert not called
        with (
            layer_outputs.changed([layer], minus_one),
            concurrent.futures.ThreadPoolExecutor() as pool,
        ):
            np.testing.assert_array_equal(layer(x), [1.0, 1.0])
            np.testing.assert_array_equal(pool.submit(layer, x).result(), [2.0, 2.0])
        np.testing.assert_array_equal(layer(x), [3.0, 3.0])
        np.testing.assert_array_equal(other(x), [6.0, 6.0])
        assert called == {id(layer), id(other)}
    np.testing.assert_array_equal(layer(x), [2.0, 2.0])
    assert "call" not in vars(layer) and vars(other)["call"] is own
