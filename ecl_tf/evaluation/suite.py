"""Everything that is measured of networks: on the data, on corrupted data, and off the data."""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from ecl_tf import data, outputs, prediction_sets, teachers, uncertainty
from ecl_tf._internal import own_inputs, positions
from ecl_tf.evaluation import corruptions, detection, fidelity, scores

SEVERITIES = (1, 2, 3, 4, 5)
KINDS = ("image", "table", "sequence")
_TPR = 0.95
# Corruptions after which the labels of positions would be at other places.
_MOVING = ("elastic_transform", "cut", "swapped")
_OTHER = "other"  # Sets of this kind are unlike the data.
Found = dict[str, dict[str, dict[str, float]]]


class Model(NamedTuple):
    """A network that is measured.

    Attributes:
        network: an `ecl_tf.Teacher`, a `Distiller`, a Keras model, or another function from a batch
            of inputs to raw outputs.
        output: the `ecl_tf.outputs.Output` of its raw outputs. A teacher's distribution is taken as
            it is, and written as raw outputs of this one.
        sets: its `ecl_tf.prediction_sets.PredictionSets`; None by default, for none.
        mask: a function from a batch of inputs to Keras's mask of the positions that count, or to
            None; None, the default, for the network's own mask.
    """

    network: Any
    output: outputs.Output
    sets: prediction_sets.PredictionSets | None = None
    mask: Callable[[Any], Any] | None = None


class _Answers(NamedTuple):
    """Raw outputs for all rows.

    Attributes:
        raw: an array (rows, positions..., size), or a dict of them by the names of outputs.
        disagreement: what an ensemble's members differ by, or None.
        mask: Keras's mask of positions, a dict of them, or None.
    """

    raw: Any
    disagreement: np.ndarray | None
    mask: Any


