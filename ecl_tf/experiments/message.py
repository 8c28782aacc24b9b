"""What a comparison says in three sentences.

Which student is shipped, how good it is and at what cost, and whether XCL beats KD.
"""

import itertools
import math
import statistics
from collections.abc import Mapping
from typing import Any, NamedTuple

from ecl_tf import gap
from ecl_tf.experiments import best, tables

METHOD = "XCL"
BEATS, NO_GAIN, INCONCLUSIVE = "BEATS", "NO GAIN", "INCONCLUSIVE"
_Results = Mapping[str, Any]


class Judgement(NamedTuple):
    """Whether one method beats another one.

    Attributes:
        word: "BEATS" if the whole interval of the paired difference is a gain, "NO GAIN" if none
            of it is, and else "INCONCLUSIVE".
        difference: how much better it is, in the unit of `tables.title`: a `gap.Interval`. It is
            positive for a gain, whether the score is an accuracy or an error.
        pairs: how many seeds or splits are compared.
    """

    word: str
    difference: gap.Interval
    pairs: int


def judge(results: _Results, method: str, baseline: str, metric: str) -> Judgement:
    """Judges the final runs of two methods on test rows, seed by seed or split by split."""
    own, its = (tables.scores(results, name, metric) for name in (method, baseline))
    return judged(own, its, metric, _is_higher_better(results, metric))


def judged(own: list, its: list, metric: str, higher_is_better: bool) -> Judgement:
    """Judges pairs of scores; as `judge` does.

    Args:
        own: the scores of the method.
        its: those of the baseline, in the same order.
        metric: the scores' name, which tells the unit.
        higher_is_better: True for accuracies, False for errors.
    """
    sign = 1 if higher_is_better else -1
    gains = [sign * tables.scale(metric, a - b) for a, b in zip(own, its, strict=True)]
    difference = gap.mean(gains)
    word = INCONCLUSIVE
    if difference.low > 0.0:
        word = BEATS
    elif difference.high <= 0.0:
        word = NO_GAIN
    return Judgement(word, difference, len(gains))


def baseline_of(results: _Results, metric: str) -> str | None:
    """The KD that is the stronger one by its mean score on validation data; None without any.

    Results of earlier versions may have no validation scores: then it is the stronger one on test
    rows, which favours KD.
    """
    known = [name for name in tables.BASELINES if name in results["final"]]
    sign = 1 if _is_higher_better(results, metric) else -1
    runs = {name: [results["runs"][key] for key in results["final"][name]] for name in known}
    all_runs = itertools.chain.from_iterable(runs.values())
    split = "validation" if all(metric in run.get("validation", ()) for run in all_runs) else "test"

    def rank(name):
        return sign * statistics.fmean(run[split][metric] for run in runs[name])

    return max(known, key=rank, default=None)


def _is_higher_better(results, metric):
    return metric == results["score"] and results["higher_is_better"]


def sentences(results: dict[str, Any]) -> list[str]:
    """The message of a comparison, or of a grid of them, in three sentences.

    Args:
        results: the content of results.json, of which something is finished.
    """
    if "cells" in results:
        return _of_a_grid(results["cells"])
    method = _chosen(results)
    of_whom = method or next(m for m in (METHOD, *results["final"]) if m in results["final"])
    return [_which(results, method), _how_good(results, of_whom), verdict(results)]


def _of_a_grid(cells):
    finished = [cell for cell in cells.values() if tables.is_finished(cell)]
    left = len(cells) - len(finished)
    chosen = [_chosen(cell) or "not known" for cell in finished]
    words = [_word(cell) for cell in finished]
    metric = finished[0]["score"]
    ranges = []
    for who in ("teacher", METHOD):
        known = [each for each in finished if who in ("teacher", *each["final"])]
        if values := [tables.mean(each, who, metric).value for each in known]:
            ranges.append(f"{who} {min(values):.2f} to {max(values):.2f}")
    return [
        f"{_count(len(finished), 'cell')} of the grid {'is' if len(finished) == 1 else 'are'} "
        f"compared{f', and {left} not finished' if left else ''}; the best method on validation "
        f"data is {_counted(chosen)}.",
        f"The means on test rows ({tables.title(metric)}): {', '.join(ranges)}.",
        f"XCL against the stronger KD of each cell: {_counted(words)}.",
    ]


