"""Rows of a data function that change between two commands of one work directory."""

import numpy as np
import pytest
import tensorflow as tf
from ecl_tf.configs import digits
from tiny import shrink

from ecl_tf import data
from ecl_tf.experiments import other_data, work_directory
from ecl_tf.experiments.experiment import Experiment


def test_rows_of_a_users_function_that_change_are_refused(tmp_path, monkeypatch):
    (tmp_path / "drawn_rows.py").write_text(
        "from ecl_tf import data\nSEED = 0\n"
        "def splits():\n    return data.load('digits', seed=SEED, train_size=64)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = shrink(digits.get_config("one_split"))
    config.data = {"name": "drawn_rows:splits"}
    run = tmp_path / "run"
    other_data.require_same_rows(Experiment(config), run)  # Nothing is there, or kept.
    assert not run.exists()
    work_directory.claim(run, config)
    for _ in range(2):
        other_data.require_same_rows(Experiment(config), run)
    monkeypatch.setattr("drawn_rows.SEED", 1)
    with pytest.raises(ValueError, match=r"set of rows that the data function gives has changed"):
        other_data.require_same_rows(Experiment(config), run)


def test_one_label_of_the_test_split_is_another_set_of_rows(tmp_path):
    x, y = np.zeros([8, 2], "float32"), np.arange(8) % 2
    other = np.where(np.arange(8) == 5, 1 - y, y)

    class Of:
        config = type("Config", (), {"data": {"name": "mine:rows"}})

        def __init__(self, labels):
            part, test = (tf.data.Dataset.from_tensor_slices((x, each)) for each in (y, labels))
            self.whole_splits = data.Splits(part, part, test, 2)

    (tmp_path / "config.json").write_text("{}")
    other_data.require_same_rows(Of(y), tmp_path)
    with pytest.raises(ValueError, match="has changed"):
        other_data.require_same_rows(Of(other), tmp_path)
