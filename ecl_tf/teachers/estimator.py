"""Estimators of scikit-learn's protocol as teachers: boosted trees, forests, and others."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from ecl_tf import outputs
from ecl_tf.teachers.function import FunctionTeacher
from ecl_tf.teachers.kinds_of_answer import kind_of_answer
from ecl_tf.teachers.residuals import residual_stddev

_ENCODERS = {"OneHotEncoder", "OrdinalEncoder", "TargetEncoder"}
_TOLERANCE = 1e-5  # Of a prediction and the mean of its members', in units of its deviation.


def from_estimator(
    estimator: Any,
    output: str | dict | outputs.Output,
    x: Any,
    y: Any = None,
    *,
    spread: str | float | Sequence[float] | None = None,
    classes: Sequence | None = None,
    least_probability: float = 0.0,
    name: str = "estimator",
) -> FunctionTeacher:
    """A teacher of what has `predict_proba` or `predict`, as scikit-learn's estimators do.

    XGBoost, LightGBM and CatBoost have them, too. Classifiers give their probabilities. A regressor
    gives means, and needs a spread:

        "residuals"  one standard deviation, measured on the held-out rows x and y
                     (`residual_stddev`); of several estimators beside their disagreement
        "members"    what the members of a forest differ by, row by row: those of its
                     `estimators_`, whose mean it predicts. Of a classifier they are members with
                     probabilities, so that both parts of the uncertainty are known
        a number     the standard deviation, in the target's units, or one for each dimension

    Inputs of several axes, such as images, are flattened to rows. A dict of columns by name becomes
    a `pandas.DataFrame`, with the columns in the order of `feature_names_in_`.

    Args:
        estimator: fitted; or a sequence of them, which is an ensemble; or a dict from level to
            quantile regressor, such as {0.05: low, 0.5: middle, 0.95: high}.
        output: the `ecl_tf.outputs.Output` that is taught: "categorical", "bernoulli", or
            `Normal(d)`.
        x: rows of inputs, as the student gets them; to measure residuals, rows that the estimator
            was not fitted on. See `FunctionTeacher`.
        y: their targets, where residuals are measured; None by default.
        spread: of a regressor, as above. None, the default, is "residuals" where y is given, and
            otherwise the disagreement of several estimators; of classifiers their probabilities
            alone.
        classes: the labels in the order of the student's classes; None, the default, is 0 to
            K - 1. The estimator's `classes_` have to be among them, in any order. A class that
            it does not know, because none of its rows had it, gets the probability 0, which
            `least_probability` raises.
        least_probability: as in `FunctionTeacher`, 0.0 by default.
        name: of the Keras model, "estimator" by default.

    Raises:
        ValueError: if there is no such method, classes are others, or a spread is missing; and
            whatever `FunctionTeacher` refuses.

    Example:
    >>> from sklearn.ensemble import RandomForestRegressor
    >>> x = np.random.default_rng(0).normal(size=(100, 3)).astype("float32")
    >>> forest = RandomForestRegressor(5, random_state=0).fit(x, x[:, 0])
    >>> teacher = from_estimator(forest, outputs.Normal(1), x, spread="members")
    >>> trees = np.array([tree.predict(x) for tree in forest.estimators_])
    >>> variance = teacher.uncertainty(x).epistemic[:, 0]
    >>> bool(np.allclose(variance, trees.var(0), atol=1e-6))
    True
    """
    output = outputs.get(output)
    kind_of_answer(None, output)  # Other families are refused before a spread is asked for.
    settings: dict[str, Any] = {"name": name, "least_probability": least_probability}
    _require_columns(estimator, x)
    if isinstance(estimator, Mapping):
        levels = sorted(estimator)
        by_level = [_function(estimator[level], "predict") for level in levels]

        def quantiles(rows):
            return np.stack([predict(rows) for predict in by_level], 1)

        looks_up = set().union(*(predict.looks_up for predict in by_level))
        quantiles.looks_up = looks_up  # type: ignore[attr-defined]
        return FunctionTeacher(quantiles, output, x, "quantiles", levels=levels, **settings)
    several = list(estimator) if isinstance(estimator, (list, tuple)) else [estimator]
    if not several:
        raise ValueError("from_estimator needs at least one estimator; got none.")
    is_classifier = isinstance(output, outputs.Joint) or output.makes_probabilities is not None
    if classes is not None and not is_classifier:
        raise ValueError(f"classes are of classifiers, and {output!r} is of numbers. Leave it out.")
    for each in several:
        # Some regressors of other libraries have the former alone.
        has_classes = hasattr(each, "predict_proba") and hasattr(each, "classes_")
        if has_classes and not is_classifier:
            raise ValueError(
                f"{type(each).__name__} is a classifier, and {output!r} is of numbers: the numbers "
                "of its classes would be taught as means. Give an output of classes, such as "
                '"categorical", or a regressor.'
            )
    method = "predict_proba" if is_classifier else "predict"
    if spread == "members":
        functions = [
            _of_members(each, method, _reading(output, classes, each), x) for each in several
        ]
        return FunctionTeacher(functions, output, x, "members", **settings)
    functions = [_function(each, method, _reading(output, classes, each)) for each in several]
    if is_classifier:
        if spread is not None:
            raise ValueError(
                f"spread={spread!r} is for regressors; the output {output!r} takes a classifier's "
                "probabilities. Leave it out, or say 'members'."
            )
        return FunctionTeacher(functions, output, x, **settings)
    stddev: Any = spread
    if spread in (None, "residuals"):
        if y is None and (spread or len(several) == 1):
            raise ValueError(
                f"{type(several[0]).__name__} gives means, and a teacher needs a spread. Give "
                "x and y that it was not fitted on, whose residuals are measured; or spread, a "
                "standard deviation in the target's units; or spread='members' for a forest."
            )
        stddev = None if y is None else residuals(functions, x, y)
    elif isinstance(spread, str):
        raise ValueError(
            f"Unknown spread {spread!r}; expected 'residuals', 'members', a number, or None."
        )
    return FunctionTeacher(functions, output, x, "mean", stddev=stddev, **settings)


def _require_columns(estimators, x):
    """Refuses a DataFrame of other columns than estimators were fitted on, or in another order.

    Later they are asked about arrays, whose columns have no names.
    """
    estimators = [*estimators.values()] if isinstance(estimators, Mapping) else estimators
    several = estimators if isinstance(estimators, (list, tuple)) else [estimators]
    given = [*getattr(x, "columns", [])]
    for each in several if given and all(isinstance(name, str) for name in given) else ():
        names = [*map(str, getattr(each, "feature_names_in_", given))]
        if [*map(_without_spaces, names)] != [*map(_without_spaces, given)]:
            raise ValueError(
                f"{type(each).__name__} was fitted on the columns {names[:10]}, and x has "
                f"{given[:10]}: other ones, or in another order, and the student's rows would be "
                "taken for others. Give x[list(estimator.feature_names_in_)], and such rows to the "
                "student."
            )


def _without_spaces(name):
    return name.replace(" ", "_")  # As LightGBM writes it.


def residuals(functions, x, y):
    """The standard deviation of each target that the functions' disagreement leaves over."""
    rows = {len(leaf) for leaf in keras.tree.flatten(x)}
    if rows != {len(y)}:
        raise ValueError(
            f"Residuals need a target for every row; x has {sorted(rows)} rows, and y {len(y)}."
        )

    def member(function):
        def answer(inputs, training):
            answered = np.asarray(function(_arrays(inputs)))
            return answered[:, None] if answered.ndim == 1 else answered

        return answer

    return residual_stddev([member(function) for function in functions], x, y, len(y))


