"""The verdict, on numbers of the kind that docs/results holds."""

import pytest

from ecl_tf import headroom


@pytest.mark.parametrize(
    ("evidence", "name", "remedies"),
    [
        # 200 digits: a perceptron learns the teacher's answers by heart.
        ((0.0004, 0.082, 0.27, 0.19, 0.26, 0.0008), "XCL", ("samples",)),
        # 5,000 images, a larger student.
        ((0.0075, 0.0385, 0.07, 0.03), "XCL", ("samples",)),
        # 55,000 images, 8,778 weights: KD level with labels, then behind them.
        ((0.1000, 0.1050, 0.34, 0.01, 0.0, 0.14), "KD", ("more steps",)),
        ((0.0301, 0.0387, 0.08, -0.05, 0.0, 0.031), "labels", ("labels", "a larger student")),
        ((0.0301, 0.0387, 0.04, -0.05), "labels", ("labels", "a better teacher")),
        # A part of both, and nobody knows whether more steps would help.
        (
            (0.06, 0.10, 0.2, 0.1),
            "inconclusive",
            ("more steps or a larger student", "samples"),
        ),
        ((0.04, 0.10, 0.2, 0.1, 0.0, 0.041), "XCL", ("samples", "a larger student")),
        # Nothing to close.
        ((0.001, 0.004, 0.2, 0.1), "KD", ("a better teacher",)),
        # A teacher behind labels; one that may be, in so few rows.
        ((0.01, 0.10, -0.2, 0.1, 0.1), "better teacher", ("a better teacher", "labels")),
        ((0.01, 0.10, -0.1, 0.1, 0.3), "inconclusive", ("more validation data",)),
        # A student nearer to its teacher on new inputs than on its own.
        ((0.11, 0.10, 0.2, 0.1), "KD", ("more steps or a larger student",)),
    ],
)
def test_the_verdict_agrees_with_what_was_measured(evidence, name, remedies):
    found = headroom.verdict(headroom.Evidence(*evidence))
    assert (found.name, found.remedies) == (name, remedies)
    assert found.sentence == f"What would help: {', then '.join(remedies)}."


def test_a_lead_is_a_share_of_the_error():
    assert headroom.lead(0.96, 0.95, True) == pytest.approx(0.2)  # 4 % wrong beside 5 %.
    assert headroom.lead(3.0, 2.0, False) == pytest.approx(-0.5)
    assert headroom.lead(0.9, 1.0, True) == 0.0


def test_reasons_hold_the_numbers():
    found = headroom.verdict(headroom.Evidence(0.03, 0.12, 0.25, -0.1, lead_error=0.04))
    said = " ".join(found.reasons)
    assert "25 % below ERM's (standard error 4 %)" in said
    assert "0.03 nats on training inputs and 0.12 on new ones" in said
    assert "its error is 47 % above the teacher's" in said  # 1.1 / 0.75
    assert "75 % of that is found on new inputs only" in said  # (0.12 - 0.03) / 0.12
    for kd_lead, its in ((1.0, "0 % below"), (0.9, "above")):  # Beside a teacher without errors.
        reasons = headroom.verdict(headroom.Evidence(0.03, 0.12, 1.0, kd_lead)).reasons
        assert f"and its error is {its} the teacher's." in " ".join(reasons)
