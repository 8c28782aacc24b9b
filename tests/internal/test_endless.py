"""Data that never ends is found behind what hides it, and told of where it can't be known."""

import warnings

import by_hand
import pytest
import tensorflow as tf

from ecl_tf import Distiller
from ecl_tf._internal import endless

Data = tf.data.Dataset
NUMBERS = Data.range(8)
FOREVER = NUMBERS.repeat()


def some(dataset):
    return dataset.filter(lambda number: number > 2)


def generated():
    return Data.from_generator(lambda: iter([1]), output_signature=tf.TensorSpec((), "int32"))


def again(number):
    return Data.from_tensors(number).repeat()


def with_its_name(number):
    return Data.zip(Data.range(3), again(number))


def three_times(number):
    return Data.from_tensors(number).repeat(3)


def test_endless_data_is_found_behind_what_hides_it(subtests):
    endless_ones = {
        "filter": some(FOREVER).batch(2).prefetch(1),
        "filter before": some(NUMBERS).repeat(),
        "enumerate": FOREVER.enumerate(),
        "windows": some(FOREVER).window(2).flat_map(lambda window: window.batch(2)),
        "flat_map": some(FOREVER).flat_map(three_times),
        "flat_map of endless ones": NUMBERS.flat_map(again),
        "interleave of endless ones": NUMBERS.interleave(again, num_parallel_calls=2),
        "zip": Data.zip(some(FOREVER), FOREVER),
        "concatenate": some(NUMBERS).concatenate(some(FOREVER)),
        "samples": Data.sample_from_datasets([some(FOREVER), some(NUMBERS)]),
    }
    others = {
        "take": some(FOREVER).take(3).batch(2),
        "take_while": FOREVER.take_while(lambda number: number < 5).batch(2),
        "filter": some(NUMBERS),
        "generator": generated().batch(2),
        "flat_map": NUMBERS.flat_map(three_times),
        "flat_map of parts": NUMBERS.flat_map(lambda number: again(number).take(2)),
        "flat_map of lines with a label": NUMBERS.flat_map(with_its_name),
        "zip": Data.zip(some(FOREVER), some(NUMBERS)),
        "samples": Data.sample_from_datasets([some(NUMBERS), NUMBERS]),
        "choice": Data.choose_from_datasets([some(NUMBERS), NUMBERS], Data.range(2).repeat(3)),
    }
    for is_endless, cases in ((True, endless_ones), (False, others)):
        for name, dataset in cases.items():
            with subtests.test(f"{name}: {is_endless}"):
                assert endless.is_endless(dataset) == is_endless


@pytest.mark.slow
def test_many_batches_of_an_unknown_number_are_told_of_once(monkeypatch):
    monkeypatch.setattr(endless, "MANY_BATCHES", 4)
    x = by_hand.numbers(2, 4)
    distiller = Distiller(by_hand.network(4), by_hand.network(4), sampler="Empirical")
    distiller.compile("sgd", run_eagerly=True)

    def batches(count):
        return ((x,) for _ in range(count))

    for said, call in (
        ("steps_per_epoch", lambda count: distiller.fit(batches(count), verbose=0)),
        ("steps", lambda count: distiller.evaluate(batches(count), verbose=0)),
        ("steps", lambda count: distiller.predict(batches(count), verbose=0)),
    ):
        with pytest.warns(UserWarning, match=f"4 batches.* to take: {said}=") as found:
            call(6)
        assert sum("4 batches" in str(each.message) for each in found) == 1
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "4 batches")
            call(3)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "4 batches")
        distiller.fit(batches(6), steps_per_epoch=6, verbose=0)
        distiller.fit(Data.from_tensors(x).repeat(6), verbose=0)
