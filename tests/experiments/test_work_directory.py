"""The work directory."""

import json
import os
import re
import socket
import subprocess
import sys

import processes
import pytest
from ml_collections import ConfigDict

from ecl_tf.experiments import jobs, work_directory


def test_a_work_directory_is_continued_by_its_experiment_and_refused_to_others(tmp_path):
    config = ConfigDict({"a": 1, "nested": {"b": 2, "c": 3, "rates": (0.1, 0.2)}})
    for _ in range(2):
        assert work_directory.claim(tmp_path / "run", config) == tmp_path / "run"
    assert json.loads((tmp_path / "run/config.json").read_text())["nested"]["rates"] == [0.1, 0.2]
    config.nested.b = 5
    with pytest.raises(ValueError, match=r"another experiment.*nested\.b \(2 there, 5 here\)") as e:
        work_directory.claim(tmp_path / "run", config)
    assert "nested.c" not in str(e.value)


def test_processes_that_share_a_directory_claim_what_is_in_it_one_after_the_other(
    tmp_path, monkeypatch
):
    write, held = work_directory.files.write_json, []
    lock = "fcntl.lockf(open(sys.argv[1], 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"

    def writing(path, content):
        command = [sys.executable, "-c", f"import fcntl, sys; {lock}", tmp_path / jobs.FILE]
        other = subprocess.run(command, capture_output=True, text=True)
        held.append("BlockingIOError" in other.stderr)
        write(path, content)

    monkeypatch.setattr(work_directory.files, "write_json", writing)
    with jobs.shared(tmp_path):
        work_directory.claim(tmp_path / "split_0", ConfigDict({"a": 1}))
        work_directory.require_same(tmp_path / "split_0", data="a hash")
    assert held == [True, True]


def test_a_directory_that_is_older_than_a_setting_has_its_default(tmp_path):
    config = ConfigDict({"a": 1, "replay_epochs": 0, "class_weight": (), "splits": 1})
    (tmp_path / "config.json").write_text('{"a": 1}')
    work_directory.claim(tmp_path, config)
    config.replay_epochs = 4
    with pytest.raises(ValueError, match=r"differ: replay_epochs \(0 there, 4 here\)\."):
        work_directory.claim(tmp_path, config)


def test_files_of_others_stay_and_files_that_would_be_mixed_up_are_refused(tmp_path):
    config = ConfigDict({"a": 1, "folds": ("p00", "p01")})
    (tmp_path / "nohup.out").write_text("precious")
    for name in ("results.json", "teacher", "p01"):
        (tmp_path / name).mkdir()
        with pytest.raises(ValueError, match=f"holds '{name}', but no experiment"):
            work_directory.claim(tmp_path, config)
        (tmp_path / name).rmdir()
    work_directory.claim(tmp_path, config)
    assert (tmp_path / "nohup.out").read_text() == "precious"


def test_one_process_at_a_time_works_in_it(tmp_path):
    config, run = ConfigDict({"a": 1}), tmp_path / "run"
    work_directory.check(run, config)
    assert not run.exists()
    with work_directory.working_in(run, config):
        who = rf"process {os.getpid()} on {re.escape(socket.gethostname())}, since 20\d\d-"
        for refused in (work_directory.check, enter):
            with pytest.raises(ValueError, match=who):
                refused(run, config)
        work_directory.check(run, config, shares=True)
    enter(run, config)


def enter(run, config):
    with work_directory.working_in(run, config):
        pass


@pytest.mark.slow
def test_the_lock_of_a_killed_process_is_free_and_another_hosts_is_told_of(tmp_path, capsys):
    config = ConfigDict({"a": 1})
    script = tmp_path / "script.py"
    script.write_text(
        "import os, pathlib, sys, time; from ecl_tf.experiments import locks\n"
        "with locks.held(pathlib.Path(sys.argv[1])):\n"
        "    print(os.getpid(), 'held', flush=True); time.sleep(1000.0)\n"
    )
    directory = tmp_path / "run"
    directory.mkdir()
    process = processes.start(str(script), str(directory))
    with processes.none_left([process]):
        process.wait_for("held")
        pid = process.read().split()[0]
        with pytest.raises(ValueError, match=f"process {pid} on"):
            work_directory.check(directory, config)
    assert pid in (directory / "ecl_tf.lock").read_text()
    enter(directory, config)
    assert not capsys.readouterr().out

    (directory / "ecl_tf.lock").write_text('{"host": "elsewhere", "pid": 7, "since": "yesterday"}')
    enter(directory, config)
    assert "process 7 on elsewhere since yesterday" in capsys.readouterr().out
    enter(directory, config)
    assert not capsys.readouterr().out


def test_what_is_damaged_or_no_directory_is_named(tmp_path):
    config = ConfigDict({"a": 1})
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        work_directory.check(tmp_path, config)
    with pytest.raises(ValueError, match=r"config\.json is a file"):
        work_directory.check(tmp_path / "config.json" / "run", config)
    with pytest.raises(ValueError, match=r"in /proc nothing can be made"):
        work_directory.check("/proc/nowhere", config)


def test_a_changed_data_file_is_refused(tmp_path):
    file = tmp_path / "table.csv"
    config = ConfigDict({"data": {"path": str(file)}})
    file.write_text("x,y\n1,2\n")
    for _ in range(2):
        work_directory.claim(tmp_path / "run", config)
    (tmp_path / "copy.csv").write_bytes(file.read_bytes())
    elsewhere = ConfigDict({"data": {"path": str(tmp_path / "copy.csv"), "data_dir": "there"}})
    work_directory.claim(tmp_path / "run", elsewhere)
    (tmp_path / "copy.csv").write_text("x,y\n1,3\n")
    with pytest.raises(ValueError, match=r"another experiment; .* differ: data\.path"):
        work_directory.claim(tmp_path / "run", elsewhere)
    file.write_text("x,y\n1,3\n")
    with pytest.raises(ValueError, match="The data has changed"):
        work_directory.claim(tmp_path / "run", config)
    work_directory.claim(tmp_path / "new", config)
    directory = ConfigDict({"data": {"path": str(tmp_path)}})
    work_directory.claim(tmp_path / "images", directory)
