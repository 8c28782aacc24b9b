"""A comparison over several splits: one choice for all, and intervals over the splits."""

import json

import numpy as np
import pytest
from scipy import stats

from ecl_tf.evaluation import corruptions
from ecl_tf.experiments import comparison, grid, tables
from ecl_tf.experiments.best import choose
from ecl_tf.experiments.experiment import Experiment

METHODS = ["ERM", "standard KD", "tuned KD", "XCL"]


@pytest.fixture
def config(digits_config):
    config = digits_config
    config.splits, config.seeds, config.data.seed = 2, 1, 5
    config.teacher.members = 1
    config.suite.update({"shifts": True, "rows": 20, "severities": (4,)})
    config.erm.update({"label_smoothing": 0.0, "mixup_alpha": 0.0})
    for section in (config.teacher, config.student):
        section.train.update({"steps": 2, "epochs": 1, "steps_per_execution": 1})
    return config


def results_of(workdir, *names):
    return [json.loads((workdir / name / "results.json").read_text()) for name in names]


@pytest.mark.slow
def test_splits_are_compared_by_one_choice_and_pooled(
    run_script, config, tmp_path, monkeypatch, eagerly
):
    monkeypatch.setitem(corruptions.NAMES, "image", ("contrast",))
    run_script("compare", config, tmp_path, draws=False)
    names = "split_0", "split_1"
    parts, (results,) = results_of(tmp_path, *names), results_of(tmp_path, "")
    for number, name in enumerate(names):
        own = json.loads((tmp_path / name / "config.json").read_text())
        assert (own["data"]["seed"], own["seed"], own["splits"]) == (5 + number, 100 * number, 1)
        assert (tmp_path / name / "teacher/member_0.keras").exists()
    assert parts[0]["teacher_fingerprint"] != parts[1]["teacher_fingerprint"]

    # One setting for both, of the best mean over their validation rows.
    tuned = [[run for run in part["runs"].values() if run["seed"] % 100 == 0] for part in parts]
    tried = {}
    for run in (run for part in tuned for run in part if run["method"] == "tuned KD"):
        tried.setdefault(run["label"], []).append(run["validation"])
    assert [len(scores) for scores in tried.values()] == [2, 2, 2]  # The third is standard KD's.

    def rank(label):
        of_splits = tried[label]
        return [sum(sign * s[m] for s in of_splits) for m, sign in (("accuracy", 1), ("nll", -1))]

    best = max(tried, key=rank)
    chosen = {part["runs"][key]["label"] for part in parts for key in part["final"]["tuned KD"]}
    assert chosen == {best}

    # The mean and the interval over the splits, by hand.
    assert (results["splits"], results["seeds"]) == (2, 1) and list(results["final"]) == METHODS
    rows = (tmp_path / "table.md").read_text().splitlines()
    assert rows[-1].startswith("Test rows of 2 splits; mean over the splits with 95 %")
    found = {"teacher": [part["teacher"]["accuracy"] for part in parts]}
    for method in METHODS:
        found[method] = np.ravel([tables.scores(part, method, "accuracy") for part in parts])
    for method, scores in found.items():
        (row,) = (row for row in rows if row.startswith(f"| {method}"))
        mean, half = np.mean(scores), stats.t.ppf(0.975, 1) * stats.sem(scores)
        assert f"| {100 * mean:.2f} ± {100 * half:.2f} |" in row

    # The suite is of each split's test rows, and means and intervals are over the splits.
    each = [part["runs"][part["final"]["XCL"][0]]["suite"]["corrupted_nll_4"] for part in parts]
    half = stats.t.ppf(0.975, 1) * stats.sem(each)
    assert f"{np.mean(each):.3f} ± {half:.3f} |" in (tmp_path / "suite.md").read_text()
    assert len(results["teacher_suites"]) == 2 and "ood_auroc_entropy" in results["teacher_suite"]

    # One student is shipped, with the scores of its own split.
    name, key = choose(dict(zip(names, parts, strict=True)))
    run = parts[names.index(name)]["runs"][key]
    shipped = (tmp_path / "best/student.keras").read_bytes()
    assert shipped == (tmp_path / name / "students" / run["student"]).read_bytes()
    card = (tmp_path / "best/MODEL_CARD.md").read_text()
    own = "| test | this student | {accuracy:.4g} | {nll:.4g} | {ece:.4g} |"
    units = {"accuracy": 100, "nll": 1, "ece": 100}
    assert own.format(**{each: units[each] * run["test"][each] for each in units}) in card
    assert f"compared with the mean of those of {name}." in card and "one of 2 splits" in card

    # Once more: nothing is trained, and nothing changes.
    monkeypatch.setattr(Experiment, "train_supervised", None)
    monkeypatch.setattr(Experiment, "train_distilled", None)
    run_script("compare", config, tmp_path, rehearses=False, draws=False)
    assert results_of(tmp_path, "") == [results]
    (tmp_path / "results.json").unlink()  # As if it had been killed before it was written.
    run_script("compare", config, tmp_path, rehearses=False, draws=False)
    assert results_of(tmp_path, "") == [results]


