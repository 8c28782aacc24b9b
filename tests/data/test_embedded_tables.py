"""Tables of scikit-learn are its own rows, parted once."""

import numpy as np
import pytest
from dataset_arrays import arrays
from sklearn import datasets

from ecl_tf import data


def in_any_order(x, y):
    rows = np.column_stack([x, np.ravel(y)]).astype("float32")
    return rows[np.lexsort(rows.T)]


def test_each_row_is_in_one_split_with_its_own_target(subtests):
    cancer = datasets.load_breast_cancer()
    malignant = cancer.target_names.tolist().index("malignant")
    digits, diabetes = datasets.load_digits(), datasets.load_diabetes(scaled=False)
    told_apart = digits.data.std(0) > 0.1  # Pixels at the edge hardly differ.
    friedman = datasets.make_friedman1(2000, noise=1.0, random_state=0)
    for name, x, y, names in [
        ("breast_cancer", cancer.data, cancer.target == malignant, ("benign", "malignant")),
        ("digits", digits.data, digits.target, tuple("0123456789")),
        ("diabetes", diabetes.data, diabetes.target, None),
        ("friedman", *friedman, None),
    ]:
        with subtests.test(name):
            splits = data.load("embedded_table", table=name)
            parts = [arrays(getattr(splits, part)) for part in ("train", "validation", "test")]
            assert [len(part[1]) for part in parts[1:]] == [round(0.2 * len(y))] * 2
            assert splits.class_names == names
            own = [np.concatenate(each) for each in zip(*parts, strict=True)]
            if name == "digits":
                its = splits.columns.names
                own[0] = own[0][
                    :, [its.index(n) for n in np.array(digits.feature_names)[told_apart]]
                ]
                x = x[:, told_apart]
            np.testing.assert_array_equal(in_any_order(*own), in_any_order(x, y))
            if names:
                shares = [np.bincount(part[1]) / len(part[1]) for part in parts]
                np.testing.assert_allclose(shares, [np.bincount(y) / len(y)] * 3, atol=0.012)


def test_other_tables_are_refused():
    with pytest.raises(ValueError, match=r"'iris'; expected one of \['breast_cancer', 'digits'"):
        data.embedded_table("iris")
