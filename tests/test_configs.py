"""Every configuration: what it names is there, what it says is meant, and it runs."""

import csv
import functools
import inspect
import json

import keras
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from ml_collections import config_flags

import ecl_tf
from ecl_tf import data, models, outputs, preprocessing, samplers
from ecl_tf.experiments import comparison, optimizers, work_directory
from trainers import command_line, compare, distill, train_teacher

FILES = {
    "ablations": ["", "digits", "rotated_digits", "fashion_mnist"],
    "casp": [""],
    "cifar100": ["", "runlocal"],
    "digits": [""],
    "fashion_mnist": ["", "convnet", "mlp", "transformer"],
    "imagenet": ["", "runlocal"],
    "mpii_gaze": ["", "runlocal"],
    "relatives": ["", "digits", "mlp"],
    "rotated_digits": [""],
    "schedules": ["", "digits", "ensembles", "convnet_5000", "transformer_all", "casp"],
    "sine": [""],
    "table": ["", "classes"],
}
ALL = [f"{name}:{size}".rstrip(":") for name, sizes in FILES.items() for size in sizes]
FULL = ["casp", "cifar100", "digits", "fashion_mnist", "fashion_mnist:mlp", "imagenet"]
FULL += ["mpii_gaze", "rotated_digits", "sine"]
# One example's inputs, and classes or target dimensions: of the data sets' own papers.
SHAPES = {
    "casp": ((9,), 1),
    "cifar100": ((32, 32, 3), 100),
    "digits": ((8, 8, 1), 10),
    "fashion_mnist": ((28, 28, 1), 10),
    "imagenet": ((224, 224, 3), 1000),
    "mpii_gaze": ({"image": (36, 60, 1), "head_pose": (2,)}, 2),
    "rotated_digits": ((12, 12, 1), 1),
    "sine": ((1,), 1),
}


def load(name, *overrides):
    """A configuration as the scripts get it from their command line."""
    values = flags.FlagValues()
    path, _, size = name.partition(":")
    arguments = ["script", f"--config=configs/{path}.py{':' * bool(size)}{size}", *overrides]
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=arguments)
    values(arguments)
    return values.config


@pytest.fixture(autouse=True)
def in_the_checkout(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)


def test_every_file_is_tested(request):
    files = {path.stem for path in (request.config.rootpath / "configs").glob("[a-z]*.py")}
    assert files == set(FILES)


def sections(config):
    """The sections that describe a network to train."""
    found = [config.student, config.teacher]
    return [section for section in found if "train" in section]


@pytest.mark.parametrize("name", ALL)
def test_names_and_arguments_exist(name):
    config = load(name)
    assert config.data.name in data.__all__
    known = inspect.signature(getattr(data, config.data.name)).parameters
    assert set(config.data) - {"name"} <= set(known)
    output = outputs.get(_plain(config.output))
    family = {"accuracy": "categorical", "angular_error": "normal", "rmse": "normal"}
    assert output.family == family[config.score]
    for section in sections(config):
        optimizer = optimizers.build(section.train, 0.01)
        assert isinstance(optimizer, keras.optimizers.Optimizer)
    assert set(config.erm) - {"cutmix_alpha"} == {"label_smoothing", "mixup_alpha"}
    assert 0.0 in config.kd.label_weights
    if output.takes_temperature:
        assert 1.0 in config.kd.temperatures
    else:
        assert not config.erm.label_smoothing  # There are no classes to smooth.


def _plain(value):
    return value.to_dict() if hasattr(value, "to_dict") else value


@pytest.mark.parametrize("name", ALL)
def test_xcl_is_the_default_recipe(name):
    xcl = load(name).xcl.to_dict()
    assert (xcl["divergence"], xcl["temperature"], xcl["label_weight"]) == ("kl", 1.0, 0.0)
    assert samplers.get(xcl["sampler"]).get_config() == samplers.recipe().get_config()


@pytest.mark.parametrize("name", ALL)
def test_distillation_decays_weights_ten_times_less(name):
    train = load(name).student.train
    decays = train.get("weight_decay", 0.0), train.get("distillation_weight_decay", 0.0)
    assert decays[1] == pytest.approx(decays[0] / 10)


