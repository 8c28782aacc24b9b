"""Everything that is measured of networks: on the data, on corrupted data, and off the data."""

from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import outputs, prediction_sets, teachers, uncertainty
from ecl_tf._internal import own_inputs, positions, require
from ecl_tf.evaluation import corruptions, detection, fidelity, measurable, scores
from ecl_tf.evaluation.shown import OTHER, Shown

_TPR = 0.95
_LEAST_SCALE = 1e-6  # In units of the targets' spread.
_ROWS = 64, 512  # Of a forward pass, at least and at most.
# Of the inputs of a forward pass: what layers make of more leaves the processor's cache.
_NUMBERS = 2**17
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
    severities: Sequence[int] = corruptions.SEVERITIES,
    other: Mapping[str, Any] | None = None,
    score: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    seed: int = 0,
    batch_size: int | None = None,
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
            a `Distiller`, an `ecl_tf.Teacher`, what `ecl_tf.load_student` returned, another
            function from a batch of inputs to raw outputs, or a `Model` with an output of its own.
            A function that answers with one number for each row may leave the last axis out.
        x: the inputs of all rows, as arrays, which networks get as they are, as from `fit` and
            `predict`. The commands scale uint8 images to [0, 1]: `ecl_tf.data.to_float(x)` gives
            such to networks that learned from them.
        y: their labels, in any form that `fit` takes; of named outputs those of each.
        output: the `ecl_tf.outputs.Output` of raw outputs, or its name; None, the default, is a
            distiller's or a teacher's own, and "categorical" for other networks. Where it has no
            room for a teacher's spread, the teacher is scored by an output of its family that has,
            unless `sets` are given.
        teacher: a network, to which fidelity is measured; None, the default, for none. It may be
            one of `models`, too.
        sets: the `ecl_tf.prediction_sets.PredictionSets` of a single network, of one output; None
            by default.
        kind: "image", "table" or "sequence", which says how inputs are corrupted; None, the
            default, infers it: inputs of rank 4 are images, of rank 3 and whole numbers of rank 2
            are sequences, and others of the ranks 1 and 2 are tables. Nothing else, such as videos,
            several sequences or several inputs without names, is corrupted.
        names: of corruptions; None, the default, for all of the kind; () for none.
        severities: of corruptions, 1 to 5; all by default.
        other: a dict of inputs that are unlike the data, by name, each in the form of `x`; None,
            the default, for those of `drawn_inputs`; {} for none.
        score: as in `main_scores`, of the outputs that have it; None by default.
        arguments: further ones of `corrupt`, such as {"value_range": (-1, 1)}, {"padding": 0} or
            {"columns": columns}; None by default, for none.
        seed: an integer, from which all random numbers follow; 0 by default.
        batch_size: rows of a forward pass; None, the default, for 64 to 512, the fewer the more
            numbers a row has.

    Returns:
        A flat dict of floats by name; of a dict of networks a dict of such dicts.

    Raises:
        ValueError: if there is no corruption of a name, kind or severity, or `names` has one that
            moves positions, and labels are of positions; if there are no rows, or not as many
            labels, or labels that are none or all unknown; if a Keras model expects inputs of
            another shape or scale, or none that gets uint8 images scales them; if a network answers
            with probabilities, NaN, or what is not of its output, or the teacher with other classes
            or targets; if one looks floating-point numbers up that would be corrupted; if there is
            no such score; or if images have channels first, or exceed their range, so that they
            are not corrupted, or `other` is of another type or scale than `x`.

    Example:
    >>> from sklearn.datasets import load_digits
    >>> images, labels = load_digits(return_X_y=True)
    >>> x = images[:50].reshape(-1, 8, 8, 1).astype("float32") / 16
    >>> student = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)])
    >>> found = measure(student, x, labels[:50], names=["contrast"], severities=[1, 5])
    >>> sorted(name for name in found if name.endswith("nll") or "auroc" in name)[:3]
    ['corrupted_nll', 'nll', 'noise_auroc_confidence']
    """
    require.counts(batch_size=batch_size)
    several = models if isinstance(models, dict) else {"": models}
    for each in several.values():  # An exported student encodes the rows of its table itself.
        if (columns := getattr(each, "columns", None)) and columns.are_in(x):
            x = columns.cells(x)
            given = (other or {}).items()
            other = other and {n: columns.cells(r) if columns.are_in(r) else r for n, r in given}
    x, y, _ = own_inputs.arrays_of_frames(x, y)
    asked = {name: _as_model(each, output, sets) for name, each in several.items()}
    its = None if teacher is None else _as_model(teacher, output)
    measurable.require_rows([*asked.values(), *([its] if its else [])], x, y, other)
    if other is not None:
        other = {name: measurable.in_types_of(x, its) for name, its in other.items()}
    measurable.require_score(asked, score)
    shown = Shown(x, y, kind, names, severities, other, seed, arguments)
    if shown.kind == "image" and (shown.names or other is None):
        measurable.require_channels_last(asked, x)
    shown.require_range()
    measurable.require_kept_values([*asked.values(), *([its] if its else [])], shown, arguments)
    functions = {name: answering(model) for name, model in asked.items()}
    answers = {name: ask(function, x, batch_size) for name, function in functions.items()}
    measurable.require_answers(asked, answers, x, y)
    of_teacher = None
    if its is not None:
        own = [name for name, each in several.items() if each is teacher]
        answered = answers[own[0]] if own else ask(answering(its), x, batch_size)
        measurable.require_answers({"teacher": its}, {"teacher": answered}, x, None)
        measurable.require_comparable(asked, answers, its, answered.raw)
        of_teacher = its.output, answered.raw
    found: Found = {name: {} for name in asked}
    if any(np.ndim(raw) > 2 for raw in keras.tree.flatten([each.raw for each in answers.values()])):
        shown.leave_out_moving(names)
    known = {name: (functions[name], answers[name]) for name in asked}
    shift(asked, shown, found, known=known, score=score, batch_size=batch_size)
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
        each = scores.main_scores(output, own, truth, _score_of(output, score))
        each |= scores.further_scores(output, own, truth)
        if teacher is not None:
            its_output, its_raw = of_teacher[name]
            each |= fidelity.fidelity_scores(its_output, its_raw, output, own, truth)
        found |= _prefixed(name, each)
    return {**found, **_of_sets(model, raw, labels)}


def shift(
    models: Mapping[str, Model],
    shown: Shown,
    found: Found,
    keep: Callable[[str, int], None] = lambda name, count: None,
    *,
    known: Mapping[str, tuple[Callable, Any]] | None = None,
    score: str | None = None,
    batch_size: int | None = None,
) -> None:
    """Shows corrupted and other inputs to networks, and adds what is measured.

    Args:
        models: `Model`s by name.
        shown: what is shown.
        found: by network and by set of inputs the numbers that are known. Others are added.
        keep: a function that is called after each corruption, and each set of other inputs, with
            its name and the number of networks; nothing by default.
        known: by network what `answering` returned of it, and what `ask` returned of `shown.x`;
            None, the default, asks here.
        score: as in `main_scores`; None by default.
        batch_size: as in `measure`; None by default.
    """
    known = known or {name: (answering(model), None) for name, model in models.items()}
    of_data: dict[str, dict[str, np.ndarray]] = {}

    def unknown(name):
        return [each for each in models if name not in found[each]]

    corrupted, others = list(shown.corrupted()), shown.others()
    makers = {name: make for _, sets in corrupted for name, make in sets.items()} | others
    made = _made_ahead([make for name, make in makers.items() if unknown(name)])
    for corruption, sets in corrupted:
        most = 0
        for name in sets:
            if left := unknown(name):
                inputs = next(made)
                for each in left:
                    its = ask(known[each][0], inputs, batch_size)
                    raw, labels, _ = _as_rows(models[each].output, its, shown.y)
                    found[each][name] = _of_corrupted(models[each], raw, labels, score)
                most = max(most, len(left))
        if most:
            keep(corruption, most)
    for name in others:
        if left := unknown(name):
            inputs = next(made)
            for each in left:
                output, (answer, of_x) = models[each].output, known[each]
                if each not in of_data:
                    of_x = of_x or ask(answer, shown.x, batch_size)
                    of_data[each] = _unfamiliarity(output, of_x)
                found[each][name] = {}
                unlike = _unfamiliarity(output, ask(answer, inputs, batch_size))
                for score_name, its in unlike.items():
                    both = of_data[each][score_name], its
                    found[each][name] |= {
                        f"auroc_{score_name}": detection.auroc(*both),
                        f"fpr95_{score_name}": detection.fpr_at_tpr(*both, tpr=_TPR),
                    }
            keep(name, len(left))


def _made_ahead(makers):
    """Yields what each function makes; another thread makes the next one meanwhile."""
    with futures.ThreadPoolExecutor(1) as thread:
        coming = [thread.submit(make) for make in makers[:1]]
        for make in makers[1:]:
            made = coming.pop().result()
            coming.append(thread.submit(make))
            yield made
        yield from (last.result() for last in coming)


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
            if kind == OTHER:
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
        raw = keras.tree.map_structure(
            lambda each: each[:, None] if np.ndim(each) == 1 else each, network(inputs)
        )
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


def ask(
    answer: Callable[[Any], tuple[Any, Any, Any]], x: Any, batch_size: int | None = None
) -> _Answers:
    """Asks a network about all rows.

    Args:
        answer: what `answering` returned of it.
        x: the inputs, as arrays.
        batch_size: as in `measure`; None by default.
    """
    leaves = keras.tree.flatten(x)
    count = len(leaves[0])
    if batch_size is None:
        numbers = max(1, sum(np.size(leaf[:1]) for leaf in leaves))  # Of a row.
        batch_size = int(np.clip(_NUMBERS // numbers, *_ROWS))
    raws, apart, masks = [], [], []
    for first in range(0, count, batch_size):
        part = slice(first, first + batch_size)
        rows = keras.tree.map_structure(lambda leaf, p=part: tf.convert_to_tensor(leaf[p]), x)
        raw, disagreement, mask = answer(rows)
        masks.append(keras.tree.map_structure(lambda m: m if m is None else np.asarray(m), mask))
        raws.append(keras.tree.map_structure(np.asarray, raw))
        apart.append(disagreement)
    raw = keras.tree.map_structure(lambda *parts: np.concatenate(parts), *raws)
    mask = keras.tree.map_structure(
        lambda *parts: None if parts[0] is None else np.concatenate(parts), *masks
    )
    return _Answers(raw, None if apart[0] is None else np.concatenate(apart), mask)


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
            counts = positions.counting(np.shape(raw)[:-1], mask)
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
    its: Any = getattr(network, "output", None)
    if isinstance(its, outputs.Output):  # An exported student answers distributions.
        return Model(lambda x: its.raw(network(x)), its, sets)
    own = getattr(network, "output_kind", "categorical")
    kind = outputs.get(own if output is None else output)
    if not isinstance(network, teachers.Teacher):
        outputs.joint.require_fit(kind, network)
    elif sets is None:  # Sets take this output's answers.
        kind = _with_room_for(network.output_kind, kind)
    return Model(getattr(network, "student", network), kind, sets)


def _with_room_for(its, output):
    """An output whose raw outputs hold a teacher's distribution: if it can, the one given.

    Args:
        its: the teacher's `ecl_tf.outputs.Output`.
        output: the one of other networks. Where the family differs, it is kept.
    """
    if not output.can_learn_from(its):
        return output
    if isinstance(output, outputs.Joint):
        parts = {
            name: _with_room_for(its.outputs[name], own) for name, own in output.outputs.items()
        }
        return outputs.Joint(parts, output.weights)
    if not isinstance(output, outputs.Numeric) or output.family != its.family:
        return output
    if isinstance(its, outputs.Point):  # Its raw outputs don't tell by how much members differ.
        unit = its.target_mean, its.target_stddev
        its = outputs.Normal(its.size, _LEAST_SCALE, *unit)
    no_room = isinstance(output, outputs.Point) or np.any(
        output.smallest_stddev > its.smallest_stddev
    )
    return its if no_room else output


def _of_corrupted(model, raw, labels, score):
    found: dict[str, float] = {}
    for name, (output, own, truth) in outputs.parts_of(model.output, raw, labels).items():
        found |= _prefixed(name, scores.main_scores(output, own, truth, _score_of(output, score)))
    return {**found, **_of_sets(model, raw, labels)}


def _score_of(output, score):
    """The score of an output; None for one that has no such score, as another has."""
    return score if score in scores.names(output) else None


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
