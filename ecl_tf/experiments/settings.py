"""Every key of a configuration: what it means, its type, its default, and typical values.

`parse` turns a configuration into these classes, and refuses what they do not know.
"""

import dataclasses
from typing import Any, Literal

from ml_collections import ConfigDict

from ecl_tf.experiments.conversion import convert
from ecl_tf.experiments.setting_types import (
    BatchSize,
    ClassWeights,
    Count,
    CountOrZero,
    Decay,
    Formats,
    Names,
    Positive,
    Seed,
    Severities,
    Share,
    ShareOrZero,
    Shares,
    StepCount,
    Temperatures,
    Weight,
    Weights,
)


@dataclasses.dataclass(frozen=True)
class Cosine:
    """`train.schedule`: after a linear warmup the rate falls to zero along half a cosine.

    Attributes:
        name: "cosine".
        warmup_steps: steps in which the rate rises from zero; 0 by default, typically the
            steps of 5 epochs for large batches.
    """

    name: Literal["cosine"] = "cosine"
    warmup_steps: CountOrZero = 0


@dataclasses.dataclass(frozen=True)
class Steps:
    """`train.schedule`: the rate is multiplied by a factor at some shares of the steps.

    Attributes:
        at: the shares, between 0 and 1; typically (0.5, 0.75).
        name: "steps".
        factor: the factor; 0.1 by default, and typically.
    """

    at: Shares
    name: Literal["steps"] = "steps"
    factor: Positive = 0.1


@dataclasses.dataclass(frozen=True)
class Restarts:
    """`train.schedule` of `steps` "auto": `ecl_tf.callbacks.WarmRestarts`.

    Attributes:
        name: "restarts".
        first_cycle: steps of the first cycle, a multiple of `steps_per_execution`; None by
            default, for those of 2 passes over the training data, at least 500, and at most a
            seventh of `max_steps`, which makes 3 cycles.
        min_gain: the share by which a cycle has to lower the loss, or of numbers the error, on
            validation data for another to follow; 0.02 by default, typically 0.01 to 0.05.
    """

    name: Literal["restarts"] = "restarts"
    first_cycle: Count | None = None
    min_gain: ShareOrZero = 0.02


@dataclasses.dataclass(frozen=True)
class Train:
    """`teacher.train` and `student.train`: how a network is trained.

    Attributes:
        steps: the number of training steps, a multiple of `steps_per_execution`, typically
            2,000 for small data; or "auto": in cycles of 1, 2, 4, ... times the steps of the
            first, until one hardly lowers the loss, or of numbers the error, on validation data;
            or None, for a number that follows from that of the training rows.
        learning_rate: the highest learning rate; typically 0.003 for Adam, 0.1 for SGD.
        batch_size: rows of a batch, on all devices together; 64 by default; None for a number that
            follows from that of the training rows.
        epochs: parts of the training, each followed by a validation; 1 by default, typically
            10. If the steps can't be cut so, there is one part. With `steps` "auto" every part
            is as long as the first cycle.
        optimizer: a class of `keras.optimizers`, "Adam" by default, or its class_name and
            config; typically {"class_name": "SGD", "config": {"momentum": 0.9}}.
        schedule: of the learning rate, `Cosine` by default, or `Steps`. With `steps` "auto" it is
            `Restarts`.
        weight_decay: of a training on labels; 0.0 by default, typically 0.001 to 0.1. It is
            decoupled: each step takes rate * weight_decay of every kernel away. None for one that
            follows from the number of training rows.
        distillation_weight_decay: the same of a distillation; 0.0 by default, typically a
            tenth of `weight_decay`.
        steps_per_execution: steps that Keras runs at once; 1 by default, typically 20 for
            small networks.
        max_steps: the most steps of `steps` "auto"; cycles that would exceed it are left out.
            None by default, for 63 times the first cycle's, which makes 6 cycles.
    """

    steps: StepCount
    learning_rate: Positive
    batch_size: BatchSize = 64
    epochs: Count = 1
    optimizer: str | dict[str, Any] = "Adam"
    schedule: Cosine | Steps | Restarts = Cosine()
    weight_decay: Decay = 0.0
    distillation_weight_decay: Weight = 0.0
    steps_per_execution: Count = 1
    max_steps: Count | None = None


