"""The suite on a tagger with masked steps and unknown labels, against NumPy."""

import keras
import numpy as np
import pytest
from by_hand import kl, softmax

from ecl_tf import evaluation, outputs, teachers, uncertainty
from ecl_tf.evaluation.suite import Model, Shown
from ecl_tf.prediction_sets import PredictionSets

RNG = np.random.default_rng(0)
ROWS, STEPS, CLASSES = 8, 6, 3
LENGTHS = RNG.integers(2, STEPS + 1, ROWS)
REAL = np.arange(STEPS) < LENGTHS[:, None]
TOKENS = np.where(REAL, RNG.integers(1, 9, (ROWS, STEPS)), 0).astype("int32")
TAGS = np.where(RNG.uniform(size=(ROWS, STEPS)) < 0.2, 255, RNG.integers(0, 3, (ROWS, STEPS)))
OUTPUT = outputs.Categorical(ignore_class=255)


def tagger(seed):
    keras.utils.set_random_seed(seed)
    layers = keras.layers.Embedding(9, 4, mask_zero=True), keras.layers.Dense(CLASSES)
    model = keras.Sequential([keras.Input((None,), dtype="int32"), *layers])
    model.set_weights([20 * weight for weight in model.get_weights()])
    return model


def answer(model, tokens):
    embedding, kernel, bias = model.get_weights()
    return embedding[tokens].astype("float64") @ kernel + bias


def scores(logits, tokens, labels=TAGS):
    """Of the positions that count."""
    known = (tokens > 0) & (labels != 255)
    p, y = softmax(logits)[known], labels[known]
    right, sure = p.argmax(-1) == y, p.max(-1)
    wrong = np.array([np.mean(~right[sure == each]) for each in sure])  # Equal ones in any order.
    risk = np.cumsum(wrong[np.argsort(-sure)]) / np.arange(1, len(y) + 1)
    nll = -np.log(p[np.arange(len(y)), y]).mean()
    return {"accuracy": right.mean(), "nll": nll, "aurc": risk.mean()}


def test_masked_steps_and_unknown_labels_do_not_count(subtests):
    student, teacher = tagger(1), tagger(2)
    sets = PredictionSets(OUTPUT, 0.5, 10, 0.6)
    settings = {"severities": [2], "arguments": {"padding": 0}, "output": OUTPUT}
    found = evaluation.measure(
        student, TOKENS, TAGS, teacher=teacher, sets=sets, batch_size=3, other={}, **settings
    )
    own, its = answer(student, TOKENS), answer(teacher, TOKENS)
    expected = scores(own, TOKENS)
    expected["divergence"] = kl(its, own)[REAL].mean()
    same = its.argmax(-1) == own.argmax(-1)
    expected["agreement"] = same[REAL].mean()
    known = REAL & (TAGS != 255)
    wrong = known & (its.argmax(-1) != TAGS)
    expected["agreement_where_wrong"] = same[wrong].mean()
    # What moves steps is left out.
    corrupted = []
    for name in ("noise", "missing"):
        x = evaluation.corrupt(TOKENS, name, 2, kind="sequence", padding=0)
        corrupted.append(scores(answer(student, x), x))
    expected["corrupted_nll"] = np.mean([each["nll"] for each in corrupted])
    expected["corrupted_aurc_2"] = np.mean([each["aurc"] for each in corrupted])
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-4)
    members = np.asarray(sets.parameters(OUTPUT(own[known]))["prediction_set"])
    inside = members[np.arange(known.sum()), TAGS[known]]
    assert found["conformal_coverage"] == pytest.approx(inside.mean())

    with subtests.test("masked steps may have any label"):
        own, plain = answer(student, TOKENS), np.where(TAGS == 255, 0, TAGS)
        labels = np.where(REAL, plain, -1)
        settings_of_all = {"severities": [2], "arguments": {"padding": 0}, "other": {}}
        found = evaluation.measure(student, TOKENS, labels, **settings_of_all)
        expected = scores(own, TOKENS, labels)
        assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-4)
        labels[0, 0] = -1
        with pytest.raises(ValueError, match="out of range: -1"):
            evaluation.measure(student, TOKENS, labels, **settings_of_all)
        with pytest.raises(ValueError, match=r"labels have shape \(8,\)"):
            evaluation.measure(student, TOKENS, labels[:, 0], **settings_of_all)

    with subtests.test("other inputs"):
        other = RNG.integers(1, 9, (5, STEPS)).astype("int32")
        found = evaluation.measure(
            student, TOKENS, TAGS, names=(), other={"full": other}, **settings
        )
        of_rows = []
        for tokens in (TOKENS, other):
            p = softmax(answer(student, tokens))
            entropy = -(p * np.log(p)).sum(-1)
            of_rows.append((entropy * (tokens > 0)).sum(1) / (tokens > 0).sum(1))
        pairs = np.mean(np.sign(of_rows[1][:, None] - of_rows[0]) / 2 + 0.5)
        assert found["full_auroc_entropy"] == pytest.approx(pairs)

    with subtests.test("what moves steps"):
        with pytest.raises(ValueError, match=r"'cut' moves positions.*\['noise'"):
            evaluation.measure(student, TOKENS, TAGS, names=["noise", "cut"], **settings)
        images = np.zeros((2, 4, 4, 1), "float32")
        segmenter = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 1)])
        joint = outputs.get({"left": "categorical", "right": "categorical"})
        both = lambda x: {"left": segmenter(x), "right": segmenter(x)}  # noqa: E731
        labels = {name: np.zeros((2, 4, 4), int) for name in ("left", "right")}
        found = evaluation.measure(Model(both, joint), images, labels, names=(), other={})
        p = 1 / (1 + np.exp(np.subtract(*segmenter.get_weights()[1][::-1])))
        assert found["right_nll"] == pytest.approx(-np.log(p))
        assert "elastic_transform" in Shown(images, labels).names


def test_a_mask_of_steps_holds_for_all_positions_of_a_step():
    inputs = keras.Input((3,), dtype="int32")
    hidden = keras.layers.Embedding(9, 4, mask_zero=True)(inputs)
    hidden = keras.layers.TimeDistributed(keras.layers.RepeatVector(2))(hidden)
    model = keras.Model(inputs, keras.layers.Dense(CLASSES, kernel_initializer="normal")(hidden))
    x = np.array([[1, 2, 0], [3, 4, 5], [6, 0, 0]], "int32")
    p = softmax(np.asarray(model(x), "float64"))
    entropy = -(p * np.log(p)).sum(-1)
    expected = [each[row > 0].mean() for each, row in zip(entropy, x, strict=True)]
    output = outputs.Categorical()
    networks = uncertainty.Networks(teachers.get(model, output), model, output)
    found = uncertainty.SCORES["student_uncertainty"](uncertainty.Answers(networks, x))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    found = evaluation.unfamiliarity(output, np.asarray(model(x)), x > 0)["entropy"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
