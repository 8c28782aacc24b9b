"""Stores are whole or continued, and say what is wrong with them."""

import json
import shutil
import signal

import keras
import numpy as np
import processes
import pytest
import tensorflow as tf

from ecl_tf import replay, samplers
from ecl_tf._internal import identity
from ecl_tf.replay import recording

X = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
ONE, TWO = "shard-00000-of-00002.tfrecord", "shard-00001-of-00002.tfrecord"


def network(units=3, seed=1):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(units)])


def record(directory, teacher=None, x=X, **arguments):
    settings = {"batch_size": 8, "epochs": 3, "shards": 2, "verbose": 0, **arguments}
    return replay.record(teacher or network(), x, directory=directory, **settings)


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole")
    assert record(directory)
    return directory


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy")


def test_the_files_of_a_store(whole):
    assert sorted(contents(whole)) == ["manifest.json", "plan.json", ONE, TWO]
    records = [sum(1 for _ in tf.data.TFRecordDataset(str(whole / name))) for name in (ONE, TWO)]
    assert records == [12, 12]


@pytest.mark.slow
def test_a_killed_recording_goes_on_to_the_same_bytes(whole, tmp_path):
    script = "record_until_killed.py"
    for moment in (0, 6, 13, 23):
        code, _, errors = processes.start(script, str(tmp_path), str(moment)).wait()
        assert code == -signal.SIGKILL, errors[-3000:]
        with pytest.raises(ValueError, match="is not finished"):
            replay.Store(tmp_path)
    processes.results([processes.start(script, str(tmp_path), "-1")])
    assert contents(tmp_path) == contents(whole)


def test_after_a_full_disk_what_is_stored_is_not_computed_again(tmp_path, monkeypatch, whole):
    computed = []
    example = recording.Recording.example

    def no_space(*args):
        raise OSError(28, "No space left on device")

    def failing(self, step, *args):
        computed.append(int(step))
        if step == 9 and computed.count(9) == 1:
            no_space()
        return example(self, step, *args)

    monkeypatch.setattr(recording, "PART_STEPS", 4)
    monkeypatch.setattr(recording.Recording, "example", failing)
    with pytest.raises(OSError, match="No space left"):
        record(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(recording.shutil, "copyfileobj", no_space)  # When parts are joined.
        with pytest.raises(OSError, match="No space left"):
            record(tmp_path)
    assert record(tmp_path)
    # The first try's last part, from step 8, was not whole; the second's were, of one shard.
    assert computed == [*range(10), *range(8, 12), *range(12, 24)]
    assert contents(tmp_path) == contents(whole)


def test_workers_write_different_shards_of_one_store(tmp_path, whole):
    assert not record(tmp_path, worker=1, workers=2)
    assert record(tmp_path, worker=0, workers=2)
    assert contents(tmp_path) == contents(whole)
    assert record(tmp_path)  # A finished store is left as it is.
    assert contents(tmp_path) == contents(whole)


def test_the_estimate_is_what_is_then_written(whole):
    cost = replay.estimate(network(), X, batch_size=8, epochs=3, shards=2)
    written = sum(path.stat().st_size for path in whole.glob("shard-*"))
    assert cost["rows"] == 3 * 64 and cost["bytes"] == pytest.approx(written, rel=0.02)
    assert cost["bytes_per_row"] * cost["rows"] == pytest.approx(cost["bytes"], rel=0.05)
    assert cost["seconds"] > 0.0


# What is wrong with a store.


def damage(path):
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(bytes(whole))


def swap(directory):
    (directory / ONE).rename(directory / "other")
    (directory / TWO).rename(directory / ONE)
    (directory / "other").rename(directory / TWO)


def of_another_format(directory):
    path = directory / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of_another_format, "has the format 99"),
        (lambda d: damage(d / ONE), rf"{ONE} is damaged: its checksum"),
        (lambda d: (d / TWO).write_bytes((d / TWO).read_bytes()[:-9]), rf"{TWO} is truncated"),
        (lambda d: (d / TWO).unlink(), rf"{TWO} is missing"),
        (swap, rf"{ONE} is swapped: it holds what {TWO} should"),
        (lambda d: (d / ONE).write_bytes((d / ONE).read_bytes() * 2), rf"{ONE} is another file"),
        (
            lambda d: shutil.copy(d / ONE, d / "shard-7.tfrecord"),
            r"holds shard-7.tfrecord.*not know",
        ),
        (lambda d: (d / "manifest.json").unlink(), "is not finished"),
        (lambda d: shutil.rmtree(d), "is none"),
    ],
)
def test_what_is_wrong_is_said(copy, change, message):
    assert replay.Store(copy).steps == 24
    change(copy)
    with pytest.raises(ValueError, match=message):
        replay.Store(copy)


def test_a_shard_that_is_lost_is_written_again(copy, whole):
    (copy / TWO).unlink()
    (copy / "manifest.json").unlink()
    # Of a kill after a shard's parts were joined, and before they were removed.
    shutil.copy(copy / ONE, copy / f"{ONE.removesuffix('.tfrecord')}.part-000000000-000000012")
    assert record(copy)
    assert contents(copy) == contents(whole)


def test_a_recording_goes_on_with_its_own_settings_only(copy, tmp_path):
    for arguments, name in [
        ({"seed": 1}, "seed"),
        ({"teacher": network(seed=2)}, "teacher"),
        ({"x": X + 1}, "data.fingerprint"),
        ({"sampler": "Mixup"}, "sampler.class_name"),
        ({"about": {"version": 2}}, "about.version"),
    ]:
        with pytest.raises(ValueError, match=rf"other settings.*{name} \("):
            record(copy, **arguments)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="not empty and holds no store"):
        record(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"shards": 0}, "shards must be at least 1"),
        ({"batch_size": 65}, "64 rows, less than one batch of 65"),
        ({"y": np.zeros(63)}, r"as many rows; got \[64, 63\]"),
        ({"top_k": 0}, "top_k must be a whole number"),
        ({"sampler": "UncertaintyMixup"}, "asks the networks in every draw"),
        ({"sampler": samplers.Choice(["Empirical", "Uncertain"])}, "asks the networks in every"),
    ],
)
def test_what_is_out_of_range(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        record(tmp_path / "store", **arguments)


def test_answers_that_are_not_finite_are_refused(tmp_path):
    teacher = network()
    teacher.layers[0].kernel.assign(tf.fill((4, 3), float("nan")))
    with pytest.raises(FloatingPointError, match=r"step 0 can't be stored: .* is not finite"):
        record(tmp_path, teacher)


def test_networks_without_weights_are_told_apart_by_their_configuration():
    def rescaling(scale):
        return keras.Sequential([keras.Input((4,)), keras.layers.Rescaling(scale)])

    hashes = [identity.fingerprint_of_models([rescaling(scale)]) for scale in (1.0, 2.0, 1.0)]
    assert hashes[0] != hashes[1]
    assert hashes[0] == hashes[2]
