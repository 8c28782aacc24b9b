"""Types of settings: which values of a plain type a setting may have."""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple


class Range(NamedTuple):
    """Which values of a type a setting may have.

    Attributes:
        words: what is expected, in words.
        holds: a function that says of a value whether it is in the range.
    """

    words: str
    holds: Callable[[Any], bool]


def _is_share(value):
    return 0.0 < value < 1.0


def _is_positive(value):
    return 0.0 < value < float("inf")


def _is_weight(value):
    return 0.0 <= value < float("inf")


Count = Annotated[int, Range("a whole number >= 1", lambda value: value >= 1)]
CountOrZero = Annotated[int, Range("a whole number >= 0", lambda value: value >= 0)]
# Far enough from 2^31 for the seeds of members and runs, which are counted from it.
Seed = Annotated[int, Range("0 to 2,000,000,000", lambda value: 0 <= value <= 2_000_000_000)]
Positive = Annotated[float, Range("a positive number", _is_positive)]
Weight = Annotated[float, Range("a number >= 0", _is_weight)]
Share = Annotated[float, Range("a number between 0 and 1", _is_share)]
ShareOrZero = Annotated[float, Range("at least 0 and less than 1", lambda value: 0 <= value < 1)]
Shares = Annotated[
    tuple[float, ...],
    Range(
        "numbers between 0 and 1, at least one, each larger than the one before",
        lambda values: values and all(map(_is_share, values)) and [*values] == sorted({*values}),
    ),
]
StepCount = Annotated[
    Any,
    Range(
        'a whole number >= 1, or "auto", or None',
        lambda value: value in ("auto", None) or (type(value) is int and value >= 1),
    ),
]
Decay = Annotated[
    Any,
    Range(
        "a number >= 0, or None",
        lambda value: value is None or (type(value) in (int, float) and _is_weight(value)),
    ),
]
BatchSize = Annotated[
    Any,
    Range(
        "a whole number >= 1, or None",
        lambda value: value is None or (type(value) is int and value >= 1),
    ),
]
Temperatures = Annotated[
    tuple[float, ...],
    Range("positive numbers, at least one", lambda v: v and all(map(_is_positive, v))),
]
Weights = Annotated[
    tuple[float, ...],
    Range("numbers >= 0, at least one", lambda v: v and all(map(_is_weight, v))),
]
ClassWeights = Annotated[
    tuple[float, ...],
    Range(
        "numbers >= 0, one above 0, or ()", lambda v: not v or (all(map(_is_weight, v)) and any(v))
    ),
]
Names = Annotated[
    tuple[str, ...], Range("each name once", lambda values: len(set(values)) == len(values))
]
Severities = Annotated[
    tuple[int, ...],
    Range(
        "some of 1, 2, 3, 4, 5, at least one, each once",
        lambda values: values and {*values} <= {*range(1, 6)} and len({*values}) == len(values),
    ),
]
FORMATS = ("saved_model", "litert", "onnx")
Formats = Annotated[
    tuple[str, ...],
    Range(
        f"some of {', '.join(FORMATS)}, at least one, each once",
        lambda values: values and {*values} <= {*FORMATS} and len({*values}) == len(values),
    ),
]
