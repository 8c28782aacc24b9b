"""Tables of numbers, texts, booleans, dates and missing cells, against pandas' own numbers."""

import datetime
import itertools

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from dataset_arrays import assert_same
from sklearn.model_selection import train_test_split

from ecl_tf import data

ROWS = 200
SIZES = {"validation_size": 40, "test_size": 40}


def mixed():
    """A table whose `row` tells which row it is."""
    rng = np.random.default_rng(0)
    city = rng.choice(["Bern", "Genf", "Zug"], ROWS)
    frame = pd.DataFrame({"row": np.arange(ROWS) / 8, "city": city})
    frame["is_new"] = rng.random(ROWS) < 0.4
    frame["age"] = rng.normal(40.0, 10.0, ROWS).round(3)
    frame.loc[rng.random(ROWS) < 0.2, "age"] = np.nan
    frame.loc[rng.random(ROWS) < 0.2, "city"] = None
    days = pd.Timestamp("2020-02-27") + pd.to_timedelta(rng.integers(0, 900, ROWS), unit="D")
    frame["day"] = days.strftime("%Y-%m-%d")
    frame["price"] = frame.row * 3.0 + (city == "Zug")
    return frame


def numbers_of(part):
    return np.stack([x["numbers"] for x, _ in part.as_numpy_iterator()])


def ids_of(part):
    return np.stack([x["categories"] for x, _ in part.as_numpy_iterator()])


def rows_of(part):
    """Which rows of `mixed` are in a part."""
    return (8 * numbers_of(part)[:, 0]).astype(int)


def same(one, other):
    for part in ("train", "validation", "test"):
        for own, its in zip(getattr(one, part), getattr(other, part), strict=True):
            tf.nest.map_structure(np.testing.assert_array_equal, own, its)


@pytest.fixture
def csv(tmp_path):
    mixed().to_csv(tmp_path / "mixed.csv", index=False)
    return tmp_path / "mixed.csv"


def test_columns_are_encoded_as_pandas_has_them(subtests):
    frame = mixed()
    splits = data.table(frame, target="price", **SIZES)
    assert str(splits.columns) == (
        "2 numbers (row, age), 2 categories (city: 4, is_new: 2), 1 date (day)"
    )
    # Numbers and dates, four of cycles, and the mark of a missing age.
    assert splits.input_shape == {"numbers": (8,), "categories": (2,)}
    rows = rows_of(splits.train)
    own, numbers = frame.iloc[rows], numbers_of(splits.train)
    with subtests.test("a missing number is the training rows' mean, and marked"):
        np.testing.assert_allclose(numbers[:, 1], own.age.fillna(own.age.mean()), rtol=1e-6)
        np.testing.assert_array_equal(numbers[:, -1], own.age.isna())
        assert abs(frame.age.mean() - own.age.mean()) > 1e-3  # All rows' mean is another.
    with subtests.test("a date is its day, and its place in the year and the week"):
        days = pd.to_datetime(own.day)
        since = (days - pd.Timestamp("1970-01-01")).dt.days.to_numpy()
        np.testing.assert_array_equal(numbers[:, 2], since)
        # 1970-01-01 was a Thursday, of which Monday is four days away.
        angle = 2 * np.pi * ((days.dt.dayofweek.to_numpy() + 4) % 7) / 7
        np.testing.assert_allclose(numbers[:, 5], 1 + np.sin(angle), atol=1e-5)
        np.testing.assert_allclose(numbers[:, 6], 1 + np.cos(angle), atol=1e-5)
        year = 2 * np.pi * since / 365.2425
        np.testing.assert_allclose(numbers[:, 3], 1 + np.sin(year), atol=1e-4)
    with subtests.test("a category is its place in the alphabet, a missing one its own"):
        codes, values = pd.factorize(own.city.fillna(""), sort=True)
        np.testing.assert_array_equal(ids_of(splits.train)[:, 0], 1 + codes)
        assert splits.columns.specs[1].values == tuple(values)
        np.testing.assert_array_equal(ids_of(splits.train)[:, 1], 1 + own.is_new)
    with subtests.test("the cells come back"):
        cells = splits.columns.decode({"numbers": numbers, "categories": ids_of(splits.train)})
        np.testing.assert_allclose(cells["age"], own.age, rtol=1e-6)
        assert cells["city"].tolist() == own.city.fillna("").tolist()


