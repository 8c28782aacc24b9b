"""Three sentences, against results that were written by hand."""

import re

import numpy as np
import pytest
from compared import results, shipped
from scipy import stats

from ecl_tf.experiments import message, tables

CONFIG = {"student": {"network": {"name": "mlp", "widths": [64, 32], "preprocessing": [{}]}}}


def test_the_message_of_what_is_shipped():
    found = results(
        ERM=(0.70, 0.72, 0.74),
        standard_KD=(0.75, 0.76, 0.77),
        XCL=(0.80, 0.82, 0.84),
        nll={"standard_KD": [0.30, 0.31, 0.32], "XCL": [0.30, 0.31, 0.32]},
    )
    costs = {"teacher": (20_000, 5000), "student_keras": (5000, 100), "student_tflite": (1500, 100)}
    found |= {"about": {"config": CONFIG}, "shipped": shipped(**costs)}
    # The half width is 4.303 (Student's t, 2 degrees) times 0.02 / sqrt(3), in percent; of the
    # gains, which are 5, 6 and 7 points, half of that.
    assert message.sentences(found) == [
        "The directory best/ holds a student of XCL (as XCL; seed 3), the network mlp (widths 64, "
        "32) with 500 weights.",
        "On test rows the accuracy of XCL is 82.00 ± 4.97 % (3 seeds), the teacher's 90.00 % and "
        "that of training on labels alone (ERM) 72.00 ± 4.97 %; its smallest file, "
        "student.tflite, has 1,500 bytes (7.5 % of the teacher's), and a row takes 100 "
        "multiply-adds (2 % of the teacher's).",
        "XCL BEATS standard KD in accuracy: the gain is 6.00 points (95 % interval 3.52 to 8.48), "
        "3 seeds in pairs; in NLL, against standard KD, NO GAIN: the gain is 0 nats (95 % interval "
        "0 to 0).",
    ]


# The gains over KD's 4.0, 4.1 and 4.2, an error.
@pytest.mark.parametrize(
    ("gains", "word"),
    [
        ((0.1, 0.2, 0.3), "INCONCLUSIVE"),  # t = 3.46, and 4.30 is needed.
        ((0.15, 0.2, 0.25), "BEATS"),  # t = 6.93
        ((-0.15, -0.2, -0.25), "NO GAIN"),
        ((0.0, 0.0, 0.0), "NO GAIN"),
        ((0.2, float("nan"), 0.2), "INCONCLUSIVE"),
    ],
)
def test_the_verdict_is_that_of_a_paired_t_test(gains, word):
    kd = np.array([4.0, 4.1, 4.2])
    found = results("rmse", teacher=3.5, standard_KD=kd, XCL=kd - gains, kind="split")
    judged = message.judge(found, "XCL", "standard KD", "rmse")
    assert judged.word == word and judged.pairs == 3
    said = message.verdict(found)
    assert said.startswith("XCL BEATS" if word == "BEATS" else word) and said.endswith(".")
    if np.isnan(gains).any():
        assert "not all scores are numbers" in said
        return
    low, high = stats.t.interval(0.95, 2, np.mean(gains), max(stats.sem(gains), 1e-12))
    np.testing.assert_allclose(judged.difference, [np.mean(gains), low, high], atol=1e-9)
    assert f"the gain is {np.mean(gains):.2f}" in said or not np.any(gains)
    assert "RMSE" in said and "3 splits in pairs" in said


def test_xcl_is_compared_with_the_kd_that_is_better_on_validation_rows():
    scores = {"standard_KD": (0.8, 0.8), "tuned_KD": (0.7, 0.7), "XCL": (0.75, 0.75)}
    chosen = {"standard_KD": 0.7, "tuned_KD": 0.8, "XCL": 0.6}
    assert "BEATS tuned KD" in message.verdict(results(validation=chosen, **scores))
    assert "NO GAIN of XCL over standard KD" in message.verdict(results(**scores))  # By the test.
    of_errors = results("rmse", validation=chosen, **scores)
    assert message.baseline_of(of_errors, "rmse") == "standard KD"


