"""Tables from files that the tests write, against NumPy's statistics of the same rows."""

import unicodedata

import numpy as np
import pandas as pd
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


def npz_of(directory, x, y):
    np.savez(directory / "t.npz", x=x, y=y)
    return directory / "t.npz"


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


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([20, 10, 30], ["10", "20", "30"]),
        ([-1, 1], ["-1", "1"]),
        ([1000000007, 5], ["5", "1000000007"]),
        (["blue, or so", "red"], ["blue, or so", "red"]),
        (["caf\u00e9", "cafe\u0301", "tea"], ["caf\u00e9", "tea"]),  # One word, written twice.
    ],
)
def test_the_classes_are_the_labels_that_are_there(tmp_path, labels, names):
    drawn = [labels[n % len(labels)] for n in range(ROWS)]
    splits = [data.table(npz_of(tmp_path, X, np.array(drawn)), classes=True)]
    lines = [f'{n};" {label} "' for n, label in enumerate(drawn)]
    path = write_csv(tmp_path / "t.csv", "row;y", lines)
    splits.append(data.table(path, classes=True))
    for each in splits:
        assert each.event_size == len(names) and each.class_names == tuple(names)
    (_, from_npz), (x, y) = (arrays(each.train) for each in splits)
    written = [unicodedata.normalize("NFC", str(drawn[int(n)])) for n in x[:, 0]]
    assert [names[number] for number in y] == written
    np.testing.assert_array_equal(from_npz, y)


def test_booleans_are_classes_in_an_npz_file_as_in_a_frame(tmp_path):
    truth = np.arange(ROWS) % 3 == 0
    frame = pd.DataFrame(X).rename(columns=str).assign(y=truth)
    for table in (npz_of(tmp_path, X, truth), frame):
        splits = data.table(table)
        assert splits.class_names == ("False", "True")
        x, y = arrays(splits.train)
        np.testing.assert_array_equal(y, truth[rows_of(x[:, 0], 0)])


def test_a_target_of_the_type_category_is_classes_whatever_it_looks_like():
    """As scikit-learn's fetch_openml gives digits."""
    frame = pd.DataFrame(X).rename(columns=str)
    for kind in (str, int):
        frame["y"] = pd.Categorical(CLASSES.astype(kind))
        splits = data.table(frame)
        assert splits.class_names == ("0", "1", "2")
        x, y = arrays(splits.train)
        np.testing.assert_array_equal(y, CLASSES[rows_of(x[:, 0], 0)])
    assert data.table(frame, classes=False).class_names is None


def test_delimiters_and_text_in_other_columns(tmp_path, csv):
    plain = data.table(csv)
    for delimiter in ";\t|":
        content = csv.read_text().replace(",", delimiter).split("\n")
        quoted = [f'{line}{delimiter}"a {delimiter} ""b"" # \nc"' for line in content if line]
        path = write_csv(tmp_path / "other.CSV", quoted[0].replace("\nc", ""), quoted[1:])
        assert_same(data.table(path, ["width", "height", "depth"]).train, plain.train)


# Errors


@pytest.mark.parametrize(
    ("name", "message"),  # Without a name it is a directory.
    [
        ("nothing.csv", "no table at '.*csv'.*data.path"),
        ("", "is a directory"),
        ("a.txt", "'.npz'.*txt"),
    ],
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
        (X[:, 0], Y, None, r"'x' is of shape \(40,\); expected inputs of \(rows, c"),
        (X, Y[:-1], None, r"no table: inputs of shape \(40, 3\) and targets of shape \(39, 1\)"),
        (X, 3.0, None, r"no table: its array 'y' is of shape \(\)"),
        (X[:, :0], Y, None, r"no table: inputs of shape \(40, 0\)"),
        (X, np.array([None] * ROWS), None, r"arrays \['x', 'y'\] of .* can't be read: Object"),
        (X, np.full(ROWS, "2020-01-01", "datetime64[D]"), None, "'y' of .* is of type datetime64"),
        (10**17 + np.arange(ROWS)[:, None], Y, None, r"1000000000000000\d\d in row"),
        (
            X,
            1e300 * Y.astype("float64"),
            None,
            r"needs more: .* in row \d+ \(from 0\), column 0 of 'y' becomes inf",
        ),
        (X, np.stack([Y, 0 * Y], 1), None, r"target of .*t\.npz is the same in all 32 training"),
        (X, CLASSES / 2, True, r"whole numbers from 0, .* is 0\.5 in row 1"),
        (X, CLASSES - 1, True, r"whole numbers from 0, .* is -1 in row 0"),
        (X, np.arange(ROWS), True, "40 different values in 40 rows, so it is no class"),
        (X, np.stack([np.arange(ROWS)] * 2, 1), True, "has 2"),
        (X, np.eye(3)[CLASSES], None, r"is one-hot: one of its 3 columns .*argmax\(y, 1\); or"),
        (X, np.ones(ROWS), True, "one class"),
    ],
)
def test_arrays_that_cant_be_learned_from_are_refused(tmp_path, x, y, classes, message):
    with pytest.raises(ValueError, match=message):
        data.table(npz_of(tmp_path, x, y), classes=classes)


def text(header, row, rows=ROWS):
    """A table with a line for each number from 0."""
    return "\n".join([header, *map(row, range(rows))])


