"""Notes of what looks like a mistake in a table and may be none."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

_FEWEST = 20  # Rows below which two columns may have one order by chance.
_SAME_ORDER = 1.0 - 1e-6
_FIRST = 1000  # Rows that tell most columns apart, in little time.


def of_names(texts: Sequence[str], name: str) -> Iterator[str]:
    """Notes of texts that differ by upper case or spaces alone, so they may mean the same.

    Args:
        texts: different ones.
        name: what they are of.

    Example:
    >>> print(*of_names(["Cat", "cat", "dog"], "kind"))
    kind has 'Cat' and 'cat', which differ by upper case or spaces: write them alike if they are one
    """
    forms: dict[str, list[str]] = {}
    for text in texts:
        forms.setdefault(" ".join(text.split()).casefold(), []).append(text)
    for each in forms.values():
        if len(each) > 1:
            yield (
                f"{name} has {' and '.join(map(repr, each))}, which differ by upper case or "
                "spaces: write them alike if they are one"
            )


def of_copies(
    inputs: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray], are_classes: bool
) -> Iterator[str]:
    """Notes of inputs that tell a target in every row, as its copy in another unit does.

    Args:
        inputs: cells by the columns' names, (rows,): numbers, NaN where they are missing, or texts.
        targets: numbers by the targets' names, (rows,).
        are_classes: whether these number classes.

    Example:
    >>> price = np.arange(30.0)
    >>> print(*of_copies({"price_eur": 0.9 * price}, {"price": price}, are_classes=False))
    price_eur tells price in every training row: leave it out with --config.data.inputs if it is \
no input
    """
    for name, values in inputs.items():
        for target, labels in targets.items():
            tells = _names_it if are_classes else _has_its_order
            known = ~pd.isna(values)
            if known.sum() >= _FEWEST and all(
                tells(values[known][:rows], labels[known][:rows]) for rows in (_FIRST, None)
            ):
                yield (
                    f"{name} tells {target} in every training row: leave it out with "
                    "--config.data.inputs if it is no input"
                )


def _names_it(values, classes):
    """Whether each of some values has a class of its own."""
    pairs = pd.DataFrame({"value": values, "class": classes}).drop_duplicates()
    return len(pairs) > 1 and pairs["value"].is_unique and pairs["class"].is_unique


def _has_its_order(values, numbers):
    """Whether the greater value always has the greater number, or always the smaller one."""
    if values.dtype.kind == "O" or np.ptp(values) == 0.0 or np.ptp(numbers) == 0.0:
        return False
    return abs(stats.spearmanr(values, numbers).statistic) > _SAME_ORDER
