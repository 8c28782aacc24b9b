"""Samplers that change each row by itself: noise and augmentation."""

import functools
import inspect
import weakref
from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import uncertainty
from ecl_tf._internal import groups, random, require, symbolic
from ecl_tf._internal.batches import as_type
from ecl_tf.samplers import fields, suitable
from ecl_tf.samplers.sampler import Sampler, Samples, row_count

_OTHER_ROWS = "changes rows by others, which Augment can't: use ecl_tf.samplers.{}"
_REFUSED = {
    keras.layers.MixUp: _OTHER_ROWS.format("Mixup"),
    keras.layers.CutMix: _OTHER_ROWS.format("CutMix"),
    keras.layers.AugMix: (
        "picks its operations by Python's random numbers when a graph is traced: every step has "
        "the same ones, and others after a restart. Use keras.layers.RandAugment"
    ),
}

_MOVE = (
    keras.layers.RandomCrop,
    keras.layers.RandomElasticTransform,
    keras.layers.RandomFlip,
    keras.layers.RandomPerspective,
    keras.layers.RandomRotation,
    keras.layers.RandomShear,
    keras.layers.RandomTranslation,
    keras.layers.RandomZoom,
    keras.layers.RandAugment,
)
# What TensorFlow can't vectorise.
_ROW_BY_ROW = keras.layers.RandAugment, keras.layers.RandomElasticTransform
_SHIFT = keras.layers.ZeroPadding2D, keras.layers.Cropping2D
_SEEDED: weakref.WeakSet = weakref.WeakSet()  # Layers of users that were looked at.


@keras.saving.register_keras_serializable("ecl_tf")
class GaussianNoise(Sampler):
    """Samples from a Gaussian around each row: x~ = x + stddev * z, z ~ N(0, 1).

    With `relative` the standard deviation is stddev * s, where s is that of each number (each
    column of a table, each pixel) over the batch. So one `stddev` serves columns in any units, and
    a column that is the same in all rows stays.

    Args:
        stddev: the noise's standard deviation in the inputs' units (such as 0.1 for standardised
            inputs), or with `relative` a share of each number's own (such as 0.2): one positive
            number, or a list of numbers >= 0 for the columns (the last axis) of an input. For
            named inputs it may be a dict from each name to its own, or to None for an input that
            stays as it is (ids, for example).
        relative: False by default.
        unchanged: names of inputs that stay as they are, such as ids, beside a `stddev` for all
            others; none by default.
        group_size: with `relative` the rows over which s is taken, as in `TowardUncertainty`; None
            by default.

    Raises:
        ValueError: if a stddev is not positive, if their names are not the inputs', if a list has
            not a number for every column, or on inputs with noise that are not floating point, or
            (from a `Distiller`) that a network takes by their exact values.

    Example: of columns whose units differ by a factor of 1,000, a tenth of each.
    >>> noise = GaussianNoise(2.0)(tf.zeros([10_000, 1]), seed=0).inputs
    >>> round(float(tf.math.reduce_std(noise)), 1)
    2.0
    >>> x = tf.random.stateless_normal([10_000, 2], [0, 1]) * [1.0, 1000.0]
    >>> noise = GaussianNoise(0.1, relative=True)(x, seed=0).inputs - x
    >>> [float(f"{each:.1g}") for each in tf.math.reduce_std(noise, 0)]
    [0.1, 100.0]

    Reference: Chapelle et al., "Vicinal Risk Minimization", 2000, section 2.
    """

    averages = True

    def __init__(
        self,
        stddev: float | Sequence[float] | dict[str, float | Sequence[float] | None],
        relative: bool = False,
        unchanged: Sequence[str | int] = (),
        group_size: int | None = None,
    ):
        if isinstance(stddev, dict):
            self.stddev: Any = {
                name: None if each is None else _stddev(each) for name, each in stddev.items()
            }
        else:
            self.stddev = _stddev(stddev)
        if isinstance(unchanged, str):
            raise ValueError(f"GaussianNoise's unchanged is a list of names; got {unchanged!r}.")
        groups.validate("GaussianNoise", group_size)
        self.relative = require.truth("GaussianNoise's relative", relative)
        self.unchanged = [str(each) for each in unchanged]
        self.group_size = group_size

    def _stddev_of(self, path):
        if fields.name_of(path) in self.unchanged:
            return None
        return self.stddev.get(path[0]) if isinstance(self.stddev, dict) else self.stddev

    def effect(self, path: tuple, leaf: Any) -> str:
        if isinstance(self.stddev, dict) and not path:
            return "averages"
        return "keeps" if self._stddev_of(path) is None else "averages"

    def validate(self, inputs: Any) -> None:
        suitable.require_floating_point(self, inputs)
        fields.require_names(self, "unchanged", self.unchanged, inputs)
        if isinstance(self.stddev, dict) and (
            not isinstance(inputs, dict) or set(inputs) != set(self.stddev)
        ):
            found = sorted(inputs) if isinstance(inputs, dict) else "one unnamed input"
            raise ValueError(
                f"GaussianNoise has standard deviations for {sorted(self.stddev)}, but got "
                f"{found}; give one for every input by name, or a single number."
            )
        for path, leaf in keras.tree.flatten_with_path(inputs):
            stddev, shape = self._stddev_of(path), tf.TensorShape(leaf.shape)
            if isinstance(stddev, list) and not (
                shape.rank > 1 and shape[-1:].is_compatible_with([len(stddev)])
            ):
                raise ValueError(
                    f"GaussianNoise has {len(stddev)} standard deviations for "
                    f"{fields.described(path)}, which is of shape {tuple(leaf.shape)}. Give one "
                    "for each of its columns, or a single number."
                )

    def sample(self, inputs: Any, seed: tf.Tensor) -> Samples:
        leaves = keras.tree.flatten_with_path(inputs)
        noisy = []
        for (path, x), its_seed in zip(leaves, random.split(seed, len(leaves)), strict=True):
            stddev = self._stddev_of(path)
            if stddev is None:
                noisy.append(x)
                continue
            noise = stddev * random.normal(its_seed, tf.shape(x))
            if self.relative:
                noise *= fields.spread(x, self.group_size)[0]
            noisy.append(tf.ensure_shape(x + tf.cast(noise, x.dtype), x.shape))
        unmodified = tf.zeros([row_count(inputs)], tf.bool)
        return Samples(keras.tree.pack_sequence_as(inputs, noisy), unmodified)

    def get_config(self) -> dict[str, Any]:
        # What is not said is left out, as by versions that did not know of it.
        others = {name: getattr(self, name) for name in ("relative", "unchanged", "group_size")}
        return {"stddev": self.stddev, **{name: each for name, each in others.items() if each}}


