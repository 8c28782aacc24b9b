"""Teachers from the work directory, from another directory, and from config.teacher.pretrained."""

import dataclasses
import functools
import importlib
import io
import pathlib
import re
import shutil
import sys
import zipfile

import keras
import numpy as np
import pytest
import scipy.optimize
from by_hand import assert_arrays
from scipy import special, stats
from sklearn import naive_bayes
from sklearn.linear_model import LinearRegression
from tiny import rows, untuned

import ecl_tf
from configs import table as tables
from ecl_tf import data, outputs
from ecl_tf.experiments import distillation, other_data, rehearsal, teaching, work_directory
from ecl_tf.experiments.experiment import Experiment, save_model

softmax = functools.partial(special.softmax, axis=-1)


@pytest.fixture
def digits_config(digits_config):
    digits_config.teacher.calibrate = False  # But where that is tested.
    return digits_config


def dense(inputs, units, path, seed=0):
    """Saves a network of one Dense layer after flattening; returns its weights."""
    rng = np.random.default_rng(seed)
    layer = keras.layers.Dense(units)
    model = keras.Sequential([keras.Input(inputs), keras.layers.Flatten(), layer])
    layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)
    return [np.array(w, "float64") for w in layer.get_weights()]


def pretrained(config, description):
    with config.unlocked():
        config.teacher.pretrained = description
    return config