def test_a_file_gives_what_the_frame_gives(csv, tmp_path, subtests):
    expected = data.table(mixed(), target="price", **SIZES)
    with subtests.test("CSV"):
        same(data.table(csv, target="price", **SIZES), expected)
    with subtests.test("Parquet"):
        pytest.importorskip("pyarrow")
        mixed().to_parquet(tmp_path / "mixed.parquet")
        same(data.table(tmp_path / "mixed.parquet", target="price", **SIZES), expected)
    with subtests.test("types of pandas"):
        own = mixed()
        own = own.assign(city=own.city.astype("category"), day=pd.to_datetime(own.day))
        own = own.assign(age=own.age.astype("Float64"), is_new=own.is_new.astype("boolean"))
        same(data.table(own, target="price", **SIZES), expected)


def test_numbers_alone_are_one_tensor_as_before(tmp_path):
    own = mixed()[["row", "price"]].assign(other=lambda frame: frame.row**2)
    own.to_csv(tmp_path / "t.csv", index=False)
    np.savez(tmp_path / "t.npz", x=own[["row", "other"]], y=own.price)
    splits = data.table(tmp_path / "t.csv", target="price")
    assert splits.input_shape == (2,) and splits.swap == ()
    assert_same(splits.train, data.table(tmp_path / "t.npz").train)


def test_rows_of_several_batches_are_each_in_their_place():
    # Batches have 8,192 rows.
    number = np.arange(20_000)
    columns = data.Columns([data.columns.Number("a", 0.0), data.columns.Category("b", ("x", "y"))])
    cells = columns.cells({"a": number, "b": np.where(number % 3, "x", "y")})
    for rows in (np.random.default_rng(0).permutation(20_000)[:9000], number[:0]):
        encoded = columns.encode_cells(cells, rows)
        np.testing.assert_array_equal(encoded["numbers"], rows[:, None])
        np.testing.assert_array_equal(encoded["categories"], np.where(rows % 3, 1, 2)[:, None])


def test_rows_that_are_no_columns_are_refused_in_words(subtests):
    columns = data.Columns([data.columns.Number("a", 0.0), data.columns.Category("b", ("x", "y"))])
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    expected = columns.encode(frame)["numbers"]
    given = {"a": frame[["a"]].to_numpy(), "b": ["x", "y"]}
    np.testing.assert_array_equal(columns.encode(given)["numbers"], expected)
    for rows, message in (
        (frame.iloc[0], r"got a Series.*frame.iloc\[\[0\]\]"),
        (frame.to_records(), "got a recarray.*DataFrame"),
        (frame.to_dict("records"), "got a list.*DataFrame"),
        ({"a": [1.0, 2.0], "b": ["x"]}, r"as many cells each.*'a': \(2,\), 'b': \(1,\)"),
    ):
        with subtests.test(message), pytest.raises(ValueError, match=message):
            columns.encode(rows)


def test_rare_and_new_categories_share_the_number_0(subtests):
    own = mixed()
    seen = data.table(own, target="price", **SIZES)
    train, test = rows_of(seen.train), rows_of(seen.test)
    own["city"] = "Bern"
    own.loc[train[:50], "city"] = "Genf"
    own.loc[train[50:54], "city"] = "Rare"
    own.loc[test[:3], "city"] = "New"
    splits = data.table(own, target="price", **SIZES)
    assert splits.columns.specs[1].values == ("Bern", "Genf")
    for name, rows in {"Rare": train[50:54], "New": test[:3]}.items():
        with subtests.test(name):
            part = splits.train if name == "Rare" else splits.test
            found = dict(zip(rows_of(part), ids_of(part)[:, 0], strict=True))
            assert {found[row] for row in rows} == {0}
    told = "city has categories that fewer than 5 training rows have"
    assert any(note.startswith(told) for note in splits.notes)