def measure(
    models: Any,
    x: Any,
    y: Any,
    *,
    output: str | dict | outputs.Output | None = None,
    teacher: Any = None,
    sets: prediction_sets.PredictionSets | None = None,
    kind: str | None = None,
    names: Sequence[str] | None = None,
    severities: Sequence[int] = SEVERITIES,
    other: Mapping[str, Any] | None = None,
    score: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    seed: int = 0,
    batch_size: int = 512,
) -> dict[str, Any]:
    """Measures a network, or several, on labelled rows, on these corrupted, and on other inputs.

    | names of numbers | meaning |
    |---|---|
    | `accuracy`, `nll`, ... | `main_scores` and `further_scores` of the rows as they are |
    | `corrupted_nll`, ... | `main_scores`, the mean over all corruptions and severities |
    | `corrupted_nll_3`, ... | the same of one severity |
    | `ood_auroc_entropy`, ... | `auroc` by a score of `unfamiliarity`, the mean over other inputs |
    | `ood_fpr95_entropy`, ... | the same of `fpr_at_tpr` |
    | `noise_auroc_entropy`, ... | the same of one set of other inputs |
    | `agreement`, `divergence`, ... | `fidelity_scores`, against the teacher |
    | `conformal_coverage` | the share of labels in prediction sets |
    | `conformal_size` | the mean size of prediction sets |

    Scores of an ensemble have `disagreement` beside `entropy` and `confidence`. Of named outputs
    every name begins with the output's. Corrupted inputs are made once, and shown to all networks.

    Positions (pixels, tokens) count as rows, but for those that Keras masks; labels that an output
    ignores count for the teacher alone. Whether inputs are unlike the data is told for each row, by
    the mean over its positions. Corruptions that move positions ("elastic_transform", "cut" and
    "swapped" steps) are left out then, because their labels would not move.

    Args:
        models: a network, or a dict of networks by name. A network is a Keras model of raw outputs,
            a `Distiller`, an `ecl_tf.Teacher`, another function from a batch of inputs to raw
            outputs, or a `Model` with an output of its own.
        x: the inputs of all rows, as arrays: images as uint8, or as networks see them.
        y: their labels, in any form that `fit` takes.
        output: the `ecl_tf.outputs.Output` of raw outputs, or its name; None, the default, is a
            distiller's or a teacher's own, and "categorical" for other networks.
        teacher: a network, to which fidelity is measured; None, the default, for none. It may be
            one of `models`, too.
        sets: the `ecl_tf.prediction_sets.PredictionSets` of a single network, of one output; None
            by default.
        kind: "image", "table" or "sequence", which says how inputs are corrupted; None, the
            default, infers it: inputs of rank 4 are images, of rank 3 and whole numbers of rank 2
            are sequences, and others are tables.
        names: of corruptions; None, the default, for all of the kind; () for none.
        severities: of corruptions, 1 to 5; all by default.
        other: a dict of inputs that are unlike the data, by name, each in the form of `x`; None,
            the default, for those of `drawn_inputs`; {} for none.
        score: as in `main_scores`; None by default.
        arguments: further ones of `corrupt`, such as {"value_range": (-1, 1)}, {"padding": 0} or
            {"columns": columns}; None by default, for none.
        seed: an integer, from which all random numbers follow; 0 by default.
        batch_size: rows of a forward pass; 512 by default.

    Returns:
        A flat dict of floats by name; of a dict of networks a dict of such dicts.

    Raises:
        ValueError: if there is no corruption of a name, kind or severity, or `names` has one that
            moves positions, and labels are of positions.

    Example:
    >>> from sklearn.datasets import load_digits
    >>> images, labels = load_digits(return_X_y=True)
    >>> x = images[:50].reshape(-1, 8, 8, 1).astype("float32") / 16
    >>> student = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)])
    >>> found = measure(student, x, labels[:50], names=["contrast"], severities=[1, 5])
    >>> sorted(name for name in found if name.endswith("nll") or "auroc" in name)[:3]
    ['corrupted_nll', 'nll', 'noise_auroc_confidence']
    """
    several = models if isinstance(models, dict) else {"": models}
    asked = {name: _as_model(each, output, sets) for name, each in several.items()}
    of_teacher = None
    if teacher is not None:
        its = _as_model(teacher, output)
        of_teacher = its.output, ask(answering(its), x, batch_size).raw
    found: Found = {name: {} for name in asked}
    shown = Shown(x, y, kind, names, severities, other, seed, arguments)
    answers = {name: ask(answering(model), x, batch_size) for name, model in asked.items()}
    if any(_has_positions(each.raw) for each in answers.values()):
        leave_moving_out(shown, names)
    shift(asked, shown, found, score=score, batch_size=batch_size)
    measured = {}
    for name, model in asked.items():
        its = None if several[name] is teacher else of_teacher
        its_raw = None if its is None else its[1]
        raw, labels, its_raw = _as_rows(model.output, answers[name], y, its_raw)
        its = None if its is None else (its[0], its_raw)
        measured[name] = {**of_answers(model, raw, labels, its, score), **pooled(found[name])}
    return measured if isinstance(models, dict) else measured[""]


def of_answers(
    model: Model, raw: Any, labels: Any, teacher: tuple | None = None, score: str | None = None
) -> dict[str, float]:
    """The numbers that need nothing but a network's answers to labelled rows.

    Args:
        model: a `Model`.
        raw: its raw outputs (rows, ..., size), or a dict of them.
        labels: labels in any form that `fit` takes.
        teacher: the teacher's output and its raw outputs; None, the default, for none.
        score: as in `main_scores`; None by default.
    """
    found: dict[str, float] = {}
    its_output, its_raw = teacher or (model.output, None)
    of_teacher = outputs.parts_of(its_output, its_raw)
    for name, (output, own, truth) in outputs.parts_of(model.output, raw, labels).items():
        each = scores.main_scores(output, own, truth, score)
        each |= scores.further_scores(output, own, truth)
        if teacher is not None:
            its_output, its_raw = of_teacher[name]
            each |= fidelity.fidelity_scores(its_output, its_raw, output, own, truth)
        found |= _prefixed(name, each)
    return {**found, **_of_sets(model, raw, labels)}


