"""What `ecl-tf compare` measured, in numbers: scores, gap reductions, and the table of both."""

import itertools
import math
import statistics

from ecl_tf import gap, headroom

_TITLES = {
    "accuracy": "accuracy, %",
    "iou": "mean IoU, %",
    "angular_error": "mean error, degrees",
    "rmse": "RMSE",
    "nll": "NLL, nats",
    "ece": "ECE, %",
    "coverage": "coverage of 95 % intervals, %",
    "conformal_coverage": "coverage of conformal sets, %",
    "conformal_size": "size of conformal sets",
}
_IN_PERCENT = ("accuracy", "iou", "ece", "coverage", "conformal_coverage")
BASELINES = ("standard KD", "tuned KD")
_DIVERGENCE = "divergence, training / new inputs"
_OF_COSTS = {
    "bytes": "bytes",
    "parameters": "weights",
    "multiply_adds": "multiply-adds a row",
}
_OF_TIMES = {"1": "ms a row, one at a time", "32": "ms a row, 32 at a time"}
# Of single experiments: an average over folds or splits has none of it.
_DETAILS = ("teacher_reliability", "teacher_risk_coverage", "gallery", "one_dimension")


def table(results):
    """Returns the results as a Markdown table; of a grid, one for each cell.

    Nothing in it but the seconds of trainings changes when a comparison is made again.
    Scores are means over seeds, or over splits, with their 95 % t interval; gap reductions
    carry Fieller's interval (see `ecl_tf.gap`).
    """
    if "cells" in results:
        parts = [
            f"## {name}\n\n{table(cell) if is_finished(cell) else 'not finished'}"
            for name, cell in results["cells"].items()
        ]
        return "\n\n".join(part.strip() for part in parts) + "\n"
    parts = [markdown(rows(results)), note(results)]
    if found := results.get("shipped"):
        parts += ["### What is shipped", markdown(shipped(found, times=False))]
        parts.append(note_on_shipped(found, times=False))
    return "\n\n".join(parts) + "\n"


