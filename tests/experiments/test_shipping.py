"""What a measurement needs of an experiment, and that its failure ends nothing."""

import numpy as np

from ecl_tf import teachers
from ecl_tf.experiments import shipping, teaching
from ecl_tf.experiments.experiment import Experiment


def test_what_cannot_be_measured_is_told(digits_config, tmp_path, capsys):
    experiment = Experiment(digits_config)
    student = experiment.network(experiment.config.student)
    student.save(tmp_path / "student.keras")
    about = {"student.keras": tmp_path / "student.keras"}, experiment.output, "validation"

    def deleted(own):
        return teaching.load_teacher(own, tmp_path)

    found = shipping.measure(experiment, *about, {"teacher": {"nll": 1.0}}, deleted)
    assert "WARNING: size and speed were not measured" in (told := capsys.readouterr().out)
    assert "no teacher in" in told
    scores = experiment.evaluate(student, "validation")
    assert found["rows"] == {"student.keras": {"scores": scores, "costs": {}}}


def test_a_function_is_asked_about_rows_of_the_data(casp_config):
    experiment = Experiment(casp_config)
    (x, _) = experiment.splits.train_rows

    def function(rows):
        assert np.isin(rows[:, 0], x[:, 0]).all()
        return rows[:, :1], np.ones((len(rows), 1))

    def teacher(own):
        rows = np.asarray(x[:8])
        return teachers.FunctionTeacher(function, own.output, rows, "mean_and_stddev")

    found = shipping.costs(experiment, {}, teacher)["teacher"]
    assert found["bytes"] is None and found["seconds"]["32"] > 0.0