def shift(
    models: Mapping[str, Model],
    shown: "Shown",
    found: Found,
    keep: Callable[[str, int], None] = lambda name, count: None,
    *,
    score: str | None = None,
    batch_size: int = 512,
) -> None:
    """Shows corrupted and other inputs to networks, and adds what is measured.

    Args:
        models: `Model`s by name.
        shown: what is shown.
        found: by network and by set of inputs the numbers that are known. Others are added.
        keep: a function that is called after each corruption, and each set of other inputs, with
            its name and the number of networks; nothing by default.
        score: as in `main_scores`; None by default.
        batch_size: rows of a forward pass; 512 by default.
    """
    of_data: dict[str, dict[str, np.ndarray]] = {}
    answers = {name: answering(model) for name, model in models.items()}
    for corruption, sets in shown.corrupted():
        most = 0
        for name, make in sets.items():
            if left := [each for each in models if name not in found[each]]:
                inputs = make()
                for each in left:
                    its = ask(answers[each], inputs, batch_size)
                    raw, labels, _ = _as_rows(models[each].output, its, shown.y)
                    found[each][name] = _of_corrupted(models[each], raw, labels, score)
                most = max(most, len(left))
        if most:
            keep(corruption, most)
    for name, make in shown.others().items():
        if left := [each for each in models if name not in found[each]]:
            inputs = make()
            for each in left:
                output, answer = models[each].output, answers[each]
                if each not in of_data:
                    of_data[each] = _unfamiliarity(output, ask(answer, shown.x, batch_size))
                found[each][name] = {}
                unlike = _unfamiliarity(output, ask(answer, inputs, batch_size))
                for score_name, its in unlike.items():
                    both = of_data[each][score_name], its
                    found[each][name] |= {
                        f"auroc_{score_name}": detection.auroc(*both),
                        f"fpr95_{score_name}": detection.fpr_at_tpr(*both, tpr=_TPR),
                    }
            keep(name, len(left))


def pooled(found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The means over sets of inputs, as `measure` names them, of what `shift` found of a network.

    Args:
        found: from the name of a set to its numbers.
    """
    corrupted: dict[str, dict[str, list[float]]] = {}
    unlike: dict[str, list[float]] = {}
    single = {}
    for name, numbers in found.items():
        kind, _, rest = name.partition(" ")
        for number, value in numbers.items():
            if kind == _OTHER:
                unlike.setdefault(f"ood_{number}", []).append(value)
                single[f"{rest}_{number}"] = value
            else:
                by_severity = corrupted.setdefault(number, {})
                by_severity.setdefault(rest, []).append(value)
    means = {}
    for number, by_severity in corrupted.items():
        every = [value for values in by_severity.values() for value in values]
        means[f"corrupted_{number}"] = float(np.mean(every))
        for severity, values in sorted(by_severity.items()):
            means[f"corrupted_{number}_{severity}"] = float(np.mean(values))
    return {**means, **{name: float(np.mean(each)) for name, each in unlike.items()}, **single}


class Shown:
    """Corrupted and other inputs, each made when it is needed.

    Args:
        x: as in `measure`.
        y: as in `measure`.
        kind: as in `measure`; None by default.
        names: as in `measure`; None by default.
        severities: as in `measure`; all by default.
        other: as in `measure`; None by default.
        seed: as in `measure`; 0 by default.
        arguments: as in `measure`; None by default.

    Raises:
        ValueError: if there is no corruption of a name, kind or severity.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        kind: str | None = None,
        names: Sequence[str] | None = None,
        severities: Sequence[int] = SEVERITIES,
        other: Mapping[str, Any] | None = None,
        seed: int = 0,
        arguments: Mapping[str, Any] | None = None,
    ):
        """Takes the arguments that the class describes."""
        self.x, self.y, self.seed = x, y, seed
        self._arguments, self._other = dict(arguments or {}), other
        columns = self._arguments.get("columns")
        self.kind = "table" if columns is not None else kind_of(x, kind)
        if self.kind == "image":  # Of several inputs those that are images.
            if not any(map(_is_image, keras.tree.flatten(x))):
                raise ValueError(
                    "kind='image' needs images (rows, height, width, channels), and there are "
                    "none. Of grey ones give images[..., None]."
                )
            known = corruptions.NAMES["image"]
        else:
            known = corruptions.suitable(x, self.kind, columns)
        self.names = known if names is None else tuple(names)
        self.severities = tuple(severities)
        if unknown := sorted({*self.names} - {*known}):
            raise ValueError(
                f"There is no corruption {unknown[0]!r} of the kind {self.kind!r}; expected some "
                f"of {list(known)}."
            )
        if not {*self.severities} <= {*SEVERITIES}:
            raise ValueError(f"severities are of {SEVERITIES}; got {self.severities}.")

    @property
    def sets(self) -> list[str]:
        """The names of all sets of inputs."""
        corrupted = [f"{name} {severity}" for name in self.names for severity in self.severities]
        return [*corrupted, *self.others()]

    def corrupted(self) -> Iterator[tuple[str, dict[str, Callable[[], Any]]]]:
        """Yields each corruption, and functions that make its inputs, by the names of the sets."""
        for name in self.names:
            yield (
                name,
                {
                    f"{name} {severity}": functools.partial(self._corrupted, name, severity)
                    for severity in self.severities
                },
            )

    def others(self) -> dict[str, Callable[[], Any]]:
        """Functions that make inputs unlike the data, by their names."""
        if self._other is None:
            makers = _drawn(self.x, self.seed)
        else:
            makers = {name: functools.partial(_same, each) for name, each in self._other.items()}
        return {f"{_OTHER} {name}": make for name, make in makers.items()}

    def _corrupted(self, name, severity):
        def corrupt(inputs):
            given = {"seed": self.seed, "kind": self.kind, **self._arguments}
            return corruptions.corrupt(inputs, name, severity, **given)

        if self.kind != "image":
            return corrupt(self.x)
        return keras.tree.map_structure(
            lambda leaf: corrupt(leaf) if _is_image(leaf) else leaf, self.x
        )