@pytest.mark.parametrize(
    ("name", "penalty"), [("cifar100", 5e-4), ("imagenet", 1e-4), ("mpii_gaze", 1e-4)]
)
def test_published_penalties_shrink_as_fast_when_decoupled(name, penalty):
    """Steps of SGD with momentum and an L2 penalty, by hand, against the optimizer."""
    train = load(name).student.train
    with train.unlocked():
        train.learning_rate, train.schedule = 1e-3, {"name": "steps", "at": (), "factor": 1.0}
    steps = 20_000
    published, velocity = 1.0, 0.0
    for _ in range(steps):
        velocity = 0.9 * velocity + penalty * published
        published -= 1e-3 * velocity
    optimizer = optimizers.build(train, train.weight_decay)
    assert optimizer.momentum == 0.9
    ours = (1 - 1e-3 * optimizer.weight_decay) ** steps
    assert np.log(ours) == pytest.approx(np.log(published), rel=1e-2)


@pytest.mark.parametrize("name", ALL)
def test_steps_divide_into_epochs_and_executions(name):
    for section in sections(load(name)):
        train = section.train
        assert train.steps % train.steps_per_execution == 0
        if "epochs" in train:
            per_epoch = train.steps // train.epochs
            assert per_epoch >= 1 and per_epoch % train.steps_per_execution == 0
            # Else `fitting.fit` would make all of it one epoch.
            assert train.steps % (train.epochs * train.steps_per_execution) == 0


def test_cifar_100_learns_at_the_published_rates():
    train = load("cifar100").student.train
    rate = optimizers.schedule(train)
    steps = [round(epoch * 50_000 / 64) for epoch in (0, 149, 151, 179, 181, 209, 211, 239)]
    expected = np.repeat([0.05, 0.005, 0.0005, 0.00005], 2)
    np.testing.assert_allclose([float(rate(step)) for step in steps], expected, rtol=1e-4)


def test_imagenet_warms_up_for_5_of_90_epochs():
    train = load("imagenet").student.train
    rate = optimizers.schedule(train)
    epoch = (1_281_167 - 10_000) // 256
    assert train.steps == 90 * epoch
    for number in (0, 2.5, 5, 47.5, 90):
        cosine = 0.05 * (1 + np.cos(np.pi * (number - 5) / 85))
        expected = 0.1 * number / 5 if number < 5 else cosine
        assert float(rate(round(number * epoch))) == pytest.approx(expected, rel=1e-3, abs=1e-8)


@functools.cache
def network(name, role):
    """The network of config.teacher or config.student, after its preprocessing."""
    config = load(name)
    shape, size = SHAPES[name.partition(":")[0]]
    arguments = config[role].network.to_dict()
    layers = preprocessing.layers(arguments.pop("preprocessing", ()))
    units = outputs.get(_plain(config.output)).raw_size(size)
    shape = preprocessing.output_shape(layers, shape)
    return models.build(input_shape=shape, units=units, **arguments)


@pytest.mark.parametrize("name", FULL)
def test_networks_fit_the_data(name):
    raw = {"categorical": 1, "normal": 2}[outputs.get(_plain(load(name).output)).family]
    roles = ["student"] if name == "imagenet" else ["student", "teacher"]
    for role in roles:
        model = network(name, role)
        shape, size = SHAPES[name.partition(":")[0]]
        assert model.output_shape == (None, raw * size)
        inputs = keras.tree.map_structure(lambda tensor: tuple(tensor.shape[1:]), model.input)
        assert inputs == shape


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@pytest.mark.parametrize(
    ("name", "role", "weights"),
    [
        # 3x3x3x16 and its scales; stages of three blocks, whose shortcuts have no weights, of
        # 14,016, 51,072 and 203,520; 64x100 + 100.
        ("cifar100", "student", 432 + 32 + 14_016 + 51_072 + 203_520 + 6_500),
        # Six more blocks a stage, of 4,672, 18,560 and 73,984.
        ("cifar100", "teacher", 275_572 + 6 * (4_672 + 18_560 + 73_984)),
        # As Keras documents it.
        ("imagenet", "student", 25_636_712 - 53_120),
        # 5x5x20 + 20, 5x5x20x50 + 50, 6x12x50 inputs of 500, and 502 of four raw outputs.
        ("mpii_gaze", "student", 520 + 25_050 + 3_600 * 500 + 500 + 502 * 4 + 4),
        # README: three members of 18,270 in all, four of 207,368.
        ("digits", "teacher", 18_270 // 3),
        ("rotated_digits", "teacher", 207_368 // 4),
    ],
)
def test_networks_have_as_many_weights_as_known(name, role, weights):
    assert trainable(network(name, role)) == weights


@pytest.mark.parametrize("name", ALL)
def test_a_work_directory_of_the_same_configuration_is_resumed(name, tmp_path):
    for _ in range(2):
        work_directory.claim(tmp_path / "run", load(name))
    with pytest.raises(ValueError, match=r"another experiment.*seed \(0 there, 7 here\)"):
        work_directory.claim(tmp_path / "run", load(name, "--config.seed=7"))


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("casp", "data.path", "casp.npz"),
        ("casp", "data.target", "RMSD"),
        ("digits", "teacher.inference_form", "bfloat16"),
        ("table:classes", "data.inputs", "width,depth"),
        ("cifar100", "data.data_dir", "/data"),
        ("digits", "student.train.steps", 5000),
        ("fashion_mnist:mlp", "data.seed", 3),
        ("imagenet", "teacher.pretrained.model", "ConvNeXtLarge"),
        ("mpii_gaze", "data.held_out", "all"),
        ("mpii_gaze", "data.manual_dir", "DIR"),
        ("mpii_gaze", "data.validation_persons", 2),
    ],
)
def test_documented_settings_change_on_the_command_line(name, setting, value):
    found = load(name, f"--config.{setting}={value}")
    for part in setting.split("."):
        found = found[part]
    assert found == value


