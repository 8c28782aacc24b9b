"""Functions that callbacks are given are known by what they do."""

import functools

import keras
import pytest
import tensorflow as tf
from small_run import model, train

from ecl_tf import Distiller, divergences
from ecl_tf.resume import functions

LINE = "lambda epoch, lr: lr * {} if epoch in {{'a', 'b', 3}} else [e for e in (1, {})]"


def _rate(epoch, lr, rate):
    return rate


def _closed(rate):
    return lambda epoch, lr: rate


def _read(**names):
    return eval("lambda epoch, lr: RATE", names)


def _scaled(factor):
    return functools.partial(lambda p, q, factor: factor * divergences.kl(p, q), factor=factor)


def _schedule(rate):
    return keras.optimizers.schedules.CosineDecay(rate, 10)


@pytest.mark.parametrize(
    "made",
    [
        lambda rate: eval(LINE.format(rate, 2)),
        lambda rate: eval(LINE.format(2, rate)),
        _closed,
        lambda rate: _read(RATE=rate),
        lambda rate: functools.partial(_rate, rate=rate),
        lambda rate: tf.function(_closed(rate)),
        _schedule,
    ],
)
def test_functions_are_told_apart_by_their_numbers(made):
    assert functions.fingerprint(made(0.1)) == functions.fingerprint(made(0.1))
    assert functions.fingerprint(made(0.1)) != functions.fingerprint(made(0.2))


def test_lines_and_names_do_not_matter():
    def there(epoch):
        """Returns a tenth."""
        return 0.1 * epoch

    assert functions.fingerprint(there) == functions.fingerprint(lambda epoch: 0.1 * epoch)


def test_another_number_of_a_divergence_is_told(tmp_path, recwarn):
    def run(factor):
        made = Distiller(model(), model(), sampler="Empirical", divergence=_scaled(factor))
        made.compile("sgd", run_eagerly=True)
        train(tmp_path, made)

    run(1.0)
    run(1.0)
    assert not [str(w.message) for w in recwarn if "other arguments" in str(w.message)]
    with pytest.warns(UserWarning, match=r"other arguments: Distiller\.divergence\. "):
        run(2.0)


def test_another_schedule_of_a_callback_is_told(tmp_path, recwarn):
    def run(rate):
        train(tmp_path, callbacks=[keras.callbacks.LearningRateScheduler(_closed(rate))])

    run(0.1)
    run(0.1)
    assert not [w for w in recwarn if "other arguments" in str(w.message)]
    with pytest.warns(UserWarning, match=r"other arguments: LearningRateScheduler\.schedule\. "):
        run(0.2)
