"""What a network answers at every position of an input, and how sure it is there."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import outputs, teachers
from ecl_tf._internal import own_inputs, positions, probabilities, ranges, require

_WIDTH = 1.6  # Of a panel, in inches.


def uncertainty_maps(
    network: Any, x: Any, output: Any = None, batch_size: int = 64
) -> dict[str, Any]:
    """What a network answers at every position, and how sure it is there.

    Of an ensemble it is the combined answer. A network without positions gives one value for each
    row.

    Args:
        network: a `keras.Model` that gives raw outputs, a `Distiller`, which is its student, or an
            `ecl_tf.Teacher`.
        x: inputs, arrays with a row for each example.
        output: an `ecl_tf.outputs.Output` or its name. None, the default, is that of the distiller
            or teacher, and "categorical" of a model.
        batch_size: rows that the network answers at once, 64 by default.

    Returns:
        A dict of arrays (rows, positions...), by name:

        - of classes "prediction", the likeliest class, "confidence", its probability, and
          "entropy" in nats, between 0 and log(classes);
        - of yes/no labels "probability" (rows, positions..., labels), and "entropy" in nats, summed
          over the labels;
        - of numbers "mean" and "stddev" (rows, positions..., d), in target units;
        - of an ensemble of several members also "disagreement", the part of the entropy (mutual
          information, in nats), or of the variance (as a standard deviation), by which they
          differ;
        - of a network with Keras's masks "mask", false where it masks. Other maps are NaN there,
          and "prediction" is -1.

        Of several outputs a dict of such dicts, by their names.

    Raises:
        ValueError: if the network can't answer, gives probabilities, NaN or infinite answers, or
            expects inputs of another scale.

    Example: the second pixel may as well be of one class as of the other.
    >>> x = np.array([[[[9.0, 0.0], [0.0, 0.0]]]], "float32")
    >>> network = keras.Sequential([keras.Input((1, 2, 2)), keras.layers.Identity()])
    >>> maps = uncertainty_maps(network, x)
    >>> print(maps["entropy"].round(2))
    [[[0.   0.69]]]
    """
    require.whole("batch_size", batch_size, 1)
    is_distiller = hasattr(network, "student") and hasattr(network, "output_kind")
    kind = getattr(network, "output_kind", None)
    given, network = network, network.student if is_distiller else network
    is_teacher = isinstance(network, teachers.Teacher)
    if not is_teacher and not isinstance(network, keras.Model):
        raise ValueError(
            "uncertainty_maps takes a keras.Model, a Distiller or an ecl_tf.Teacher; got "
            f"{network!r}."
        )
    if is_teacher and not network.answers_new_inputs:
        raise ValueError("A store of recorded answers has none for other inputs.")
    kind = outputs.get(kind if output is None and kind is not None else output or "categorical")
    own_inputs.require_arrays(x, "uncertainty_maps")
    if is_teacher:
        network.check_members(x)
    else:
        probabilities.require_logits(kind, network, "model", x)
    rows = keras.tree.flatten(x)[0].shape[0]
    require.whole("The number of rows of x", rows, 1)
    ranges.require_within([("network", each) for each in getattr(network, "members", [network])], x)
    batches = []
    for first in range(0, rows, batch_size):
        part = keras.tree.map_structure(
            lambda leaf, first=first: tf.convert_to_tensor(leaf[first : first + batch_size]), x
        )
        if is_teacher:
            raws = network.member_outputs(part)
        else:
            raws = [network(own_inputs.of(network, part), training=False)]
        outputs.joint.require_fit(kind, given, raws[0])
        masks = positions.masks(raws[0])
        batches.append(
            {
                name: _maps(each, [_part(raw, name) for raw in raws], mask)
                for name, (each, mask) in outputs.parts_of(kind, masks).items()
            }
        )
    joined = keras.tree.map_structure(lambda *parts: np.concatenate(parts), *batches)
    return joined.get("", joined)


def _part(raw, name):
    return raw[name] if name else raw


def _maps(output, raws, mask):
    """The maps of one output of a batch, as NumPy arrays."""
    combined = output.combine(raws)
    aleatoric, epistemic = (np.asarray(part) for part in output.uncertainty(raws))
    answer = np.asarray(output.prediction(output.raw(combined)))
    total = aleatoric + epistemic
    if output.family == "categorical":
        confidence = answer.max(-1)
        maps = {"prediction": answer.argmax(-1), "confidence": confidence, "entropy": total}
    elif output.family == "bernoulli":
        maps = {"probability": answer, "entropy": total}
    else:
        maps = {"mean": answer, "stddev": np.asarray(combined.stddev())}
        epistemic = np.sqrt(epistemic)
    if len(raws) > 1:
        maps["disagreement"] = epistemic
    for name, values in maps.items():
        counts = positions.counting(values.shape, mask)
        maps[name] = np.where(counts, values, -1 if name == "prediction" else np.nan)
        if not np.isfinite(values[counts]).all():
            raise ValueError(
                "The network answers with NaN or infinite numbers for some inputs. Look at the "
                "inputs and at its weights."
            )
    return maps if mask is None else {"mask": np.asarray(mask), **maps}


def draw_maps(
    images: Any,
    maps: Mapping[str, Mapping[str, Any]],
    labels: Any = None,
    classes: int | None = None,
) -> Any:
    """Images, the classes of their pixels, and what networks say of them, side by side.

    Args:
        images: (rows, height, width, 1 or 3), numbers in [0, 1].
        maps: from the name of each network to its `uncertainty_maps` of these images.
        labels: the true classes (rows, height, width); None, the default, if they are not known.
        classes: their number. None, the default, takes all classes up to the largest one that a
            network predicts.

    Returns:
        A `matplotlib.figure.Figure` with a row for each image: the image, its labels, and for each
        network the likeliest class and the entropy in nats; of numbers with one dimension the mean
        and the standard deviation. One scale of grey is for all networks: black is 0, white the
        largest entropy or standard deviation. Labels that are no classes are white.

    Raises:
        ValueError: if the maps are none of images, or images go beyond [0, 1] by far.

    Example:
    >>> x = np.zeros((1, 4, 4, 1), "float32")
    >>> student = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(3, 1)])
    >>> drawn = draw_maps(x, {"student": uncertainty_maps(student, x)})
    >>> [panel.get_title() for panel in drawn.axes]  # drawn.savefig("maps.png") writes it.
    ['image', 'student', 'student\\nentropy']
    """
    from matplotlib import figure

    images = np.asarray(images)
    if (highest := np.max(images)) > 2.0:  # Resizing goes a little beyond 1.
        raise ValueError(
            f"draw_maps takes images in [0, 1], and these go up to {highest:g}. Give images / 255."
        )
    grey: dict[str, Any] = {"cmap": "gray", "vmin": 0}
    shown = images[..., 0] if images.shape[-1] == 1 else images
    panels: list[tuple[str, Any, dict[str, Any]]] = [("image", shown, {**grey, "vmax": 1})]
    found: list[tuple[str, Any, bool]] = []  # Title, values, whether they are an uncertainty.
    if labels is not None:
        found.append(("labels", np.asarray(labels), False))
    for name, its in maps.items():
        answer, spread = _shown(its, name, images.shape[:3])
        found += [(name, answer, False), (f"{name}\n{spread[0]}", spread[1], True)]
    largest = max((float(np.nanmax(values)) for _, values, is_spread in found if is_spread))
    answers = [values for _, values, is_spread in found if not is_spread]
    if all("prediction" in its for its in maps.values()):
        classes = classes or 1 + max(int(its["prediction"].max()) for its in maps.values())
    else:
        classes = None
    for title, values, is_spread in found:
        look: dict[str, Any]
        if is_spread:
            look = {**grey, "vmax": largest}
        elif classes:
            last = classes - 1
            values = np.ma.masked_outside(values, 0, last)
            look = {"cmap": "viridis", "vmin": 0, "vmax": last, "interpolation": "nearest"}
        else:
            low, high = (bound([bound(each) for each in answers]) for bound in (np.min, np.max))
            look = {"cmap": "viridis", "vmin": low, "vmax": high}
        panels.append((title, values, look))
    size = _WIDTH * len(panels), _WIDTH * len(images) + 0.3
    drawing = figure.Figure(figsize=size, layout="constrained")
    frames = drawing.subplots(len(images), len(panels), squeeze=False)
    for row, line in enumerate(frames):
        for frame, (title, values, look) in zip(line, panels, strict=True):
            frame.imshow(values[row], **look)
            frame.set_axis_off()
            if row == 0:
                frame.set_title(title, fontsize=8)
    return drawing


def _shown(maps: Mapping[str, Any], name: str, shape: Sequence[int]) -> tuple[Any, Any]:
    """The answer of maps of images, and the name and the values of its uncertainty."""
    if "prediction" in maps:
        answer, spread = maps["prediction"], "entropy"
    elif "mean" in maps and maps["mean"].shape[-1] == 1:
        answer, spread = maps["mean"][..., 0], "stddev"
    elif "probability" in maps and maps["probability"].shape[-1] == 1:
        answer, spread = maps["probability"][..., 0], "entropy"
    else:
        answer, spread = None, ""
    if answer is None or answer.shape != tuple(shape):
        raise ValueError(
            f"draw_maps takes images (rows, height, width, channels) and, of {name!r}, the maps of "
            f"one class, label or number for each of their pixels; got images {tuple(shape)} and "
            f"maps { {key: np.shape(each) for key, each in maps.items()} }."
        )
    values = maps[spread]
    return answer, (spread, values[..., 0] if values.ndim > answer.ndim else values)
