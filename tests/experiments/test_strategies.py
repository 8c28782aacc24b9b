"""Scripts under --strategy, and what stops them."""

import json

import keras
import numpy as np
import processes
import pytest
from by_hand import assert_arrays

from ecl_tf.experiments import strategies

CONFIG = """
from configs import digits
from tiny import hasty, shrink


def get_config(script):
    if script == "distill":  # `train_teacher` rehearses it, too.
        hasty()
    config = shrink(digits.get_config("one_split"))
    config.teacher.members = 1
    with config.unlocked():
        config.teacher.network = {"name": "tiny:normalized"}
        config.teacher.train.update({"steps": 10, "optimizer": "SGD"})
        config.student.train.update({"steps": 80, "epochs": 4, "optimizer": "SGD"})
        config.student.train.steps_per_execution = 5
        config.xcl.sampler = {"class_name": "Empirical", "config": {}}
    return config
"""


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts a script on one device, two virtual ones, or two workers; all know it by a name."""
    directory = tmp_path_factory.mktemp("strategies")
    (directory / "config.py").write_text(CONFIG)

    def start(script, strategy, *others):
        config, workdir = f"{directory}/config.py:{script}", directory / strategy
        arguments = [f"--config={config}", f"--workdir={workdir}", f"--strategy={strategy}"]
        arguments = [f"trainers.{script}", *arguments, *others]
        if strategy == "multi_worker":
            return processes.start_workers(2, *arguments)
        devices = "2" if strategy == "mirrored" else "1"
        return [processes.start(*arguments, VIRTUAL_DEVICES=devices)]

    start.directory = directory
    return start


def assert_all_end_well(running):
    with processes.none_left(running):
        ends = [process.wait() for process in running]
        failed = [f"{code}: {errors[-3000:]}" for code, _, errors in ends if code]
        assert not failed, "\n\n".join(failed)
        return [printed for _, printed, _ in ends]


def weights(path):
    return keras.models.load_model(path, compile=False).get_weights()


@pytest.mark.slow
def test_scripts_train_the_same_on_one_device_on_two_and_on_two_workers(start):
    names = ("default", "mirrored", "multi_worker")
    running = [start("train_teacher", name) for name in ("default", "multi_worker")]
    _, (chief, other) = (assert_all_end_well(each) for each in running)
    assert "[teacher 1/1]" in chief and other == ""  # The chief alone tells.

    its_teacher = f"--teacher={start.directory / 'default' / 'teacher'}"
    others = {"mirrored": [its_teacher], "multi_worker": ["--checkpoint_every=10 steps"]}
    for running in [start("distill", name, *others.get(name, [])) for name in names]:
        assert_all_end_well(running)

    logs = {
        name: np.genfromtxt(start.directory / name / "log.csv", delimiter=",", names=True)
        for name in names
    }
    for name in names[1:]:
        for file in ("student", "teacher/member_0"):
            if (name, file) == ("mirrored", "teacher/member_0"):
                continue  # It has the teacher of one device.
            got, wanted = (
                weights(start.directory / n / f"{file}.keras") for n in (name, "default")
            )
            assert_arrays(got, wanted, atol=1e-4, err_msg=f"{name}, {file}")
        for column in logs["default"].dtype.names:
            rows = 0.01 if "agreement" in column else 0.0  # Three of 300 may tip over.
            got, wanted = logs[name][column], logs["default"][column]
            np.testing.assert_allclose(got, wanted, rtol=1e-2, atol=rows, err_msg=column)
        assert (start.directory / name / "export/saved_model.pb").exists()
        assert not (start.directory / name / "checkpoints").exists()

    # Workers that share a recording write the store of one.
    options = "--epochs=3", "--shards=3", its_teacher
    for name in ("default", "multi_worker"):
        assert_all_end_well(start("reinforce", name, *options))
    stores = [start.directory / name / "replay" for name in ("default", "multi_worker")]
    one, several = ({p.name: p.read_bytes() for p in path.iterdir()} for path in stores)
    assert len(one) == 3 + 2 and one == several


TASK = {"cluster": {"worker": ["h:1"]}, "task": {"type": "worker", "index": 1}}
NO_CLUSTER = r"needs the environment variable TF_CONFIG.*Here it is"


@pytest.mark.parametrize(
    ("name", "tf_config", "message"),
    [
        ("multi_worker", None, NO_CLUSTER),
        ("multi_worker", "no JSON", NO_CLUSTER),
        ("multi_worker", json.dumps({"cluster": TASK["cluster"]}), NO_CLUSTER),
        ("multi_worker", json.dumps(TASK), NO_CLUSTER),  # Of one worker, the second.
        ("tpu", None, r"found no TPU.*TPU_NAME=local"),
        ("gpu", None, r"Unknown strategy 'gpu'; expected one of \['default'"),
    ],
)
def test_strategies_that_are_not_there(monkeypatch, name, tf_config, message):
    monkeypatch.delenv("TPU_NAME", raising=False)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if tf_config is not None:
        monkeypatch.setenv("TF_CONFIG", tf_config)
    with pytest.raises(ValueError, match=message):
        strategies.use(name)


def test_replicas_must_divide_a_batch(monkeypatch):
    class Three:
        num_replicas_in_sync = 3

    monkeypatch.setattr(strategies, "current", Three)
    with pytest.raises(ValueError, match=r"3 replicas can't part a batch of 64.*a multiple of 3"):
        strategies.prepare(keras.Sequential(), 64)
