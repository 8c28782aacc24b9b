"""Corrupted tables: what becomes of numbers, and of categories."""

import numpy as np
import pandas as pd
import pytest

from ecl_tf.data import Category, Columns, Date, Number
from ecl_tf.evaluation import corrupt, corruptions

NAMES = corruptions.NAMES["table"]
RNG = np.random.default_rng(0)
NUMBERS = RNG.normal([5, -2, 0], [1, 10, 0.1], (500, 3)).astype("float32")
TRAINING = RNG.normal([6, -2, 0], [2, 10, 0.1], (900, 3)).astype("float32")
CITIES = RNG.choice(["Basel", "Bern", "Zug"], 500, p=[0.2, 0.2, 0.6])


def distances(x, name, **options):
    changed = [corrupt(x, name, s, kind="table", **options) for s in (1, 2, 3, 4, 5)]
    return [np.abs(each - x).mean() for each in changed]


@pytest.mark.parametrize("name", NAMES)
def test_a_corruption_is_seeded_by_row_and_grows_with_severity(name):
    options = {"kind": "table", "reference": TRAINING, "seed": 2}
    whole = corrupt(NUMBERS, name, **options)
    assert whole.dtype == np.float32 and whole.shape == NUMBERS.shape
    np.testing.assert_array_equal(whole, corrupt(NUMBERS, name, **options))
    part = corrupt(NUMBERS[100:110], name, first_row=100, **options)
    np.testing.assert_array_equal(part, whole[100:110])
    others = [corrupt(NUMBERS, name, **{**options, "seed": seed}) for seed in range(3, 9)]
    assert not all(np.array_equal(each, whole) for each in others)
    assert (np.diff(distances(NUMBERS, name, reference=TRAINING)) > 0).all()


def test_numbers_by_hand():
    stddev, mean = TRAINING.std(0), TRAINING.mean(0)
    options = {"kind": "table", "reference": TRAINING}
    noise = (corrupt(NUMBERS, "noise", 5, **options) - NUMBERS) / stddev
    np.testing.assert_allclose(noise.std(0), 0.8, rtol=0.1)
    shifts = (corrupt(NUMBERS, "shifted", 4, **options) - NUMBERS) / stddev
    np.testing.assert_allclose(np.abs(shifts), 0.75, rtol=2e-3)  # One sign a column.
    assert (np.sign(shifts) == np.sign(shifts[:1])).all()
    factors = corrupt(NUMBERS, "scaled", 4, **options) / NUMBERS
    np.testing.assert_allclose(np.abs(np.log2(factors)), 1, rtol=1e-4)
    filled = corrupt(NUMBERS, "missing", 5, **options)
    changed = filled != NUMBERS
    assert changed.mean() == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(filled[changed], np.tile(mean, (500, 1))[changed], rtol=1e-5)
    gaps = corrupt(NUMBERS, "missing", 5, missing=float("nan"), **options)
    np.testing.assert_array_equal(np.isnan(gaps), changed)
    swapped = corrupt(NUMBERS, "swapped", 5, **options)
    changed = swapped != NUMBERS
    assert changed.mean() == pytest.approx(0.5, abs=0.05)
    for column in range(3):
        assert np.isin(swapped[changed[:, column], column], TRAINING[:, column]).all()


def test_missing_cells_stay_missing_and_have_no_say():
    x = NUMBERS.copy()
    x[::2, 0] = x[:, 2] = np.nan
    for name in ("noise", "shifted", "scaled"):
        found = corrupt(x, name, kind="table")
        np.testing.assert_array_equal(np.isnan(found), np.isnan(x))
    filled = corrupt(x, "missing", 5, kind="table")
    assert np.isin(x[1::2, 0].mean(), filled[:, 0])