def _counted(words):
    """Each word with the number of cells that it is said of."""
    return ", ".join(f"{each} in {words.count(each)}" for each in dict.fromkeys(words))


def _word(results):
    baseline = baseline_of(results, results["score"])
    if baseline is None or METHOD not in results["final"]:
        return INCONCLUSIVE
    return judge(results, METHOD, baseline, results["score"]).word


def _shipped(results):
    """The method in WORKDIR/best, and which of its students it is; None if that is not known."""
    if found := results.get("best"):
        return found["method"], [f"seed {found['seed']}", *filter(None, [found["of"]])]
    if found := (results.get("shipped") or {}).get("of"):
        method, _, seed = found.rpartition(", seed ")
        return method, [f"seed {seed}"]
    return None


def _chosen(results):
    """The method of the student that is shipped, or would be; None if that is not known."""
    if found := _shipped(results):
        return found[0]
    known = [results["runs"][key] for keys in results["final"].values() for key in keys]
    wanted = {results["score"], "nll"}
    if any(wanted - run.get("validation", {}).keys() or "method" not in run for run in known):
        return None
    _, key = best.choose({"": results})
    return results["runs"][key]["method"]


def _which(results, method):
    run = {} if method is None else results["runs"][results["final"][method][0]]
    bits = " in 8 bits" * bool(results.get("student_quantization"))
    network = f"{_network(results, run)} with {tables.weights(results, run):,} weights{bits}"
    if method is None:
        return (
            f"The students are {network}; their scores on validation data, which would choose one, "
            "are not recorded."
        )
    _, which = _shipped(results) or (method, [])
    about = "; ".join(filter(None, [run["label"], ", ".join(which)]))
    words = f"{method}{f' ({about})' if about else ''}"
    if which:
        return f"The directory best/ holds a student of {words}, {network}."
    return f"The choice on validation data is a student of {words}, {network}."


def _network(results, run):
    """The network of a run's student in words, as far as the settings tell it."""
    config = (results.get("about") or {}).get("config") or {}
    network = dict(config.get("student", {}).get("network", {}))
    name = network.pop("name", None)
    if run.get("output", {}).get("class_name", "Normal") != "Normal":
        network.pop("scale_branch", None)  # As `Experiment.network` does.
    if not name:
        return "a network"
    plain = {key: value for key, value in network.items() if _is_plain(value)}
    words = ", ".join(f"{key} {_plain(value)}" for key, value in plain.items())
    return f"the network {name}{f' ({words})' if words else ''}"


def _is_plain(value):
    values = value if isinstance(value, list) else [value]
    return bool(values) and all(isinstance(each, (int, float, str)) for each in values)


def _plain(value):
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _how_good(results, method):
    metric = results["score"]
    name, unit = _name_and_unit(metric)
    whose = {"teacher": "the teacher's", "ERM": "that of training on labels alone (ERM)"}
    others = [
        f"{words} {tables.with_interval(tables.mean(results, who, metric))}{unit}"
        for who, words in whose.items()
        if who != method and who in ("teacher", *results["final"])
    ]
    own = tables.with_interval(tables.mean(results, method, metric))
    count = _count(len(results["final"][method]), _pair(results))
    return (
        f"On test rows the {name} of {method} is {own}{unit} ({count}), {' and '.join(others)}; "
        f"{_cost(results, method)}."
    )


