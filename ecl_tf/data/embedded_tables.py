"""Tables that come with scikit-learn: no file and no network are needed."""

import pandas as pd

from ecl_tf.data.splits import Splits
from ecl_tf.data.table import table as read_table

_FRIEDMAN_ROWS = 2000


def embedded_table(
    table: str = "diabetes",
    train_size: int | None = None,
    validation_size: float = 0.2,
    test_size: float = 0.2,
    seed: int = 0,
) -> Splits:
    """A table of scikit-learn, as `ecl_tf.data.table` reads one; classes are stratified.

        "breast_cancer"  569 rows of 30 numbers, measured in images of cells: benign or malignant
        "digits"         1,797 rows of 64 pixels, as columns, to one of ten digits
        "diabetes"       442 rows of 10 numbers to how far the disease is after a year
        "friedman"       2,000 rows of 10 numbers in [0, 1], of which five count, drawn from
                         Friedman's function 10 sin(pi a b) + 20 (c - 1/2)^2 + 10 d + 5 e with noise
                         of standard deviation 1, which no model can foresee

    Args:
        table: its name; "diabetes" by default.
        train_size: as in `ecl_tf.data.table`, all rows that are left by default.
        validation_size: the same; 0.2 by default.
        test_size: the same; 0.2 by default.
        seed: of the split; 0 by default. The rows themselves are always the same.

    Raises:
        ValueError: if there is no such table, or the sizes don't fit.

    Example:
    >>> splits = embedded_table("breast_cancer")
    >>> splits.class_names, splits.input_shape, int(splits.train.cardinality())
    (('benign', 'malignant'), (30,), 341)
    """
    if table not in _FRAMES:
        raise ValueError(f"Unknown table {table!r}; expected one of {[*_FRAMES]}.")
    is_class = table in ("breast_cancer", "digits")
    return read_table(
        _FRAMES[table](),
        target="target",
        classes=is_class,
        train_size=train_size,
        validation_size=validation_size,
        test_size=test_size,
        seed=seed,
        stratify=is_class,
    )


def _breast_cancer():
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer(as_frame=True)
    return found.frame.assign(target=found.target_names[found.target])


def _digits():
    from sklearn.datasets import load_digits

    return load_digits(as_frame=True).frame


def _diabetes():
    from sklearn.datasets import load_diabetes

    return load_diabetes(as_frame=True, scaled=False).frame


def _friedman():
    from sklearn.datasets import make_friedman1

    x, y = make_friedman1(_FRIEDMAN_ROWS, noise=1.0, random_state=0)
    return pd.DataFrame(x, columns=[f"x{number}" for number in range(x.shape[1])]).assign(target=y)


_FRAMES = {
    "breast_cancer": _breast_cancer,
    "digits": _digits,
    "diabetes": _diabetes,
    "friedman": _friedman,
}
