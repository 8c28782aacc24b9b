"""Tables from files that the tests write, against NumPy's statistics of the same rows."""

import numpy as np
import pytest
from dataset_arrays import arrays, assert_same

from ecl_tf import data

ROWS = 40
X = np.random.default_rng(0).normal(3, 2, (ROWS, 3)).astype("float32")
Y = (1000 + 50 * X[:, 0] - X[:, 1]).astype("float32")
CLASSES = np.arange(ROWS) % 3
NAMES = ["width", "height", "y", "depth"]


@pytest.fixture
def npz(tmp_path):
    others = {"wide": np.stack([Y, -2 * Y], 1), "other": X[:, :2], "kind": CLASSES}
    np.savez(tmp_path / "table.npz", x=X, y=Y, **others)
    return tmp_path / "table.npz"


def write_csv(path, header=None, lines=None):
    values = np.stack([X[:, 0], X[:, 1], Y, X[:, 2]], 1)
    lines = [",".join(f"{v:.9g}" for v in row) for row in values] if lines is None else lines
    path.write_text("\n".join([header or ",".join(NAMES), *lines]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def csv(tmp_path):
    return write_csv(tmp_path / "table.csv")


def parts(splits):
    return [arrays(part) for part in (splits.train, splits.validation, splits.test)]


def rows_of(values, column):
    """Which rows of the table have these values in a column of X."""
    return [int(np.flatnonzero(X[:, column] == value).item()) for value in values]


def test_rows_and_their_targets_in_three_disjoint_complete_parts(npz, csv):
    splits = data.table(npz)
    assert splits.input_shape == (3,) and splits.event_size == 1
    seen = []
    for x, y in parts(splits):
        rows = rows_of(x[:, 0], 0)
        assert x.dtype == y.dtype == np.float32
        np.testing.assert_array_equal(x, X[rows])
        np.testing.assert_allclose(y, Y[rows, None], rtol=1e-6)
        seen += rows
    assert sorted(seen) == list(range(ROWS))
    from_csv = data.table(str(csv))
    for part in ("train", "validation", "test"):
        assert_same(getattr(splits, part), getattr(from_csv, part))


def test_a_csv_as_spreadsheets_write_it(tmp_path):
    """With a byte order mark, other ends of line, and names quoted, spaced and with a comma."""
    path = write_csv(tmp_path / "sheet.csv", '"width, of b" , height,y,depth ')
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    x, y = arrays(data.table(path, ["depth", "width, of b"]).train)
    rows = rows_of(x[:, 0], 2)
    np.testing.assert_array_equal(x[:, 1], X[rows, 0])
    np.testing.assert_array_equal(y[:, 0], Y[rows])


def test_chosen_columns_come_in_the_order_asked_for(csv, npz):
    splits = data.table(csv, inputs=["depth", "y"], target=["height", "width"])
    x, y = arrays(splits.train)
    np.testing.assert_array_equal(y, X[rows_of(x[:, 0], 2)][:, [1, 0]])
    # As on a command line.
    assert_same(data.table(csv, inputs="depth, y", target="height,width").train, splits.train)
    splits = data.table(npz, inputs="other", target="wide")
    assert splits.input_shape == (2,) and splits.event_size == 2


def test_statistics_are_of_the_training_rows_alone(npz):
    splits = data.table(npz, target="wide", train_size=10, validation_size=15, test_size=15)
    y = arrays(splits.train)[1].astype("float64")
    np.testing.assert_array_equal(y[:, 1], -2 * y[:, 0])
    np.testing.assert_allclose(splits.target_mean, np.mean(y, 0), rtol=1e-6)
    np.testing.assert_allclose(splits.target_stddev, np.std(y, 0), rtol=1e-6)
    assert isinstance(splits.target_mean, list)
    assert abs(np.mean(Y) - splits.target_mean[0]) > 1  # All rows' mean would be another.


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({}, [32, 4, 4]),
        ({"validation_size": 5, "test_size": 7}, [28, 5, 7]),
        ({"validation_size": 0.25, "test_size": 3}, [27, 10, 3]),
        ({"train_size": 6}, [6, 4, 4]),
        # A setting that is 0.1 in the configuration is a float, whatever one sets it to.
        ({"validation_size": 5.0, "test_size": 7.0}, [28, 5, 7]),
    ],
)
def test_sizes_are_counts_or_shares(npz, sizes, expected):
    found = parts(data.table(npz, **sizes))
    assert [len(labels) for _, labels in found] == expected
    assert len({value for x, _ in found for value in x[:, 0]}) == sum(expected)


