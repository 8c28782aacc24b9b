"""Data, networks and configurations whose rows have positions, and their scores by hand."""

import keras
import numpy as np
import tensorflow as tf

import ecl_tf
from configs import segmentation
from tests.by_hand import softmax
from tests.tiny import untuned

STEPS, TAGS, UNKNOWN = 6, 3, -1


def tags(rows=24, seed=0, train_size=32):
    """Sequences of token ids, padded by 0, with a tag of every step, some of them unknown."""
    rng = np.random.default_rng(seed)

    def part(count):
        real = np.arange(STEPS) < rng.integers(2, STEPS + 1, count)[:, None]
        tokens = np.where(real, rng.integers(1, 9, (count, STEPS)), 0)
        known = rng.uniform(size=tokens.shape) < 0.8
        labels = np.where(known, (tokens + np.roll(tokens, 1, 1)) % TAGS, UNKNOWN)
        return tf.data.Dataset.from_tensor_slices((tokens.astype("int32"), labels.astype("int32")))

    return ecl_tf.data.Splits(part(train_size), part(rows), part(rows), event_size=TAGS)


def images(rows=24, seed=0, train_size=32, kind="numbers"):
    """Images with a number for every pixel, or a yes/no label, of which -1 is unknown."""
    rng = np.random.default_rng(seed)

    def part(count):
        x = rng.uniform(size=(count, 4, 4, 1))
        y = x[..., 0] + rng.normal(0.0, 0.1, (count, 4, 4))
        if kind == "mask":
            y = np.where(rng.uniform(size=y.shape) < 0.2, UNKNOWN, y > 0.5)
        return tf.data.Dataset.from_tensor_slices((x.astype("float32"), y.astype("float32")))

    return ecl_tf.data.Splits(part(train_size), part(rows), part(rows), event_size=1)


def tagger(input_shape, units, width=4):
    """Steps are masked where the token is 0."""
    inputs = keras.Input(input_shape, dtype="int32")
    hidden = keras.layers.Embedding(9, width, mask_zero=True)(inputs)
    hidden = keras.layers.LSTM(width, return_sequences=True)(hidden)
    return keras.Model(inputs, keras.layers.Dense(units)(hidden))


def pixels(input_shape, units, width=4, strides=1):
    inputs = keras.Input(input_shape)
    hidden = keras.layers.Conv2D(width, 3, strides, padding="same", activation="relu")(inputs)
    return keras.Model(inputs, keras.layers.Dense(units)(hidden))


def small(config):
    config = untuned(config)
    config.export.measures = False
    config.kd.label_weights = (0.0,)
    for section in (config.teacher, config.student):
        section.train.update({"steps": 4, "steps_per_execution": 2, "batch_size": 16})
    config.student.train.epochs = 2
    return config


def of(name, output, network="pixels", **settings):
    config = small(segmentation.get_config())
    config.data = {"name": f"tests.dense:{name}", **settings}
    config.output = output
    for section in (config.teacher, config.student):
        section.network = {"name": f"tests.dense:{network}"}
    return config


def by_hand(logits, labels):
    """Accuracy, mean IoU, NLL and ECE of positions (n,) that count."""
    p, found = softmax(np.asarray(logits, "float64")), np.argmax(logits, -1)
    ious = []
    for each in range(p.shape[-1]):
        union = np.sum((found == each) | (labels == each))
        ious += [np.sum((found == each) & (labels == each)) / union] if union else []
    bins = np.ceil(p.max(-1) * 15).astype(int)
    gaps = [
        abs(np.sum((found == labels)[bins == each] - p.max(-1)[bins == each]))
        for each in np.unique(bins)
    ]
    nll = -np.log(p[np.arange(len(p)), labels]).mean()
    share = np.mean(found == labels)
    return {"accuracy": share, "iou": np.mean(ious), "nll": nll, "ece": sum(gaps) / len(labels)}
