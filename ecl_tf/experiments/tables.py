"""What `ecl-tf compare` measured, in numbers: scores, gap reductions, and the table of both."""

import math
import statistics

from ecl_tf import gap

_TITLES = {
    "accuracy": "accuracy, %",
    "angular_error": "mean error, degrees",
    "rmse": "RMSE",
    "nll": "NLL, nats",
    "ece": "ECE, %",
    "coverage": "coverage of 95 % intervals, %",
}
_IN_PERCENT = ("accuracy", "ece", "coverage")
BASELINES = ("standard KD", "tuned KD")
# Of single experiments: an average over folds or splits has none of it.
_DETAILS = ("teacher_reliability", "teacher_quality", "gallery", "one_dimension")


def table(results):
    """Returns the results as a Markdown table; of a grid, one for each cell.

    Scores are means over seeds, or over splits, with their 95 % t interval; gap reductions
    carry Fieller's interval (see `ecl_tf.gap`).
    """
    if "cells" in results:
        parts = [
            f"## {name}\n\n{table(cell) if is_finished(cell) else 'not finished'}"
            for name, cell in results["cells"].items()
        ]
        return "\n\n".join(part.strip() for part in parts) + "\n"
    header, *others = rows(results)
    lines = [header, ["---"] * len(header), *others]
    lines = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{note(results)}\n"


def rows(results):
    """The table's header and rows, as lists of text."""
    metrics = list(results["teacher"])
    header = ["method", *map(title, metrics)]
    header += [*(f"gap closed vs {baseline}" for baseline in BASELINES), "seconds"]
    teacher = [with_interval(mean(results, "teacher", m)) for m in metrics]
    found = [header, [f"teacher, {results['teacher_weights']:,} weights", *teacher, "", "", ""]]
    for method, keys in results["final"].items():
        label = results["runs"][keys[0]]["label"]
        row = [f"{method} ({label})" if label else method]
        row += [with_interval(mean(results, method, m)) for m in metrics]
        row += [gap_cell(results, method, baseline) for baseline in BASELINES]
        seconds = [results["runs"][key]["seconds"] for key in keys]
        found.append([*row, f"{sum(seconds) / len(seconds):.1f}"])
    return found


def note(results):
    """What the table's numbers are of, as a sentence."""
    if "splits" in results:
        seeds = f", {results['seeds']} seeds each" * (results["seeds"] > 1)
        what = f"Test rows of {results['splits']} random splits{seeds}; mean over the splits"
    else:
        seeds = len(next(iter(results["final"].values())))
        split = f"Test splits of {results['folds']} folds" if "folds" in results else "Test split"
        what = f"{split}; mean of {seeds} seeds"
    text = (
        f"{what} with 95 % interval; students of "
        f"{results['student_weights']:,} weights, {results['student_steps']:,} steps each."
    )
    if epochs := results.get("replay_epochs"):
        text += (
            f" The teacher's answers were stored for {epochs} epochs, which the seconds leave out."
        )
    return text


def average(repetitions, kind="fold"):
    """Returns the mean over folds or splits, as results of the same form.

    Of a "fold" every seed's scores are averaged over the folds, so that the intervals hold the
    seeds' variation and not the persons'. Of a "split" every split's scores are averaged over its
    seeds, so that the intervals hold the variation of splits, with their teachers and students.
    Curves, reliability, gallery and the like are a single experiment's and left out.
    """
    first = {name: value for name, value in repetitions[0].items() if name not in _DETAILS}
    merged = {**first, "runs": {}, "final": {}, f"{kind}s": len(repetitions)}
    merged["teacher"] = _mean([each["teacher"] for each in repetitions])
    if kind == "split":
        merged["teachers"] = [each["teacher"] for each in repetitions]
    for method in first["final"]:
        finals = [[each["runs"][key] for key in each["final"][method]] for each in repetitions]
        merged["final"][method] = []
        by_seed = list(zip(*finals, strict=True))
        for number, runs in enumerate(by_seed if kind == "fold" else finals):
            name, value = ("seed", runs[0]["seed"]) if kind == "fold" else ("split", number)
            key = f"{method}, {name} {value}"
            merged["final"][method].append(key)
            # Of a fold the time of the whole cross-validation, of a split that of one training.
            total = sum(run["seconds"] for run in runs)
            merged["runs"][key] = {
                "method": method,
                "label": " or ".join(sorted({run["label"] for run in runs})),
                name: value,
                "seconds": total if kind == "fold" else total / len(runs),
                "test": _mean([run["test"] for run in runs]),
            }
    if kind == "split":
        merged["seeds"] = len(by_seed)
    return merged


def _mean(scores):
    """The means of several dicts from metric to score."""
    return {metric: statistics.fmean(each[metric] for each in scores) for metric in scores[0]}


def scores(results, method, metric):
    """A method's test scores, one for each seed or each split."""
    return [results["runs"][key]["test"][metric] for key in results["final"][method]]


def teacher_scores(results, metric):
    """The teacher's test score, in a list; over splits that of each one's teacher."""
    return [scores[metric] for scores in results.get("teachers", [results["teacher"]])]


def mean(results, method, metric):
    """The teacher's or a method's mean test score in the unit of `title`, a `gap.Interval`."""
    is_teacher = method == "teacher"
    values = teacher_scores(results, metric) if is_teacher else scores(results, method, metric)
    return gap.mean([scale(metric, value) for value in values])


def gap_closed(results, method, baseline):
    """A distilled method's gap reduction against a baseline.

    Returns:
        `ecl_tf.gap.Interval`, of NaN where the baseline meets the teacher; None for the
        baselines themselves and for ERM.
    """
    if method in ("ERM", *BASELINES) or baseline not in results["final"]:
        return None
    metric = results["score"]
    theirs, teacher = scores(results, baseline, metric), teacher_scores(results, metric)
    if gap.meets_teacher(theirs, teacher, results["higher_is_better"]):
        return gap.Interval(math.nan, math.nan, math.nan)
    return gap.reduction(scores(results, method, metric), theirs, teacher)


def gap_cell(results, method, baseline):
    """The gap reduction of a method against a baseline, in words where it is undefined."""
    reduction = gap_closed(results, method, baseline)
    if reduction is None:
        return ""
    if math.isnan(reduction.value):
        return f"undefined: {baseline} meets the teacher"
    if math.isnan(reduction.low):
        return f"{100 * reduction.value:.0f} %"
    if math.isinf(reduction.low):
        return f"{100 * reduction.value:.0f} % (unbounded interval)"
    low, high = 100 * reduction.low, 100 * reduction.high
    return f"{100 * reduction.value:.0f} % ({low:.0f} to {high:.0f})"


def is_finished(results):
    """Whether the test split of a comparison was read."""
    return "final" in results and "teacher" in results


def title(metric):
    """A metric's name and unit."""
    return _TITLES.get(metric, metric)


def scale(metric, value):
    """A score in the unit of `title`."""
    return 100 * value if metric in _IN_PERCENT else value


def with_interval(interval):
    """An `ecl_tf.gap.Interval` in words, e.g. "93.40 ± 0.96"."""
    value = f"{interval.value:.2f}"
    return value if math.isnan(interval.low) else f"{value} ± {interval.high - interval.value:.2f}"