def test_the_seed_chooses_the_rows_and_nothing_else_moves_the_test(npz):
    first, again, other = (data.table(npz, seed=seed) for seed in (0, 0, 1))
    assert_same(first.train, again.train)
    assert not np.array_equal(arrays(first.test)[0], arrays(other.test)[0])
    assert_same(first.test, data.table(npz, train_size=3, validation_size=9).test)


def test_a_column_of_classes(npz):
    splits = data.table(npz, target="kind", classes=True)
    assert splits.event_size == 3
    for x, y in parts(splits):
        assert y.dtype == np.int64
        np.testing.assert_array_equal(y, CLASSES[rows_of(x[:, 0], 0)])


# Errors


@pytest.mark.parametrize(
    ("name", "message"),  # Without a name it is a directory.
    [("nothing.csv", "no table at '.*csv'.*data.path"), ("", "no table"), ("a.txt", "'.npz'.*txt")],
)
def test_files_that_are_no_tables_are_refused(tmp_path, name, message):
    (tmp_path / "a.txt").touch()
    with pytest.raises(ValueError, match=message):
        data.table(tmp_path / name)


@pytest.mark.parametrize("argument", ["inputs", "target"])
def test_a_missing_name_is_refused_with_those_there_are(npz, csv, argument):
    words = r"has no \['price'\]; it has \[{}.*config\.data\.inputs"
    with pytest.raises(ValueError, match=words.format("'x', 'y'")):
        data.table(npz, **{argument: "price"})
    with pytest.raises(ValueError, match=words.format("'width', 'height', 'y', 'depth'")):
        data.table(csv, **{argument: ["depth", "price"]})


HOLES = np.isin(np.arange(ROWS), [7, 20])


@pytest.mark.parametrize(
    ("x", "y", "classes", "message"),
    [
        (np.where(HOLES[:, None], np.nan, X), Y, None, "2 of the 40 rows .*row 7"),
        (X, np.where(HOLES, np.inf, Y), None, r"2 of .* rows of .*t\.npz.*row 7.*Remove or fill"),
        (X[:, 0], Y, None, r"shape \(40.*are no table; expected \(rows, columns\)"),
        (X, Y[:-1], None, r"shape \(40.*are no table"),
        (X, 3.0, None, r"shape \(40.*are no table"),
        (X, np.stack([Y, 0 * Y], 1), None, r"target of .*t\.npz is the same in all 32 training"),
        (X, np.arange(ROWS) / 2, True, "whole numbers from 0"),
        (X, np.arange(ROWS) - 1, True, "whole numbers from 0"),
        (X, np.stack([np.arange(ROWS)] * 2, 1), True, "has 2"),
        (X, np.ones(ROWS), True, "one class"),
    ],
)
def test_arrays_that_cant_be_learned_from_are_refused(tmp_path, x, y, classes, message):
    np.savez(tmp_path / "t.npz", x=x, y=y)
    with pytest.raises(ValueError, match=message):
        data.table(tmp_path / "t.npz", classes=classes)


ROW = "1,2,3,4"


@pytest.mark.filterwarnings("ignore:.*Empty input file")
@pytest.mark.parametrize(
    ("header", "lines", "message"),
    [
        (None, [ROW, "1,,3,4", ROW], r"1 of the 3 rows of .*first in row 1"),
        (None, [ROW, "1,unknown,3,4", ROW], r"1 of the 3 rows of .*first in row 1"),
        (None, [ROW, "1,2,3", ROW], "columns"),
        ("a,b,y", [ROW] * 60, r"t\.csv.*columns"),  # 240 numbers, which divide by three, too.
        ("a,b,c,d,y", [ROW] * 60, r"t\.csv.*columns"),
        (None, ["", ""], r"t\.csv.*at least one row"),
    ],
)
def test_files_of_text_that_are_no_table_are_refused(tmp_path, header, lines, message):
    with pytest.raises(ValueError, match=message):
        data.table(write_csv(tmp_path / "t.csv", header, lines))


@pytest.mark.parametrize(
    ("test", "validation", "train"),
    [(4, 4, 33), (4, 4, 0), (-1, 4, 9), (0.001, 4, 9), (2.5, 4, 9), (0.5, 0.5, None)],
)
def test_impossible_sizes_are_refused(npz, test, validation, train):
    with pytest.raises(ValueError, match=r"test_size=.*at least one row each.*at most 40"):
        data.table(npz, train_size=train, validation_size=validation, test_size=test)