def _stddev(given):
    """A standard deviation or a list of them, as JSON holds it; raises ValueError for others."""
    if not np.shape(given):
        require.positive("GaussianNoise's stddev", given)
        return given
    found = [require.number("Each of GaussianNoise's stddev", each) for each in given]
    if not all(0.0 <= each < float("inf") for each in found) or not any(found):
        raise ValueError(
            "A list of GaussianNoise's stddev holds numbers >= 0, not all of them 0; got "
            f"{given!r}."
        )
    return found


@keras.saving.register_keras_serializable("ecl_tf")
class Augment(Sampler):
    """Rows changed by Keras preprocessing layers, such as `keras.layers.RandomFlip`.

    The layers run in order, in training mode, and statelessly: each row's seed, made of the
    sampler's seed and of the row's number, replaces what their seed generators hold. So rows
    are changed independently, and alike on any number of replicas. It compiles under XLA
    where the layers do (flips and crops do, rotations and zooms do not), but the layers' own
    random floats then differ from those without XLA. Layers that compute with a `value_range`,
    such as `keras.layers.RandomBrightness`, need that of the images: Keras takes (0, 255), which
    a `Distiller` refuses for images in [0, 1]. `keras.layers.RandAugment` and
    `RandomElasticTransform` change one row after another, which is slow.

    Args:
        layers: a Keras layer that keeps its input's shape, or a list of them, such as
            [keras.layers.RandomFlip("horizontal"), keras.layers.RandomTranslation(0.1, 0.1)].
        key: for several inputs, the name of the one to change, such as "image", "views/image" of
            nested ones, or its number in a tuple; the others stay. None, the default, for a single
            input.
        keeps_labels: False by default. True says that the layers change no label, as ordinary
            augmentation: all rows then count as unmodified, for metrics and for
            `Distiller(label_rows="unmodified")`. Labels of pixels don't keep their places where
            layers move pixels: see `with_labels`.

    Raises:
        ValueError: if `layers` are not Keras layers, if one has trainable weights, if one is
            MixUp, CutMix or AugMix, which can't be changed rows by rows, if a layer of your own
            draws random numbers without a `keras.random.SeedGenerator`, if the inputs are
            named and `key` is none of the names, or (from a `Distiller`) if one of Keras's own
            computes with an input that a network takes by its exact values, or with a
            `value_range` that is not the images', or if `keeps_labels` is true, a layer moves
            pixels and the student answers for each of them.

    Example:
    >>> x = tf.reshape(tf.range(4.0), (1, 2, 2, 1))
    >>> flip = Augment(keras.layers.RandomFlip("horizontal"))
    >>> {tuple(flip(x, seed).inputs.numpy().ravel().tolist()) for seed in range(8)} == {
    ...     (0.0, 1.0, 2.0, 3.0), (1.0, 0.0, 3.0, 2.0)}
    True
    """

    def __init__(
        self,
        layers: keras.Layer | Sequence[keras.Layer],
        key: str | int | None = None,
        keeps_labels: bool = False,
    ):
        layers = list(layers) if isinstance(layers, (list, tuple)) else [layers]
        if not layers or not all(isinstance(layer, keras.Layer) for layer in layers):
            raise ValueError(f"Augment needs a Keras layer or a list of them; got {layers!r}.")
        for layer in layers:
            if reason := _REFUSED.get(type(layer)):
                raise ValueError(f"keras.layers.{type(layer).__name__} {reason}.")
        self.layers = layers
        self.key = key
        self.keeps_labels = require.truth("Augment's keeps_labels", keeps_labels)
        self.keeps_rows = self.keeps_labels

    def effect(self, path: tuple, leaf: Any) -> str:
        changed = self.key is None or fields.name_of(path) == str(self.key)
        return "averages" if changed and any(map(_averages, self.layers)) else "keeps"

    def validate(self, inputs: Any) -> None:
        if self.key is not None:
            names = self._names(inputs)
            if str(self.key) not in names:
                found = names if names != [""] else "one unnamed input"
                raise ValueError(f"Augment has key={self.key!r}, but the inputs are {found}.")
        elif keras.tree.is_nested(inputs):
            raise ValueError(
                f"Augment changes one input, but got a {type(inputs).__name__} of them; name it "
                "with Augment(layers, key=...)."
            )
        shape = self._changed(inputs).shape
        for layer in self.layers:
            of_images = "image_preprocessing" in type(layer).__module__
            if of_images and tf.TensorShape(shape).rank not in (4, None):
                raise ValueError(
                    f"Augment's layer {layer.name!r} changes images, (batch, height, width, "
                    f"channels), but the input is of shape {tuple(shape)}. For rows of a table use "
                    "ecl_tf.samplers.GaussianNoise, Mixup or Swap."
                )
            if not layer.built:
                layer.build(shape)
            if layer.trainable_variables:
                raise ValueError(
                    f"Augment's layer {layer.name!r} has trainable weights, which nothing would "
                    "train. Use preprocessing layers, or make it part of the student."
                )
            if not all(map(_is_seed, layer.variables)):
                raise ValueError(
                    f"Augment's layer {layer.name!r} holds what it was adapted to, which a saved "
                    "sampler would lose. Give it as arguments, as in keras.layers.Normalization("
                    "mean=..., variance=...), or make the layer a part of the networks."
                )
            _require_seeds(layer, shape)

    def validate_networks(self, networks: uncertainty.Networks) -> None:
        super().validate_networks(networks)
        moving = [layer.name for layer in self.layers if _moves(layer)]
        if not (self.keeps_labels and moving and networks.student is not None):
            return
        shapes: list = []
        if (shape := symbolic.output_shape(networks.student)) is not None:
            keras.tree.map_shape_structure(lambda each: shapes.append(tuple(each)), shape)
        if dense := [each for each in shapes if len(each) > 3]:  # Of pixels.
            raise ValueError(
                f"Augment has keeps_labels=True, and its layer {moving[0]!r} moves pixels, but the "
                f"student answers for every pixel, {dense[0]}: its labels would stay where "
                "they were. Leave keeps_labels at False, or move both before the distiller gets "
                "them: dataset.map(lambda x, y: augment.with_labels(x, y, seed))."
            )

    def with_labels(
        self, inputs: Any, labels: Any, seed: Any, ignore_class: int | None = None
    ) -> tuple[Any, tf.Tensor]:
        """Changed rows, and the classes of their pixels where the pixels went.

        A sampler changes inputs alone. So this is for the data that a distiller is given, if it
        learns from labels of pixels (`label_weight` > 0): labels and images then fit each other,
        and the sampler works on what this returns. Classes are never averaged: where layers
        interpolate, the nearest one is taken.

        Args:
            inputs: images (batch, height, width, channels), or named inputs with `key`.
            labels: class indices (batch, height, width), or with a last axis of size 1.
            seed: as of every sampler: an integer or two of them; in data such as [0, step].
            ignore_class: the label of pixels that come from outside of the image, that of the
                output's `ignore_class`. None, the default, is for layers that bring in none: flips,
                crops, and others with a `fill_mode` that is not "constant".

        Returns:
            (inputs, labels), as they were given in structure, shape and type.

        Raises:
            ValueError: if the labels are no class indices of the images' pixels, a layer is none of
                Keras's for images, `ZeroPadding2D` or `Cropping2D`, or one fills in and
                `ignore_class` is None.

        Example:
        >>> x = tf.reshape(tf.range(4.0), (1, 2, 2, 1))
        >>> flip = Augment(keras.layers.RandomFlip("horizontal"))
        >>> moved, labels = flip.with_labels(x, tf.cast(x[..., 0], tf.int32), seed=3)
        >>> bool(tf.reduce_all(tf.cast(moved[..., 0], tf.int32) == labels))
        True
        """
        inputs = keras.tree.map_structure(tf.convert_to_tensor, inputs)
        self.validate(inputs)
        images = self._changed(inputs)
        labels = tf.convert_to_tensor(labels)
        shape, is_flat = images.shape[:-1], labels.shape.rank == 3
        flat = labels if is_flat else labels[..., 0] if labels.shape[-1:] == [1] else None
        if images.shape.rank != 4 or flat is None or not flat.shape.is_compatible_with(shape):
            raise ValueError(
                "with_labels takes images (batch, height, width, channels) and class indices of "
                f"their pixels (batch, height, width); got {tuple(images.shape)} and "
                f"{tuple(labels.shape)}."
            )
        for layer in self.layers:
            _require_moves_labels(layer, ignore_class)
        exact = tf.cast(flat, tf.float32)
        if ignore_class is not None:
            exact = tf.where(exact == float(ignore_class), -1.0, exact)
        images, moved = self._augment(images, random.seed_tensor(seed), exact[..., None])
        if ignore_class is not None:
            moved = tf.where(moved < 0.0, float(ignore_class), moved)
        moved = tf.cast(tf.round(moved if not is_flat else moved[..., 0]), labels.dtype)
        return self._with(inputs, images), moved

    def sample(self, inputs: Any, seed: tf.Tensor) -> Samples:
        unmodified = tf.fill([row_count(inputs)], self.keeps_labels)
        changed = self._augment(self._changed(inputs), seed)
        return Samples(self._with(inputs, changed), unmodified)

    def _names(self, inputs):
        return [fields.name_of(path) for path, _ in keras.tree.flatten_with_path(inputs)]

    def _place(self, inputs):
        return 0 if self.key is None else self._names(inputs).index(str(self.key))

    def _changed(self, inputs):
        """The input that is changed."""
        return keras.tree.flatten(inputs)[self._place(inputs)]

    def _with(self, inputs, changed):
        """The inputs with another one in its place."""
        leaves = keras.tree.flatten(inputs)
        leaves[self._place(inputs)] = changed
        return keras.tree.pack_sequence_as(inputs, leaves)

    def _augment(self, x, seed, labels=None):
        """Changed rows; with labels of pixels, of which unknown ones are -1, a pair of both."""
        shape, dtype, own_rows = x.shape, x.dtype, row_count(x)
        # A replica may be left without rows, of which nothing can be mapped.
        rows = tf.maximum(own_rows, 1)
        changed = [x] if labels is None else [x, labels]
        changed = [
            tf.pad(each, [[0, rows - own_rows], *[[0, 0]] * (len(each.shape) - 1)])
            for each in changed
        ]
        for number, layer in enumerate(self.layers):
            layer_seed = random.fold_in(seed, number)
            seeds = [
                random.seeds(random.fold_in(layer_seed, n), rows)
                for n in range(len(layer.non_trainable_variables))
            ]
            change = functools.partial(_change_row, layer)
            of_rows = [tf.cast(each, layer.compute_dtype) for each in changed], seeds
            if isinstance(layer, _ROW_BY_ROW):
                types = [layer.compute_dtype] * len(changed)
                changed = tf.map_fn(change, of_rows, fn_output_signature=types)
            else:
                changed = tf.vectorized_map(change, of_rows, warn=False)
        changed = [each[:own_rows] for each in changed]
        if not shape.is_compatible_with(changed[0].shape):
            raise ValueError(
                f"Augment's layers changed the input's shape from {tuple(shape)} to "
                f"{tuple(changed[0].shape)}; sampled inputs must have the shape of the batch. "
                "Resize or crop in the input pipeline."
            )
        x = as_type(changed[0], dtype)
        return x if labels is None else (x, changed[1])

    def get_config(self) -> dict[str, Any]:
        config = {"layers": keras.saving.serialize_keras_object(self.layers), "key": self.key}
        # What is not said is left out, as by versions that did not know of it.
        return {**config, "keeps_labels": True} if self.keeps_labels else config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**keras.saving.deserialize_keras_object(config))


