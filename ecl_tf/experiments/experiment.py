"""From a configuration to data, networks, training and scores."""

import copy
import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf

import ecl_tf
from ecl_tf import (
    data,
    models,
    outputs,
    prediction_sets,
    preprocessing,
    samplers,
    uncertainty,
)
from ecl_tf._internal import (
    build,
    files,
    identity,
    keras_files,
    keras_fit,
    own_inputs,
    random,
    symbolic,
)
from ecl_tf._internal.quantized_model import QuantizedModel
from ecl_tf.experiments import (
    consistency,
    derived,
    fitting,
    lengths,
    measures,
    optimizers,
    positions,
    progress,
    refusals,
    row_labels,
    settings,
    sizes,
    stopping_score,
    strategies,
    traced,
)


class Experiment:
    """What a configuration describes, built: data, output, networks, training.

    Args:
        config: a `ConfigDict`, or a dict; `settings.Settings` describes its keys.
        checkpoint_every: how often trainings write checkpoints, as in `fitting.fit`; every 60
            seconds by default.
        splits: the `ecl_tf.data.Splits`, where they are loaded already; None, the default, loads
            them.

    Attributes:
        config: the `settings.Settings`.
        splits: the `ecl_tf.data.Splits`.
        whole_splits: the same, where a rehearsal shortens `splits`.
        output: the `ecl_tf.outputs.Output` of the networks.
        score_name: the metric that decides.
        positions: the sizes of the positions of a row; () where a row has one label.
        counted: the `positions.Positions` that count.

    Raises:
        ValueError: if a setting is unknown or out of its range.
    """

    def __init__(self, config, checkpoint_every=None, splits=None):
        self.config = config = settings.parse(config)
        self.checkpoint_every = checkpoint_every
        for section in (config.teacher, config.student):
            build.import_own(section.network)
        # Before the data is loaded, whose length changes none of these refusals.
        derived.with_lengths(config, 0)
        with refusals.blaming("config.output", config.output):
            output = outputs.get(config.output)
        with refusals.blaming("config.data", config.data):
            self.splits = data.load(**config.data) if splits is None else splits
        self.whole_splits = self.splits
        config = derived.with_swaps(config, self.splits.swap)
        rows = int(self.splits.train.cardinality())
        sized = sizes.resolved(config, rows, _numbers_of_a_row(self.splits.input_shape))
        about = [*_about(self.splits), sizes.describe(config, sized, rows)]
        self.config = config = derived.with_lengths(sized, rows)
        with refusals.blaming("config.output", config.output):
            self.output = self._in_target_units(output)
        self.score_name = config.score
        consistency.require_labels_fit(config, self.splits, self.output)
        self.positions = row_labels.positions(self.splits, self.output)
        self.counted = positions.Positions(self)
        self._batches: dict[str, tuple] = {}
        progress.announce_once(filter(None, about))
        consistency.require_conformal(config.student, self.splits, self.output)

    def _in_target_units(self, output):
        """Lets networks learn in standardised units where the data set gives them."""
        if not isinstance(output, outputs.Numeric):
            return output
        mean = self.splits.target_mean
        if isinstance(output, outputs.numeric.Restricted) and np.min(mean) <= 0.0:
            if np.all(np.asarray(mean) == 0.0):  # The default.
                raise ValueError(
                    "Its numbers can't be negative, and it needs the training targets' mean: give "
                    "data.Splits(..., target_mean=..., target_stddev=...)."
                )
            raise ValueError(
                f"Its numbers can't be negative, and this data's targets have the mean {mean}. "
                "Choose another output, such as config.output='normal', or other targets."
            )
        units = {"target_mean": self.splits.target_mean, "target_stddev": self.splits.target_stddev}
        return type(output).from_config({**output.get_config(), **units})

    def point_output(self, stddev):
        """The output of a regressor without scales, in the units of `self.output`."""
        return self._in_target_units(outputs.Point(self.output.size, stddev))

    @property
    def higher_is_better(self):
        return self.score_name in ("accuracy", "iou")

    def network(self, section, output=None):
        """A new network as config.teacher or config.student describes it."""
        output = self.output if output is None else output
        network = dict(section.network)
        name = "teacher" if section is self.config.teacher else "student"
        shape = self.splits.input_shape
        with refusals.blaming(f"config.{name}.network", section.network):
            layers = preprocessing.layers(network.pop("preprocessing", ()))
            if self.splits.columns is not None:
                layers = self.splits.columns.layers(layers)
            if layers:
                train_inputs = data.evaluation_batches(self.splits.train).map(lambda x, y: x)
                preprocessing.adapt(layers, train_inputs)
            if network.get("scale_branch") and not isinstance(output, outputs.Numeric):
                raise ValueError("`scale_branch` is of means and scales, and these are classes.")
            if not isinstance(output, outputs.Normal):  # The divergence is not faithful there.
                network.pop("scale_branch", None)
            model = models.build(
                input_shape=preprocessing.output_shape(layers, shape),
                units=output.raw_size(self.splits.event_size),
                **network,
            )
        strategies.prepare(model, section.train.batch_size)
        model = preprocessing.with_preprocessing(model, layers, shape)
        with refusals.blaming(f"config.{name}.network", section.network):
            if (shape := symbolic.shape_for(output, model, name)) is not None:
                row_labels.require_fit(self.splits, output, shape, name)
        with refusals.blaming("config.data", self.config.data):
            inputs = keras.tree.map_structure(
                lambda leaf: tf.TensorSpec((None, *leaf.shape), leaf.dtype),
                self.splits.validation.element_spec[0],
            )
            own_inputs.require_shapes(inputs, model, name)
        quantization = getattr(section, "quantization", None)
        if quantization is not None:
            with refusals.blaming(f"config.{name}.quantization", quantization):
                model = QuantizedModel(model)
        return model

    def batches(self, section, seed, first_step=0):
        """Endless training batches for config.teacher or config.student, after some steps."""
        return data.training_batches(self.splits, section.train.batch_size, seed, first_step)

    def student_batches(self, seed, sampler, store, first_step=0, labels=None):
        """Batches of a distillation after some steps: a store's, or `erm_batches`."""
        section = self.config.student
        if store is None:
            return self.erm_batches(section, seed, first_step, labels)
        if store.batch_size != section.train.batch_size:
            raise ValueError(
                f"{store.directory} holds batches of {store.batch_size} rows, but "
                f"config.student.train.batch_size is {section.train.batch_size}. Give the same."
            )
        rows = self.training_rows()
        batches = store.batches(**rows, sampler=sampler, seed=seed, first_step=first_step)
        return row_labels.weighted(batches, self.config.class_weight, self.splits, self.output)

    def training_rows(self):
        """What `ecl_tf.replay` records and replays: the training split, and how it is varied.

        Raises:
            ValueError: if the data is streamed, and its examples have no ids to be found by.
        """
        splits = self.splits
        if splits.decode is None:
            x, y = splits.train_rows
        elif splits.examples is not None:
            x, y = splits.examples, None
        else:
            raise ValueError(
                "Answers are stored for data that fits into memory, or whose examples are found in "
                "their files by their ids; this data set is streamed without. Give its Splits "
                "`examples`, an ecl_tf.data.IndexedExamples. (Random data in the place of "
                "ImageNet has no files.)"
            )

        def prepare(x, seed):
            if splits.decode is not None:
                seeds = random.seeds(random.fold_in(seed, 0), samplers.row_count(x))
                # Training examples may still be encoded, and validation examples never are.
                specs = splits.validation.element_spec[0]
                each = (x, seeds)
                x = tf.map_fn(lambda e: splits.decode(*e), each, fn_output_signature=specs)
            return data.to_float(x if splits.augment is None else splits.augment(x, seed))

        places = ("data_dir", "manual_dir", "path")
        about = {k: v for k, v in self.config.data.items() if k not in places}
        return {"x": x, "y": y, "prepare": prepare, "about": {"data": about}}

    def training_sample(self, count):
        """At most `count` training rows, the same ones at random, as a dataset of examples.

        They are not augmented. Streamed ones are decoded as for training.
        """
        splits = self.splits
        if splits.decode is not None:
            batch_size = min(256, max(int(splits.train.cardinality()), 1))
            batches = data.training_batches(
                dataclasses.replace(splits, augment=None), batch_size, seed=0
            )
            return batches.unbatch().take(count)
        rows = splits.train_rows
        size = tf.nest.flatten(rows)[0].shape[0]
        order = np.random.default_rng(0).permutation(size)[:count]
        return tf.data.Dataset.from_tensor_slices(
            tf.nest.map_structure(lambda leaf: tf.gather(leaf, order), rows)
        )

    @functools.cached_property
    def with_spare_inputs(self):
        """This experiment with the spare inputs of its data among those to distil on."""
        other = copy.copy(self)
        other.splits = self.splits.with_spare_inputs()
        return other

    def erm_batches(self, section, seed, first_step=0, labels=None):
        """Training batches whose labels are softened, mixed (as `labels` says) and weighed."""
        labels = labels or settings.Labels()
        batches = self.batches(section, seed, first_step)
        # As a sampler sees them, inputs and labels are a pair.
        mix = row_labels.mixing(labels, [f"0/{name}" for name in self.splits.swap])
        how = labels, mix, self.splits, self.output
        batches = row_labels.prepared(batches, *how, seed, first_step)
        return row_labels.weighted(batches, self.config.class_weight, self.splits, self.output)

    def train_supervised(self, section, seed, callbacks=(), checkpoints=None, labels=None):
        """Trains a network on the labels alone (a teacher, or ERM); returns it."""
        keras.utils.set_random_seed(seed)
        train, labels = section.train, labels or settings.Labels()
        with strategies.current().scope():
            network = self.network(section)
            if mix := row_labels.mixing(labels, self.splits.swap):
                mix.validate_networks(uncertainty.Networks(None, network, self.output))

        def compiled(model):
            with strategies.current().scope():
                model.compile(
                    optimizers.build(train, train.weight_decay),
                    ecl_tf.losses.NegativeLogLikelihood(self.output),
                    steps_per_execution=strategies.steps_per_execution(train),
                    jit_compile=False,
                )
                if model.built:  # A step that makes the optimizer's variables is traced twice.
                    model.optimizer.build(model.trainable_variables)
            return keras_fit.patch_fit(model)

        batches = functools.partial(self.erm_batches, section, seed, labels=labels)
        callbacks = [*callbacks, keras.callbacks.TerminateOnNaN()]
        score = stopping_score.on_labels(self, train)
        build = functools.partial(self.network, section)
        kind = self._kind(section, bool(labels.label_smoothing or mix))
        with traced.compiled_for(kind, network, build, compiled) as model:
            history = self.fit(model, batches, train, checkpoints, callbacks, score=score)
        numbers = [np.array(history.history["loss"]), *network.get_weights()]
        if not all(np.isfinite(each).all() for each in numbers):
            raise FloatingPointError(
                "Training on labels came to a loss or weights that are NaN or infinite. Lower the "
                f"learning rate, train.learning_rate={train.learning_rate}, and choose "
                "another --workdir."
            )
        return network

    def _kind(self, section, are_shares):
        """What a network of a section, its loss, optimizer and labels follow from, as text.

        Args:
            are_shares: whether labels are softened or mixed, which may give them other axes.
        """
        # A user's function, and layers that know a table, may hold other numbers than variables.
        holds_others = ":" in str(section.network["name"]) or self.splits.columns is not None
        if holds_others or lengths.is_auto(section.train):  # Whose optimizer a callback changes.
            return ""
        output = identity.config_of(self.output)
        policy = keras.config.dtype_policy().name
        splits = self.splits
        of_data = splits.input_shape, splits.event_size, splits.train.element_spec, are_shares
        return repr((section.network, section.train, output, policy, *of_data))

    def fit(self, model, batches, train, checkpoints=None, callbacks=(), **kwargs):
        """`fitting.fit`, with this experiment's `checkpoint_every`."""
        kwargs["checkpoint_every"] = self.checkpoint_every
        return fitting.fit(model, batches, train, checkpoints, callbacks, **kwargs)

    def distiller(self, teacher, seed, output=None, label_metrics=None, **arguments):
        """A compiled `ecl_tf.Distiller` with a new student."""
        keras.utils.set_random_seed(seed)
        section = self.config.student
        output = self.output if output is None else output
        train = section.train
        with strategies.current().scope():
            student = self.network(section, output)
            distiller = ecl_tf.Distiller(student, teacher, output=output, seed=seed, **arguments)
            distiller.compile(
                optimizers.build(train, train.distillation_weight_decay),
                metrics=label_metrics,
                steps_per_execution=strategies.steps_per_execution(train),
            )
        return distiller

    def train_distilled(
        self,
        teacher,
        seed,
        output=None,
        callbacks=(),
        checkpoints=None,
        labels=None,
        store=None,
        spare=False,
        **arguments,
    ):
        """Trains a student on the teacher's distributions; returns the student.

        Args:
            output: the student's output; by default the experiment's.
            checkpoints: the directory of checkpoints, as in `fitting.fit`.
            labels: a `settings.Labels`: batches are then mixed with their labels before the
                distiller sees them; None, the default, for not at all.
            store: an `ecl_tf.replay.Store` of the teacher's answers, which train in its place; or
                None.
            spare: whether the data's spare inputs are trained on, too; False by default.
            **arguments: of `ecl_tf.Distiller`.
        """
        distiller = self.distiller(store.teacher if store else teacher, seed, output, **arguments)
        source = self.with_spare_inputs if spare else self
        batches = functools.partial(
            source.student_batches, seed, distiller.sampler, store, labels=labels
        )
        train = self.config.student.train
        score = stopping_score.of_distillation(self, distiller, teacher)
        self.fit(distiller, batches, train, checkpoints, callbacks, score=score)
        return distiller.student

    def xcl_arguments(self):
        """The `Distiller` arguments of config.xcl as it is, whatever else it may be chosen from."""
        arguments = vars(self.config.xcl)
        return {name: each for name, each in arguments.items() if name != "choices"}

    def evaluate(self, model, split, output=None):
        """Scores a model's raw outputs on a split ("validation" or "test"); see `answers`.

        Returns:
            A dict from metric name to float: the score, `nll` and a calibration.
        """
        labels, raw = self.answers(model, split, output)
        return self.scores(labels, raw, output)

    def tell_scores(self, models, split):
        """Evaluates models by name, tells of each, and returns their scores by name."""
        results = {name: self.evaluate(model, split) for name, model in models.items()}
        for name, result in results.items():
            progress.announce_scores(name, split, result)
        for name, result in results.items():
            if not_numbers := [each for each, value in result.items() if np.isnan(value)]:
                raise ValueError(
                    f"The scores {', '.join(not_numbers)} of {name} on the {split} split are NaN. "
                    "Look at its weights, at the labels, and whether the inputs have the range "
                    "that it was trained on."
                )
        return results

    def answers(self, model, split, output=None):
        """Labels and raw outputs of a whole split, as two arrays.

        Where rows have positions, every position that the student does not mask is a row of them.

        Args:
            model: a function from inputs to raw outputs, e.g. a Keras model.
            split: the name of the split, or a `tf.data.Dataset` of single examples.
            output: what the raw outputs stand for; by default the experiment's output. A
                teacher's distribution is taken as it is.
        """
        labels, raw, _ = self.answers_by_row(model, split, output)
        return labels, raw

    def answers_by_row(self, model, split, output=None):
        """What `answers` returns, and the number of the example that each label is of."""
        output = self.output if output is None else output
        found, first = [], 0
        for x, y in self._batches_of(split):
            if isinstance(model, ecl_tf.Teacher):
                raw = output.raw(model.distribution(x))  # Whatever its own output is.
            else:
                raw = model(x)
            if not output.fits_raw(raw.shape, self.splits.event_size):
                raise ValueError(
                    f"A network answers with rows of {raw.shape[-1]} numbers, and {output!r} of "
                    f"this data has {output.raw_size(self.splits.event_size)}. Give one that was "
                    "trained on such data."
                )
            row_labels.require_fit(self.splits, output, raw.shape, "network")
            count = len(y)
            part = np.asarray(y), np.asarray(raw), np.arange(count)
            if self.positions:
                part = self.counted.as_rows(x, y, raw, output)
            found.append((*part[:2], first + part[2]))
            first += count
        return tuple(np.concatenate(each) for each in zip(*found, strict=True))

    def _batches_of(self, split):
        """Batches of a split by its name, made once, or of a dataset of single examples."""
        if not isinstance(split, str):
            return self.counted.batches(split)
        examples = getattr(self.splits, split)
        if self._batches.get(split, (None,))[0] is not examples:  # A rehearsal exchanges splits.
            self._batches[split] = examples, self.counted.batches(examples)
        return self._batches[split][1]

    def scores(self, labels, raw, output=None, names=None):
        """A dict from metric name to float, of what `answers` returns.

        Args:
            labels: what `answers` returned of a split.
            names: of the metrics that are computed; None, the default, for all.
        """
        output = self.output if output is None else output
        own = self.score_name, bool(self.positions)
        return measures.scores(output, labels, raw, *own, names)

    def prediction_sets(self, model, output=None):
        """A network's `PredictionSets`, measured on validation rows; None if none are asked for."""
        coverage = self.config.student.conformal
        if coverage is None:
            return None
        output = self.output if output is None else output
        labels, raw = self.answers(model, "validation", output)
        return prediction_sets.of_answers(output, raw, labels, coverage)

    def scores_of_sets(self, model, labels, raw, output=None):
        """The share of labels in a network's prediction sets, and their size; empty without sets.

        Args:
            labels: what `answers` returned of a split.
        """
        sets = self.prediction_sets(model, output)
        found = {} if sets is None else sets.evaluate(raw, labels)
        return {f"conformal_{name}": value for name, value in found.items()}


