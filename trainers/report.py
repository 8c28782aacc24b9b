"""The table and the plot of what `trainers.compare` measured."""

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


def table(results):
    """Returns the results as a Markdown table.

    Scores are means over seeds with their 95 % t interval; gap reductions carry
    Fieller's interval (see `ecl_tf.gap`).
    """
    metrics = list(results["teacher"])
    header = ["method", *(_TITLES[m] for m in metrics)]
    header += ["gap closed vs standard KD", "gap closed vs tuned KD", "seconds"]
    teacher = [f"{_scale(m, results['teacher'][m]):.2f}" for m in metrics]
    rows = [[f"teacher, {results['teacher_weights']:,} weights", *teacher, "", "", ""]]
    for method, keys in results["final"].items():
        label = results["runs"][keys[0]]["label"]
        row = [f"{method} ({label})"]
        row += [_with_interval(gap.mean(scores(results, method, m)), m) for m in metrics]
        for baseline in ("standard KD", "tuned KD"):
            row.append(gap_cell(results, method, baseline))
        seconds = [results["runs"][key]["seconds"] for key in keys]
        rows.append([*row, f"{sum(seconds) / len(seconds):.1f}"])
    seeds = len(next(iter(results["final"].values())))
    lines = [header, ["---"] * len(header), *rows]
    split = f"Test splits of {results['folds']} folds" if "folds" in results else "Test split"
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + (
        f"\n\n{split}; mean of {seeds} seeds with 95 % interval; students of "
        f"{results['student_weights']:,} weights, {results['student_steps']:,} steps each.\n"
    )


def average(folds):
    """Returns the mean over the folds of a cross-validation, as results of the same form.

    Every seed's test scores are averaged over the folds, so that the intervals hold the
    seeds' variation and not the persons'.
    """
    first = folds[0]
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
                "test": {
                    m: statistics.fmean(run["test"][m] for run in runs) for m in runs[0]["test"]
                },
            }
    return merged


def scores(results, method, metric):
    """A method's test scores, one for each seed."""
    return [results["runs"][key]["test"][metric] for key in results["final"][method]]


def gap_cell(results, method, baseline):
    """The gap reduction of XCL against a baseline, in words where it is undefined."""
    if method != "XCL":
        return ""
    metric = results["score"]
    theirs, teacher = scores(results, baseline, metric), results["teacher"][metric]
    if gap.meets_teacher(theirs, teacher, results["higher_is_better"]):
        return f"undefined: {baseline} meets the teacher"
    reduction = gap.reduction(scores(results, method, metric), theirs, teacher)
    if math.isnan(reduction.low):
        return f"{100 * reduction.value:.0f} %"
    if math.isinf(reduction.low):
        return f"{100 * reduction.value:.0f} % (unbounded interval)"
    low, high = 100 * reduction.low, 100 * reduction.high
    return f"{100 * reduction.value:.0f} % ({low:.0f} to {high:.0f})"


def plot(results, path):
    """Writes a PNG: a panel a metric, a dot a seed, mean and interval, the teacher's line."""
    from matplotlib import figure

    methods = list(results["final"])
    metrics = list(results["teacher"])
    picture = figure.Figure(figsize=(4.2 * len(metrics), 3.8), layout="constrained")
    for axes, metric in zip(picture.subplots(1, len(metrics)), metrics, strict=True):
        for position, method in enumerate(methods):
            values = [_scale(metric, value) for value in scores(results, method, metric)]
            interval = gap.mean(values)
            color = "tab:red" if method == "XCL" else "tab:blue"
            axes.plot([position] * len(values), values, "o", color=color, alpha=0.3)
            if len(values) > 1:
                half = interval.high - interval.value
                axes.errorbar(position + 0.15, interval.value, half, fmt="s", color=color)
        teacher = _scale(metric, results["teacher"][metric])
        axes.axhline(teacher, color="black", linestyle="--", linewidth=1)
        axes.text(-0.4, teacher, "teacher", va="bottom")
        axes.set_xticks(range(len(methods)), methods)
        axes.set_xlim(-0.5, len(methods) - 0.5)
        axes.set_title(_TITLES[metric])
    picture.savefig(path, dpi=120)


def _scale(metric, value):
    return 100 * value if metric in _IN_PERCENT else value


def _with_interval(interval, metric):
    value = f"{_scale(metric, interval.value):.2f}"
    if math.isnan(interval.low):
        return value
    return f"{value} ± {_scale(metric, interval.high - interval.value):.2f}"