def part(teacher, kd, xcl):
    """Results of a split with two seeds, of a teacher and of two methods."""
    finals = {"standard KD": kd, "XCL": xcl}
    return {
        "score": "accuracy",
        "higher_is_better": True,
        "student_steps": 2,
        "student_weights": 7,
        "teacher_weights": 70,
        "teacher": {"accuracy": teacher},
        "final": {method: [f"{method} {seed}" for seed in (1, 2)] for method in finals},
        "runs": {
            f"{method} {seed}": {
                "method": method,
                "label": "",
                "seed": seed,
                "seconds": 2.0 * seed,
                "test": {"accuracy": score},
            }
            for method, scores in finals.items()
            for seed, score in zip((1, 2), scores, strict=True)
        },
    }


def test_the_gap_closed_over_splits_pairs_each_with_its_teacher():
    parts = [
        part(0.90, (0.74, 0.76), (0.82, 0.83)),
        part(0.80, (0.55, 0.65), (0.68, 0.72)),
        part(0.80, (0.64, 0.64), (0.75, 0.73)),
    ]
    gain, whole = np.array([0.075, 0.1, 0.1]), np.array([0.15, 0.2, 0.16])
    pooled = tables.average(parts, "split")
    assert pooled["teacher"]["accuracy"] == pytest.approx(2.5 / 3)
    closed = tables.gap_closed(pooled, "XCL", "standard KD")
    assert closed.value == pytest.approx(gain.sum() / whole.sum())
    for bound in closed[1:]:  # Where a t test over the splits begins to reject.
        assert stats.ttest_1samp(gain - bound * whole, 0.0).pvalue == pytest.approx(0.05)
    rows = tables.rows(pooled)
    assert rows[1][1] == f"83.33 ± {100 * stats.t.ppf(0.975, 2) * stats.sem([0.9, 0.8, 0.8]):.2f}"
    assert rows[2][-1] == "3.0"  # Seconds of a training: 2 and 4.


def test_every_split_has_its_own_seeds(config):
    (_, first), (name, second) = grid.repetitions(config)
    assert name == "split_1" and first.data.seed == 5
    assert (second.data.seed, second.seed, second.splits) == (6, 100, 1)
    assert config.data.seed == 5 and config.splits == 2
    config.splits = 1
    assert grid.repetitions(config) == []


def test_what_cannot_be_repeated_is_refused_before_all(config, tmp_path, subtests):
    with subtests.test("a teacher"), pytest.raises(ValueError, match="one teacher for all splits"):
        comparison.rehearse(config, tmp_path, "elsewhere")
    with config.unlocked():
        del config.data.seed
        config.data.name = "imagenet2012"
    with subtests.test("no seed"), pytest.raises(ValueError, match=r"set config\.splits to 1"):
        comparison.rehearse(config, tmp_path)
    with config.unlocked():
        config.data.held_out = "all"
    with subtests.test("folds"), pytest.raises(ValueError, match="both repeat the experiment"):
        comparison.rehearse(config, tmp_path)
    assert not any(tmp_path.iterdir())