def test_what_tells_nothing_is_left_out_with_words():
    own = mixed().assign(name=[f"name {i}" for i in range(ROWS)], version=1.0, empty=np.nan)
    splits = data.table(own, target="price", **SIZES)
    assert splits.columns.names == ["row", "city", "is_new", "age", "day"]
    assert splits.notes[0] == (
        "left out: name (120 different texts in 120 training rows), version (the same in all "
        "training rows), empty (no value in the training rows)"
    )


def test_kinds_can_be_said(tmp_path):
    own = mixed().assign(zip=np.arange(ROWS) % 4 + 7, when=7)
    own["when"] = np.where(np.arange(ROWS) % 3 > 0, "", "2021-12-24")
    own.loc[::6, "when"] = "2021-03-04"
    text = own.to_csv(index=False).replace(",7,", ",07,")
    (tmp_path / "t.csv").write_text(text)
    said = {"categories": "zip,is_new", "dates": ["when"], "inputs": "row,zip,when,is_new"}
    columns = data.table(tmp_path / "t.csv", target="price", **said, **SIZES).columns
    assert columns.specs[1].values == ("07", "10", "8", "9")  # As they are written.
    assert str(columns) == "1 number (row), 2 categories (zip: 4, is_new: 2), 1 date (when)"
    numbers = data.table(own, target="price", **SIZES).columns
    kinds = "3 numbers (row, age, zip), 2 categories (city: 4, is_new: 2), 2 dates (day, when)"
    assert str(numbers) == kinds


@pytest.mark.parametrize("target", ["city", "is_new"])
def test_texts_and_booleans_are_classes_by_name(target):
    own = mixed().fillna({"city": "Chur"})
    splits = data.table(own, target=target, **SIZES)
    names = sorted(map(str, own[target].unique()))
    assert splits.class_names == tuple(names) and splits.event_size == len(names)
    labels = [int(y) for _, y in splits.train.as_numpy_iterator()]
    assert [names[y] for y in labels] == own[target].astype(str).iloc[
        rows_of(splits.train)
    ].tolist()