def kind_of(x: Any, kind: str | None = None) -> str:
    """Returns how inputs are corrupted: "image", "table" or "sequence".

    Args:
        x: as in `measure`.
        kind: as in `measure`; None by default.

    Raises:
        ValueError: if there is no such `kind`.
    """
    if kind is not None:
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {KINDS}; got {kind!r}.")
        return kind
    leaves = keras.tree.flatten(x)
    if any(map(_is_image, leaves)):
        return "image"
    if len(leaves) == 1 and not isinstance(x, Mapping):
        (leaf,) = map(np.asarray, leaves)
        if leaf.ndim == 3 or (leaf.ndim == 2 and leaf.dtype.kind in "iu"):
            return "sequence"
    return "table"


def drawn_inputs(x: Any, seed: int = 0) -> dict[str, Any]:
    """Inputs unlike the data that need no other data set.

    `noise` is uniform and without structure: of images in the range of all pixels, of other inputs
    in a range twice as wide as that of each column, around its middle. `shuffled` has the right
    numbers at wrong places: of images and sequences the positions of every row are shuffled, of
    tables every column over the rows, by itself. (A table of one column has no `shuffled`.)

    Args:
        x: inputs of all rows, as arrays.
        seed: an integer; 0 by default.

    Returns:
        A dict of two such inputs, `noise` and `shuffled`, each in the form of `x`.

    Example:
    >>> found = drawn_inputs(np.array([[0.0, 5.0], [1.0, 6.0]]))
    >>> bool((abs(found["noise"] - [0.5, 5.5]) <= 1.0).all())
    True
    >>> found["shuffled"].sum(0)
    array([ 1., 11.])
    """
    return {name: make() for name, make in _drawn(x, seed).items()}


def answering(model: Model) -> Callable[[Any], tuple[Any, Any, Any]]:
    """Returns a function from a batch of inputs to raw outputs, what members differ by, and masks.

    Networks of Keras are traced once. Of networks that are no ensemble the second part is None. The
    third part is Keras's mask of the raw output, a dict of them, or None.

    Args:
        model: a `Model`.
    """
    answer = _answering(model.network, model.output)
    mask = model.mask
    if mask is None:
        return answer
    return lambda inputs: (*answer(inputs)[:2], mask(inputs))