def markdown(lines):
    """Rows of text, of which the first one is the header, as a Markdown table."""
    header, *others = lines
    lines = [header, ["---"] * len(header), *others]
    lines = [[" ".join(cell.split()).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def rows(results):
    """The table's header and rows, as lists of text."""
    metrics = list(results["teacher"])
    header = ["method", *map(title, metrics)]
    costs = ["steps", "seconds"] if results.get("ends_by_itself") else ["seconds"]
    header += [f"gap closed vs {baseline}" for baseline in BASELINES]
    header += [*([_DIVERGENCE] if has_divergences(results) else []), *costs]
    teacher = [with_interval(mean(results, "teacher", m)) for m in metrics]
    teacher += [""] * (len(header) - 1 - len(metrics))
    weights = results["teacher_weights"]  # A function has none.
    found = [header, [f"teacher, {weights:,} weights" if weights else "teacher", *teacher]]
    for method, keys in results["final"].items():
        label = results["runs"][keys[0]]["label"]
        row = [f"{method} ({label})" if label else method]
        row += [with_interval(mean(results, method, m)) for m in metrics]
        row += [gap_cell(results, method, baseline) for baseline in BASELINES]
        if has_divergences(results):
            both = (statistics.fmean(divergences(results, method, s)) for s in ("train", "test"))
            row.append(" / ".join(f"{value:.4f}" for value in both))
        for cost in costs:
            each = statistics.fmean(results["runs"][key][cost] for key in keys)
            row.append(f"{each:,.0f}" if cost == "steps" else f"{each:.1f}")
        found.append(row)
    return found


def weights(results, run):
    """The number of a student's weights; earlier versions kept one for all."""
    return run.get("weights", results["student_weights"])


def note(results):
    """What the table's numbers are of, as a sentence."""
    length = f"{results['student_steps']:,} steps each"
    if results.get("ends_by_itself"):
        length = f"each trained until it got no better on validation data, at most {length}"
    if "splits" in results:
        seeds = f", {results['seeds']} seeds each" * (results["seeds"] > 1)
        what = f"Test rows of {results['splits']} splits{seeds}; mean over the splits"
    else:
        seeds = len(next(iter(results["final"].values())))
        split = f"Test splits of {results['folds']} folds" if "folds" in results else "Test split"
        what = f"{split}; mean of {seeds} seed{'s' * (seeds > 1)}"
    runs = (results["runs"][key] for keys in results["final"].values() for key in keys)
    counts = sorted({weights(results, run) for run in runs})
    size = " to ".join(f"{each:,}" for each in dict.fromkeys([counts[0], counts[-1]]))
    text = (
        f"{what} with 95 % interval; students of {size} weights"
        f"{' in 8 bits' * bool(results.get('student_quantization'))}, {length}."
    )
    if sizes := results.get("positions"):
        own = " x ".join("any" if size is None else str(size) for size in sizes)
        of = "splits" if "splits" in results else "seeds"
        text += f" Scores are of all {own} positions of a row that count; intervals are over {of}."
    if epochs := results.get("replay_epochs"):
        text += (
            f" The teacher's answers were stored for {epochs} epochs, but for methods whose "
            "samples depend on the student; the seconds leave that out."
        )
    if coverage := results.get("conformal"):
        text += (
            f" Conformal sets are to hold {100 * coverage:g} % of the labels; their thresholds are "
            "those of validation rows."
        )
    if has_divergences(results):
        text += " Divergences are means of KL(teacher, student) in nats, on new inputs of the test."
        text += _of_the_oracle(results)
    if judged := verdict(results):
        text += f" {judged.sentence} {' '.join(judged.reasons)}"
    return text


def shipped(found, times=True):
    """A header and rows of the scores, size and speed of what is shipped, as lists of text.

    Args:
        found: what `shipping.measure` returned.
        times: whether a row's milliseconds are shown, as by default.
    """
    of_times = _OF_TIMES if times else {}
    metrics = list(dict.fromkeys(name for row in found["rows"].values() for name in row["scores"]))
    rows = [["", *map(title, metrics), *_OF_COSTS.values(), *of_times.values()]]
    for name, row in found["rows"].items():
        scores = [row["scores"].get(metric) for metric in metrics]
        words = [
            "" if score is None else f"{scale(metric, score):.2f}"
            for metric, score in zip(metrics, scores, strict=True)
        ]
        costs = _costs(row["costs"])
        rows.append([name, *words, *(costs[cost] for cost in (*_OF_COSTS, *of_times))])
    return rows


def _costs(costs):
    """What `ecl_tf.costs` returned as texts: counts, and milliseconds to three digits."""
    counts = {name: costs.get(name) for name in _OF_COSTS}
    texts = {name: "" if count is None else f"{count:,}" for name, count in counts.items()}
    times = costs.get("seconds") or {}
    return texts | {rows: f"{1e3 * times[rows]:.3g}" if rows in times else "" for rows in _OF_TIMES}


def describe_costs(costs):
    """One line of what `ecl_tf.costs` returned."""
    names = {**_OF_COSTS, **_OF_TIMES}
    return ", ".join(f"{names[key]} {text}" for key, text in _costs(costs).items() if text)


def note_on_shipped(found, times=True):
    """What the numbers of `shipped` are, in sentences."""
    about_times = (
        "Milliseconds are the processor time of one core in TensorFlow, LiteRT or ONNX Runtime "
        "itself, called from Python with arrays: the median of calls, without the checks of "
        "load_student. "
    )
    rows = {"test": "Test rows", "validation": "Validation rows"}[found["split"]]
    whose = f", {found['of']}" if "of" in found else ""
    return (
        f"{rows}; one student{whose}, in each of its files. {about_times * times}"
        "Multiply-adds are the network's."
    )


def _of_the_oracle(results):
    """The shares that methods have of what the oracle closes of tuned KD's divergence, in words."""
    shares = {name: oracle_share(results, name) for name in results["final"]}
    known = {name: share for name, share in shares.items() if share is not None}
    if not known:
        return ""
    if any(math.isnan(share.value) for share in known.values()):
        return " The oracle closes nothing of tuned KD's divergence on new inputs."
    words = ", ".join(f"{name} {_share(share)}" for name, share in known.items())
    return f" Of tuned KD's divergence on new inputs that the oracle closes: {words}."


def oracle_share(results, method):
    """The share of what the oracle closes of tuned KD's divergence on test inputs.

    (D_KD - D) / (D_KD - D_oracle), seed by seed.

    Returns:
        `ecl_tf.gap.Interval`; None without an oracle, for the oracle itself, ERM and the KDs.
    """
    final = results["final"]
    if method in ("ERM", "oracle", *BASELINES) or not {"oracle", "tuned KD"} <= final.keys():
        return None
    own, kd, oracle = (divergences(results, m, "test") for m in (method, "tuned KD", "oracle"))
    if gap.meets_teacher(kd, statistics.fmean(oracle), higher_is_better=False):
        return gap.Interval(math.nan, math.nan, math.nan)
    return gap.reduction(own, kd, oracle)


def verdict(results):
    """What would help a comparison's students, an `ecl_tf.headroom.Verdict`, or None.

    It is told of training and validation data alone: of whichever KD is nearer to the teacher on
    validation inputs, and of the better of both by score. Results of earlier versions have too
    little for it. Where trainings ended by themselves, more steps would not help.
    """
    teacher = results.get("teacher_quality", {}).get("validation")
    if not teacher or not has_divergences(results):
        return None

    name, higher_is_better = results["score"], results["higher_is_better"]
    validation = {
        method: statistics.fmean(results["runs"][key]["validation"][name] for key in keys)
        for method, keys in results["final"].items()
    }
    apart = {
        method: tuple(
            statistics.fmean(divergences(results, method, split))
            for split in ("train", "validation")
        )
        for method in BASELINES
        if method in results["final"]
    }
    own, new = min(apart.values(), key=lambda pair: pair[1])
    best = (max if higher_is_better else min)(validation[method] for method in apart)
    teacher_lead, kd_lead = (
        headroom.lead(score, validation["ERM"], higher_is_better) for score in (teacher[name], best)
    )
    evidence = headroom.Evidence(
        own,
        new,
        teacher_lead,
        kd_lead,
        shorter=own if results.get("ends_by_itself") else None,
    )
    return headroom.verdict(evidence)


def has_divergences(results):
    """Whether the final runs know their divergence from the teacher: not in earlier versions."""
    keys = itertools.chain.from_iterable(results["final"].values())
    return all("divergence" in results["runs"][key] for key in keys)


def divergences(results, method, split):
    """A method's divergences from the teacher on a split, one for each seed."""
    return [results["runs"][key]["divergence"][split] for key in results["final"][method]]


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
    for name in ("teacher_suite", "shifted"):
        merged.pop(name, None)
    if all("teacher_suite" in each for each in repetitions):
        merged["teacher_suite"] = _mean([each["teacher_suite"] for each in repetitions])
        if kind == "split":
            merged["teacher_suites"] = [each["teacher_suite"] for each in repetitions]
    if all("shifted" in each for each in repetitions):
        merged["shifted"] = repetitions[0]["shifted"]
    if all("teacher_quality" in each for each in repetitions):
        validation = [each["teacher_quality"]["validation"] for each in repetitions]
        merged["teacher_quality"] = {"validation": _mean(validation)}
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
                **_mean_steps(runs),
            }
            for part in ("weights", "output"):
                if all(run.get(part) == runs[0].get(part) for run in runs) and part in runs[0]:
                    merged["runs"][key][part] = runs[0][part]
            for part in ("test", "validation", "divergence", "suite"):
                if all(part in run for run in runs):
                    merged["runs"][key][part] = _mean([run[part] for run in runs])
    if kind == "split":
        merged["seeds"] = len(by_seed)
    return merged


def _mean(scores):
    """The means of several dicts from metric to score, of metrics that all of them have."""
    common = [metric for metric in scores[0] if all(metric in each for each in scores)]
    return {metric: statistics.fmean(each[metric] for each in scores) for metric in common}


def _mean_steps(runs):
    """Older results have none."""
    own = [run["steps"] for run in runs if "steps" in run]
    return {"steps": statistics.fmean(own)} if own else {}


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
    return _share(reduction)


def _share(reduction):
    """A gap reduction that is defined, in words."""
    if math.isnan(reduction.low):
        return f"{100 * reduction.value:.0f} %"
    if math.isinf(reduction.low):
        return f"{100 * reduction.value:.0f} % (unbounded interval)"
    low, high = 100 * reduction.low, 100 * reduction.high
    return f"{100 * reduction.value:.0f} % ({low:.0f} to {high:.0f})"


def is_of_classes(results):
    """Whether a comparison's answers are classes, or yes/no labels."""
    return results["score"] in ("accuracy", "iou")


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