def _arrays(inputs):
    if isinstance(inputs, dict):
        return {name: np.asarray(leaf) for name, leaf in inputs.items()}
    return np.asarray(inputs)


def _function(estimator, method, read=np.asarray):
    """A function from rows, as a student gets them, to what a method of an estimator answers."""
    if isinstance(estimator, type):
        raise ValueError(
            f"{estimator.__name__} is a class, and no estimator. Give a fitted object: "
            f"{estimator.__name__}(...).fit(x, y)."
        )
    own = getattr(estimator, method, None)
    if own is None:
        remedy = (
            " Wrap it in sklearn.calibration.CalibratedClassifierCV, or give a function of "
            "probabilities to ecl_tf.teachers.FunctionTeacher."
        )
        raise ValueError(
            f"{type(estimator).__name__} has no {method}.{remedy * (method != 'predict')}"
        )
    names = getattr(estimator, "feature_names_in_", None)
    kind = type(estimator).__name__

    def answer(rows):
        return read(own(_table(rows, names, kind)))

    answer.looks_up = _lookups(estimator)  # type: ignore[attr-defined]
    return answer


def _lookups(estimator):
    """The names of what takes numbers for codes, of scikit-learn: an estimator, or those within."""
    kind = type(estimator).__name__
    if kind in _ENCODERS or np.any(getattr(estimator, "is_categorical_", None)):
        return {kind}
    within = [step for _, step in getattr(estimator, "steps", ())]
    within += [part for _, part, own in getattr(estimator, "transformers_", ()) if np.size(own)]
    within += [estimator.best_estimator_] if hasattr(estimator, "best_estimator_") else []
    several = getattr(estimator, "estimators_", None)
    within += several if isinstance(several, list) else []
    return set().union(*map(_lookups, within))