def test_columns_of_several_kinds():
    x = {"age": NUMBERS[:, 0], "ids": RNG.integers(0, 9, (500, 2)), "city": CITIES}
    for name in ("noise", "shifted", "scaled"):
        found = corrupt(x, name, kind="table")
        assert (found["age"] != x["age"]).all()
        np.testing.assert_array_equal(found["ids"], x["ids"])
        np.testing.assert_array_equal(found["city"], CITIES)
    found = corrupt(x, "missing", 5, kind="table")
    assert (found["city"] == "Zug").mean() == pytest.approx(0.6 + 0.4 / 2, abs=0.05)
    assert found["ids"].dtype == x["ids"].dtype
    empty = {"city": "unknown", "age": float("nan")}  # Of ids, the most frequent.
    found = corrupt(x, "missing", 5, kind="table", missing=empty)
    assert (found["city"] == "unknown").mean() == pytest.approx(0.5, abs=0.08)
    swapped = corrupt(x, "swapped", 5, kind="table")
    assert set(swapped["city"]) == set(CITIES)
    assert (swapped["ids"] != x["ids"]).mean() == pytest.approx(0.5 * 8 / 9, abs=0.05)
    nobody = {"name": np.array([None, None], object)}
    assert corrupt(nobody, "missing", 5, kind="table")["name"].tolist() == [None, None]
    assert corruptions.suitable(x, "table") == NAMES
    assert corruptions.suitable({"city": CITIES}, "table") == ("missing", "swapped")
    assert corruptions.suitable(NUMBERS[:, None, None]) == corruptions.NAMES["image"]


def test_encoded_rows_lose_cells_as_files_do():
    """Numbers get their mean and mark, dates their place in a cycle, and texts the category of
    none."""
    columns = Columns(
        [
            Number("age", 40.0, True),
            Category("city", ("", "Basel", "Bern")),
            Date("sold", 19_000.0, periods=(7.0,)),
        ]
    )
    frame = pd.DataFrame(
        {
            "age": RNG.normal(40, 10, 400),
            "city": RNG.choice(["Basel", "Bern"], 400),
            "sold": pd.Timestamp("2024-03-05") + pd.to_timedelta(RNG.integers(0, 99, 400), "D"),
        }
    )
    rows = columns.encode(frame)
    found = corrupt(rows, "missing", 5, kind="table", columns=columns)
    assert found["numbers"].dtype == np.float32 and found["categories"].dtype == np.int32
    is_gone = found["numbers"][:, 4] == 1
    assert is_gone.mean() == pytest.approx(0.5, abs=0.08)
    np.testing.assert_array_equal(found["numbers"][is_gone, 0], 40)
    np.testing.assert_array_equal(found["numbers"][~is_gone, 0], rows["numbers"][~is_gone, 0])
    assert (found["categories"] == 1).mean() == pytest.approx(0.5, abs=0.08)
    later = corrupt(rows, "shifted", 5, kind="table", columns=columns)["numbers"]
    angle = 2 * np.pi * (later[:, 1] % 7) / 7
    np.testing.assert_allclose(
        later[:, 2:4], 1 + np.stack([np.sin(angle), np.cos(angle)], 1), atol=1e-3
    )
    assert corruptions.suitable(rows, "table", columns) == NAMES
    of_text = Columns([Category("city", ("Bern",))])
    assert corruptions.suitable(rows, "table", of_text) == ("missing", "swapped")


def test_refusals():
    with pytest.raises(ValueError, match=r"A table is .* got the shapes \{'x': \(3,\s?2, 2\)\}"):
        corrupt(np.zeros((3, 2, 2)), "noise", kind="table")
    with pytest.raises(ValueError, match="have the same rows"):
        corrupt({"a": np.zeros(3), "b": np.zeros(4)}, "noise", kind="table")
    with pytest.raises(ValueError, match="The reference has other columns"):
        corrupt(NUMBERS, "noise", kind="table", reference=NUMBERS[:, :2])
    for x, missing in [(NUMBERS, ""), (CITIES, 0.5), (RNG.integers(0, 9, (4, 2)), 0.5)]:
        with pytest.raises(ValueError, match="is no value of cells of"):
            corrupt(x, "missing", kind="table", missing=missing)
    frame = pd.DataFrame({"age": NUMBERS[:, 0], "city": CITIES})
    with pytest.raises(ValueError, match=r"several types, or of texts\. Give a dict"):
        corrupt(frame, "noise", kind="table")  # Its numbers would stay as they are.
    columns = Columns([Number("age", 40.0)])
    with pytest.raises(ValueError, match="Give missing or columns"):
        corrupt(NUMBERS[:, :1], "missing", kind="table", missing=0, columns=columns)