def test_a_group_is_in_one_split_and_time_goes_on(subtests):
    own = mixed()
    own["patient"] = [f"p{number}" for number in np.random.default_rng(1).integers(0, 25, ROWS)]
    splits = data.table(own, target="price", groups="patient", **SIZES)
    parts = [rows_of(part) for part in (splits.train, splits.validation, splits.test)]
    with subtests.test("groups"):
        assert sorted(np.concatenate(parts)) == list(range(ROWS))
        groups = [set(own.patient.iloc[rows]) for rows in parts]
        assert sum(map(len, groups)) == own.patient.nunique()
        assert all(40 <= len(rows) < 60 for rows in parts[1:])
        assert "patient" not in splits.columns.names
    # Of the latest day in the training rows, and of the latest in the validation rows, there are
    # more, which belong to the same split.
    own["day"] = pd.to_datetime("2020-02-27") + pd.to_timedelta(np.arange(ROWS) // 8, unit="D")
    own = own.sample(frac=1.0, random_state=0, ignore_index=True)
    splits = data.table(own, target="price", time="day", train_size=94, **SIZES | {"test_size": 38})
    rows = [getattr(splits, part) for part in ("spare", "train", "validation", "test")]
    with subtests.test("time"):
        days = [np.floor(rows_of(part) / 8) for part in rows]  # 8 rows a day.
        assert [len(part) for part in days] == [24, 96, 40, 40]
        assert all(max(a) < min(b) for a, b in itertools.pairwise(days))
        assert "day" not in splits.columns.names
    with subtests.test("both"), pytest.raises(ValueError, match="Give one of them"):
        data.table(own, target="price", groups="patient", time="day")


def test_classes_are_parted_alike(tmp_path, subtests):
    """The first part as scikit-learn stratifies it; all to within a row of their shares."""
    counts = {"a": 101, "b": 60, "c": 37, "d": 2, "e": 1}
    kinds = np.repeat([*counts], [*counts.values()])
    own = pd.DataFrame({"x": np.arange(201.0), "kind": kinds})
    own = own.sample(frac=1.0, random_state=0, ignore_index=True)
    settings = {"target": "kind", "stratify": True, "train_size": 110, **SIZES}
    splits = data.table(own, **settings)
    parts = [getattr(splits, name) for name in ("test", "validation", "train", "spare")]
    found = [np.bincount([y for _, y in part.as_numpy_iterator()], minlength=5) for part in parts]
    with subtests.test("shares"):
        assert [*map(sum, found)] == [40, 40, 110, 11]
        for part in found:
            assert np.all(np.abs(part - sum(part) / 201 * np.array([*counts.values()])) <= 1.0)
        assert found[2][4] == 1  # The only row of a class is trained on.
        own = own[own.kind < "d"]
        _, y = train_test_split(own.kind, test_size=0.2, random_state=0, stratify=own.kind)
        ours = data.table(own, **settings | {"test_size": len(y)}).test
        labels = np.bincount([label for _, label in ours.as_numpy_iterator()])
        np.testing.assert_array_equal(labels, y.value_counts().sort_index())
    with subtests.test("the seed draws the rows"):
        first = [data.table(own, seed=seed, **settings).test for seed in (0, 1)]
        values = [{float(x[0]) for x, _ in part.as_numpy_iterator()} for part in first]
        assert len(values[0] & values[1]) < 20
    with subtests.test("an .npz file"):
        np.savez(tmp_path / "t.npz", x=np.arange(40.0)[:, None], y=np.repeat([0, 1], [30, 10]))
        test = data.table(tmp_path / "t.npz", classes=True, stratify=True, test_size=8).test
        assert sum(int(label) for _, label in test.as_numpy_iterator()) == 2
    with pytest.raises(ValueError, match="stratify=True is of classes, and the target"):
        data.table(mixed(), target="price", stratify=True)


def test_unlabelled_rows_are_spare_inputs(csv):
    more = mixed().drop(columns="price").iloc[:7]
    splits = data.table(csv, target="price", train_size=100, unlabelled=more, **SIZES)
    assert int(splits.spare.cardinality()) == 20 + 7
    rows = [x["numbers"][0] * 8 for (x,) in splits.spare.as_numpy_iterator()]
    assert rows[-7:] == list(range(7))
    assert int(splits.with_spare_inputs().train.cardinality()) == 127
    with pytest.raises(ValueError, match=r"has no \['city'\]"):
        data.table(csv, target="price", unlabelled=more.drop(columns="city"))
    for name in ("more.npz", "more.txt"):
        (path := csv.with_name(name)).write_text("a,b")
        with pytest.raises(ValueError, match=r"one of \['.csv', '.parquet'\]; got .*more"):
            data.table(csv, target="price", unlabelled=path)
    other = csv.with_name("more.csv")
    more.assign(age=["1", "2", "x", *"4567"]).to_csv(other, index=False)
    where = r"1 of the 7 rows hold no number in column 'age' of .*more.csv.*line 4.*'x'"
    with pytest.raises(ValueError, match=where):
        data.table(csv, target="price", unlabelled=other)


def change(**values):
    return mixed().assign(**values)


# A minus sign, a space that does not break, an underscore, currencies, brackets of a bookkeeper.
NEARLY_NUMBERS = (
    *("\N{MINUS SIGN}3.5", "1\N{NO-BREAK SPACE}050", "1_003", "$3.50", "3 €", "(3.5)"),
    *("1\N{RIGHT SINGLE QUOTATION MARK}000", "1,5e3"),
)
NEARLY_DATES = (
    "05/03/2024",
    "5.3.2024 12:30",
    "2024/3/5",
    "5 Mar 2024",
    "March 5, 2024",
    "05-MAR-24",
    "24-03-05",
    "2024-03",
    "20240305T1200",
)
NEARLY_TIMES = "3:{:02}", "13:{:02}:10", "1:{:02} PM"
HOLES = np.where(np.arange(ROWS) % 10 == 3, np.nan, 1.0)


@pytest.mark.parametrize(
    ("frame", "arguments", "message"),
    [
        (change(price=HOLES), {}, r"20 of the 200 rows of the DataFrame .* row 3 \(from 0\), col"),
        (change(price="a"), {}, "All 160 training rows of the DataFrame are of one class, 'a'"),
        (
            change(age=["7"] * 199 + ["old"]),
            {},
            r"1 of the 200 rows hold no number in column 'age'",
        ),
        (
            change(day=["2020-01-01"] * 199 + ["soon"]),
            {},
            r"no date in .*'day': 'soon'.*categories",
        ),
        (change(age=[[1]] * ROWS), {}, "'age' of the DataFrame holds cells that are no numbers"),
        (change(age=1j), {}, "'age' of the DataFrame is of type complex128"),
        (change(age=[f"{i},5" for i in range(ROWS)]), {}, r"nearly numbers, .*'age': '0,5'"),
        *(
            (change(age=[t] * ROWS), {}, "nearly numbers, the first in row 0")
            for t in NEARLY_NUMBERS
        ),
        *(
            (change(age=[t] * ROWS), {}, "nearly dates, .*like 2024-03-05; or say")
            for t in NEARLY_DATES
        ),
        *(
            (change(age=[form.format(n % 60) for n in range(ROWS)]), {}, "nearly times, .*in hours")
            for form in NEARLY_TIMES
        ),
        (
            pd.concat(
                [mixed()[["city", "price"]], pd.DataFrame({"city": ["city"], "price": ["price"]})]
            ),
            {"inputs": "city"},
            r"Row 200 \(from 0\) of the DataFrame holds the names of the columns again",
        ),
        (
            pd.DataFrame(np.round(np.random.default_rng(0).normal(5, 1, (60, 4)), 1))
            .assign(kind=["a", "b"] * 30)
            .set_axis(["5.1", "4.9", "5.4", "5.0", "price"], axis=1),
            {},
            r"numbers as names, such as cells below them: 5\.1, 4\.9, 5\.4, 5\.0\. It seems",
        ),
        ({"price": [1.0, 2.0]}, {}, r"pandas\.DataFrame; got a dict"),
        (mixed(), {"unlabelled": [{"age": 1}]}, r"pandas\.DataFrame; got a list"),
        ("/", {}, "'/' is a directory"),
        (mixed(), {"groups": "price"}, "The target 'price' .* can't part its rows"),
        (
            change(price=["2024-03-05", "2024-03-06"] * 100),
            {},
            "target of .* looks like dates, .* row 0 .*: '2024-03-05'. .* as days since one",
        ),
        (
            change(price=["?", "2,5", "3,5", "4"] * 50),
            {},
            r"looks like numbers, .* row 1 .*, column 'price': '2,5'. .*like 1234\.5; or say",
        ),
        (
            change(price=[f"0:{n % 20 + 10}" for n in range(ROWS)]),
            {},
            "looks like times, the first in .*'0:10'",
        ),
        (
            change(price=["NA", "x"] * 100),
            {"classes": True},
            r"\(Empty cells, \?, NA, .* a class of",
        ),
        (mixed()[["price"]], {}, r"no inputs beside the target \['price'\]"),
        (mixed().iloc[:0], {}, "not at least one row"),
        (mixed().iloc[:1], {}, "at most 1 together"),
        (change(age=1.0)[["age", "price"]], {}, r"No column .* tells rows apart: age \(the same"),
        (mixed(), {"target": 3}, "target=3 is no name of a column"),
        (mixed(), {"target": None}, "target=None is no name of a column"),
        (mixed(), {"inputs": 2}, "inputs=2 is no name of a column"),
        (mixed(), {"numbers": "city"}, r"hold no number in column 'city'"),
        (mixed(), {"categories": "age", "numbers": "age"}, "'age', which is said to be a"),
        (mixed(), {"dates": "born"}, "dates names 'born', which is no input"),
        (mixed(), {"dates": "city"}, "no date in column 'city'"),
        (mixed(), {"groups": "city"}, "group 'city' of the DataFrame is missing in row"),
        (mixed(), {"time": "age"}, "time 'age' of the DataFrame is missing in row"),
        (mixed(), {"groups": "is_new"}, "2 groups, or .* of the DataFrame leave no row"),
        (mixed(), {"target": "city", "classes": False}, r"'city': .*If it is a class"),
    ],
)
def test_tables_that_cant_be_learned_from_are_refused_in_words(frame, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        data.table(frame, **{"target": "price", **arguments})
    assert len(str(error.value).splitlines()) == 1


def test_columns_may_be_numbered_in_any_order():
    pixels = np.random.default_rng(0).integers(0, 256, (60, 6)).astype("float32")
    frame = pd.DataFrame(np.c_[np.arange(60) % 3, pixels])
    for columns, target in (([*range(7)], "0"), ([5, 0, 3, 6], "3")):
        splits = data.table(frame[columns], target=target)
        assert splits.input_shape == (len(columns) - 1,)


def test_codes_are_no_nearly_dates_or_times():
    for codes in (["12-34-56", "51-51-70"], ["2010-11", "2011-12"], ["16:09", "4:03"]):
        splits = data.table(mixed().assign(city=(codes * ROWS)[:ROWS]), target="price")
        (city,) = [spec for spec in splits.columns.specs if spec.name == "city"]
        assert set(city.values) >= set(codes)


def test_numbers_that_are_likely_no_days_since_1970_are_told_of(recwarn):
    mean = (datetime.date(2022, 7, 1) - datetime.date(1970, 1, 1)).days
    columns = data.Columns([data.Date("when", float(mean))])
    assert columns.encode({"when": [mean - 9000.0, np.nan]})[:, 0].tolist() == [mean - 9000.0, mean]
    columns.encode({"when": ["1950-01-01"]})
    assert not recwarn.list
    for number, means in ((44562, datetime.date(1970, 1, 1)), (2022, datetime.date(1970, 1, 1))):
        means += datetime.timedelta(number)
        with pytest.warns(UserWarning, match=f"such as {number} for {means}, .* around 2022-07-01"):
            columns.encode({"when": [float(number)]})


def test_columns_of_an_npz_file_have_no_kinds(tmp_path):
    np.savez(tmp_path / "t.npz", x=np.eye(40), y=np.arange(40.0))
    with pytest.raises(ValueError, match=r"of which dates tells.*pandas\.DataFrame"):
        data.table(tmp_path / "t.npz", dates="a")
    with pytest.raises(ValueError, match="inputs=2 is no name of an array"):
        data.table(tmp_path / "t.npz", inputs=2)


def test_only_categories():
    splits = data.table(mixed()[["city", "is_new", "price"]], target="price")
    assert splits.input_shape == {"categories": (2,)} and splits.swap == ("categories",)


def test_a_cell_is_the_same_however_it_is_written(tmp_path):
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"floor": rng.choice([1.0, 2.0, np.nan], ROWS), "y": rng.random(ROWS)})
    frame["sold"] = rng.choice(["true", "false"], ROWS)
    frame.to_csv(tmp_path / "own.csv", index=False)  # "1.0" and "true".
    own = {"target": "y", "categories": "floor", **SIZES}
    columns = data.table(tmp_path / "own.csv", **own).columns
    written = [["1.0", "1", 1, 1.0], ["true", "True", True, "TRUE"]]
    for name, cells in zip(["floor", "sold"], written, strict=True):
        other = {"floor": ["2"] * 4, "sold": ["false"] * 4}
        ids = columns.encode(other | {name: pd.Series(cells, dtype=object)})["categories"]
        assert len({*ids[:, columns.categories.index(name)]}) == 1 and np.all(ids > 0)
    more = data.table(tmp_path / "own.csv", unlabelled=tmp_path / "own.csv", **own).spare
    assert np.all(np.stack([x["categories"] for (x,) in more.as_numpy_iterator()]) > 0)


