"""Every configuration: what it names is there, what it says is meant, and it runs."""

import inspect
import pkgutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from ml_collections import ConfigDict, config_flags

import ecl_tf
from ecl_tf import data, divergences, models, outputs, preprocessing, samplers
from ecl_tf.experiments import grid, optimizers, settings, work_directory
from tests.tiny import rows

FILES = {
    "ablations": ["", "rotated_digits", "fashion_mnist"],
    "casp": [""],
    "cifar100": ["", "small", "runlocal"],
    "digits": ["", "one_split"],
    "embedded_tables": ["", "breast_cancer", "diabetes", "digits", "friedman"],
    "fashion_mnist": ["", "mlp", "transformer"],
    "imagenet": ["", "runlocal"],
    "mpii_gaze": ["", "runlocal"],
    "recipes": ["", "friedman", "digits", "rotated_digits", "casp", "fashion_mnist"],
    "relatives": ["", "mlp", "cifar100"],
    "rotated_digits": [""],
    "segmentation": [""],
    "schedules": ["", "digits", "ensembles", "convnet_5000", "transformer_all", "casp"],
    "sine": [""],
    "table": ["", "classes"],
    "turned_clothes": [""],
}
ALL = [f"{name}:{size}".rstrip(":") for name, sizes in FILES.items() for size in sizes]
# One example's inputs, and classes or target dimensions: of the data sets' own papers.
SHAPES = {
    "casp": ((9,), 1),
    "cifar100": ((32, 32, 3), 100),
    "digits": ((8, 8, 1), 10),
    "fashion_mnist": ((28, 28, 1), 10),
    "imagenet": ((224, 224, 3), 1000),
    "mpii_gaze": ({"image": (36, 60, 1), "head_pose": (2,)}, 2),
    "rotated_digits": ((12, 12, 1), 1),
    "segmentation": ((16, 16, 1), 5),
    "sine": ((1,), 1),
    "turned_clothes": ((20, 20, 1), 1),
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
    assert files == {*FILES, "common"}


def _full(name):
    return name if ":" in name else f"ecl_tf.data:{name}"


def _sections(config):
    yield config
    for value in config.values():
        if isinstance(value, ConfigDict):
            yield from _sections(value)


@pytest.mark.parametrize("name", ALL)
def test_no_section_is_another_one_too(name):
    """A flag for the student's training would set the teacher's."""
    found = [*_sections(load(name))]
    assert len({id(section) for section in found}) == len(found)


@pytest.mark.parametrize("name", ALL)
def test_what_is_named_exists_and_fits(name, tmp_path):
    config = settings.parse(load(name))
    known = inspect.signature(pkgutil.resolve_name(_full(config.data["name"]))).parameters
    assert set(config.data) - {"name"} <= set(known) or "others" in known
    output = outputs.get(config.output)
    families = {
        "accuracy": "categorical",
        "iou": "categorical",
        "angular_error": "normal",
        "rmse": "normal",
    }
    assert output.family == families[config.score]
    assert 0.0 in config.kd.label_weights and 1.0 in config.kd.temperatures
    assert output.takes_temperature or not config.erm.label_smoothing  # No classes to smooth.

    # XCL is the default recipe.
    xcl = config.xcl
    assert (xcl.divergence, xcl.temperature, xcl.label_weight) == ("kl", 1.0, 0.0)
    assert samplers.get(xcl.sampler).get_config() == samplers.recipe().get_config()
    tried = settings.choices(xcl).values()
    of_kd = len(config.kd.temperatures) if output.takes_temperature else 1
    assert len(tried) < of_kd + len(config.kd.label_weights)
    for method in (*config.methods.values(), *tried):
        samplers.get(method.sampler)
        if method.divergence in ("faithful", "squared_error"):
            assert output.family == "normal"
        elif divergences.get(method.divergence) is not divergences.kl:
            assert output.family == "categorical"

    for _, cell in grid.cells(load(name)):
        cell = settings.parse(cell)
        for train in filter(None, (cell.student.train, cell.teacher.train)):
            if train.steps is None:  # They follow from the data.
                continue
            assert isinstance(optimizers.build(train, 0.01), keras.optimizers.Optimizer)
            # Otherwise `fitting.fit` would make all of it one epoch.
            assert train.steps % (train.epochs * train.steps_per_execution) == 0
        train = cell.student.train
        assert train.distillation_weight_decay == pytest.approx(train.weight_decay / 10)

    for _ in range(2):  # It is itself when it is read back.
        work_directory.claim(tmp_path / "run", load(name))


@pytest.mark.parametrize(
    ("name", "penalty"), [("cifar100", 5e-4), ("imagenet", 1e-4), ("mpii_gaze", 1e-4)]
)
def test_published_penalties_shrink_as_fast_when_decoupled(name, penalty):
    """Steps of SGD with momentum and an L2 penalty, by hand, against the optimizer."""
    train = settings.parse(load(name)).student.train
    steps = 20_000
    published, velocity = 1.0, 0.0
    for _ in range(steps):
        velocity = 0.9 * velocity + penalty * published
        published -= 1e-3 * velocity
    optimizer = optimizers.build(train, train.weight_decay)
    assert optimizer.momentum == 0.9
    ours = (1 - 1e-3 * optimizer.weight_decay) ** steps
    assert np.log(ours) == pytest.approx(np.log(published), rel=1e-2)


def warmup_of_5_of_90(epoch):
    return 0.1 * epoch / 5 if epoch < 5 else 0.05 * (1 + np.cos(np.pi * (epoch - 5) / 85))


@pytest.mark.parametrize(
    ("name", "steps", "rate", "epochs"),
    [
        (
            "cifar100",
            50_000 / 64,
            lambda epoch: 0.05 * 0.1 ** sum(epoch > end for end in (150, 180, 210)),
            (0, 149, 151, 179, 181, 209, 211, 239),
        ),
        ("imagenet", (1_281_167 - 10_000) // 256, warmup_of_5_of_90, (0, 2.5, 5, 47.5, 90)),
    ],
)
def test_rates_are_the_published_ones_by_epoch(name, steps, rate, epochs):
    found = optimizers.schedule(settings.parse(load(name)).student.train)
    for epoch in epochs:
        learned = float(found(round(epoch * steps)))
        assert learned == pytest.approx(rate(epoch), rel=1e-3, abs=1e-8)


@pytest.mark.parametrize(
    ("name", "role", "weights"),
    [
        ("casp", "student", None),
        ("casp", "teacher", None),
        # 3x3x3x16 and its scales; stages of three blocks, whose shortcuts have no weights, of
        # 14,016, 51,072 and 203,520; 64x100 + 100.
        ("cifar100", "student", 432 + 32 + 14_016 + 51_072 + 203_520 + 6_500),
        # Six more blocks a stage, of 4,672, 18,560 and 73,984.
        ("cifar100", "teacher", 275_572 + 6 * (4_672 + 18_560 + 73_984)),
        # Results: three members of 18,270 in all, four of 207,368.
        ("digits", "teacher", 18_270 // 3),
        ("rotated_digits", "teacher", 207_368 // 4),
        ("fashion_mnist:mlp", "student", None),
        ("fashion_mnist:transformer", "student", None),
        # As Keras documents it.
        pytest.param("imagenet", "student", 25_636_712 - 53_120, marks=pytest.mark.slow),
        pytest.param("imagenet:runlocal", "student", None, marks=pytest.mark.slow),
        # 5x5x20 + 20, 5x5x20x50 + 50, 6x12x50 inputs of 500, and 502 of four raw outputs.
        ("mpii_gaze", "student", 520 + 25_050 + 3_600 * 500 + 500 + 502 * 4 + 4),
        ("mpii_gaze", "teacher", None),
        # 3x3 of 1 to 6, 6 to 12, 12 to 24, 24 + 12 to 12 and 12 + 6 to 6; 3 numbers a filter.
        ("segmentation", "student", 9 * (6 + 72 + 288 + 432 + 108) + 3 * 60 + 6 * 5 + 5),
        ("segmentation", "teacher", None),
        ("sine", "student", None),
        ("turned_clothes", "student", None),
    ],
)
def test_networks_fit_the_data_and_have_as_many_weights_as_known(name, role, weights):
    config = load(name)
    shape, size = SHAPES[name.partition(":")[0]]
    arguments = config[role].network.to_dict()
    layers = preprocessing.layers(arguments.pop("preprocessing", ()))
    output = outputs.get(settings.parse(config).output)
    inputs = preprocessing.output_shape(layers, shape)
    model = models.build(input_shape=inputs, units=output.raw_size(size), **arguments)
    positions = shape[:2] if arguments["name"] == "unet" else ()
    raw_size = {"categorical": 1, "normal": 2}[output.family] * size
    assert model.output_shape == (None, *positions, raw_size)
    found = keras.tree.map_structure(lambda tensor: tuple(tensor.shape[1:]), model.input)
    assert found == inputs
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert weights is None or trainable == weights


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("casp", "data.inputs", "features"),
        ("digits", "teacher.inference_form", "bfloat16"),
        ("digits", "teacher.precision", "bfloat16"),
        ("cifar100", "student.network.name", "wide_resnet"),
        ("digits", "student.train.steps", 5000),
        ("imagenet", "teacher.pretrained.model", "ConvNeXtLarge"),
    ],
)
def test_documented_settings_change_on_the_command_line(name, setting, value):
    config = load(name, f"--config.{setting}={value}")
    for part in setting.split("."):
        config = config[part]
    assert config == value


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar100", "imagenet", "mpii_gaze"])
def test_unknown_variants_are_refused_with_the_choices(name):
    with pytest.raises(flags.IllegalFlagValueError, match=r"'runlocla'.*(runlocal|transformer)"):
        load(f"{name}:runlocla")


def test_turned_clothes_are_the_images_turned_by_their_angles():
    sizes = {"train_size": 6, "validation_size": 3, "mock_examples": 20}
    name = "ecl_tf.configs.turned_clothes:turned_clothes"  # It takes others' arguments as **others.
    upright = data.load(name, test_size=2, max_angle=1e-9, **sizes)
    turned = data.load(name, test_size=2, **sizes)
    known = data.fashion_mnist(augment=False, **sizes)
    for split, size in {"train": 6, "validation": 3, "test": 2}.items():
        angles = rows(getattr(turned, split))[1]
        assert angles.shape == (size, 1) and 0.1 < np.abs(angles).max() <= np.radians(60)
        images = rows(getattr(known, split))[0][:size] / 255.0
        inside = (slice(None), slice(1, -1), slice(1, -1))  # Nothing is known beyond the border.
        expected = tf.image.resize(images, (20, 20)).numpy()[inside]
        np.testing.assert_allclose(rows(getattr(upright, split))[0][inside], expected, atol=1e-4)


# From the command line's configuration to the last file, on random data


def assert_two_finite_losses(workdir):
    losses = np.genfromtxt(workdir / "log.csv", delimiter=",", names=True)["loss"]
    assert len(losses) == 2 and np.isfinite(losses).all()


@pytest.mark.slow
def test_local_cifar_100_is_taught_and_distilled(run_script, tmp_path, eagerly):
    config = load("cifar100:runlocal")
    config.teacher.train.steps = config.student.train.steps = 2
    for script in ("train_teacher", "distill"):
        run_script(script, config, tmp_path, rehearses=False, ships=False)
    assert_two_finite_losses(tmp_path)


@pytest.mark.slow
def test_local_imagenet_is_distilled_and_exported(run_script, tmp_path, eagerly):
    config = load("imagenet:runlocal")
    config.data.update({"image_size": 32, "mock_examples": 16, "validation_size": 8})
    config.teacher.pretrained.size = (32, 32)
    config.student.train.steps = 2
    config.student.network = {"name": "convnet", "width": 2, "depth": 2}  # Its own is built above.
    run_script("distill", config, tmp_path, rehearses=False, ships=False)
    assert_two_finite_losses(tmp_path)
    served = ecl_tf.load_student(tmp_path / "export")(np.zeros((2, 32, 32, 3), "float32"))
    np.testing.assert_allclose(np.sum(served.probs_parameter(), 1), 1.0, rtol=1e-4)
