"""What a checkpoint keeps of callbacks."""

import collections
import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from ecl_tf.resume import kept


def kept_and_given_back(make, change):
    """A callback that is changed, and a new one that is given what a file keeps of it."""
    changed, new = make(), make()
    keeping = kept.Kept([changed], [])
    keeping.begin()
    change(changed)
    arrays = {}
    described = json.loads(json.dumps(keeping.read(arrays)))
    giving = kept.Kept([new], [])
    giving.begin()
    giving.write([type(new).__name__], described, arrays)
    return changed, new


class Everything(keras.callbacks.Callback):
    def __init__(self, weight=None):
        super().__init__()
        self.weight = weight
        self.values, self.variable = None, tf.Variable([0.0, 0.0])
        self.metric, self.seeds = keras.metrics.Mean(), keras.random.SeedGenerator(1)
        self.draws = np.random.default_rng(0)


def test_values_of_every_kind_are_given_back_with_their_types():
    values = {
        "texts": ["a", b"b".decode(), None, True, 2**70],
        "tuple": (1, (2.5, "c"), [(-1, 0.0)]),
        "deque": collections.deque([1, 2, 3], maxlen=3),
        "sets": [{1, 2}, frozenset({"d"})],
        "by epoch": {0: 1.0, 1: {(2, 3): "e"}},
        "array in this file": {"kind in this file": "not a tag"},
        "dicts": [
            collections.OrderedDict(b=1, a=2),
            collections.Counter("aab"),
            collections.defaultdict(list, {3: [4]}),
        ],
        "numbers": [np.float32(1.5), np.int64(7), np.bool_(True), np.float64(0.1), np.str_("f")],
    }

    def change(callback):
        callback.values = values
        callback.arrays = [np.arange(6.0).reshape(2, 3), np.array(5), np.array(["g", "hh"])]

    _, new = kept_and_given_back(Everything, change)
    assert new.values == values
    assert repr(new.values) == repr(values)  # With their types.
    for array, wanted in zip(new.arrays, [[[0, 1, 2], [3, 4, 5]], 5, ["g", "hh"]], strict=True):
        assert isinstance(array, np.ndarray)
        np.testing.assert_array_equal(array, wanted)
    new.values["deque"].append(9)
    assert list(new.values["deque"]) == [2, 3, 9]


def test_what_has_variables_goes_on_in_place():
    def change(callback):
        callback.variable.assign([1.0, 2.0])
        callback.weight.assign(3.0)
        callback.metric.update_state([4.0, 6.0])
        keras.random.uniform((2,), seed=callback.seeds)
        callback.draws.random(5)

    given = []

    def make():
        given.append(keras.Variable(0.0))
        return Everything(given[-1])

    changed, new = kept_and_given_back(make, change)
    np.testing.assert_array_equal(new.variable, [1.0, 2.0])
    assert new.weight is given[1] and float(new.weight) == 3.0  # Though it is an argument.
    assert float(new.metric.result()) == 5.0
    assert new.draws.random() == changed.draws.random()
    drawn = [keras.random.uniform((2,), seed=each.seeds) for each in (changed, new)]
    np.testing.assert_array_equal(*drawn)


def test_what_is_lost_is_named(tmp_path):
    class Losing(keras.callbacks.Callback):
        def __init__(self, count, where, unchanged=()):
            super().__init__()
            self.count, self.unchanged = count, unchanged
            self.file, self.folder = f"{where}/0.csv", pathlib.Path(where)
            self.helper, self.function = object(), print
            self.log = "/the/same"

    def change(callback):
        callback.count += 1
        callback.file = f"{tmp_path}/1.csv"
        callback.log = "/the/same"

    places = iter(["/here", "/there"])
    with pytest.warns(UserWarning, match="do not keep") as warned:
        _, new = kept_and_given_back(lambda: Losing(0, next(places)), change)
    named = [str(warning.message).split(": ")[1].split(". ")[0] for warning in warned]
    # At the beginning of both, and when they changed.
    assert named == [
        "Losing.helper",
        "Losing.count (an argument), Losing.file",
        "Losing.helper",
    ]
    assert (new.count, new.file, new.folder) == (0, "/there/0.csv", pathlib.Path("/there"))


def test_a_subclass_does_not_write_where_a_checkpoint_says(tmp_path):
    class Mine(keras.callbacks.ModelCheckpoint):
        def __init__(self, **arguments):
            super().__init__(**arguments)

    mine = Mine(filepath=str(tmp_path / "mine.keras"))
    giving = kept.Kept([mine], [])
    giving.begin()
    giving.write(["Mine"], [{"filepath": "theirs.keras", "best": 0.5}], {})
    assert (mine.filepath, mine.best) == (str(tmp_path / "mine.keras"), 0.5)