def test_dates_are_not_guessed(tmp_path):
    frame = mixed().assign(day=pd.Timestamp("9999-12-31").strftime("%Y-%m-%d"))
    frame.loc[::2, "day"] = "0001-01-01"
    columns = data.table(frame, target="price", **SIZES).columns
    days = columns.encode(frame)["numbers"][:, columns.names.index("day") - 2]
    assert {*np.float32([2932896, -719162])} == {*days}
    for wrong in ("03/04/2021", 20210304):
        with pytest.raises(ValueError, match=r"rite dates like 2024-03-05"):
            data.table(frame.assign(day=wrong), target="price", dates="day", **SIZES)
    with pytest.raises(ValueError, match="20210304 in row 0"):
        columns.encode(frame.assign(day=20210304))


def test_dates_and_numbers_that_stand_for_none_are_told():
    born = pd.to_datetime(np.linspace(-25_000, 12_000, ROWS), unit="D").strftime("%Y-%m-%d")
    own = change(born=born)  # From 1901 to 2002: the first decades are thin, and no such date.
    own.loc[own.index[3:], "born"] = own.born[3:].where(own.born[3:] > "1925")
    until = own.day.where(own.index % 5 > 0, "9999-12-31").where(own.index % 50 > 0, "1900-01-01")
    splits = data.table(own.assign(until=until), target="price", **SIZES)
    told = [note.partition(",")[0] for note in splits.notes if "apart from other dates" in note]
    assert told == ["until is 9999-12-31 in 36 rows", "until is 1900-01-01 in 4 rows"]
    own = mixed().assign(share=np.arange(ROWS) % 100)  # Up to 99, which is one of them.
    own["depth"] = np.where(own.index % 5 > 0, 9 * own.row, -999)
    own["rooms"] = np.where(own.index % 10 > 0, own.index % 7, 99)
    own["log"] = np.where(own.index % 5 > 0, 0.1 * own.row, -999.25)
    own["tariff"] = np.array([19, 29, 49, 99])[own.index % 4]  # Prices.
    own["few"] = np.where(own.index % 50 > 0, own.row, 9999)  # Four outliers are those of anything.
    notes = data.table(own, target="price", **SIZES).notes
    told = [note.partition(",")[0] for note in notes if "apart from other numbers" in note]
    assert told == [
        "depth is -999 in 40 rows",
        "rooms is 99 in 20 rows",
        "log is -999.25 in 40 rows",
    ]


