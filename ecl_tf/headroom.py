"""Where a student's gap to its teacher comes from, and what would close it.

A student's divergence from its teacher on *training* inputs is what it could not fit: its capacity
and its steps. What the divergence on *new* inputs has above that is what it does not know beyond
its training inputs: samples can mend it. And neither is worth closing if the teacher knows no more
than the labels.
"""

import math
from typing import NamedTuple

# All thresholds of the verdict, with what speaks for each.
_NEAR = 0.005  # Nats: no event's probability differs by more than 5 points (Pinsker), on average.
_LEAD = 0.05  # Of ERM's error: with less, labels beside the samples or alone were the best.
_MENDABLE = 0.5  # Share of the divergence: with more, XCL was the best or within its interval.
_FITTED = 0.35  # With less, it never was.
_STILL_FALLS = 0.1  # Share by which twice the steps must lower the divergence, to be worth it.


class Evidence(NamedTuple):
    """What is known of a teacher and of its students, from training and validation data.

    Attributes:
        training: the divergence of ordinary distillation (KD) on training inputs, in nats: the
            mean of KL(teacher, student) at temperature 1.
        new: the same on new inputs, those of the validation split.
        teacher_lead: how far the teacher is ahead of a student that is trained on labels (ERM), on
            validation data (see `lead`).
        kd_lead: the same for KD.
        lead_error: the standard error of `teacher_lead`; 0 by default, which is not known.
        shorter: KD's divergence on training inputs after half of the steps, the schedule of the
            learning rate fitted to them; None by default, which is not known.
    """

    training: float
    new: float
    teacher_lead: float
    kd_lead: float
    lead_error: float = 0.0
    shorter: float | None = None

    @property
    def mendable(self) -> float:
        """(new - training) / new: the share of KD's divergence that samples can mend."""
        return (self.new - self.training) / self.new if self.new > 0.0 else 0.0

    @property
    def gap(self) -> float:
        """KD's error / the teacher's - 1; infinite where the teacher makes none."""
        teacher, student = 1.0 - self.teacher_lead, 1.0 - self.kd_lead
        if teacher > 0.0:
            return student / teacher - 1.0
        return math.inf if student > 0.0 else 0.0


class Verdict(NamedTuple):
    """What to do about a gap.

    Attributes:
        name: "XCL" (sample beyond the training inputs), "KD" (ordinary distillation), "labels"
            (train on labels, alone or beside the distillation), "better teacher", or
            "inconclusive".
        reasons: sentences, each with its numbers.
        remedies: what would help, the most helpful first: "samples", "more steps", "a larger
            student", "a better teacher", "labels", or "more validation data".
    """

    name: str
    reasons: tuple[str, ...]
    remedies: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """What would help, in one sentence."""
        return f"What would help: {', then '.join(self.remedies)}."


def lead(score: float, erm: float, higher_is_better: bool) -> float:
    """How far a score is ahead of training on labels: (ERM's error - its error) / ERM's error.

    Args:
        score: of a teacher or a student: an error, or an accuracy a, whose error is 1 - a.
        erm: the same score of a student that is trained on labels.
        higher_is_better: whether they are accuracies.

    Returns:
        The share; below 0 for a score that is behind, 0 if ERM has no error.

    Example:
    >>> round(lead(0.96, 0.95, higher_is_better=True), 2)
    0.2
    """
    own, its = (1.0 - score, 1.0 - erm) if higher_is_better else (score, erm)
    return 1.0 - own / its if its > 0.0 else 0.0


def verdict(evidence: Evidence) -> Verdict:
    """Judges where a gap comes from, and what is worth trying.

    In this order: a teacher that is behind labels has to become better, and one that is ahead by
    less than 5 % of ERM's error teaches little beyond them, unless the standard error leaves that
    open. Ordinary distillation is enough if its divergence on new inputs is below 0.005 nats. XCL
    is worth trying if at least 50 % of that divergence is found on new inputs only, and not if
    less than 35 % are; then it is KD, or labels where these are ahead of KD.

    Args:
        evidence: the `Evidence`.

    Returns:
        The `Verdict`.

    Example:
    >>> found = verdict(Evidence(training=0.01, new=0.1, teacher_lead=0.4, kd_lead=0.1))
    >>> found.name, found.sentence
    ('XCL', 'What would help: samples.')
    """
    ahead, noise = evidence.teacher_lead, evidence.lead_error
    within = f" (standard error {100 * noise:.0f} %)" if noise else ""
    known = [f"The teacher's error on validation data is {_beside(ahead)} ERM's{within}."]
    if ahead + noise < 0.0:
        known.append("What it knows, labels teach as well.")
        return Verdict("better teacher", tuple(known), ("a better teacher", "labels"))
    if ahead < _LEAD:
        if ahead + noise > 2.0 * _LEAD:
            known.append("There are too few validation rows to tell whether it is ahead.")
            return Verdict("inconclusive", tuple(known), ("more validation data",))
        known.append("There is little to learn from it beyond the labels.")
        return Verdict("labels", tuple(known), ("labels", "a better teacher"))
    gap = "above" if math.isinf(evidence.gap) else _beside(-evidence.gap)
    known.append(
        f"KD's divergence from the teacher is {evidence.training:.3g} nats on training inputs and "
        f"{evidence.new:.3g} on new ones, and its error is {gap} the teacher's."
    )
    if evidence.new < _NEAR:
        known.append(
            f"Less than {_NEAR:g} nats are nothing to close: KD is as good as its teacher."
        )
        return Verdict("KD", tuple(known), ("a better teacher",))
    share, remedies = evidence.mendable, _remedies(evidence)
    found = f"{100 * max(share, 0.0):.0f} % of that is found on new inputs only"
    if share >= _MENDABLE:
        return Verdict("XCL", (*known, f"{found}: samples can mend that."), remedies)
    if share >= _FITTED:
        known.append(f"{found}, neither much nor little: a comparison tells whether samples help.")
        return Verdict("inconclusive", tuple(known), remedies)
    known.append(
        f"No more than {found}: the student could not fit the rest, and no sample mends that."
    )
    if evidence.kd_lead < 0.0:
        known.append(f"KD's own error is {_beside(evidence.kd_lead)} ERM's.")
        return Verdict("labels", tuple(known), ("labels", *remedies))
    return Verdict("KD", tuple(known), remedies)


def _remedies(evidence):
    """What lowers a divergence, the larger part of it first."""
    fit = ["more steps or a larger student"]
    if evidence.shorter is not None:
        falls = evidence.training <= (1.0 - _STILL_FALLS) * evidence.shorter
        fit = ["more steps"] if falls else ["a larger student"]
    if evidence.mendable >= 1.0 - _FITTED:
        return ("samples",)
    if evidence.mendable >= _MENDABLE:
        return ("samples", *fit)
    return (*fit, "samples") if evidence.mendable >= _FITTED else tuple(fit)


def _beside(share):
    return f"{100 * abs(share):.0f} % {'above' if share < 0.0 else 'below'}"
