"""Stores are whole or continued, and say what is wrong with them."""

import json
import shutil
import signal

import keras
import numpy as np
import processes
import pytest
import tensorflow as tf
from by_hand import softmax

from ecl_tf import replay, samplers
from ecl_tf._internal import identity
from ecl_tf.replay import draws, recording, writing

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
    for moment in (6, 13):  # In a shard of which parts are whole, and in another one.
        code, _, errors = processes.start(script, str(tmp_path), str(moment)).wait()
        assert code == -signal.SIGKILL, errors[-3000:]
        with pytest.raises(ValueError, match="is not finished"):
            replay.Store(tmp_path)
    processes.results([processes.start(script, str(tmp_path), "-1")])
    assert contents(tmp_path) == contents(whole)


def test_texts_are_recorded_and_told_from_others(tmp_path):
    words = np.array(["x", "y", "z", "y"])[:, None].repeat(16, 1).reshape(64, 1)
    inputs = {"a": keras.Input((4,), name="a"), "word": keras.Input((1,), dtype="string")}
    lookup = keras.layers.StringLookup(vocabulary=["x", "y", "z"], output_mode="one_hot")
    joined = keras.layers.Concatenate()([inputs["a"], lookup(inputs["word"])])
    teacher = keras.Model(inputs, keras.layers.Dense(3)(joined))
    x = {"a": X, "word": tf.constant(words)}
    record(tmp_path / "texts", teacher, x, sampler=samplers.Swap(), epochs=1, shards=1)
    # The same words as Python's texts lie elsewhere, as they do in another process.
    again = {"a": X, "word": np.array([[each[0] + ""] for each in words.tolist()], object)}
    for samples, *_ in replay.Store(tmp_path / "texts").batches(again).take(2):
        found, expected = (
            softmax(np.asarray(raw)) for raw in (*samples.member_outputs, teacher(samples.inputs))
        )
        np.testing.assert_allclose(found, expected, atol=2e-3)  # They are stored as float16.
    flat = [{"a": X, "word": each["word"][:, 0]} for each in (x, again)]  # A row has no array.
    assert draws.Rows(flat[0]).fingerprint == draws.Rows(flat[1]).fingerprint
    with pytest.raises(ValueError, match=r"data\.fingerprint"):
        replay.Store(tmp_path / "texts").batches({"a": X, "word": tf.constant(words[::-1])})


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

    monkeypatch.setattr(writing, "PART_STEPS", 4)
    monkeypatch.setattr(recording.Recording, "example", failing)
    with pytest.raises(OSError, match="No space left"):
        record(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(writing.shutil, "copyfileobj", no_space)  # When parts are joined.
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
    with pytest.raises(ValueError, match="steps must be a whole number >= 1; got 0"):
        replay.estimate(network(), X, steps=0)


# What is wrong with a store.


def damage(path):
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(bytes(whole))


def swap(directory):
    (directory / ONE).rename(directory / "other")
    (directory / TWO).rename(directory / ONE)
    (directory / "other").rename(directory / TWO)


def manifest(**changes):
    """A change of the manifest's content; of its plan's by `plan`, of its shards by their names."""

    def change(directory):
        path = directory / "manifest.json"
        content = json.loads(path.read_text())
        content["plan"].update(changes.pop("plan", {}))
        for old, new in changes.pop("shards", {}).items():
            content["shards"][new] = content["shards"].pop(old)
        path.write_text(json.dumps({**content, **changes}))

    return change


def link(directory):
    (directory / ONE).rename(directory / "elsewhere")
    (directory / ONE).symlink_to(directory / "elsewhere")


def as_directory(directory):
    (directory / ONE).unlink()
    (directory / ONE).mkdir()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (manifest(format=99), "has the format 99.*Update ecl_tf"),
        (manifest(format="1"), "has the format '1'.*Record it again"),
        (manifest(plan={"steps": "many"}), "plan's steps is 'many'.*Delete it, and record"),
        (manifest(plan={"shards": 3}), "names other files than the 3 shards"),
        (manifest(shards={TWO: "/etc/passwd"}), "names other files than the 2 shards"),
        (manifest(shards={TWO: f"../whole/{TWO}"}), "names other files than the 2 shards"),
        (manifest(fields=None, shards={TWO: "plan.json"}), "names other files than the 2"),
        (manifest(event_size=5), r"manifest\.json is damaged: it is not what was written"),
        (lambda d: (d / "manifest.json").write_text('{"format": 2, "pl'), "is not JSON.*Delete it"),
        (lambda d: (d / "manifest.json").write_text('{"format": 2}'), "lacks 'event_size'"),
        (lambda d: (d / "manifest.json").write_text("[]"), "holds no JSON object"),
        (link, rf"{ONE} is a link or a directory"),
        (as_directory, rf"{ONE} is a link or a directory"),
        (lambda d: (d / ONE).write_bytes(b""), rf"{ONE} is truncated: 0 of"),
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


@pytest.mark.slow
def test_what_a_recording_goes_on_with_is_read_before(copy, whole, tmp_path, subtests):
    """Nothing that is damaged, or of another recording, comes into a store with right hashes."""
    (copy / "manifest.json").unlink()
    good = (copy / ONE).read_bytes()
    record(tmp_path / "other", network(seed=2))
    other = (tmp_path / "other" / ONE).read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    made = recording.Recording(network(), X, batch_size=8, epochs=3, shards=2)
    made.require_whole(copy / ONE, 0, 12)
    part = copy / f"{ONE.removesuffix('.tfrecord')}.part-000000000-000000012"
    for content, flaw in [
        (good[:100], "is damaged: a record does not have its checksum, or ends too early"),
        (bytes(flipped), "is damaged: a record does not have"),
        (good[: len(good) * 3 // 4], "is truncated: it holds 9 of 12 steps"),
        (b"", "is truncated: it holds 0 of 12 steps"),
        (good * 2, "holds other steps than 0 to 11"),
        ((whole / TWO).read_bytes(), "holds other steps than 0 to 11"),
        (other, "holds answers of another recording"),
    ]:
        with subtests.test(flaw=flaw):
            part.write_bytes(content)
            with pytest.raises(ValueError, match=rf"{part.name} {flaw}.*\. Delete it"):
                made.require_whole(part, 0, 12)

    # Parts of one's own, and shards of other workers; no name makes it wait for ever.
    empty = part.with_name(part.name.replace("12", "00"))
    for path, worker in [(part, {}), (copy / ONE, {"worker": 1, "workers": 2})]:
        (copy / ONE).unlink(missing_ok=True)
        part.unlink(missing_ok=True)
        path.write_bytes(good[:100])
        before = contents(copy)
        with pytest.raises(ValueError, match=rf"{path.name} is damaged.*\. Delete it"):
            record(copy, **worker)
        assert contents(copy) == before
    (copy / ONE).rename(empty)
    with pytest.raises(ValueError, match=f"{empty.name} has the name of no part"):
        record(copy)
    empty.unlink()
    assert record(copy)
    assert contents(copy) == contents(whole)


@pytest.mark.slow
def test_records_of_older_versions_are_gone_on_with(copy, whole):
    """They have no mark of their recording."""
    unmarked = copy / f"{ONE.removesuffix('.tfrecord')}.part-000000000-000000012"
    with tf.io.TFRecordWriter(str(unmarked)) as writer:
        for serialized in tf.data.TFRecordDataset(str(copy / ONE)).as_numpy_iterator():
            example = tf.train.Example.FromString(serialized)
            del example.features.feature["plan"]
            writer.write(example.SerializeToString(deterministic=True))
    size = unmarked.stat().st_size
    for name in (ONE, "manifest.json"):
        (copy / name).unlink()
    assert record(copy)
    assert (copy / ONE).stat().st_size == size < (whole / ONE).stat().st_size
    answers = [
        [samples.inputs for samples, *_ in replay.Store(d).batches(X).take(24)]
        for d in (copy, whole)
    ]
    np.testing.assert_array_equal(*answers)


def test_a_recording_goes_on_with_its_own_settings_only(copy, tmp_path, monkeypatch):
    for arguments, name in [
        ({"seed": 1}, "seed"),
        ({"teacher": network(seed=2)}, "teacher"),
        ({"x": X + 1}, "data.fingerprint"),
        ({"sampler": "Mixup"}, "sampler.class_name"),
        ({"about": {"version": 2}}, "about.version"),
    ]:
        with pytest.raises(ValueError, match=rf"other settings.*{name} \("):
            record(copy, **arguments)
    numbers = {"batch_size": 8, "epochs": 3, "shards": 2, "seed": 0, "top_k": 10}
    assert record(copy, **{name: np.int32(number) for name, number in numbers.items()})
    (tmp_path / "looked_at").mkdir()
    (tmp_path / "looked_at" / ".DS_Store").touch()
    assert record(tmp_path / "looked_at", epochs=1)
    (tmp_path / "file").write_text("")
    with monkeypatch.context() as context:
        context.setattr(writing, "Recording", None)  # Rows are not read before.
        with pytest.raises(ValueError, match="not empty and holds no store"):
            record(tmp_path)
        with pytest.raises(ValueError, match="is a file; a store is a directory"):
            record(tmp_path / "file")
        with pytest.raises(ValueError, match="worker=2 of workers=2"):
            record(tmp_path / "new", worker=2, workers=2)
    (copy / "plan.json").write_text("{")
    with pytest.raises(ValueError, match=r"plan\.json is damaged: it is not JSON"):
        record(copy)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number >= 1"),
        ({"shards": 0}, "shards must be a whole number >= 1"),
        ({"batch_size": 65}, "64 rows, less than one batch of 65"),
        ({"y": np.zeros(63)}, r"as many rows; got \[64, 63\]"),
        ({"top_k": 0}, "top_k must be a whole number"),
        ({"seed": 1.0}, "seed must be a whole number"),
        ({"about": {"rows": {np.int64(3): 1}}}, "about must be a dict.* not numpy.int64"),
        ({"sampler": "UncertaintyMixup"}, "asks the student in every draw"),
        ({"sampler": samplers.Choice(["Empirical", "Uncertain"])}, "asks the student in every"),
    ],
)
def test_what_is_out_of_range(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        record(tmp_path / "store", **arguments)


def test_answers_that_are_not_finite_are_refused(tmp_path):
    teacher = network()
    teacher.layers[0].kernel.assign(tf.fill((4, 3), 3e38))
    with pytest.raises(FloatingPointError, match=r"step 0 can't be stored: .* is not finite"):
        record(tmp_path, teacher)


def test_networks_without_weights_are_told_apart_by_their_configuration():
    def rescaling(scale):
        return keras.Sequential([keras.Input((4,)), keras.layers.Rescaling(scale)])

    hashes = [identity.fingerprint_of_models([rescaling(scale)]) for scale in (1.0, 2.0, 1.0)]
    assert hashes[0] != hashes[1]
    assert hashes[0] == hashes[2]


def test_batches_of_one_row_are_told_that_nothing_is_mixed(tmp_path):
    with pytest.warns(UserWarning, match="one row.*so Mixup leaves it as it is"):
        record(tmp_path, x=X[:2], batch_size=1, epochs=1, sampler="Mixup")


def test_a_generator_of_rows_is_refused_in_words(tmp_path):
    with pytest.raises(ValueError, match=r"takes arrays.* got a generator"):
        record(tmp_path, x=(rows for rows in [X]))
