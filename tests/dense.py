"""Data and networks whose rows have positions, for configurations to name."""

import keras
import numpy as np
import tensorflow as tf

import ecl_tf

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
