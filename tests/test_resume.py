"""Runs that are killed end in the bits of one that is not."""

import signal

import keras
import numpy as np
import processes
import pytest

from ecl_tf import resume

X = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 40)

# What each of a run's starts dies of; checkpoints are written every four steps. Batches count
# from the last checkpoint in the epoch under way.
KILLED = {
    "mid-step": ["step 14"],
    "mid-checkpoint": ["write 12"],
    "between epochs": ["epoch 1"],
    "twice": ["step 6", "epoch 0"],
    "thrice": ["write 4", "write 4", "epoch 1"],
}


def killed_and_finished(directory, kind, moments):
    for moment in moments:
        run = processes.start("resumable_run.py", str(directory), kind, moment)
        _, errors = run.communicate(timeout=processes.RUNNING_LIMIT)
        assert run.returncode == -signal.SIGKILL, errors[-3000:]
    return processes.results([processes.start("resumable_run.py", str(directory), kind, "none")])[0]


@pytest.fixture(scope="module", params=["distiller", "keras", "mirrored"])
def undisturbed(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed")
    return request.param, killed_and_finished(directory, request.param, [])


@pytest.mark.slow
@pytest.mark.parametrize("killed", KILLED)
def test_a_killed_run_ends_in_the_same_bits(undisturbed, killed, tmp_path):
    kind, wanted = undisturbed
    if kind != "distiller" and killed != "twice":
        pytest.skip("One way is enough for the others.")
    assert wanted["epochs"] == [0, 1, 2]
    assert killed_and_finished(tmp_path, kind, KILLED[killed]) == wanted
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["step-20.npz", "step-24.npz"]


# What is kept, and what is refused, in this process.


def model(units=3):
    keras.utils.set_random_seed(0)
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units)])
    made.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return made


def train(directory, made=None, steps=8, **arguments):
    made = made or model()
    history = resume.fit(
        made,
        resume.batches((X, Y), batch_size=8, seed=0),
        directory,
        **{"steps": steps, "steps_per_epoch": 4, "every_steps": 2, "verbose": 0, **arguments},
    )
    return made, history.history


def test_the_last_checkpoints_are_kept_and_a_damaged_one_is_skipped(tmp_path):
    made, history = train(tmp_path, keep=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-4.npz",
        "step-6.npz",
        "step-8.npz",
    ]
    (tmp_path / "step-8.npz").write_bytes((tmp_path / "step-8.npz").read_bytes()[:500])
    whole = bytearray((tmp_path / "step-6.npz").read_bytes())
    place = whole.index(b"0.0.npy") + 200  # In the first variable's numbers.
    whole[place] ^= 1
    (tmp_path / "step-6.npz").write_bytes(bytes(whole))
    with pytest.warns(UserWarning, match=r"step-[68].npz is damaged"):
        again, its_history = train(tmp_path)
    assert its_history == history
    for one, two in zip(again.get_weights(), made.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_damaged_checkpoint_of_a_later_step_does_not_push_out_whole_ones(tmp_path):
    (tmp_path / "step-99.npz").write_bytes(b"no zip file")
    with pytest.warns(UserWarning, match=r"step-99.npz is damaged"):
        train(tmp_path, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-8.npz"]


def test_undisturbed_it_is_keras_fit(tmp_path):
    made, history = train(tmp_path)
    wanted = model()
    data = resume.batches((X, Y), batch_size=8, seed=0)(0)
    assert wanted.fit(data, epochs=2, steps_per_epoch=4, verbose=0).history == history
    for one, two in zip(made.get_weights(), wanted.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_metrics_may_be_vectors(tmp_path):
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
    made.compile("sgd", "categorical_crossentropy", metrics=[keras.metrics.F1Score()])
    data = resume.batches((X, np.eye(3, dtype="float32")[Y]), batch_size=8, seed=0)
    for _ in range(2):
        history = resume.fit(made, data, tmp_path, steps=2, verbose=0).history
        assert np.shape(history["f1_score"]) == (1, 3)


def test_a_finished_run_is_not_run_again(tmp_path):
    made, history = train(tmp_path)
    again, its_history = train(tmp_path, verbose=1)
    assert its_history == history
    for one, two in zip(again.get_weights(), made.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_batches_after_a_number_of_steps_are_those_of_the_whole():
    made = resume.batches((X, Y), batch_size=16, seed=3)  # Two to a pass, and 8 rows left over.
    whole = [x.numpy() for x, _ in made(0).take(9)]
    for first in (1, 2, 5):
        for x, wanted in zip(made(first).take(3), whole[first:], strict=False):
            np.testing.assert_array_equal(x[0], wanted)
    rows = np.concatenate(whole[:2])
    assert len(np.unique(rows, axis=0)) == 32  # No row twice in a pass.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 6}, "must be a multiple of steps_per_epoch"),
        ({"steps": 0}, "both at least 1"),
        ({"keep": 0}, "keep must be at least 1"),
    ],
)
def test_what_is_out_of_range(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        train(tmp_path, **arguments)


def test_another_model_or_schedule_is_refused(tmp_path):
    train(tmp_path)
    with pytest.raises(ValueError, match="other variables"):
        train(tmp_path, model(units=5))
    with pytest.raises(ValueError, match="other steps_per_epoch"):
        train(tmp_path, steps_per_epoch=2)
    with pytest.raises(ValueError, match="other callbacks"):
        train(tmp_path, callbacks=[keras.callbacks.TerminateOnNaN()])


def test_sigterm_writes_a_checkpoint_and_exits_with_143(tmp_path):
    class Preemption(keras.callbacks.Callback):
        def __init__(self, at):
            super().__init__()
            self.at = at

        def on_train_batch_end(self, batch, logs=None):
            if batch == self.at:
                signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as exit_info:
        train(tmp_path, callbacks=[Preemption(2)], every_steps=None, every_seconds=None)
    assert exit_info.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert [path.name for path in tmp_path.iterdir()] == ["step-3.npz"]
    wanted, history = train(tmp_path / "undisturbed")
    again, its_history = train(tmp_path, callbacks=[Preemption(-1)])
    assert its_history == history
    for one, two in zip(again.get_weights(), wanted.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_an_early_stop_stays_one(tmp_path):
    stop = keras.callbacks.EarlyStopping("loss", patience=1, min_delta=10.0)
    _, history = train(tmp_path, steps=40, callbacks=[stop])
    assert len(history["loss"]) == 2
    assert train(tmp_path, steps=40, callbacks=[stop])[1] == history