def _averages(layer):
    """Whether a layer computes with numbers; one that is not Keras's is its author's business."""
    only_moves = (keras.layers.RandomFlip, keras.layers.RandomCrop)
    return type(layer).__module__.startswith("keras.") and not isinstance(layer, only_moves)


def _moves(layer):
    """Whether it is one of Keras's layers that move pixels."""
    return isinstance(layer, (*_MOVE, *_SHIFT))


def _require_moves_labels(layer, ignore_class):
    """Refuses a layer of which it is not known where it puts the labels of pixels.

    Args:
        layer: a Keras layer.
        ignore_class: the label of pixels from outside of an image, or None.
    """
    is_of_images = "image_preprocessing" in type(layer).__module__
    if not (is_of_images or isinstance(layer, _SHIFT)):
        raise ValueError(
            f"with_labels moves labels as Keras's random layers for images do, ZeroPadding2D and "
            f"Cropping2D; Augment's layer {layer.name!r} is a {type(layer).__name__}. Apply it to "
            "the images alone, before or after."
        )
    if layer.compute_dtype not in ("float32", "float64"):
        raise ValueError(
            f"Augment's layer {layer.name!r} computes in {layer.compute_dtype}, which would round "
            "labels. Give it dtype='float32'."
        )
    mode = getattr(layer, "fill_mode", "constant" if hasattr(layer, "fill_value") else None)
    fills = isinstance(layer, _MOVE) and mode == "constant"
    if ignore_class is None and (fills or isinstance(layer, keras.layers.ZeroPadding2D)):
        raise ValueError(
            f"Augment's layer {layer.name!r} brings in pixels from outside of the image, which "
            "have no label. Give ignore_class=255, say, and the output the same: "
            "ecl_tf.outputs.Categorical(ignore_class=255)."
        )