def _table(rows, names, kind):
    """Rows in the form that an estimator was fitted on.

    Raises:
        ValueError: if a dict of rows does not hold the estimator's columns.
    """
    if isinstance(rows, dict):
        import pandas

        columns = list(rows) if names is None else list(names)
        for name in columns:
            if name not in rows or rows[name].size != len(rows[name]):
                shapes = ", ".join(f"{key} {each.shape}" for key, each in rows.items())
                raise ValueError(
                    f"{kind} takes columns by their names, each (rows,), and is asked about "
                    f"{shapes}, where {name!r} is no column. Give a function in its place that "
                    "makes its rows of these: lambda rows: estimator.predict(rows['numbers'])."
                )
        return pandas.DataFrame({name: _column(rows[name]) for name in columns})
    rows = rows.reshape(len(rows), -1)
    if names is not None and rows.shape[1] == len(names):
        import pandas

        return pandas.DataFrame(rows, columns=names)
    return rows


def _column(values):
    """A column (rows,) or (rows, 1); TensorFlow's texts are bytes."""
    values = values.reshape(len(values))
    if values.dtype != object:
        return values
    return np.array([v.decode() if isinstance(v, bytes) else v for v in values], object)


def _reading(output, classes, estimator):
    """A function from what an estimator answers to an array in the student's order."""
    if getattr(output, "family", "") == "normal":
        return np.asarray
    own = getattr(estimator, "classes_", None)
    if getattr(output, "family", "") == "bernoulli":
        return _reading_of_yes(type(estimator).__name__, own, classes)
    places = _places(type(estimator).__name__, own, classes)
    if places is None:
        return np.asarray

    def read(answered):
        answered = np.asarray(answered)
        found = np.zeros((*answered.shape[:-1], len(classes)))
        found[..., places] = answered
        return found

    return read