GOOD = text("a,b,y", "{0},{0}.5,{0}".format)
KINDS = text("a,kind", lambda n: f"{n},{'red' if n % 3 else 'blue'}")


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (GOOD.replace("3,3.5,3", "3,3.5,"), {}, r"1 of the 40 rows .*line 5, column 'y': 'nan'"),
        (GOOD.replace("3,3.5", "3,inf"), {}, r"column 'b' of .* has inf in line 5"),
        (GOOD.replace("\n3,", "\n#3,"), {}, r"line 5, column 'a': '#3'.*Remove or fill"),
        (GOOD.replace("3,3.5", "3,3_5"), {}, r"line 5, column 'b': '3_5'"),
        (GOOD.replace("\n3,", "\n\r\n , ,\n3,"), {}, r"line 6, column 'y': 'nan'"),
        (GOOD.replace("3,3.5,3", "3,3.5"), {}, r"Line 5 of .* 2 cells, and .* names 3 columns"),
        (GOOD.replace("3,3.5,3", "3,3,5,3"), {}, r"Line 5 of .* 4 cells, .*a ',' within"),
        ("# by hand\n#\n" + GOOD, {}, r"Line 1 of .*'# by hand', does not name .*line 3 has 3"),
        (GOOD.replace(",3.5", ',"3.5'), {}, r"Line 5 of .* can't be read.*quotation mark"),
        (GOOD.replace(",", ";").replace(".", ","), {}, r"'0,5'\. .* numbers like 1234\.5"),
        (GOOD.replace("a,b", "a,a"), {}, r"input 'a' .* is named twice"),
        (GOOD.replace("a,b", "b,b"), {"inputs": "b"}, r"2 columns 'b', those number 1 and 2"),
        (GOOD.replace("a,b", ",b"), {}, r"number 1 of .* has no name.*to_csv\(index=False\)"),
        (GOOD, {"inputs": ["a", "y"]}, r"target 'y' .* is among the inputs"),
        (GOOD, {"target": "y,y"}, r"target 'y' .* is named twice"),
        (GOOD, {"inputs": []}, "no table: it has no inputs beside"),
        (GOOD.partition("\n")[2], {"target": "0"}, r"first line .* holds numbers: 0, 0\.5, 0"),
        ("", {}, "is empty"),
        ("a,y\n\n", {}, "at least one row"),
        ("sep=;\n" + GOOD, {}, "is Excel's note .*, and no names. Remove that line"),
        (GOOD.replace("a,b", 'a,"b\n(kg)"'), {}, "name 'b' in the first line .* line break"),
        ("a,y\n1,2", {}, "at least one row each and at most 1 together"),
        (text("t,y", lambda n: f"{1795000000 + n},{n}"), {}, r"float32.*column 't'.*line \d+"),
        (text("a,y", lambda n: f"{n},{10**9 + n}"), {}, r"'y' .* needs more: 10000000\d\d in line"),
        (
            text("a,y", lambda n: f"{2**24 * (n // 2 + 1) + n % 2},{n}"),
            {},
            "column 'a' .* needs more",
        ),
        (text("a,y", lambda n: f"{2460000 + n / 1000},{n}"), {}, r"2460000\.\d+ in line"),
        (
            text("a,y", lambda n: f"{12345678901234567890 + n},{n}"),
            {},
            "12345678901234567890 in line 2",
        ),
        (
            KINDS,
            {"target": "kind", "classes": False},
            r"line 2, column 'kind': 'blue'.*If it is a class",
        ),
        (KINDS.replace("blue", "3"), {}, r"number in line 2, .* text in line 3, .*'red'"),
        (KINDS.replace("blue", "NA"), {}, r"14 of the 40 rows .* no class, the first in line 2"),
        (KINDS.replace("blue", "red"), {}, r"are of one class, 'red'"),
    ],
)
def test_text_that_is_no_table_is_refused_by_line_and_column(tmp_path, content, arguments, message):
    (tmp_path / "t.csv").write_text(content, newline="")
    if "kind" in content and not arguments:
        arguments = {"target": "kind", "classes": True}
    with pytest.raises(ValueError, match=message) as refused:
        data.table(tmp_path / "t.csv", **arguments)
    assert str(tmp_path / "t.csv") in str(refused.value)


def test_other_files_by_the_name_of_a_table_are_refused(tmp_path):
    for name, content, message in [
        ("t.csv", b"PK\x03\x04...", "one of Excel's files.*Save it as a CSV"),
        ("t.csv", GOOD.encode("utf-16"), "not text in UTF-8; .* in line 1"),
        ("t.csv", b"a,b,y\n1,2,3\n1,2,\xe4", "not text in UTF-8; .* in line 3"),
        ("t.csv", b"a,y\n1,\0", "zero bytes"),
        (
            "t.csv",
            b'{"a": 1, "y": 2}\n' * 40,
            r"JSON.*read_json\(path\).*lines=True if each line is a row",
        ),
        ("t.csv", b'[{"a": 1, "y": 2},\n{"a": 2, "y": 3}]', r"JSON, .*read_json\(path\)"),
        ("t.csv", b"\n<!DOCTYPE html>\n<html>", "page of the web.*Download"),
        ("t.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        ("t.npz", b"a,y\n1,2", "damaged, or not an .npz"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            data.table(tmp_path / name)


@pytest.mark.parametrize(
    ("test", "validation", "train"),
    [(4, 4, 33), (4, 4, 0), (-1, 4, 9), (0.001, 4, 9), (2.5, 4, 9), (0.5, 0.5, None), (1.0, 4, 9)],
)
def test_impossible_sizes_are_refused(npz, test, validation, train):
    with pytest.raises(ValueError, match=r"test_size=.*at least one row each.*at most 40"):
        data.table(npz, train_size=train, validation_size=validation, test_size=test)
