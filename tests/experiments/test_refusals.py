"""Whatever goes wrong with a setting is one line that names it."""

import keras
import pytest
import tensorflow as tf

from ecl_tf import data
from ecl_tf.experiments import refusals, settings


class Strict(keras.layers.Layer):
    def call(self, inputs):
        if inputs.shape[-1] != 3:
            raise ValueError("Three values, please.")
        return tf.gather(inputs, 5)


def in_a_layer():
    Strict()(keras.Input((4,)))


def in_a_graph():
    tf.function(lambda x: Strict()(x))(tf.ones((2, 4)))


def in_a_step():
    tf.function(lambda x: Strict()(x), input_signature=[tf.TensorSpec((None, 3))])(tf.ones((1, 3)))


@pytest.mark.parametrize(
    ("fails", "cause"),
    [
        (in_a_layer, "Three values, please."),
        (in_a_graph, "Three values, please."),
        (in_a_step, "InvalidArgumentError: indices = 5 is not in [0, 1)"),
        (lambda: {}["key"], "KeyError: 'key'"),
        (lambda: next(iter(())), "StopIteration"),
    ],
)
def test_a_cause_is_told_without_what_is_around_it(fails, cause):
    section = settings.Teacher(members=2, labels=settings.Labels(mixup_alpha=0.4))
    with (
        pytest.raises(refusals.SettingError) as error,
        refusals.blaming("config.teacher", section),
    ):
        fails()
    said = str(error.value)
    shown = "config.teacher={'members': 2, 'labels': {'mixup_alpha': 0.4}} can't be used. "
    assert said.startswith(shown) and cause in said
    assert "\n" not in said and "File" not in said and "test_refusals" not in said


def test_the_first_setting_that_is_blamed_stays():
    with (
        pytest.raises(refusals.SettingError, match=r"^config\.a=1 can't be used\. No\.$"),
        refusals.blaming("config", {}),
        refusals.blaming("config.a", 1),
    ):
        raise ValueError("No.")


def test_data_without_validation_rows_are_refused_with_a_remedy():
    rows = tf.data.Dataset.range(2)
    refusals.require_validation(data.Splits(rows, rows.take(1), rows, 2), "It asks for them")
    message = "^It asks for them, and this data set is split without any. Hold some out, or wait.$"
    with pytest.raises(ValueError, match=message):
        refusals.require_validation(
            data.Splits(rows, rows, rows, 2), "It asks for them", "or wait."
        )
    same = rows.take(1)
    with pytest.raises(ValueError, match=r"asks for them, .* the test's rows .* Hold others out"):
        refusals.require_validation(data.Splits(rows, same, same, 2), "It asks for them")