def test_the_remedy_for_a_missing_input_array_exists():
    config = load("casp", "--config.data.inputs=features")
    assert config.data.inputs == "features"


def test_the_other_student_that_cifar_100_documents():
    config = load(
        "cifar100",
        "--config.student.network.name=wide_resnet",
        "--config.student.network.depth=16",
    )
    models.build(input_shape=(32, 32, 3), units=100, **config.student.network.to_dict())


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar100", "imagenet", "mpii_gaze"])
def test_unknown_variants_are_refused_with_the_choices(name):
    with pytest.raises(flags.IllegalFlagValueError, match=r"'runlocla'.*(runlocal|transformer)"):
        load(f"{name}:runlocla")


# From the command line's configuration to the last file, on random data


@pytest.fixture
def run(monkeypatch, tmp_path):
    def run(script, config):
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        for name, value in (("CONFIG", config), ("WORKDIR", str(tmp_path))):
            monkeypatch.setattr(command_line, name, type("Holder", (), {"value": value}))
        with flagsaver.flagsaver():
            script.main([])
        return tmp_path

    return run


def losses(workdir):
    with open(workdir / "log.csv") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.slow
def test_local_gaze_is_compared(run):
    config = load("mpii_gaze:runlocal")
    config.data.held_out = "p14"  # The last person: the next ones begin anew.
    # Nothing to tune, for each training is another graph to build.
    config.seeds = config.teacher.members = 1
    config.erm.mixup_alpha = 0.0
    for section in (config.teacher, config.student):
        section.train.update({"steps": 2, "epochs": 1})
    workdir = run(compare, config)
    results = json.loads((workdir / "results.json").read_text())
    assert list(results["final"]) == ["ERM", "standard KD", "tuned KD", "XCL"]
    for keys in results["final"].values():
        assert all(np.isfinite(list(results["runs"][key]["test"].values())).all() for key in keys)
    assert (workdir / "table.md").exists() and (workdir / "plot.png").exists()


@pytest.mark.slow
def test_local_cifar_100_is_taught_and_distilled(run):
    config = load("cifar100:runlocal")
    config.teacher.train.steps = 2
    run(train_teacher, config)
    epochs = losses(run(distill, config))
    assert len(epochs) == 2 and np.isfinite(epochs).all()


@pytest.mark.slow
def test_local_imagenet_is_distilled_and_exported(run):
    config = load("imagenet:runlocal")
    config.data.update({"image_size": 32, "mock_examples": 16, "validation_size": 8})
    config.teacher.pretrained.size = (32, 32)
    workdir = run(distill, config)
    epochs = losses(workdir)
    assert len(epochs) == 2 and np.isfinite(epochs).all()
    served = ecl_tf.load_student(workdir / "export")(np.zeros((2, 32, 32, 3), "float32"))
    np.testing.assert_allclose(np.sum(served.probs_parameter(), 1), 1.0, rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in ALL if "methods" in load(name)])
def test_further_methods_are_arguments_of_the_distiller(name):
    known = set(inspect.signature(ecl_tf.Distiller).parameters) | {"labels"}
    for arguments in load(name).methods.to_dict().values():
        samplers.get(arguments["sampler"])
        assert set(arguments) <= known


@pytest.mark.parametrize("name", [name for name in ALL if "grid" in load(name)])
def test_a_grid_has_cells(name):
    config = load(name)
    cells = dict(comparison.grid_cells(config))
    assert len(cells) == np.prod([len(values) for _, values in config.grid])
    for cell in cells.values():
        for section in sections(cell):
            assert section.train.steps % section.train.steps_per_execution == 0
