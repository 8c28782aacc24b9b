"""A teacher's answers are stored by one script, and distilled from by another."""

import csv
import json

import pytest

from configs import imagenet


@pytest.mark.slow
def test_a_student_is_distilled_from_a_store(run_script, digits_config, tmp_path, capsys, eagerly):
    config, store = digits_config, tmp_path / "run" / "replay"
    config.student.train.update({"steps": 12, "steps_per_execution": 2, "batch_size": 32})
    config.teacher.train.update({"steps": 4, "steps_per_execution": 2})
    config.teacher.members = 1
    run_script("train_teacher", config, tmp_path / "run", rehearses=False)
    capsys.readouterr()
    run_script("reinforce", config, tmp_path / "run", epochs=3, dry_run=True)
    cost = capsys.readouterr().out.splitlines()[-1]
    assert cost.startswith("192 rows, 0.0 MB (") and cost.endswith("seconds of the teacher.")
    assert not store.exists()

    (told := tmp_path / "run" / "evaluation.json").unlink()
    run_script("reinforce", config, tmp_path / "run", epochs=3, shards=2)
    assert set(json.loads(told.read_text())["validation"]) == {"teacher"}
    assert "[shard 2/2]" in capsys.readouterr().out
    manifest = json.loads((store / "manifest.json").read_text())
    assert manifest["plan"]["steps"] == 3 * 2 and len(manifest["shards"]) == 2
    run_script("reinforce", config, tmp_path / "run", verify=40)
    assert "40 rows of" in capsys.readouterr().out

    for path in (tmp_path / "run" / "teacher").iterdir():
        path.unlink()  # It is needed no more.
    with pytest.raises(ValueError, match=r"--teacher=elsewhere would not be asked"):
        run_script("distill", config, tmp_path, replay=str(store), teacher="elsewhere")
    run_script("distill", config, tmp_path / "student", replay=str(store), ships=False)
    rows = list(csv.DictReader((tmp_path / "student" / "log.csv").open()))
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert {"divergence", "val_nll"} <= set(rows[0])
    assert (tmp_path / "student" / "export").exists()

    for section, setting, value, message in [
        (config.xcl, "sampler", "CutMix", r"other settings.*sampler\.class_name"),
        (config.data, "seed", 3, r"data\.fingerprint .*"),
        (config.student.train, "batch_size", 16, "batches of 32 rows, but .* is 16"),
    ]:
        with config.unlocked(), section.ignore_type():
            before, section[setting] = section[setting], value
        with pytest.raises(ValueError, match=message):
            run_script("distill", config, tmp_path / setting, replay=str(store))
        with config.unlocked(), section.ignore_type():
            section[setting] = before


def test_a_stream_is_refused(run_script, tmp_path):
    with pytest.raises(ValueError, match="this data set is streamed without"):
        run_script("reinforce", imagenet.get_config("runlocal"), tmp_path)
