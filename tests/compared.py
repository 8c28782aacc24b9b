"""Results of comparisons, written by hand."""

METRICS = {"accuracy": ("accuracy", "nll"), "rmse": ("rmse", "nll")}


def results(score="accuracy", teacher=0.9, nll=None, validation=None, kind="seed", **scores):
    """Results with these test scores of each method, one a seed, or one a split.

    Args:
        score: the score that decides.
        teacher: the teacher's score.
        nll: a dict of the NLL by method; None, the default, for 0.5 everywhere.
        validation: a dict of the validation score by method; None, the default, for none.
        kind: "seed" by default, or "split".
        **scores: by method, in which _ is a space.
    """
    found = {"score": score, "higher_is_better": score == "accuracy", "runs": {}, "final": {}}
    found |= {"student_steps": 6000, "student_weights": 500, "teacher_weights": 1000}
    found |= {"teacher": {score: teacher, "nll": 0.25}}
    for name, values in scores.items():
        method = name.replace("_", " ")
        found["final"][method] = [f"{method}, {kind} {number}" for number in range(len(values))]
        own = (nll or {}).get(name, [0.5] * len(values))
        for number, (key, value) in enumerate(zip(found["final"][method], values, strict=True)):
            run = {"method": method, "label": f"as {method}", kind: number, "seconds": 1.0}
            run["test"] = {score: value, "nll": own[number]}
            if validation:
                run["validation"] = {score: validation[name], "nll": 0.5}
            found["runs"][key] = run
    if kind == "split":
        count = len(next(iter(found["final"].values())))
        found |= {"splits": count, "seeds": 1, "teachers": [found["teacher"]] * count}
    return found


def shipped(method="XCL", **files):
    """What is shipped: files by their names with _ for a point, as bytes and multiply-adds."""
    rows = {
        name.replace("_", "."): {
            "scores": {},
            "costs": {"bytes": size, "multiply_adds": count, "seconds": {"1": 1e-6 * count}},
        }
        for name, (size, count) in files.items()
    }
    return {"split": "test", "of": f"{method}, seed 3", "rows": rows}
