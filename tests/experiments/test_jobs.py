"""Jobs that processes part among themselves, and a comparison whose trainings are such jobs."""

import errno
import json
import os
import sys

import processes
import pytest
from logged import tensors_of

from ecl_tf.experiments import jobs, locks


@pytest.mark.slow
def test_each_job_is_done_once_and_that_of_a_killed_process_by_another_one(tmp_path, subtests):
    def start(name, *arguments):
        (tmp_path / name).mkdir(exist_ok=True)
        return processes.start("do_jobs.py", str(tmp_path / name), "40", *arguments)

    with subtests.test("together"):
        shares = processes.results([start("together") for _ in range(2)])
        assert sorted(shares[0] + shares[1]) == list(range(40))
        assert all((tmp_path / "together" / str(n)).read_text() == "done\n" for n in range(40))

    with subtests.test("killed"):
        held = start("killed", "holds")
        with processes.none_left([held]):
            held.wait_for("held")
            other = start("killed")
            with processes.none_left([other]):
                deadline = processes.RUNNING_LIMIT / 0.05
                while not (tmp_path / "killed" / "39").exists() and (deadline := deadline - 1):
                    other._process.join(0.05)
                assert not (tmp_path / "killed" / "0").exists()
                held.kill()
                (done,) = processes.results([other])
        assert done == [*range(1, 40), 0]


def test_alone_a_process_waits_for_nobody(tmp_path):
    assert not jobs.are_shared()
    with jobs.turn(tmp_path / "somewhere", waits=False) as is_mine:
        assert is_mine


def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch):
    def lockf(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(jobs.fcntl, "lockf", lockf)
    message = r"has no locks \(No locks available\).* leave --join"
    with pytest.raises(ValueError, match=message), jobs.shared(tmp_path):
        pass
    assert not jobs.are_shared()


CONFIG = """
from tiny import hasty, shrink

from ecl_tf.configs import digits

def get_config():
    hasty()
    config = shrink(digits.get_config("one_split"))
    config.seeds = config.teacher.members = 1
    config.erm.update({"label_smoothing": 0.0, "mixup_alpha": 0.0})
    config.kd.temperatures = (1.0,)
    for section in (config.teacher, config.student):
        section.train.update({"steps": 4, "epochs": 1, "steps_per_execution": 4})
    return config
"""


def timeless(workdir):
    results = json.loads((workdir / "results.json").read_text())
    for run in results["runs"].values():
        del run["seconds"]
    assert results["about"].pop("command").startswith("ecl-tf compare")
    return results


@pytest.mark.slow
def test_joined_and_killed_comparisons_have_the_results_of_one_alone(tmp_path, subtests):
    """One test, so that one process is alone for both."""
    config = tmp_path / "config.py"
    config.write_text(CONFIG)

    def start(name, *flags):
        flags = f"--config={config}", f"--workdir={tmp_path / name}", *flags
        # One thread, because the number of threads decides the order of sums.
        threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
        paths = {"PYTHONPATH": ":".join(sys.path)}
        return processes.start("trainers.compare", *flags, **threads, **paths)

    helper = start("together", "--join", "--tensorboard")  # It has the first training.
    alone = start("alone")
    together = start("together", "--processes=2", "--tensorboard")
    with processes.none_left([alone, together, helper]):
        helper.wait_for("[run ")
        helper.kill()  # Perhaps within a training.
        killed = start("killed")
        with processes.none_left([killed]):
            killed.wait_for("[run 3/7]")  # Of seven trainings.
            killed.kill()
        kept = json.loads((tmp_path / "killed" / "results.json").read_text())
        assert len(kept["runs"]) == 2
        again = start("killed")
        with processes.none_left([again]):
            for process in (alone, together, again):
                code, printed, errors = process.wait()
                assert code == 0 and "Written to" in printed, errors
    expected = timeless(tmp_path / "alone")
    with subtests.test("killed"):
        assert "[run 1/7]" not in printed and "[run 3/7]" in printed
        assert timeless(tmp_path / "killed") == expected
    with subtests.test("together"):
        found = timeless(tmp_path / "together")
        assert found == expected and len(found["runs"]) == 7
        names = {run["student"].removesuffix(".keras") for run in found["runs"].values()}
        for name in {*names, "teacher_member_0"}:  # Whoever trained it.
            events = tensors_of(tmp_path / "together/logs/tensorboard" / name)
            assert [step for step, _ in events["loss"]] == [4]


def test_who_joins_works_beside_others_that_join_alone(tmp_path):
    shared = locks.held(tmp_path, shares=True), locks.held(tmp_path, shares=True)
    refused = pytest.raises(ValueError, match=r"Another process works in .*--join")
    with shared[0], shared[1], refused:
        locks.require_free(tmp_path)
    with locks.held(tmp_path), pytest.raises(ValueError, match=f"process {os.getpid()} on"):
        locks.require_free(tmp_path, shares=True)
