"""Munge: neighbours and values of them, computed anew in NumPy."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from by_hand import fits

from ecl_tf import Distiller, samplers
from ecl_tf.samplers import Munge

ROWS = 48


def table(rows=ROWS):
    """Numbers in units that differ, all of them other ones, and two kinds of categories."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(rows, 4)) * [1.0, 1e-3, 1e3, 1.0] + [0.0, 0.0, 1e4, 0.0]
    numbers[0, 3] = 1e6  # Far away, and as a rank only the last one.
    return {
        "age": rng.normal(size=rows).astype("float32"),
        "codes": rng.permutation(rows)[:, None] // 2,  # Two rows of each.
        "name": np.array([f"{number // 2}" for number in rng.permutation(rows)]),
        "numbers": numbers.astype("float32"),
    }


def distances(inputs, stays):
    """Squared distances of rows in the cells that stay of each, from ranks by SciPy."""
    total = 0.0
    for name, x in inputs.items():
        x = x.reshape(ROWS, -1)
        if x.dtype.kind == "f":
            twice = 2 * scipy.stats.rankdata(x, axis=0) - 1  # Of equals the middle.
            ranks = twice.astype(int) * 1448 // (2 * ROWS)  # 1,448 = (2^24 / 8 cells)^(1/2)
            each = ((ranks[:, None] - ranks) / 1448) ** 2
        else:
            each = (x[:, None] != x).astype(float)
        total += (each * stays[name][:, None]).sum(-1)
    np.fill_diagonal(total, np.inf)
    return total


@pytest.mark.parametrize("conditional", [False, True])
def test_cells_are_those_of_the_nearest_row(conditional):
    inputs = table()
    samples = Munge(0.4, None, conditional)(inputs, seed=3)
    two = {name: x.reshape(ROWS, -1) for name, x in inputs.items()}
    new = {name: x.numpy().reshape(ROWS, -1) for name, x in samples.inputs.items()}
    changed = {name: new[name].astype(x.dtype) != x for name, x in two.items()}
    assert scipy.stats.binomtest(int(changed["numbers"].sum()), ROWS * 4, 0.4).pvalue > 1e-3
    is_changed = np.concatenate([*changed.values()], 1).any(1)
    assert not np.any(samples.unmodified & is_changed) and is_changed.sum() > 40
    # A number that has changed tells the row that it is of.
    numbers = two["numbers"]
    source = [
        np.flatnonzero((numbers == new["numbers"][row]) @ changed["numbers"][row])
        for row in range(ROWS)
    ]
    known = [row for row in range(ROWS) if changed["numbers"][row].any()]
    assert len(known) > 35 and all(len(source[row]) == 1 for row in known)
    for name, x in two.items():
        for row in known:
            took = changed[name][row]
            assert (new[name][row].astype(x.dtype) == x[source[row][0]])[took].all()
    # Of equal categories it is not told whether they were drawn.
    least = np.zeros(ROWS, bool)
    for codes_stay, name_stays in [(1, 1), (0, 1), (1, 0), (0, 0)]:
        given = {name: np.ones(x.shape) for name, x in two.items()}
        may_be = np.ones(ROWS, bool)
        if conditional:
            given = {name: 1.0 - its for name, its in changed.items()}
        for name, stays in [("codes", codes_stay), ("name", name_stays)]:
            if conditional and not stays:
                equal = [(two[name][source[row]] == two[name][row]).any() for row in range(ROWS)]
                may_be &= np.array(equal) | changed[name][:, 0]
                given[name] = np.zeros((ROWS, 1))
        nearest = distances(inputs, given)
        lowest = nearest.min(1) + 1e-9
        least |= may_be & np.array(
            [row in known and nearest[row, source[row][0]] <= lowest[row] for row in range(ROWS)]
        )
    np.testing.assert_array_equal(np.flatnonzero(least), known)


def test_numbers_are_normal_around_those_of_the_neighbour():
    pair, x = np.repeat(np.arange(1000), 2), np.tile([0.0, 3.0], 1000)
    inputs = {"pair": pair, "x": (100.0 * pair + x).astype("float32")}
    new = Munge(1.0, s=2.0)(inputs, seed=0).inputs
    np.testing.assert_array_equal(new["pair"], pair)
    assert fits(new["x"] - 100.0 * pair - (3.0 - x), "norm", 0, 1.5)  # 3 / 2


def test_equal_rows_are_no_neighbours_and_padding_is_taken_by_none():
    x = np.array([[1, 5, 4], [1, 5, 4], [1, 6, 7], [9, 8, 0], [9, 8, 2]])
    seen = {tuple(row) for seed in range(6) for row in Munge(1.0)(x, seed).inputs.numpy()[:2]}
    assert seen == {(1, 6, 7)}
    kept = Munge(1.0, padding=0)(x, seed=0)
    np.testing.assert_array_equal(kept.inputs.numpy() == 0, x == 0)
    same = Munge(1.0)(np.ones((4, 2), "float32"), seed=0)
    assert np.all(same.inputs == 1.0) and np.all(same.unmodified)


def test_all_that_are_equally_near_are_taken_as_often():
    x = np.arange(1000)  # All categories differ.
    taken = Munge(1.0)(x, seed=0).inputs.numpy()
    assert np.all(taken != x)
    assert scipy.stats.chisquare(np.bincount((taken - x) % 1000 // 100, minlength=10)).pvalue > 1e-3


def test_columns_whose_number_is_not_known_are_refused():
    draw = tf.function(
        Munge(), input_signature=[tf.TensorSpec([8, None]), tf.TensorSpec([2], tf.int32)]
    )
    with pytest.raises(ValueError, match=r"\(8, None\).*fixed shape"):
        draw.get_concrete_function()


def test_a_student_learns_from_a_table_with_categories():
    inputs = {
        "categories": keras.Input((2,), dtype="int32", name="categories"),
        "numbers": keras.Input((5,), name="numbers"),
    }

    def network(width):
        codes = keras.layers.Flatten()(keras.layers.Embedding(3, 2)(inputs["categories"]))
        hidden = keras.layers.Concatenate()([codes, inputs["numbers"]])
        hidden = keras.layers.Dense(width, "relu")(hidden)
        return keras.Model(inputs, keras.layers.Dense(3)(hidden))

    rng = np.random.default_rng(0)
    rows = {
        "categories": rng.integers(0, 3, (64, 2)).astype("int32"),
        "numbers": rng.normal(size=(64, 5)).astype("float32"),
    }
    distiller = Distiller(network(4), network(8), sampler=Munge(0.5))
    distiller.compile(keras.optimizers.Adam(0.03))
    losses = distiller.fit(rows, batch_size=16, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_ids_in_floating_point_stay_ids():
    random = np.random.default_rng(0)
    sizes = random.normal(size=(16, 2)).astype("float32")
    x = {"size": sizes, "ids": np.arange(16, dtype="float32")[:, None]}
    drawn = samplers.swapping(samplers.Munge(1.0), ["ids"])(x, seed=0).inputs
    assert set(drawn["ids"].numpy().ravel()) <= set(range(16))
    assert not np.isin(drawn["size"], sizes).any()  # Around the neighbour's.
