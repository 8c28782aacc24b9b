"""The work directory."""

import json

import pytest
from ml_collections import ConfigDict

from ecl_tf.experiments import work_directory


def test_a_work_directory_is_continued_by_its_experiment_and_refused_to_others(tmp_path):
    config = ConfigDict({"a": 1, "nested": {"b": 2, "c": 3, "rates": (0.1, 0.2)}})
    for _ in range(2):
        assert work_directory.claim(tmp_path / "run", config) == tmp_path / "run"
    assert json.loads((tmp_path / "run/config.json").read_text())["nested"]["rates"] == [0.1, 0.2]
    config.nested.b = 5
    with pytest.raises(ValueError, match=r"another experiment.*nested\.b \(2 there, 5 here\)") as e:
        work_directory.claim(tmp_path / "run", config)
    assert "nested.c" not in str(e.value)


def test_a_directory_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ValueError, match="not empty and holds no experiment"):
        work_directory.claim(tmp_path, ConfigDict({"a": 1}))
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_a_changed_data_file_is_refused(tmp_path):
    file = tmp_path / "table.csv"
    config = ConfigDict({"data": {"path": str(file)}})
    file.write_text("x,y\n1,2\n")
    for _ in range(2):
        work_directory.claim(tmp_path / "run", config)
    file.write_text("x,y\n1,3\n")
    with pytest.raises(ValueError, match="The data has changed"):
        work_directory.claim(tmp_path / "run", config)
    work_directory.claim(tmp_path / "new", config)
    directory = ConfigDict({"data": {"path": str(tmp_path)}})
    work_directory.claim(tmp_path / "images", directory)
