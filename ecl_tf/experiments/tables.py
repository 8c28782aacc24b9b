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
# Of single runs and folds: an average over folds has none of it.
_DETAILS = ("teacher_reliability", "teacher_quality", "gallery", "one_dimension")


def table(results):
    """Returns the results as a Markdown table; of a grid, one for each cell.

    Scores are means over seeds with their 95 % t interval; gap reductions carry
    Fieller's interval (see `ecl_tf.gap`).
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
    costs = ["steps", "seconds"] if results.get("ends_by_itself") else ["seconds"]
    header += [*(f"gap closed vs {baseline}" for baseline in BASELINES), *costs]
    teacher = [with_interval(mean(results, "teacher", m)) for m in metrics]
    teacher += [""] * (len(header) - 1 - len(metrics))
    found = [header, [f"teacher, {results['teacher_weights']:,} weights", *teacher]]
    for method, keys in results["final"].items():
        label = results["runs"][keys[0]]["label"]
        row = [f"{method} ({label})" if label else method]
        row += [with_interval(mean(results, method, m)) for m in metrics]
        row += [gap_cell(results, method, baseline) for baseline in BASELINES]
        for cost in costs:
            each = statistics.fmean(results["runs"][key][cost] for key in keys)
            row.append(f"{each:,.0f}" if cost == "steps" else f"{each:.1f}")
        found.append(row)
    return found


def note(results):
    """What the table's numbers are of, as a sentence."""
    seeds = len(next(iter(results["final"].values())))
    split = f"Test splits of {results['folds']} folds" if "folds" in results else "Test split"
    length = f"{results['student_steps']:,} steps each"
    if results.get("ends_by_itself"):
        length = f"each trained until it got no better on validation data, at most {length}"
    text = (
        f"{split}; mean of {seeds} seeds with 95 % interval; students of "
        f"{results['student_weights']:,} weights, {length}."
    )
    if epochs := results.get("replay_epochs"):
        text += (
            f" The teacher's answers were stored for {epochs} epochs, which the seconds leave out."
        )
    return text


def average(folds):
    """Returns the mean over the folds of a cross-validation, as results of the same form.

    Every seed's test scores are averaged over the folds, so that the intervals hold the
    seeds' variation and not the persons'. Curves, reliability, gallery and the like are a
    single fold's and left out.
    """
    first = {name: value for name, value in folds[0].items() if name not in _DETAILS}
    merged = {**first, "runs": {}, "final": {}, "folds": len(folds)}
    merged["teacher"] = {
        m: statistics.fmean(fold["teacher"][m] for fold in folds) for m in first["teacher"]
    }
    for method in first["final"]:
        finals = [[fold["runs"][key] for key in fold["final"][method]] for fold in folds]
        merged["final"][method] = []
        for runs in zip(*finals, strict=True):
            labels = sorted({run["label"] for run in runs})
            key = f"{method}, seed {runs[0]['seed']}"
            merged["final"][method].append(key)
            merged["runs"][key] = {
                "method": method,
                "label": " or ".join(labels),
                "seed": runs[0]["seed"],
                "seconds": sum(run["seconds"] for run in runs),
                **_mean_steps(runs),
                "test": {
                    m: statistics.fmean(run["test"][m] for run in runs) for m in runs[0]["test"]
                },
            }
    return merged


def _mean_steps(runs):
    """Older results have none."""
    own = [run["steps"] for run in runs if "steps" in run]
    return {"steps": statistics.fmean(own)} if own else {}


def scores(results, method, metric):
    """A method's test scores, one for each seed."""
    return [results["runs"][key]["test"][metric] for key in results["final"][method]]


def mean(results, method, metric):
    """The teacher's or a method's mean test score in the unit of `title`, a `gap.Interval`."""
    teacher = method == "teacher"
    values = [results["teacher"][metric]] if teacher else scores(results, method, metric)
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
    theirs, teacher = scores(results, baseline, metric), results["teacher"][metric]
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