def test_one_seed_missing_methods_and_old_results():
    one = results(standard_KD=(0.7,), XCL=(0.8,), validation={"standard_KD": 0.8, "XCL": 0.7})
    which, how_good, verdict = message.sentences(one)
    assert which == (
        "The choice on validation data is a student of standard KD (as standard KD), a network "
        "with 500 weights."
    )
    assert how_good == (
        "On test rows the accuracy of standard KD is 70.00 % (1 seed), the teacher's 90.00 %; its "
        "size and speed were not measured, and it has 50 % of the teacher's weights."
    )
    assert verdict == (
        "INCONCLUSIVE whether XCL beats standard KD in accuracy: the gain is 10.00 points, and one "
        "seed has no interval (config.seeds=5 gives one); in NLL, against standard KD, "
        "INCONCLUSIVE: the gain is 0 nats."
    )
    without = results(ERM=(0.7, 0.8)) | {"teacher_weights": 0}  # A function has none.
    which, how_good, verdict = message.sentences(without)
    assert which.endswith("which would choose one, are not recorded.")
    assert "the accuracy of ERM is" in how_good and how_good.endswith("were not measured.")
    assert verdict == "INCONCLUSIVE: XCL and KD were not compared."
    assert message.verdict(results(XCL=(0.7, 0.8))) == "INCONCLUSIVE: KD was not compared."


def test_weights_are_those_of_the_student_that_is_named():
    found = results(
        standard_KD=(0.7, 0.7), XCL=(0.8, 0.8), validation={"standard_KD": 0.8, "XCL": 0.7}
    )
    network = {"name": "mlp", "scale_branch": 32}
    found |= {"about": {"config": {"student": {"network": network}}}}
    for run in found["runs"].values():
        is_point = run["method"] == "standard KD"
        run["output"] = {"class_name": "Point" if is_point else "Normal"}
        run["weights"] = 300 if is_point else 500
    which, how_good, _ = message.sentences(found)
    assert which.endswith("the network mlp with 300 weights.")
    assert "30 % of the teacher's weights" in how_good
    assert "students of 300 to 500 weights" in tables.note(found)


def test_what_best_holds_is_told_without_its_costs():
    found = results(XCL=(0.7, 0.8)) | {"best": {"method": "XCL", "seed": 101, "of": "split_1"}}
    start = "The directory best/ holds a student of XCL (as XCL; seed 101, split_1), a network"
    assert message.sentences(found)[0].startswith(start)


def test_the_message_of_a_grid_counts_its_cells():
    chosen = {"standard_KD": 0.7, "XCL": 0.8}
    best = results(standard_KD=(0.6, 0.7), XCL=(0.8, 0.9), validation=chosen)
    open_ = results(standard_KD=(0.7, 0.8), XCL=(0.8, 0.75), teacher=0.95)
    none = results(standard_KD=(0.7, 0.8), teacher=0.85)
    cells = {"a=1": best, "a=2": open_, "a=3": none, "a=4": {"runs": {}}}
    assert message.sentences({"cells": cells}) == [
        "3 cells of the grid are compared, and 1 not finished; the best method on validation data "
        "is XCL in 1, not known in 2.",
        "The means on test rows (accuracy, %): teacher 85.00 to 95.00, XCL 77.50 to 85.00.",
        "XCL against the stronger KD of each cell: BEATS in 1, INCONCLUSIVE in 2.",
    ]


def test_it_is_of_folds_and_splits_as_their_average_is():
    parts = [results(standard_KD=(0.7, 0.7), XCL=(x, x)) for x in (0.8, 0.9)]
    of_splits = message.verdict(tables.average(parts, "split"))
    assert "the gain is 15.00 points" in of_splits and "2 splits in pairs" in of_splits
    # Over folds each seed has one mean, and the seeds are the same here.
    of_folds = message.verdict(tables.average(parts, "fold"))
    assert "XCL BEATS" in of_folds and "15.00 points (95 % interval 15.00 to 15.00)" in of_folds
    assert re.search(r"2 seeds in pairs", of_folds)