def _cost(results, method):
    rows = (results.get("shipped") or {}).get("rows", {})
    costs = {name: row["costs"] for name, row in rows.items() if name != "teacher"}
    costs = {name: own for name, own in costs.items() if own.get("bytes")}
    if not costs:
        run = results["runs"][results["final"][method][0]]
        share = _percent(tables.weights(results, run), results["teacher_weights"])
        also = f", and it has {share} of the teacher's weights" if share else ""
        return f"its size and speed were not measured{also}"
    name = min(costs, key=lambda each: costs[each]["bytes"])
    own, its = costs[name], rows.get("teacher", {}).get("costs", {})
    words = f"its smallest file, {name}, has {own['bytes']:,} bytes{_beside(own, its, 'bytes')}"
    count = own.get("multiply_adds")
    if count is None:
        return words
    return f"{words}, and a row takes {count:,} multiply-adds{_beside(own, its, 'multiply_adds')}"


def _beside(own, its, name):
    share = _percent(own[name], its.get(name))
    return f" ({share} of the teacher's)" if share else ""


def _percent(own, its):
    """A share in words; nothing without a whole."""
    if not its:
        return ""
    percent = 100 * own / its
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %"


def verdict(results: _Results) -> str:
    """Whether XCL beats KD on test rows, in a sentence with the word and the interval.

    Args:
        results: of one comparison. Of scores and NLL each is compared with the stronger KD.
    """
    score = results["score"]
    baseline = baseline_of(results, score)
    if baseline is None or METHOD not in results["final"]:
        missing = [METHOD] * (METHOD not in results["final"]) + ["KD"] * (baseline is None)
        were = "was" if len(missing) == 1 else "were"
        return f"{INCONCLUSIVE}: {' and '.join(missing)} {were} not compared."
    found = judge(results, METHOD, baseline, score)
    name, _ = _name_and_unit(score)
    said = {
        BEATS: f"XCL BEATS {baseline} in {name}",
        NO_GAIN: f"NO GAIN of XCL over {baseline} in {name}",
        INCONCLUSIVE: f"INCONCLUSIVE whether XCL beats {baseline} in {name}",
    }[found.word]
    words = f"{said}: {_in_words(found, score)}, {_count(found.pairs, _pair(results))} in pairs"
    if found.pairs < 2:
        kind = _pair(results)
        words = f"{said}: {_in_words(found, score)}, and one {kind} has no interval"
        words += f" (config.{kind}s=5 gives one)"
    if "nll" in results["teacher"] and score != "nll":
        baseline = baseline_of(results, "nll") or baseline
        found = judge(results, METHOD, baseline, "nll")
        words += f"; in NLL, against {baseline}, {found.word}: {_in_words(found, 'nll')}"
    return f"{words}."


def _in_words(found, metric):
    if not math.isfinite(found.difference.value):
        return "not all scores are numbers"
    return f"the gain is {describe(found.difference, metric)}"


def describe(difference: gap.Interval, metric: str) -> str:
    """A difference of scores with its unit and its interval, in words.

    Args:
        difference: in the unit of `tables.title`.

    Example:
    >>> describe(gap.Interval(1.3, 0.4, 2.2), "accuracy")
    '1.30 points (95 % interval 0.40 to 2.20)'
    """
    _, unit = _name_and_unit(metric)
    unit = unit.replace(" %", " points")
    small = max(abs(each) for each in difference if not math.isnan(each)) < 0.1
    value, low, high = (f"{each + 0.0:.2g}" if small else f"{each:.2f}" for each in difference)
    if math.isnan(difference.low):
        return f"{value}{unit}"
    return f"{value}{unit} (95 % interval {low} to {high})"


def _name_and_unit(metric):
    """A metric's name, and its unit with a space before it, if it has one."""
    name, _, unit = tables.title(metric).partition(", ")
    return name, f" {unit}" if unit else ""


def _pair(results):
    return "split" if "splits" in results else "seed"


def _count(number, name):
    return f"{number} {name}{'' if number == 1 else 's'}"