def _places(estimator, own, classes):
    """Where each of an estimator's classes is among the student's; None if they are the same."""
    if own is None:
        if classes is None:
            return None
        raise ValueError(
            f"{estimator} has no `classes_` to compare with classes={list(classes)}. Leave classes "
            "out, if its columns are in the order of the student's classes."
        )
    own = list(own)
    if classes is None:
        if own == list(range(len(own))):
            return None
        raise ValueError(
            f"{estimator} was fitted on the classes {own[:10]}, and a student has the classes 0 to "
            "K - 1. Say which class is which: classes=[...] has the labels in the order of the "
            "student's classes, such as ecl_tf.data's class_names, or range(K) if it lacks some."
        )
    classes = list(classes)
    if len(set(classes)) < len(classes) or not set(own) <= set(classes):
        raise ValueError(
            f"{estimator} was fitted on the classes {own[:10]}, and classes={classes[:10]} are "
            "others. Give each of those that it was fitted on once, and those that it lacks where "
            "the student has them; or fit it on the student's labels."
        )
    return None if own == classes else [classes.index(each) for each in own]


def _reading_of_yes(estimator, own, classes):
    """A function from what a classifier of one or several yes/no labels answers to P(yes)."""
    if own is not None and len(own) and np.ndim(own[0]) == 1:  # The classes of each label.
        places = [_place_of_yes(estimator, list(each), None) for each in own]

        def of_each(answered):
            if not isinstance(answered, list):
                return np.asarray(answered)  # One column for each label.
            columns = [np.asarray(each) for each in answered]
            return np.stack(
                [
                    # A label that no row has is answered by P(no) alone.
                    np.zeros(len(each)) if place is None else each[:, place]
                    for each, place in zip(columns, places, strict=True)
                ],
                1,
            )

        return of_each

    def of_one(answered):
        answered = np.asarray(answered)
        # Two columns that add up to 1 are no and yes of one label; others are two labels.
        if own is None or len(own) != 2 or answered.ndim != 2 or answered.shape[1] != 2:
            return answered
        if not np.allclose(answered.sum(1), 1.0, atol=1e-4):
            return answered
        place = _place_of_yes(estimator, list(own), classes)
        return np.zeros((len(answered), 1)) if place is None else answered[:, [place]]

    if own is not None and len(own) == 2:
        _place_of_yes(estimator, list(own), classes)  # Told at once.
    return of_one


def _place_of_yes(estimator, own, classes):
    """The column of yes among a label's classes, or None if it is not there."""
    no_and_yes = [0, 1] if classes is None else list(classes)
    if len(no_and_yes) != 2 or not set(own) <= set(no_and_yes):
        raise ValueError(
            f"{estimator} was fitted on the classes {own[:10]}, of which one has to be yes. Say "
            "which: classes=[no, yes]."
        )
    return own.index(no_and_yes[1]) if no_and_yes[1] in own else None


def _of_members(estimator, method, read, x):
    """A function from rows to the answers of a forest's members, (rows, members, ...)."""
    what = type(estimator).__name__
    whole = _function(estimator, method, read)
    names = getattr(estimator, "feature_names_in_", None)
    found = getattr(estimator, "estimators_", [])  # A list, or an array (stages, classes).
    found = found.ravel() if isinstance(found, np.ndarray) else found
    members = [each for each in found if each is not None]
    expected = (
        "spread='members' is for forests and the like, whose prediction is the mean of those of "
        f"their estimators_; {what}"
    )
    if not members:
        raise ValueError(f"{expected} has none. Measure residuals instead.")

    def answers(rows):
        rows = np.asarray(
            _table(rows, names, what)
        )  # They know columns and classes by number alone.
        return np.stack([read(getattr(member, method)(rows)) for member in members], 1)

    arrays = _arrays(x)
    few = {n: each[:64] for n, each in arrays.items()} if isinstance(arrays, dict) else arrays[:64]
    predicted = whole(few)
    try:
        apart = float(np.abs(answers(few).mean(1) - predicted).max())
    except (AttributeError, IndexError, TypeError, ValueError):  # They take other inputs.
        apart = np.inf
    if not apart <= _TOLERANCE * max(float(np.std(predicted)), 1e-6):
        raise ValueError(
            f"{expected} predicts something else. Measure residuals instead, or fit several and "
            "give a list of them."
        )
    return answers