def _answering(network, output):
    if isinstance(network, teachers.Teacher):
        networks = uncertainty.Networks(network, None, None)

        def of_teacher(inputs):
            members = network.member_outputs(inputs)
            masks = positions.masks(members[0])
            raw = output.raw(network.output_kind.combine(members))  # Whatever its own output is.
            if len(members) < 2:
                return raw, None, masks
            answers = uncertainty.Answers(networks, inputs, members)
            return raw, uncertainty.disagreement(answers), masks

        return _traced(of_teacher)
    if isinstance(network, keras.Model):

        def of_model(inputs):
            raw = network(own_inputs.of(network, inputs), training=False)
            return raw, None, positions.masks(raw)

        return _traced(of_model)

    def of_function(inputs):
        raw = network(inputs)
        return raw, None, positions.masks(raw)

    return of_function


def _traced(function):
    """A function that is traced at its first call, for any number of rows."""
    made: list[Any] = []

    def answer(inputs):
        if not made:
            specs = keras.tree.map_structure(
                lambda leaf: tf.TensorSpec((None, *leaf.shape[1:]), leaf.dtype), inputs
            )
            made.append(tf.function(function, autograph=False).get_concrete_function(specs))
        return made[0](inputs)

    return answer


def ask(answer: Callable[[Any], tuple[Any, Any, Any]], x: Any, batch_size: int = 512) -> _Answers:
    """Asks a network about all rows.

    Args:
        answer: what `answering` returned of it.
        x: the inputs, as arrays.
        batch_size: rows of a forward pass; 512 by default.
    """
    count = len(keras.tree.flatten(x)[0])
    raws, apart, masks = [], [], []
    for first in range(0, count, batch_size):
        part = slice(first, first + batch_size)
        rows = keras.tree.map_structure(lambda leaf, p=part: tf.convert_to_tensor(leaf[p]), x)
        raw, disagreement, mask = answer(data.to_float(rows))
        masks.append(keras.tree.map_structure(_array, mask))
        raws.append(keras.tree.map_structure(np.asarray, raw))
        apart.append(disagreement)
    raw = keras.tree.map_structure(lambda *parts: np.concatenate(parts), *raws)
    mask = keras.tree.map_structure(_together, *masks)
    return _Answers(raw, None if apart[0] is None else np.concatenate(apart), mask)


def _array(values):
    return None if values is None else np.asarray(values)


def _together(*parts):
    return None if parts[0] is None else np.concatenate(parts)


def _has_positions(raw):
    return any(np.ndim(each) > 2 for each in keras.tree.flatten(raw))


def leave_moving_out(shown: "Shown", names: Sequence[str] | None = None) -> None:
    """Takes corruptions out of a `Shown` after which labels of positions would not fit.

    Args:
        shown: the `Shown`.
        names: of corruptions that were asked for; None, the default, for all.

    Raises:
        ValueError: if one of these moves positions.
    """
    if shown.kind == "table":
        return
    if names is not None and (moving := sorted({*names} & {*_MOVING})):
        raise ValueError(
            f"The corruption {moving[0]!r} moves positions, and their labels would stay where they "
            f"are. Leave it out: names={[n for n in shown.names if n not in _MOVING]}."
        )
    shown.names = tuple(name for name in shown.names if name not in _MOVING)


def _as_rows(output, answers, labels, others=None):
    """Raw outputs, labels and other raw outputs, with those positions that count as rows.

    Args:
        output: the `ecl_tf.outputs.Output`.
        answers: `_Answers`.
        labels: in any form that `fit` takes.
        others: raw outputs like those of the answers; None, the default, for none.
    """
    parts: dict[str, tuple] = {}
    given = answers.raw, labels, others, answers.mask
    for name, (_, raw, truth, its, mask) in outputs.parts_of(output, *given).items():
        if np.ndim(raw) > 2:
            counts = np.ones(np.shape(raw)[:-1], bool) if mask is None else mask
            counts = np.broadcast_to(
                counts.reshape(*counts.shape, *[1] * (np.ndim(raw) - 1 - counts.ndim)),
                np.shape(raw)[:-1],
            )
            raw, truth, its = (
                each if each is None else np.asarray(each)[counts] for each in (raw, truth, its)
            )
        parts[name] = raw, truth, its
    if "" in parts:
        return parts[""]
    return tuple({name: part[n] for name, part in parts.items()} for n in range(3))