@pytest.mark.slow
def test_members_are_trained_once_each_with_a_seed_of_its_own(digits_config, tmp_path, eagerly):
    digits_config.teacher.train.update({"steps": 4, "steps_per_execution": 2})
    experiment = Experiment(digits_config)
    teacher = teaching.train_teacher(experiment, tmp_path)
    assert len(teacher.members) == 2
    first, second = (member.get_weights() for member in teacher.members)
    assert not any(np.array_equal(a, b) for a, b in zip(first[::2], second[::2], strict=True))

    # Without the second file there is no teacher; it alone is trained again, to the same weights.
    (tmp_path / "teacher/member_1.keras").unlink()
    with pytest.raises(ValueError, match="Only 1 of the teacher's 2 members"):
        teaching.load_teacher(experiment, tmp_path)
    written = (tmp_path / "teacher/member_0.keras").read_bytes()
    again = teaching.train_teacher(experiment, tmp_path)
    assert (tmp_path / "teacher/member_0.keras").read_bytes() == written
    assert_arrays(second, again.members[1].get_weights(), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_flag_names_another_directory(run_script, digits_config, tmp_path, capsys):
    directory = tmp_path / "found"
    weights = [dense((8, 8, 1), 10, directory / f"{n}.keras", seed=n) for n in range(3)]
    # It comes before the configuration.
    config = pretrained(digits_config, {"name": "keras", "path": str(tmp_path / "none.keras")})
    workdir = tmp_path / "run"
    run_script("train_teacher", config, workdir, teacher=str(directory))
    assert not (workdir / "teacher").exists()  # Nothing is trained.

    x, y = rows(Experiment(config).splits.validation)
    logits = [x.reshape(len(x), -1) @ kernel + bias for kernel, bias in weights]
    p = np.mean([softmax(each) for each in logits], 0)
    nll = -np.log(p[np.arange(len(y)), y]).mean()
    printed = capsys.readouterr().out
    assert f"accuracy {(p.argmax(1) == y).mean():.4g}, nll {nll:.4g}" in printed


def test_directories_and_configurations_without_a_teacher_are_refused(digits_config, tmp_path):
    dense((8, 8, 1), 10, tmp_path / "run/teacher/member_0.keras")
    missing = pretrained(digits_config.copy_and_resolve_references(), {"name": "keras"})
    missing.teacher.pretrained = {"name": "keras", "path": str(tmp_path / "none.keras")}
    nothing = {**digits_config.to_dict(), "teacher": {}}
    for config, directory, error, message in [
        (digits_config, tmp_path / "empty", ValueError, r"no teacher in .*empty.*train-teacher"),
        (digits_config, tmp_path / "run", ValueError, r"its teacher is in .*/teacher"),
        (missing, None, FileNotFoundError, r"no Keras file at .*none\.keras"),
        (nothing, None, ValueError, r"config.teacher has no `network` and `train`"),
    ]:
        with pytest.raises(error, match=message):
            teaching.train_teacher(Experiment(config), tmp_path, directory)


@pytest.mark.slow
def test_files_that_are_no_whole_members(digits_config, tmp_path, subtests, eagerly):
    digits_config.teacher.members = 1
    digits_config.teacher.train.update({"steps": 4, "steps_per_execution": 2})
    experiment = Experiment(digits_config)
    own = tmp_path / "teacher"
    member = own / "member_0.keras"
    dense((8, 8, 1), 10, member)
    whole = member.read_bytes()
    for name in ("member_1.tmp.keras", "tmp.member_1.keras", "._member_0.keras"):
        (own / name).write_bytes(whole[:2000])
    assert teaching.member_files(own) == [member]
    assert len(teaching.load_teacher(experiment, tmp_path).members) == 1

    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    archive = io.BytesIO()
    np.savez(archive, x=np.zeros(3))
    emptied = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as parts, zipfile.ZipFile(emptied, "w") as written:
        for name in parts.namelist():
            written.writestr(name, b"" if name == "model.weights.h5" else parts.read(name))
    for content, what in [
        (whole[:2000], "it is no whole zip archive"),
        (b"", "it is no whole zip archive"),
        (bytes(flipped), r"model\.weights\.h5 in it is broken"),
        (archive.getvalue(), r"it lacks config\.json"),
        (emptied.getvalue(), r"it lacks model\.weights\.h5"),
    ]:
        with subtests.test(what=what):
            member.write_bytes(content)
            message = rf"member_0\.keras is damaged, or not a \.keras file: {what}\. "
            for directory, remedy in [(None, "Delete it: `ecl-tf train-t"), (own, "Delete it: ")]:
                with pytest.raises(ValueError, match=message + remedy):
                    teaching.load_teacher(experiment, tmp_path, directory)
            with pytest.raises(ValueError, match=message + "Delete it"):
                teaching.train_teacher(experiment, tmp_path)
            elsewhere = shutil.copytree(own, tmp_path / "copy", dirs_exist_ok=True)
            with pytest.raises(ValueError, match=message + "Give another copy of it, or delete"):
                teaching.load_teacher(experiment, tmp_path, elsewhere)
    member.unlink()
    teaching.train_teacher(experiment, tmp_path)

    dense((8, 8, 1), 7, own / "other.keras")
    message = r"member_0\.keras gives .*10.*and other\.keras gives .*7"
    with pytest.raises(ValueError, match=message):
        teaching.load_teacher(experiment, tmp_path)
    with pytest.raises(ValueError, match=r"is a file\. Give its directory: --teacher=.*teacher\.$"):
        teaching.load_teacher(experiment, tmp_path, member)


def test_pretrained_networks_are_an_ensemble(digits_config, tmp_path):
    weights = [dense((8, 8, 1), 10, tmp_path / f"{n}.keras", seed=n) for n in range(2)]
    scaling = {"class_name": "Rescaling", "config": {"scale": 16.0, "offset": -0.5}}
    descriptions = (
        {"name": "keras", "path": str(tmp_path / "0.keras")},
        {"name": "keras", "path": str(tmp_path / "1.keras"), "preprocessing": (scaling,)},
    )
    config = pretrained(digits_config, descriptions)
    for _ in range(2):  # The recorded configuration is the same again.
        workdir = work_directory.claim(tmp_path / "run", config)
    experiment = Experiment(config)
    teacher = teaching.train_teacher(experiment, workdir)
    assert len(teacher.members) == 2 and not (workdir / "teacher").exists()
    x, _ = rows(experiment.splits.validation)
    flat = x.reshape(len(x), -1)
    pairs = zip((flat, 16.0 * flat - 0.5), weights, strict=True)
    members = [softmax(seen @ kernel + bias) for seen, (kernel, bias) in pairs]
    actual = teacher.distribution(x).probs_parameter()
    np.testing.assert_allclose(actual, np.mean(members, 0), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("members", [1, 2])
def test_point_regressors_have_their_residuals_spread_or_their_disagreement(
    run_script, casp_config, tmp_path, members, eagerly
):
    paths = [tmp_path / f"{number}.keras" for number in range(members)]
    weights = [dense((3,), 1, path, seed) for seed, path in enumerate(paths)]
    points = tuple({"name": "keras", "path": str(path), "answer": "mean"} for path in paths)
    config = pretrained(casp_config, points)
    experiment = Experiment(config)
    teacher = teaching.load_teacher(experiment, tmp_path)

    x, y = rows(experiment.splits.validation)
    means = np.stack([x @ kernel + bias for kernel, bias in weights])  # In the target's units.
    mean = means.mean(0)
    rmse = np.sqrt(np.mean((y - mean) ** 2))
    spread = np.full_like(mean, rmse) if members == 1 else means.std(0)
    distribution = teacher.distribution(x)
    np.testing.assert_allclose(distribution.mean(), mean, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(distribution.stddev(), spread, rtol=1e-4, atol=1e-3)
    scores = experiment.evaluate(teacher, "validation")
    assert scores["rmse"] == pytest.approx(rmse, rel=1e-5)
    if members == 1:
        nll = -stats.norm.logpdf(y, mean, spread).mean()
        assert scores["nll"] == pytest.approx(nll, rel=1e-5)
        run_script("distill", config, tmp_path / "run", rehearses=False, ships=False)


def test_a_calibrated_teachers_file_keeps_its_temperature_until_it_is_fitted_anew(
    digits_config, tmp_path
):
    path = tmp_path / "calibrated.keras"
    dense((8, 8, 1), 10, tmp_path / "network.keras")
    network = keras.models.load_model(tmp_path / "network.keras")
    ecl_tf.Ensemble(network, outputs.Categorical(temperature=3.0)).save(path)
    config = pretrained(digits_config, ({"name": "keras", "path": str(path)},))
    with config.unlocked(), config.ignore_type():
        config.output = {"class_name": "Categorical", "config": {"ignore_class": 255}}
    for calibrate in (False, True):
        config.teacher.calibrate = calibrate
        own = teaching.load_teacher(Experiment(config), tmp_path).output_kind
        assert (own.temperature == 3.0) is not calibrate and own.ignore_class == 255


def test_a_teacher_answers_in_the_form_that_is_asked_for(digits_config, tmp_path):
    image = keras.Input((8, 8, 1))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(image))
    (tmp_path / "teacher").mkdir()
    network = keras.Model(image, keras.layers.Dense(10)(keras.layers.Flatten()(x)))
    network.save(tmp_path / "teacher" / "member_0.keras")
    digits_config.teacher.update({"inference_form": "float32", "members": 1})
    (member,) = teaching.load_teacher(Experiment(digits_config), tmp_path).members
    kinds = {type(layer) for layer in member.layers}
    assert keras.layers.BatchNormalization not in kinds and keras.layers.Conv2D in kinds
    rows = np.random.default_rng(0).random((5, 8, 8, 1), "float32")
    np.testing.assert_allclose(member(rows), network(rows), atol=1e-5)


def test_a_config_says_the_teachers_precision_and_how_far_it_is_off(
    digits_config, tmp_path, capsys
):
    image = keras.Input((8, 8, 1))
    hidden = keras.layers.Dense(16, "relu")(keras.layers.Flatten()(image))
    network = keras.Model(image, keras.layers.Dense(10)(hidden))
    (tmp_path / "teacher").mkdir()
    network.save(tmp_path / "teacher" / "member_0.keras")
    digits_config.teacher.update({"precision": "bfloat16", "members": 1})
    experiment = Experiment(digits_config)
    teacher = teaching.load_teacher(experiment, tmp_path)
    assert teacher.precision == "bfloat16"
    x, _ = next(iter(data.evaluation_batches(experiment.splits.validation, 256)))
    full, low = (
        special.log_softmax(raw.numpy().astype("float64"), -1)
        for raw in (network(x), teacher.member_outputs(x)[0])
    )
    nats = (np.exp(full) * (full - low)).sum(-1)
    said = capsys.readouterr().out.split("The teacher in bfloat16 is ")[1].split()
    assert float(said[0]) == pytest.approx(nats.mean(), rel=0.1)
    assert float(said[7]) == pytest.approx(nats.max(), rel=0.1)


def test_a_calibrated_teacher_has_the_temperature_of_the_validation_labels(digits_config, tmp_path):
    digits_config.teacher.update({"calibrate": True, "members": 1})
    path = tmp_path / "teacher" / "member_0.keras"
    _, bias = dense((8, 8, 1), 10, path)
    experiment = Experiment(digits_config)
    # It is right about its training rows, and too sure of others.
    x, y = rows(experiment.splits.train)
    kernel = 30.0 * np.linalg.lstsq(x.reshape(len(x), -1), np.eye(10)[y], rcond=1e-2)[0]
    model = keras.models.load_model(path)
    model.set_weights([kernel, bias])
    model.save(path)
    x, y = rows(experiment.splits.validation)
    logits = x.reshape(len(x), -1) @ kernel + bias

    def loss(temperature):
        return -np.log(softmax(logits / temperature)[np.arange(len(y)), y]).mean()

    expected = scipy.optimize.minimize_scalar(loss, bounds=(0.1, 19.0), method="bounded").x
    assert abs(expected - 1.0) > 0.05
    temperature = teaching.load_teacher(experiment, tmp_path).output_kind.temperature
    assert temperature == pytest.approx(expected, rel=0.01)

    experiment.splits = dataclasses.replace(experiment.splits, validation=experiment.splits.train)
    with pytest.raises(ValueError, match=r"--config.teacher.calibrate=False"):
        teaching.load_teacher(experiment, tmp_path)


def test_a_teacher_that_was_trained_on_other_data_is_told_of(casp_config, tmp_path, capsys):
    file = pathlib.Path(casp_config.data.path)
    run = work_directory.claim(tmp_path / "run", casp_config)
    dense((3,), 2, run / "teacher" / "0.keras")
    elsewhere = shutil.copy(file, str(tmp_path / "same.npz"))
    with np.load(file) as arrays:
        np.savez(tmp_path / "other.npz", **{**arrays, "y": 2 * arrays["y"]})
    for changes, message in [
        ({"path": elsewhere}, ""),
        ({"seed": 7}, "data settings (seed (0 there, 7 here))"),
        ({"path": str(tmp_path / "other.npz")}, "another file"),
    ]:
        config = casp_config.copy_and_resolve_references()
        config.data.update(changes)
        teaching.load_teacher(Experiment(config), tmp_path, run / "teacher")
        printed = capsys.readouterr().out
        assert message in printed and ("NOTE" in printed) == bool(message)


def test_numbers_keep_the_units_of_the_run_that_trained_them(casp_config, tmp_path, capsys):
    first = Experiment(casp_config)
    run = work_directory.claim(tmp_path / "run", casp_config)
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    save_model(network, run / "student.keras", first.output)
    (run / "teacher").mkdir()
    save_model(network, run / "teacher" / "0.keras", first.output)
    its_teacher = keras.models.clone_model(network)
    distiller = ecl_tf.Distiller(network, its_teacher, output=first.output)
    distiller.save(run / "distiller.keras")
    ecl_tf.export_student(network, first.output, run / "saved_model")

    casp_config.data.seed = 7
    experiment = Experiment(casp_config)
    mean, stddev = first.splits.target_mean, first.splits.target_stddev
    assert experiment.splits.target_mean != mean
    (x, y), *_ = data.evaluation_batches(experiment.splits.test, 256)
    kernel, bias = (np.array(w, "float64") for w in network.get_weights())
    means = mean + stddev * (np.array(x) @ kernel + bias)[:, :1]
    rmse = np.sqrt(np.mean((means - np.array(y)) ** 2))
    teacher = teaching.load_teacher(experiment, tmp_path, run / "teacher")
    np.testing.assert_allclose(teacher.distribution(x).mean(), means, rtol=1e-4)
    for name in ("student.keras", "distiller.keras", "saved_model"):
        path = run / name
        other_data.tell_of_file(experiment, path)
        model = distillation.load_model(path, experiment.output, experiment.splits)
        assert experiment.evaluate(model, "test")["rmse"] == pytest.approx(rmse, rel=1e-4), name
    assert "in which units" not in capsys.readouterr().out
    with pytest.warns(UserWarning, match="would be read otherwise"):
        ecl_tf.pretrained.load("keras", (3,), outputs.Normal(1), path=run / "student.keras")
    network.save(run / "teacher" / "0.keras")  # As Keras does, or an earlier version.
    teaching.load_teacher(experiment, tmp_path, run / "teacher")
    assert "does not say in which units it learned" in capsys.readouterr().out
    save_model(network, run / "teacher" / "1.keras", first.output)
    with pytest.raises(ValueError, match="members of a teacher have one output"):
        teaching.load_teacher(experiment, tmp_path, run / "teacher")


def test_columns_in_another_order_are_refused(tmp_path, capsys):
    table = tmp_path / "table.csv"
    rows = (f"{n},{2 * n % 7},{n % 3}" for n in range(64))
    table.write_text("a,b,y\n" + "\n".join(rows))
    config = tables.get_config()
    config.data.update({"path": str(table), "inputs": "a,b", "target": "y"})
    run = work_directory.claim(tmp_path / "run", config)
    for name in ("student.keras", "best/student.keras", "teacher/0.keras"):
        dense((2,), 2, run / name)
    swapped = config.copy_and_resolve_references()
    swapped.data.inputs = "b,a"
    experiment = Experiment(swapped)
    refused = "learned on the inputs a,b, in this order, .* has b,a.*--config.data.inputs=a,b"
    for name in ("student.keras", "best/student.keras"):
        with pytest.raises(ValueError, match=refused):
            other_data.tell_of_file(experiment, run / name)
    with pytest.raises(ValueError, match=f"teacher in .*{refused}"):
        teaching.load_teacher(experiment, tmp_path, run / "teacher")
    capsys.readouterr()
    (tmp_path / "other" / "config.json").parent.mkdir()
    (tmp_path / "other" / "config.json").write_text("[]")
    shutil.copy(run / "student.keras", tmp_path / "other" / "a.keras")
    other_data.tell_of_file(experiment, tmp_path / "other" / "a.keras")
    other_data.tell_of_file(Experiment(config), run / "student.keras")
    other_data.tell_of_file(experiment, tmp_path / "elsewhere.keras")
    assert "other data settings" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "kind, target, what", [("classes", "a", "classes"), ("number", "n", "categories of 'a'")]
)
def test_what_numbers_stand_for_is_the_same(kind, target, what, tmp_path):
    def config_of(name):
        table = tmp_path / f"{name}.csv"
        rows = (f"{n},{('No', name)[n % 2]}" for n in range(64))
        table.write_text("\n".join(["n,a", *rows]))
        config = tables.get_config(kind)
        config.data.update({"path": str(table), "target": target})
        return config

    configs = [config_of(name) for name in ("Yes", "Aye")]  # The latter comes before "No".
    before, after = map(Experiment, configs)
    run = work_directory.claim(tmp_path / "run", configs[0])
    other_data.require_same_rows(before, run)
    other_data.tell(before, run, "student", [])
    message = rf"another list of {what}: its number 0 \(from 0\) was 'No', and is 'Aye' here"
    with pytest.raises(ValueError, match=f"The student learned on {message}"):
        other_data.tell(after, run, "student", [])


def test_files_of_probabilities_and_of_nan_are_refused_before_anything_begins(
    digits_config, tmp_path
):
    experiment = Experiment(digits_config)
    inputs = keras.Input((8, 8, 1))
    classes = keras.layers.Dense(10, "softmax")(keras.layers.Flatten()(inputs))
    directory = tmp_path / "found"
    directory.mkdir()
    path = directory / "member.keras"
    softmax_model = keras.Model(inputs, keras.layers.Reshape((10,))(classes), name="hidden")
    softmax_model.save(path)
    with pytest.raises(ValueError, match=r"'hidden' ends in softmax.*config\.teacher\.pretrained"):
        teaching.load_teacher(experiment, tmp_path, directory)
    with pytest.raises(ValueError, match=r"model 'hidden' ends in softmax.*as_logits"):
        distillation.load_model(path, outputs.Categorical())
    # What both remedies make of it.
    pretrained(digits_config, {"name": "keras", "path": str(path), "answer": "probabilities"})
    teacher = teaching.load_teacher(Experiment(digits_config), tmp_path)
    x = rows(experiment.splits.validation)[0][:5]
    np.testing.assert_allclose(softmax(teacher(x)), softmax_model(x), rtol=1e-4)
    of_logits = ecl_tf.as_logits(softmax_model)
    of_logits.save(path)
    model = distillation.load_model(path, outputs.Categorical())
    np.testing.assert_allclose(softmax(model(x)), softmax_model(x), rtol=1e-4)

    of_logits.set_weights([np.nan * w for w in of_logits.get_weights()])
    of_logits.save(path)
    with pytest.raises(ValueError, match="teacher 'hidden' holds NaN"):
        teaching.load_teacher(experiment, tmp_path, directory)
    with pytest.raises(ValueError, match="model 'hidden' holds NaN"):
        distillation.load_model(path, outputs.Categorical())


def test_networks_for_other_data_are_refused_by_name(digits_config, tmp_path, subtests):
    experiment = Experiment(digits_config)
    cases = {
        "classes": ((8, 8, 1), 7, r"gives 7 classes, and the data has 10"),
        "inputs": ((9, 9, 1), 10, r"\(9, 9, 1\).*8, 8, 1"),
    }
    for what, (inputs, units, message) in cases.items():
        path = tmp_path / what / "net.keras"
        dense(inputs, units, path)
        exported = tmp_path / what / "export"
        ecl_tf.export_student(keras.models.load_model(path), outputs.Categorical(), exported)
        with subtests.test(what), pytest.raises(ValueError, match=message):
            teaching.load_teacher(experiment, tmp_path, path.parent)
        for place in (path, exported):
            name = f"{what} {place.name}"
            with subtests.test(name), pytest.raises(ValueError, match=message):
                distillation.load_model(place, experiment.output, experiment.splits)
    path = tmp_path / "bytes.keras"
    layers = keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(10)
    keras.Sequential([keras.Input((8, 8, 1)), *layers]).save(path)
    with subtests.test("range"), pytest.raises(ValueError, match="expect values from 0 to 255"):
        distillation.load_model(path, experiment.output, experiment.splits)
    with subtests.test("answers"), pytest.raises(ValueError, match=r"rows of 7 numbers.*has 10"):
        experiment.evaluate(lambda x: np.zeros((len(x), 7), "float32"), "validation")
    with subtests.test("NaN"), pytest.raises(ValueError, match=r"scores .*nll.* of net on .* NaN"):
        nan = np.float32("nan")
        experiment.tell_scores({"net": lambda x: np.full((len(x), 10), nan)}, "validation")


# config.teacher.function

MODULE = """
import numpy as np
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.naive_bayes import GaussianNB

import ecl_tf

calls = []


def rows(splits):
    x, y = splits.train_rows
    return np.asarray(x).reshape(len(x), -1), np.asarray(y).ravel()


def bayes(splits, var_smoothing=1e-9):
    calls.append(int(splits.validation.cardinality()))
    return GaussianNB(var_smoothing=var_smoothing).fit(*rows(splits))


def without_3(splits):
    x, y = rows(splits)
    return GaussianNB(var_smoothing=0.1).fit(x[y != 3], y[y != 3])


def line(splits):
    return LinearRegression().fit(*rows(splits)).predict


def forest(splits):
    x, y = rows(splits)
    made = RandomForestRegressor(5, random_state=0).fit(x, y)
    return ecl_tf.teachers.from_estimator(made, ecl_tf.outputs.Normal(1), x, spread="members")


def of_twelve(splits):
    network = ecl_tf.models.build("mlp", (8, 8, 1), 12, widths=(4,))
    return ecl_tf.teachers.Mapped(network, [*range(9), 9, 9, None], size=10)


def other_classes(splits):
    return lambda x: np.full((len(x), 4), 0.25)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "own_teachers.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(teaching, "_made", {})
    monkeypatch.delitem(sys.modules, "own_teachers", raising=False)
    return importlib.import_module("own_teachers")


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_a_function_makes_the_teacher_of_a_run(module, casp_config, tmp_path, run_script, capsys):
    config = untuned(casp_config)
    config.kd.label_weights, config.xcl.choices = (0.0,), ()
    config.teacher.function = "own_teachers:line"
    briefly = {"rehearses": False, "draws": False, "ships": False}
    run_script("compare", config, tmp_path / "run", dry_run=True)
    assert "1 x XCL" in capsys.readouterr().out and not (tmp_path / "run").exists()
    run_script("compare", config, tmp_path / "run", dry_run=False, **briefly)
    results = work_directory.read_json(tmp_path / "run/results.json")
    splits = Experiment(config).splits
    (x, y), held_out = rows(splits.train), rows(splits.test)
    line = LinearRegression().fit(x, y.ravel())
    rmse = np.sqrt(np.mean((line.predict(held_out[0]) - held_out[1].ravel()) ** 2))
    assert results["teacher"]["rmse"] == pytest.approx(rmse, rel=1e-4)
    fingerprint = teaching.load_teacher(Experiment(config), tmp_path).fingerprint()
    assert results["teacher_fingerprint"] == fingerprint
    assert "| teacher |" in (tmp_path / "run/table.md").read_text()

    # Another function is another teacher, which results tell.
    config.teacher.function = "own_teachers:forest"
    with pytest.raises(ValueError, match=r"settings differ: teacher\.function"):
        run_script("compare", config, tmp_path / "run", dry_run=False)
    forest = teaching.load_teacher(Experiment(config), tmp_path)
    assert forest.fingerprint() != fingerprint and len(forest.member_outputs(x)) == 5


@pytest.mark.slow
def test_the_other_commands_ask_a_function(
    module, casp_config, tmp_path, run_script, capsys, eagerly
):
    config = casp_config
    config.teacher.function = "own_teachers:line"
    run_script("train_teacher", config, tmp_path / "run")  # It is there already.
    assert not (tmp_path / "run/teacher").exists()
    run_script("distill", config, tmp_path / "run", rehearses=False, ships=False)
    run_script("evaluate", config, tmp_path / "run")
    told = re.findall(r"^teacher: validation (rmse .*)$", capsys.readouterr().out, re.M)
    assert len(told) >= 3 and len(set(told)) == 1
    run_script("reinforce", config, tmp_path / "run", epochs=2)
    capsys.readouterr()
    run_script("reinforce", config, tmp_path / "run", verify=20)
    assert "20 rows of" in capsys.readouterr().out


def test_estimators_of_classes_are_calibrated_and_asked_once(module, digits_config, tmp_path):
    digits_config.teacher.calibrate = True
    with digits_config.unlocked(), digits_config.ignore_type():
        digits_config.teacher.function = {"name": "own_teachers:bayes", "var_smoothing": 0.1}
    tried = rehearsal.Rehearsal()
    with tried.under_way():
        tried.teacher(tried.experiment(digits_config), tmp_path)
    experiment = Experiment(digits_config)
    teacher = teaching.train_teacher(experiment, tmp_path)
    assert module.calls == [int(experiment.splits.validation.cardinality())]
    assert teacher.output_kind.temperature != 1.0
    x, y = rows(experiment.splits.validation)
    labels, raw = experiment.answers(teacher, "validation")
    x_train, y_train = rows(experiment.splits.train)
    bayes = naive_bayes.GaussianNB(var_smoothing=0.1).fit(
        x_train.reshape(len(x_train), -1), y_train
    )
    accuracy = (bayes.predict(x.reshape(len(x), -1)) == y).mean()
    assert experiment.scores(labels, raw)["accuracy"] == pytest.approx(accuracy, abs=1e-6)


def test_an_estimator_may_lack_a_class(module, digits_config, tmp_path):
    with digits_config.unlocked(), digits_config.ignore_type():
        digits_config.teacher.function = "own_teachers:without_3"
    experiment = Experiment(digits_config)
    x, _ = rows(experiment.splits.test)
    p = teaching.train_teacher(experiment, tmp_path).distribution(x).probs_parameter().numpy()
    few = module.without_3(experiment.splits)
    its = few.predict_proba(x.reshape(len(x), -1))
    np.testing.assert_allclose(np.delete(p, 3, axis=1), its, atol=1e-5)
    assert p[:, 3].max() < 1e-30


def test_a_function_may_map_the_classes_of_a_network(module, digits_config, tmp_path):
    digits_config.teacher.calibrate = True
    with digits_config.unlocked(), digits_config.ignore_type():
        digits_config.teacher.function = "own_teachers:of_twelve"
    experiment = Experiment(digits_config)
    teacher = teaching.train_teacher(experiment, tmp_path)
    x, _ = rows(experiment.splits.test)
    p = softmax(teacher.teachers[0].members[0](x))
    p = np.concatenate([p[:, :9], p[:, 9:11].sum(1, keepdims=True)], 1)
    p = softmax(np.log(p) / teacher.output_kind.temperature)
    found = teacher.distribution(x).probs_parameter()
    np.testing.assert_allclose(found, p, atol=1e-5)


def test_functions_that_make_no_teacher_are_refused(module, digits_config, tmp_path):
    for function, message in [
        ("own_teachers:other_classes", r"gives 4 classes, and the data has 10"),
        ("own_teachers:line", r"config\.teacher\.function=.*ValueError: Found array with dim 4"),
        ("own_teachers:none", r"Unknown teacher 'own_teachers:none'"),
        ("bayes", r"'module:function'; got 'bayes'"),
        ({"name": "own_teachers:bayes", "alpha": 1}, r"has no arguments \['alpha'\]"),
    ]:
        with digits_config.unlocked(), digits_config.ignore_type():
            digits_config.teacher.function = function
        tried = rehearsal.Rehearsal()
        with pytest.raises(ValueError, match=message):
            tried.load_teacher(tried.experiment(digits_config), tmp_path)
    digits_config.teacher.function = "own_teachers:bayes"
    digits_config.teacher.members_per_step = 1
    with pytest.raises(ValueError, match=r"members_per_step is of networks of Keras"):
        teaching.train_teacher(Experiment(digits_config), tmp_path)
    both = pretrained(digits_config, {"name": "keras", "path": "none.keras"})
    with pytest.raises(ValueError, match="both `function` and `pretrained`"):
        teaching.train_teacher(Experiment(both), tmp_path)