def _about(splits):
    """Lines about a table's columns."""
    if splits.columns is None:
        return [*splits.notes]
    parts = ("train", "validation", "test")
    sizes = [f"{name} {int(getattr(splits, name).cardinality()):,}" for name in parts]
    return [f"columns: {splits.columns}", *splits.notes, f"rows: {', '.join(sizes)}"]


def _numbers_of_a_row(shape):
    """How many numbers a row's inputs have."""
    shapes = shape.values() if isinstance(shape, dict) else [shape]
    return sum(
        int(np.prod(each)) for each in shapes if isinstance(each, tuple) and None not in each
    )


def save_model(model, path, output=None):
    """Has the chief save a .keras file whole or not at all, without the optimizer's numbers.

    Those are twice as many as the weights, and no one who serves a network needs them.

    Args:
        output: the network's, whose units are kept in the file; None, the default, keeps none.
    """

    def save():
        optimizer, compiled = getattr(model, "optimizer", None), model.compiled
        if optimizer is not None:  # Distilled students were never compiled.
            model.optimizer, model.compiled = None, False
        try:
            with files.whole(path) as temporary:
                model.save(temporary)
                if output is not None:
                    keras_files.add_output(temporary, identity.config_of(output))
        finally:
            if optimizer is not None:
                model.optimizer, model.compiled = optimizer, compiled

    strategies.on_chief(save)
