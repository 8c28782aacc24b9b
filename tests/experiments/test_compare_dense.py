"""A whole comparison of rows with positions, from the command to the model card."""

import json

import keras
import numpy as np
import pytest
from by_hand import softmax
from tiny import rows

import ecl_tf
from configs import segmentation
from ecl_tf.evaluation import corruptions
from ecl_tf.experiments import comparison
from ecl_tf.experiments.experiment import Experiment
from tests import dense
from tests.dense import by_hand, of, small

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("eagerly")]


def test_a_segmentation_ends_with_numbers_maps_and_a_student(run_script, tmp_path, monkeypatch):
    config = small(segmentation.get_config())
    config.erm.mixup_alpha = 0.4  # So a network is trained on mixed labels of positions.
    config.data.update({"train_size": 32, "validation_size": 10, "test_size": 12})
    config.teacher.network.width = config.student.network.width = 2
    config.export.formats = ("saved_model", "litert")
    config.suite.update({"shifts": True, "rows": 4, "severities": (1,)})
    monkeypatch.setitem(corruptions.NAMES, "image", ("contrast", "elastic_transform"))
    run_script("compare", config, tmp_path / "run", rehearses=False)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["positions"] == [16, 16] and results["higher_is_better"]
    images, labels = rows(Experiment(config).splits.test)
    known = labels != 255
    (teacher,) = (tmp_path / "run" / "teacher").glob("*.keras")
    its = keras.models.load_model(teacher)(images).numpy()
    for method, (key,) in results["final"].items():
        run = results["runs"][key]
        student = keras.models.load_model(tmp_path / "run" / "students" / run["student"])
        logits = student(images).numpy()
        expected = by_hand(logits[known], labels[known].astype(int))
        assert run["test"] == pytest.approx(expected, rel=1e-4), method
        assert 0.0 < run["divergence"]["test"] < 10.0
        agreement = np.mean(its.argmax(-1) == logits.argmax(-1))
        assert run["suite"]["agreement"] == pytest.approx(agreement, rel=1e-5)
        assert not any("elastic" in number for number in run["suite"])
        assert {"corrupted_iou_1", "ood_auroc_entropy"} <= run["suite"].keys()
    page = (tmp_path / "run" / "report.html").read_text()
    assert "sampled input 4, XCL: answers" in page and "Scores are of all 16 x 16 pos" in page
    assert "Corruptions that move positions are left out" in (tmp_path / "run/suite.md").read_text()

    card = (tmp_path / "run" / "best" / "MODEL_CARD.md").read_text()
    assert "image-segmentation" in card and "(batch, 16, 16, 5)" in card
    best = keras.models.load_model(tmp_path / "run" / "best" / "student.keras")
    for name in ("saved_model", "student.tflite"):
        served = ecl_tf.load_student(tmp_path / "run" / "best" / name)(images[:3])
        expected = softmax(best(images[:3]).numpy())
        np.testing.assert_allclose(served.probs_parameter(), expected, atol=1e-4)


@pytest.mark.parametrize("which", ["tags", "masks", "numbers"])
def test_every_training_on_tags_masks_and_numbers_takes_a_step(which, tmp_path, capsys):
    """The scores of such networks are recomputed in `test_dense_rows.py`."""
    unknown = {"ignore_class": dense.UNKNOWN}
    if which == "tags":
        config = of("tags", {"class_name": "Categorical", "config": unknown}, "tagger")
        config.score, config.teacher.calibrate = "accuracy", False
        config.xcl.sampler = {"class_name": "Swap", "config": {"padding": 0}}
        config.suite.update({"shifts": True, "severities": (2,), "arguments": {"padding": 0}})
    elif which == "masks":
        config = of("images", {"class_name": "Bernoulli", "config": unknown}, kind="mask")
        config.replay_epochs = 2
    else:
        config = of("images", {"class_name": "Normal", "config": {"event_size": 1}})
        config.score, config.teacher.calibrate = "rmse", False
    comparison.rehearse(config, tmp_path)
    # Teacher, ERM, standard KD, tuned KD without labels, and XCL.
    assert "5 kinds of training took one step each" in capsys.readouterr().out
    assert not any(tmp_path.iterdir())
