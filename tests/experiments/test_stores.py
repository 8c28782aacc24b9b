"""Students that replay the teacher's answers."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from by_hand import assert_arrays
from tiny import untuned

import ecl_tf
from ecl_tf import replay, samplers
from ecl_tf.experiments import experiment, stores


@pytest.fixture
def config(digits_config):
    digits_config.replay_epochs = 3
    digits_config.teacher.calibrate = False
    return untuned(digits_config)


def untrained(built):
    return ecl_tf.Ensemble([built.network(built.config.teacher)], built.output)


@pytest.mark.slow
def test_a_replaying_student_runs_no_teacher(config, tmp_path, eagerly, monkeypatch):
    config.student.train.update({"steps": 4, "steps_per_execution": 2})
    built = experiment.Experiment(config)
    teacher = untrained(built)
    stored = stores.Stores(built, teacher, tmp_path / "replay")
    arguments = built.xcl_arguments()
    store = stored.of(**arguments)

    def answer(_):
        raise AssertionError("The teacher was run.")

    monkeypatch.setattr(teacher, "member_outputs", answer)
    monkeypatch.setattr(teacher, "distribution", answer)
    one, again, other = (
        built.train_distilled(store.teacher, seed, store=store, **arguments).get_weights()
        for seed in (1, 1, 2)
    )
    assert_arrays(one, again)
    assert not all(map(np.array_equal, one, other))


MIXUP = {"class_name": "Mixup", "config": {"alpha": 1.0}}


@pytest.mark.parametrize(
    ("arguments", "is_stored"),
    [
        ({"sampler": "Empirical"}, True),
        ({"sampler": "Empirical", "label_weight": 0.1, "temperature": 4.0}, True),
        ({"sampler": MIXUP}, True),
        ({"sampler": MIXUP, "divergence": "decoupled"}, True),
        ({"sampler": {"class_name": "Uncertain", "config": {}}}, True),
        # Labels are needed where there are no samples.
        ({"sampler": MIXUP, "label_weight": 0.1}, False),
        ({"sampler": None, "label_weight": 0.1, "label_rows": "unmodified"}, True),
        ({"sampler": "Empirical", "labels": {"mixup_alpha": 0.4}}, False),
        # The mixing itself asks the teacher.
        ({"sampler": "UncertaintyMixup"}, False),
    ],
)
def test_what_can_be_replayed(config, tmp_path, monkeypatch, arguments, is_stored):
    monkeypatch.setattr(stores, "record", lambda teacher, directory, plan: plan)
    built = experiment.Experiment(config)
    built.splits = dataclasses.replace(built.splits, event_size=100)
    plan = stores.Stores(built, None, tmp_path).of(**arguments)
    assert (plan is not None) == is_stored
    assert plan is None or plan["top_k"] == 100  # The probabilities of all classes.
    config.replay_epochs = 0
    assert stores.planned(experiment.Experiment(config), **arguments) is None


@pytest.mark.slow
def test_streamed_examples_are_decoded_with_seeds_of_their_own(digits_config, tmp_path):
    splits = experiment.Experiment(digits_config).splits
    images, labels = (np.asarray(each[:64]) for each in splits.train_rows)
    with tf.io.TFRecordWriter(str(tmp_path / "rows")) as writer:
        for image, label in zip(images, labels, strict=True):
            writer.write(image.tobytes() + np.int64(label).tobytes())

    def parse(record):
        end = images[0].nbytes
        label = tf.io.decode_raw(tf.strings.substr(record, end, 8), tf.int64)
        return tf.strings.substr(record, 0, end), tf.reshape(label, [])

    def decode(encoded, seed):
        pixels = tf.reshape(tf.io.decode_raw(encoded, images.dtype), images.shape[1:])
        return pixels + samplers.random.uniform(seed, [1])

    examples = ecl_tf.data.IndexedExamples([tmp_path / "rows"], parse)
    encoded = tf.data.Dataset.from_tensor_slices(examples(tf.range(64)))
    built = experiment.Experiment(
        digits_config,
        splits=dataclasses.replace(
            splits, train=encoded, decode=decode, augment=None, spare=None, examples=examples
        ),
    )
    assert len([*built.training_sample(3)]) == 3
    rows = built.training_rows()
    settings = {"sampler": "Empirical", "batch_size": 16, "epochs": 2, "verbose": 0}
    replay.record(untrained(built), **rows, directory=tmp_path / "store", **settings)
    shifts = []
    for samples, its_labels in replay.Store(tmp_path / "store").batches(**rows).take(8):
        differences = samples.inputs.numpy()[:, None] - images
        places = differences.std((2, 3, 4)).argmin(1)
        assert differences.std((2, 3, 4)).min(1).max() < 1e-6
        np.testing.assert_array_equal(its_labels, labels[places])
        shifts += differences[np.arange(16), places].mean((1, 2, 3)).tolist()
    assert len(np.unique(np.round(shifts, 6))) == 128 and min(shifts) >= 0 and max(shifts) < 1