@dataclasses.dataclass(frozen=True)
class Labels:
    """How labels are softened, or mixed together with the inputs.

    Attributes:
        label_smoothing: the share of the labels that is spread over all classes; 0.0 by
            default, typically 0.1. Classes only.
        mixup_alpha: alpha of mixup's Beta distribution; 0.0, no mixup, by default, typically
            0.2 to 1.0.
        cutmix_alpha: alpha of CutMix's Beta distribution; 0.0, no CutMix, by default,
            typically 1.0. Images only. With both, one of them is drawn for every row.
    """

    label_smoothing: ShareOrZero = 0.0
    mixup_alpha: Weight = 0.0
    cutmix_alpha: Weight = 0.0


@dataclasses.dataclass(frozen=True)
class Teacher:
    """`teacher`: trained here as `network` and `train` say, or brought along.

    Attributes:
        members: networks of the ensemble; 1 by default, typically 3 to 5.
        calibrate: whether its temperature is fitted to validation data; False by default,
            typically True for classes.
        inference_form: None by default; "float32" makes copies with folded batch normalisation,
            of which "bfloat16" and "float16" compute in lower precision. See
            `ecl_tf.inference_form`.
        members_per_step: how many members, drawn at random, teach in a step of a distillation;
            None, all, by default, typically 1 where their passes take most of it. See
            `ecl_tf.Ensemble`.
        precision: None by default; "bfloat16" or "float16" has the networks compute in it, from
            their float32 weights. See `ecl_tf.Ensemble`. There is no "auto" here: results would
            hang on how busy a machine was.
        network: the name of a function of `ecl_tf.models`, or "module:function" of yours (see
            `ecl_tf.models.build`), its arguments, and perhaps `preprocessing`, Keras layers by
            name, and `scale_branch`, of Normal outputs; typically {"name": "convnet",
            "width": 16, "depth": 2}. Its `widths` and `dropout` follow from the numbers of rows
            and columns where they are None. None by default, for a teacher that is brought along.
        train: how the members are trained; None by default, for the same reason.
        labels: how the labels of its training are softened or mixed; not at all by default.
        pretrained: None by default, or the arguments of `ecl_tf.pretrained.load`; a sequence
            of them is an ensemble.
        function: None by default, or "module:function" of yours; a dict of that as `name` and of
            further arguments, if it has any. It is called with the `ecl_tf.data.Splits`, and
            returns an `ecl_tf.Teacher`, Keras models, fitted estimators as
            `ecl_tf.teachers.from_estimator` takes them, or functions as a `FunctionTeacher`
            does. It has to give the same teacher each time: one that is loaded, or fitted with a
            fixed seed.
    """

    members: Count = 1
    calibrate: bool = False
    inference_form: Literal["float32", "bfloat16", "float16"] | None = None
    members_per_step: Count | None = None
    precision: Literal["bfloat16", "float16"] | None = None
    network: dict[str, Any] | None = None
    train: Train | None = None
    labels: Labels = Labels()
    pretrained: dict[str, Any] | tuple[dict[str, Any], ...] | None = None
    function: str | dict[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Student:
    """`student`: the network that is distilled into.

    Attributes:
        network: as in `Teacher`; typically {"name": "mlp", "widths": (64, 64)}.
        train: how it is trained, by every method.
        conformal: the share of labels that its intervals, or sets of classes, are to hold; None,
            the default, for no such sets, typically 0.9. Their thresholds are measured on the
            validation rows by `ecl_tf.conformal`. `ecl-tf distill` exports them with the student,
            and `ecl-tf compare` shows their coverage and size on test rows.
        quantization: "int8" trains it at the precision at which LiteRT serves it, by every method,
            ERM among them; None, the default, for float32. All scores are then of the rounded
            student, and student.keras keeps its ranges. A LiteRT file of it has whole numbers, and
            other formats hold its weights in float32. It excludes `conformal`.
    """

    network: dict[str, Any]
    train: Train
    conformal: Share | None = None
    quantization: Literal["int8"] | None = None


@dataclasses.dataclass(frozen=True)
class Kd:
    """`kd`: what ordinary distillation is tuned over, by `ecl-tf compare`.

    All temperatures are tried at the first label weight, then all other label weights at the best
    temperature. The setting of standard KD is one more candidate.

    Attributes:
        temperatures: (1.0, 2.0, 4.0, 8.0) by default, and typically. Classes only.
        label_weights: weights of the labels' likelihood; (0.0, 0.1, 0.3, 1.0) by default, and
            typically.
    """

    temperatures: Temperatures = (1.0, 2.0, 4.0, 8.0)
    label_weights: Weights = (0.0, 0.1, 0.3, 1.0)


@dataclasses.dataclass(frozen=True)
class Distillation:
    """What `xcl` and `methods.NAME` share: arguments of `ecl_tf.Distiller`.

    Attributes:
        sampler: a class of `ecl_tf.samplers`, or its class_name and config; by default
            `ecl_tf.samplers.recipe()`, typically that.
        divergence: "kl" by default, and typically; or "reverse_kl", "jeffreys",
            "jensen_shannon", "faithful", of numbers, or "standardised_logits", "decoupled" and
            "correlation", of classes (see `ecl_tf.relatives`); in `xcl.choices` and `methods` also
            "squared_error", of the means of numbers, to which the student's spread is measured on
            validation data.
        temperature: softens both networks' distributions over classes; 1.0 by default,
            typically 1.0 to 4.0.
        label_weight: the weight of the labels' likelihood; 0.0 by default, typically 0.0 to
            1.0.
        label_rows: on which rows labels are learned: "appended" ones by default, the batch's
            own beside the samples; or "unmodified", those samples that stay as they are.
    """

    sampler: str | dict[str, Any] | None = None
    divergence: str = "kl"
    temperature: Positive = 1.0
    label_weight: Weight = 0.0
    label_rows: Literal["appended", "unmodified"] = "appended"


@dataclasses.dataclass(frozen=True)
class Xcl(Distillation):
    """`xcl`: extracurricular learning.

    Attributes:
        choices: what `ecl-tf compare` tries on validation data beside this section as it is: each
            a dict of a `name` and some other values for the keys above; () by default, which tries
            nothing, typically ({"name": "half mixed", "sampler": {...}},). All other commands
            take the section as it is.
    """

    choices: tuple[dict[str, Any], ...] = ()


@dataclasses.dataclass(frozen=True)
class Method(Distillation):
    """`methods.NAME`: one more method that `ecl-tf compare` compares, nothing tuned.

    Attributes:
        labels: how labels are softened or mixed before the distiller sees them; None, not at
            all, by default, typically {"mixup_alpha": 1.0} for the mixup baseline.
    """

    labels: Labels | None = None


@dataclasses.dataclass(frozen=True)
class Export:
    """`export`: the files of WORKDIR/best, which `ecl-tf compare` and `ecl-tf distill` end with.

    They may be changed once all is trained. See `ecl_tf.export_student`.

    Attributes:
        formats: one or more of "saved_model", "litert" and "onnx"; ("saved_model",) by default.
            The latter two need `pip install "ecl_tf[export]"`. student.keras is always there.
        quantization: None, the default, for LiteRT in float32; "float16" for half the bytes of
            the weights; "int8" for weights and activations of 8 bits, with ranges that are
            measured on training rows.
        measures: whether bytes, multiply-adds and milliseconds of each file and of the teacher are
            measured, which takes some 15 seconds; True by default.
    """

    formats: Formats = ("saved_model",)
    quantization: Literal["float16", "int8"] | None = None
    measures: bool = True


@dataclasses.dataclass(frozen=True)
class Suite:
    """`suite`: what final students are measured on beyond the test rows as they are.

    It may be changed once all is trained. `ecl-tf evaluate --suite` does all of it, whatever
    `shifts` says. See the guide to evaluation.

    Attributes:
        shifts: whether `ecl-tf compare` shows corrupted inputs, and inputs unlike the data, to the
            teacher and to the final students; False by default, for the time it takes.
        rows: test rows at random that are corrupted; 2000 by default, and typically. All, if there
            are no more.
        severities: of corruptions; (1, 2, 3, 4, 5) by default, and typically.
        kind: "image", "table" or "sequence", which says how inputs are corrupted; None, the
            default, infers it from the data.
        arguments: further ones of `ecl_tf.evaluation.corrupt`; {} by default, typically
            {"padding": 0} of token ids.
        other: None, the default, for noise and shuffled inputs as those unlike the data; or another
            data set, whose test inputs are taken in their place: its name, or a dict of that as
            `name` and of arguments, as in `data`; typically "fashion_mnist" for other images.
    """

    shifts: bool = False
    rows: Count = 2000
    severities: Severities = (1, 2, 3, 4, 5)
    kind: Literal["image", "table", "sequence"] | None = None
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    other: str | dict[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Settings:
    """A whole configuration.

    Attributes:
        data: the name of a function of `ecl_tf.data`, or "module:function" of yours, and its
            arguments; typically {"name": "digits", "train_size": 200}. With `held_out` "all",
            `ecl-tf compare` runs every one of `folds`.
        output: "categorical" for classes, or the class_name and config of an
            `ecl_tf.outputs.Output`: "Normal", or "StudentT", "LogNormal", "NormalMixture",
            "NegativeBinomial", "Poisson".
        score: what decides: "accuracy" for classes and yes/no labels, or "iou" where rows have
            positions; "rmse" or "angular_error" (degrees) for numbers.
        student: the network that is distilled into.
        teacher: the networks that it learns from; none by default, where all commands are
            given --teacher.
        seed: of data order, weights and samplers; 0 by default.
        seeds: final runs of each method in `ecl-tf compare`; 5 by default, and typically.
        tuning_seeds: runs of each setting that is tuned; 1 by default, typically 1 or 2. The
            final runs have other seeds.
        class_weight: a weight for each class, in their order, by which the losses of all trainings
            are multiplied at rows or positions with such a label; as `class_weight` of
            `Distiller.fit`. Scores have no weights. () by default, for none, typically
            (0.5, 2.0) where most pixels are background.
        erm: what training on labels is tuned over in `ecl-tf compare`, each by itself; plain
            training alone by default.
        kd: what ordinary distillation is tuned over; by default 4 temperatures and 4 weights.
        xcl: extracurricular learning; by default, and typically, the default recipe.
        methods: further methods by name, each arguments of `ecl_tf.Distiller`; none by
            default.
        oracle: whether `ecl-tf compare` has an oracle, too: ordinary distillation at temperature 1
            on the training inputs and on the spare ones of the data (those that `train_size`
            leaves), which samples stand for. False by default, typically True where
            there are spare inputs.
        replay_epochs: epochs of the teacher's answers that `ecl-tf compare` stores for all
            students; 0, which asks the teacher itself, by default, typically 4 to 20.
        folds: values of `data.held_out` to average over; none by default.
        splits: how often `ecl-tf compare` repeats all on other rows: split i has `data.seed` + i
            and `seed` + 100 i, a teacher and students of its own. Settings are chosen for all
            splits together. Test rows differ where the data's `seed` draws them. 1 by default,
            typically 5 for small data.
        export: how the student is exported that `ecl-tf compare` and `ecl-tf distill` end with;
            as a SavedModel by default.
        suite: how final students are measured on corrupted inputs and on inputs unlike the data;
            not at all by default.
        grid: pairs of a setting's dotted name and its values, or a dict of named values:
            `ecl-tf compare` runs every combination. None by default, typically
            (("student.train.steps", (2000, 6000)),).
    """

    data: dict[str, Any]
    output: str | dict[str, Any]
    score: str
    student: Student
    teacher: Teacher = Teacher()
    seed: Seed = 0
    seeds: Count = 5
    tuning_seeds: Count = 1
    class_weight: ClassWeights = ()
    erm: Labels = Labels()
    kd: Kd = Kd()
    xcl: Xcl = Xcl()
    methods: dict[str, Method] = dataclasses.field(default_factory=dict)
    oracle: bool = False
    replay_epochs: CountOrZero = 0
    folds: Names = ()
    splits: Count = 1
    export: Export = Export()
    suite: Suite = Suite()
    grid: tuple[tuple[Any, ...], ...] = ()


def choices(xcl: Xcl) -> dict[str, Distillation]:
    """What XCL is chosen from besides `xcl` as it is: distillations by their names.

    Args:
        xcl: of a `Settings`.

    Raises:
        ValueError: if one has no name of its own, or a key or value that is no distillation's.
    """
    found: dict[str, Distillation] = {}
    own = {field.name: getattr(xcl, field.name) for field in dataclasses.fields(Distillation)}
    for number, choice in enumerate(xcl.choices):
        place = f"config.xcl.choices[{number}]"
        changes = {key: value for key, value in choice.items() if key != "name"}
        name = convert(choice.get("name"), str, f"{place}.name")
        if name in found:
            raise ValueError(f"{place}.name={name!r} is another's name. Choose one of its own.")
        found[name] = convert({**own, **changes}, Distillation, place)
    return found


def parse(config: ConfigDict | dict[str, Any]) -> Settings:
    """Returns the `Settings` of a configuration.

    Args:
        config: a `ConfigDict`, or a dict of the same keys.

    Raises:
        ValueError: if a key is unknown or missing, or a value has a wrong type or is out of its
            range.

    Example:
    >>> train = {"steps": 100, "learning_rate": 0.01}
    >>> config = {"data": {"name": "digits"}, "output": "categorical", "score": "accuracy",
    ...           "student": {"network": {"name": "mlp"}, "train": train}}
    >>> parse(config).student.train.batch_size
    64
    >>> train["batchsize"] = 32
    >>> parse(config)
    Traceback (most recent call last):
    ValueError: config.student.train.batchsize is no setting. Did you mean 'batch_size'?
    """
    return convert(config, Settings, "config")