def _as_model(network, output, sets=None):
    """A network as a `Model`."""
    if isinstance(network, Model):
        return network
    kind = getattr(network, "output_kind", "categorical") if output is None else output
    return Model(getattr(network, "student", network), outputs.get(kind), sets)


def _of_corrupted(model, raw, labels, score):
    found: dict[str, float] = {}
    for name, (output, own, truth) in outputs.parts_of(model.output, raw, labels).items():
        found |= _prefixed(name, scores.main_scores(output, own, truth, score))
    return {**found, **_of_sets(model, raw, labels)}


def _of_sets(model, raw, labels):
    if model.sets is None or isinstance(model.output, outputs.Joint):
        return {}
    known = model.output.known(labels, raw)
    if known is not None:
        raw, labels = (np.asarray(each)[np.asarray(known) > 0.0] for each in (raw, labels))
    found = model.sets.evaluate(raw, labels)
    return {f"conformal_{name}": value for name, value in found.items()}


def _unfamiliarity(output, answers):
    """All scores of rows by how unfamiliar they are."""
    found: dict[str, np.ndarray] = {}
    for name, (each, own, mask) in outputs.parts_of(output, answers.raw, answers.mask).items():
        found |= _prefixed(name, detection.unfamiliarity(each, own, mask))
    if answers.disagreement is not None:
        found["disagreement"] = answers.disagreement
    return found


def _prefixed(name, numbers):
    return {f"{name}_{key}": value for key, value in numbers.items()} if name else numbers


def _is_image(leaf):
    return np.ndim(leaf) == 4


def _same(inputs):
    return inputs


def _drawn(x, seed):
    """Functions that make inputs of `drawn_inputs`, by their names."""
    found = {"noise": functools.partial(_drawn_leaves, x, seed, _noise)}
    leaves = [np.asarray(leaf) for leaf in keras.tree.flatten(x)]
    if sum(np.size(leaf[0]) for leaf in leaves) > 1:
        found["shuffled"] = functools.partial(_drawn_leaves, x, seed, _shuffled)
    return found


def _drawn_leaves(x, seed, draw):
    """A nest whose arrays are drawn by a function, each from its own numbers."""
    numbers = itertools.count()
    return keras.tree.map_structure(
        lambda leaf: draw(np.asarray(leaf), np.random.default_rng([seed, next(numbers)])), x
    )


def _noise(leaf, rng):
    if leaf.dtype.kind not in "iuf":  # Texts and truths.
        return rng.choice(pd.unique(leaf.ravel()), leaf.shape)
    if _is_image(leaf):
        low, high = np.full(leaf.shape[1:], leaf.min()), np.full(leaf.shape[1:], leaf.max())
    elif np.isnan(leaf).all(0).any():
        raise ValueError(
            "A column of the inputs is NaN in all rows. Leave it out, or give `other`."
        )
    else:
        low, high = np.nanmin(leaf, 0), np.nanmax(leaf, 0)
    if leaf.dtype.kind in "iu":  # Ids and bytes have no others.
        return rng.integers(low, high, leaf.shape, leaf.dtype, endpoint=True)
    margin = 0.0 if _is_image(leaf) else (high - low) / 2
    return rng.uniform(low - margin, high + margin, leaf.shape).astype(leaf.dtype)


def _shuffled(leaf, rng):
    is_sequence = leaf.ndim == 2 and leaf.dtype.kind in "iu"
    if leaf.ndim < 3 and not is_sequence:
        return rng.permuted(leaf, axis=0)
    positions = leaf if is_sequence else leaf.reshape(len(leaf), -1, leaf.shape[-1])
    order = rng.permuted(np.tile(np.arange(positions.shape[1]), (len(leaf), 1)), axis=1)
    order = order if is_sequence else order[..., None]
    return np.take_along_axis(positions, order, 1).reshape(leaf.shape)