def test_categories_that_look_like_something_else():
    frame = change(age=["5 km", "12 km"] * 100, city=["1.2.3", "18-25", "1)", "5 octopus 12"] * 50)
    splits = data.table(frame, target="price", **SIZES)
    assert splits.columns.categories == ["city", "is_new", "age"]
    (note,) = splits.notes
    assert note.startswith("age is a category, though it looks like amounts (12 km, 5 km)")
    assert not data.table(frame, target="price", categories="age,city", **SIZES).notes
    (note,) = data.table(frame, inputs="price", target="age", **SIZES).notes
    assert note.startswith("age is a class, though it looks like amounts (12 km, 5 km)")
    assert not data.table(frame, inputs="price", target="age", classes=True, **SIZES).notes


def test_digits_are_the_same_text_in_every_part_of_a_long_file(tmp_path):
    codes = ["01067"] * 1100 + ["SW1A"] * 1900  # pandas reads so wide a file in parts.
    rows = [f"{code},{n % 7}" + "," * 1000 for n, code in enumerate(codes)]
    header = ",".join(["code", "y", *map("c{}".format, range(1000))])
    (tmp_path / "t.csv").write_text("\n".join([header, *rows]))
    splits = data.table(tmp_path / "t.csv", inputs="code")
    assert splits.columns.specs == (data.Category("code", ("01067", "SW1A")),)


def test_copies_of_the_target_and_names_that_differ_by_case_are_told_of():
    price = mixed()["price"].to_numpy()
    frame = change(price_eur=np.round(0.93 * price, 4), log=np.log(price - price.min() + 1.0))
    frame["city"] = np.where(
        np.arange(len(frame)) % 7 == 0, frame["city"].str.upper(), frame["city"]
    )
    notes = data.table(frame, target="price", **SIZES).notes
    told = [note.partition(":")[0].partition(",")[0] for note in notes]
    assert [each for each in told if "tells" in each] == [
        f"{name} tells price in every training row" for name in ("price_eur", "log")
    ]
    assert any(each.startswith("city has ") for each in told)
    kinds = np.array(["Cat", "cat", "dog"])
    codes = np.arange(len(frame)) % 3
    classes = mixed().assign(kind=kinds[codes], code=codes, pair=codes // 2)
    notes = data.table(classes, target="kind", **SIZES).notes
    told = [note for note in notes if "Cat" in note or "tells" in note]
    assert [note.split()[:5] for note in told] == [
        ["kind", "has", "'Cat'", "and", "'cat',"],
        ["code", "tells", "kind", "in", "every"],
    ]