def _is_seed(variable):
    return "seed_generator_state" in variable.path


def _mode(layer):
    return {"training": True} if "training" in inspect.signature(layer.call).parameters else {}


def _require_seeds(layer, shape):
    """Refuses a layer whose random numbers don't follow from the seed of a sampler.

    Args:
        layer: one of Keras's layers, which do, or of a user's.
        shape: of its input.
    """
    of_keras = [
        type(each).__module__.startswith("keras.") and not isinstance(each, keras.layers.Lambda)
        for each in layer._flatten_layers()
    ]
    if layer in _SEEDED or all(of_keras):
        return
    run = tf.function(functools.partial(layer, **_mode(layer)), autograph=False)
    try:
        with tf.init_scope():
            row = tf.TensorSpec([1, *shape[1:]], layer.compute_dtype)
            graph = run.get_concrete_function(row).graph.as_graph_def()
    except Exception:  # Whatever it raises; it is to raise that where it is called.
        return
    nodes = [*graph.node, *(node for each in graph.library.function for node in each.node_def)]
    drawn = [
        node.op for node in nodes if node.op.startswith(("Random", "Multinomial", "Truncated"))
    ]
    if drawn:
        raise ValueError(
            f"Augment's layer {layer.name!r} draws random numbers by {drawn[0]}, which a sampler's "
            "seed does not reach, so that no training could be repeated. Draw them by keras.random "
            "with the seed self.seeds, a keras.random.SeedGenerator that the layer makes."
        )
    _SEEDED.add(layer)


def _change_row(layer, row_and_seeds):
    """A list of one row of shape (...) as the layer changes it, given a seed for each state.

    Or of a row, an image, and of the labels of its pixels.
    """
    row, seeds = row_and_seeds
    states = [
        tf.cast(seed, variable.dtype) if _is_seed(variable) else variable.value
        for seed, variable in zip(seeds, layer.non_trainable_variables, strict=True)
    ]
    batch, mode = [each[None] for each in row], _mode(layer)
    if len(batch) == 1:
        changed, _ = layer.stateless_call([], states, *batch, **mode)
        return [changed[0]]
    # Unknown labels are what the layer fills in, and classes follow it.
    filled = getattr(layer, "fill_value", 0.0) if isinstance(layer, _MOVE) else 0.0
    images, labels = batch[0], batch[1] + filled + 1.0
    if isinstance(layer, _SHIFT):
        images, labels = layer(images), layer(labels)
    else:
        given = {"images": images, "segmentation_masks": labels}
        changed, _ = layer.stateless_call([], states, given, **mode)
        images, labels = changed["images"], changed["segmentation_masks"]
    return [images[0], labels[0] - filled - 1.0]
