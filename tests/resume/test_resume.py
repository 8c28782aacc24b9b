"""Runs that are killed end in the bits of one that is not."""

import json
import signal

import keras
import numpy as np
import processes
import pytest
import tensorflow as tf
from by_hand import assert_same_weights, network
from logged import tensors_of
from small_run import Preemption, X, Y, compiled, model, train

from ecl_tf import Distiller, resume

# What each of a run's starts dies of; checkpoints are written every four steps. Batches count
# from the last checkpoint in the epoch under way.
KILLED = {
    "distiller": ["step 14"],
    "keras": ["write 4", "epoch 0"],
    "mirrored": ["epoch 1"],
}


def names_in(directory):
    return sorted(path.name for path in directory.iterdir())


def killed_and_finished(directory, kind, moments):
    def start(moment):
        arguments = "resumable_run.py", str(directory), kind, moment
        return processes.start(*arguments, VIRTUAL_DEVICES="2")

    for moment in moments:
        code, _, errors = start(moment).wait()
        assert code == -signal.SIGKILL, errors[-3000:]
    return processes.results([start("none")])[0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KILLED)
def test_a_killed_run_ends_in_the_same_bits(kind, tmp_path):
    wanted = killed_and_finished(tmp_path / "undisturbed", kind, [])
    assert wanted["epochs"] == [0, 1, 2]
    assert killed_and_finished(tmp_path / "killed", kind, KILLED[kind]) == wanted
    assert names_in(tmp_path / "killed") == ["step-20.npz", "step-24.npz"]


def workers_end_with(directory, moments, *codes):
    """Two workers of one training; what they print if they end well."""
    workers = processes.start_workers(2, "resumable_run.py", str(directory), "workers", moments)
    with processes.none_left(workers):
        ends = [worker.wait() for worker in workers]
        assert [code for code, _, _ in ends] == list(codes), [end[2][-3000:] for end in ends]
        return ends


@pytest.mark.slow
def test_workers_of_whom_one_is_killed_end_and_start_again_to_the_same_bits(tmp_path):
    wanted = [end[1] for end in workers_end_with(tmp_path / "undisturbed", "none/none", 0, 0)]
    assert wanted[0] == wanted[1] and json.loads(wanted[0])["scores"] == [8.0, 24.0]

    (_, _, errors), _ = workers_end_with(tmp_path / "killed", "none/step 14", 1, -signal.SIGKILL)
    assert "RuntimeError: Another worker of the cluster has ended" in errors
    # Started again, one is told to end: both write the checkpoint of a step that they agree on.
    workers_end_with(tmp_path / "killed", "none/terminated 9", 143, 143)
    assert [end[1] for end in workers_end_with(tmp_path / "killed", "none/none", 0, 0)] == wanted
    for name in ("undisturbed", "killed"):
        assert (tmp_path / name / "step-24.npz").exists()
        assert not list((tmp_path / name).glob("tmp.*"))


@pytest.mark.slow
def test_workers_must_see_the_same_checkpoints(tmp_path):
    train(tmp_path / "0")
    ends = workers_end_with(f"{tmp_path}/{{}}", "none/none", 1, 1)
    for _, _, errors in ends:
        assert "of the steps [8, -1] (-1: none). Give a directory that all of them see" in errors


# What is kept, and what is refused, in this process.


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The model and the history of a run of 8 steps."""
    return train(tmp_path_factory.mktemp("undisturbed"))


def test_the_last_checkpoints_are_kept_and_a_damaged_one_is_skipped(tmp_path):
    made, history = train(tmp_path, keep=3)
    assert names_in(tmp_path) == ["step-4.npz", "step-6.npz", "step-8.npz"]
    (tmp_path / "step-8.npz").write_bytes((tmp_path / "step-8.npz").read_bytes()[:500])
    whole = bytearray((tmp_path / "step-6.npz").read_bytes())
    place = whole.index(b"0.npy") + 200  # In the first variable's numbers.
    whole[place] ^= 1
    (tmp_path / "step-6.npz").write_bytes(bytes(whole))
    with pytest.warns(UserWarning, match=r"step-[68].npz is damaged"):
        again, its_history = train(tmp_path)
    assert its_history == history
    assert_same_weights(again, made)


def test_a_damaged_checkpoint_of_a_later_step_does_not_push_out_whole_ones(tmp_path):
    (tmp_path / "step-99.npz").write_bytes(b"no zip file")
    with pytest.warns(UserWarning, match=r"step-99.npz is damaged"):
        train(tmp_path, keep=1)
    assert names_in(tmp_path) == ["step-8.npz"]


def test_executions_must_part_what_is_left_of_an_epoch(tmp_path, undisturbed):
    with pytest.raises(SystemExit):
        train(tmp_path, callbacks=[Preemption(2)], every_steps=None)  # After step 3 of 4.
    made = model()
    made.steps_per_execution = 2
    message = r"step-3.npz is of step 3, which executions of 2 steps .* divides 1 to continue"
    with pytest.raises(ValueError, match=message):
        train(tmp_path, made, callbacks=[Preemption(-1)])
    assert_same_weights(made, model())  # Nothing was trained.
    assert names_in(tmp_path) == ["step-3.npz"]
    again, _ = train(tmp_path, callbacks=[Preemption(-1)])
    assert_same_weights(again, undisturbed[0])
    made.steps_per_execution = 3
    with pytest.raises(ValueError, match=r"steps_per_epoch=4 must be a multiple .*execution=3"):
        train(tmp_path / "new", made)


def test_files_of_others_stay_and_one_that_cannot_be_read_ends_the_run(tmp_path):
    np.savez(tmp_path / "step-100.npz", about="mine", objects=np.array([{}]))
    np.savez(tmp_path / "step-final.npz", mine=1)
    (tmp_path / "log.txt").write_text("mine")
    mine = names_in(tmp_path)
    train(tmp_path, keep=1)
    train(tmp_path, keep=1)
    assert names_in(tmp_path) == sorted([*mine, "step-8.npz"])
    np.savez(tmp_path / "step-6.npz", mine=1)
    with pytest.raises(ValueError, match=r"step-6.npz is no checkpoint .* Move the file"):
        train(tmp_path)
    (tmp_path / "step-6.npz").unlink()
    (tmp_path / "step-6.npz").mkdir()  # Every system refuses to read it.
    with pytest.raises(OSError, match=r"can't be read. That does not mean it is damaged"):
        train(tmp_path)
    with pytest.raises(OSError, match=r"directory of checkpoints can't be made"):
        train(tmp_path / "log.txt")
    assert "step-8.npz" in names_in(tmp_path)


def test_undisturbed_it_is_keras_fit(tmp_path):
    made, history = train(tmp_path, model(run_eagerly=False))
    wanted = model(run_eagerly=False)
    data = resume.batches((X, Y), batch_size=8, seed=0)(0)
    assert wanted.fit(data, epochs=2, steps_per_epoch=4, verbose=0).history == history
    assert_same_weights(made, wanted)
    again, its_history = train(tmp_path, verbose=1)  # A finished run is not run again.
    assert its_history == history
    assert_same_weights(again, wanted)


def test_metrics_may_be_vectors(tmp_path):
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
    metric = keras.metrics.F1Score()
    made.compile("sgd", "categorical_crossentropy", metrics=[metric], run_eagerly=True)
    data = resume.batches((X, np.eye(3, dtype="float32")[Y]), batch_size=8, seed=0)
    for _ in range(2):
        history = resume.fit(made, data, tmp_path, steps=2, verbose=0).history
        assert np.shape(history["f1_score"]) == (1, 3)


def test_batches_after_a_number_of_steps_are_those_of_the_whole():
    made = resume.batches((X, Y), batch_size=16, seed=3)  # Two to a pass, and 8 rows left over.
    whole = [x.numpy() for x, _ in made(0).take(9)]
    for first in (1, 5):
        for x, wanted in zip(made(first).take(3), whole[first:], strict=False):
            np.testing.assert_array_equal(x[0], wanted)
    rows = np.concatenate(whole[:2])
    assert len(np.unique(rows, axis=0)) == 32  # No row twice in a pass.


def test_what_is_out_of_range(tmp_path, subtests):
    for arguments, message in [
        ({"steps": 6}, "must be a multiple of steps_per_epoch"),
        ({"steps": 0}, "steps must be a whole number >= 1"),
        ({"keep": 0}, "keep must be a whole number >= 1"),
        ({"every_steps": 0}, "every_steps must be None or a whole number >= 1"),
        ({"every_seconds": -1.0}, "every_seconds must be None or a number >= 0"),
        ({"epochs": 2}, "takes no epochs: steps and steps_per_epoch say"),
        ({"accept_changes": 3}, "accept_changes must be a list of names, .*got 3"),
        (
            {"class_weight": {0: 1.0, 1: 2.0}},
            "no weight of class 2; expected weights up to the last of the 3",
        ),
        ({"callbacks": [print]}, "must be keras.callbacks.Callback instances"),
        ({"callbacks": keras.callbacks.BackupAndRestore("backup")}, "does what BackupAndRestore"),
        ({"validation_data": resume.batches((X, Y), 8, 0)(0)}, "endless.*validation_steps=..."),
        ({"made": keras.Sequential([keras.layers.Dense(1)])}, "Compile the model before"),
    ]:
        with subtests.test(message), pytest.raises(ValueError, match=message):
            train(tmp_path, **arguments)
    dataset = resume.batches((X, Y), 8, 0)(0)
    for batches, message in [
        (dataset, "batches must be a function .* Got a _"),
        (lambda step: (X, Y), "It gave a tuple"),
        (lambda step: iter(dataset), "It gave a OwnedIterator"),
    ]:
        with subtests.test(message), pytest.raises(ValueError, match=message):
            resume.fit(model(), batches, tmp_path, steps=4)
    for arguments, message in [
        (((X, Y[:39]), 8, 0), "same number of rows; got 0: 40 rows, 1: 39 rows"),
        (({"x": X, "y": 1.0}, 8, 0), "y: a single value"),
        (((X[:0],), 8, 0), "holds 0 examples"),
        (((X, {"y": [[1], [2, 3]]}), 1, 0), r"data\[1\]\['y'\] is a list of numbers.*pad_seq"),
        (((X,), 8.0, 0), "batch_size must be a whole number >= 1; got 8.0"),
        (((X,), 8, "0"), "seed must be a whole number"),
        ((tf.ragged.constant([[1.0], []]), 1, 0), "ragged tensor.*to_tensor"),
        (((row for row in X), 1, 0), r"got a generator.*skip\(step\)"),
    ]:
        with subtests.test(message), pytest.raises(ValueError, match=message):
            resume.batches(*arguments)
    with pytest.raises(ValueError, match=r"resume.fit takes them .* steps_per_epoch=5"):
        model().fit(resume.batches((X, Y), 8, 0))


def test_places_without_data_stay_empty():
    weight = np.arange(40.0)
    x, labels, w = next(iter(resume.batches((X, None, weight), 8, 0)(0)))
    assert labels is None
    np.testing.assert_array_equal(x, X[w.numpy().astype(int)])


@pytest.mark.slow
def test_a_longer_run_ends_in_the_bits_of_one_that_never_stopped(tmp_path, subtests):
    class Ending(keras.callbacks.Callback):
        """Other weights, and another state, at the end: both are not the longer run's."""

        def on_train_begin(self, logs=None):
            self.epochs = 0

        def on_epoch_end(self, epoch, logs=None):
            self.epochs += 1

        def on_train_end(self, logs=None):
            self.epochs += 100
            self.model.set_weights([weight + 1.0 for weight in self.model.get_weights()])

    def run(directory, steps, *others, **arguments):
        made, ending = compiled(use_ema=True, ema_momentum=0.5), Ending()
        data = resume.batches((X, Y.astype("float32")), 8, 0)
        arguments = {"steps": steps, "callbacks": [ending, *others], "verbose": 0, **arguments}
        history = resume.fit(made, data, directory, **arguments)
        return made, history.history, history.epoch, ending.epochs

    wanted, *others = run(tmp_path / "undisturbed", 16, steps_per_epoch=4)
    assert others[1:] == [[0, 1, 2, 3], 104]
    run(tmp_path / "finished", 4, steps_per_epoch=4)
    with pytest.raises(SystemExit):
        run(tmp_path / "half", 8, Preemption(2, epoch=1), steps_per_epoch=4)
    for name in ("finished", "half"):
        with subtests.test(name):
            preempted = [Preemption(-1)] if name == "half" else []
            run(tmp_path / name, 12, *preempted)  # Epochs as before.
            again, *its_others = run(tmp_path / name, 16, *preempted, steps_per_epoch=4)
            assert its_others == others
            assert_same_weights(again, wanted)
    with pytest.raises(ValueError, match=r"has done 16 steps, more than steps=8. Give steps=16"):
        run(tmp_path / "finished", 8)
    with pytest.raises(ValueError, match=r"Give steps_per_epoch=4 and a multiple of it"):
        run(tmp_path / "finished", 18)


def test_data_that_ends_is_an_error(tmp_path, subtests):
    rows = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)  # Five batches.
    of_unknown_length = rows.filter(lambda x, y: True)

    def distiller():
        made = Distiller(network(0), network(1), sampler="Empirical")
        made.compile("sgd", run_eagerly=True)
        return made

    for make, data, epoch in (
        (model, rows, 8),
        (model, of_unknown_length, 1),
        (distiller, of_unknown_length, 8),
    ):
        with (
            subtests.test(f"{make.__name__} {epoch}"),
            pytest.raises(ValueError, match=r"ends after step 5, and steps=8 .*repeat\(\)"),
        ):
            arguments = {"steps": 8, "steps_per_epoch": epoch, "validation_data": of_unknown_length}
            resume.fit(make(), data.skip, tmp_path, verbose=0, **arguments)
        for path in tmp_path.iterdir():
            path.unlink()


def test_a_shuffled_stream_of_ones_own_is_read_as_by_keras(tmp_path):
    rows = tf.data.Dataset.from_tensor_slices((X, Y)).repeat()

    def batches(step):
        return rows.shuffle(40, seed=3).batch(8).skip(step)

    def run(directory, *callbacks):
        made = model()
        arguments = {"steps": 8, "every_steps": 4, "callbacks": callbacks, "verbose": 0}
        resume.fit(made, batches, directory, **arguments)
        return made

    wanted = model()
    wanted.fit(batches(0), steps_per_epoch=8, verbose=0)
    assert_same_weights(run(tmp_path / "undisturbed"), wanted)
    with pytest.raises(SystemExit):
        run(tmp_path / "killed", Preemption(4))
    assert_same_weights(run(tmp_path / "killed", Preemption(-1)), wanted)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize(
    ("number", "error", "code"),
    [(signal.SIGTERM, SystemExit, 143), (signal.SIGINT, KeyboardInterrupt, None)],
)
def test_a_signal_writes_a_checkpoint_and_ends_the_run(
    tmp_path, capsys, undisturbed, number, error, code
):
    before = signal.getsignal(number)
    with pytest.raises(error) as ended:
        train(tmp_path, callbacks=[Preemption(2, None, number)], every_steps=None)
    assert getattr(ended.value, "code", None) == code
    assert ("Press Ctrl-C again" in capsys.readouterr().err) == (number == signal.SIGINT)
    assert signal.getsignal(number) is before
    assert names_in(tmp_path) == ["step-3.npz"]
    again, its_history = train(tmp_path, callbacks=[Preemption(-1)])
    assert its_history == undisturbed[1]
    assert_same_weights(again, undisturbed[0])


@pytest.mark.usefixtures("ctrl_c")
def test_a_second_ctrl_c_stops_at_once_and_one_after_the_last_step_is_not_lost(tmp_path):
    def press(times):
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)

    def pressing(**moment):
        return train(tmp_path, callbacks=[keras.callbacks.LambdaCallback(**moment)])

    with pytest.raises(KeyboardInterrupt):
        pressing(on_train_batch_end=lambda batch, logs: press(2))
    assert names_in(tmp_path) == []
    with pytest.raises(KeyboardInterrupt):
        pressing(on_train_end=lambda logs: press(1))
    _, history = pressing()  # It is finished.
    assert len(history["loss"]) == 2 and "step-8.npz" in names_in(tmp_path)


class Two(keras.Model):
    """A layer for each of two optimizers, and a number that Keras does not know of."""

    def __init__(self):
        super().__init__()
        self.parts = [keras.layers.Dense(2) for _ in range(2)]
        self.count = tf.Variable(0.0)
        self.others = {"nested": {1: "keys of", "two": "kinds"}}

    def compile(self, *optimizers):
        super().compile(run_eagerly=True)
        self.its_optimizers = optimizers

    def call(self, x):
        return [part(x) for part in self.parts]

    def train_step(self, data):
        self.count.assign_add(1.0)
        for part, optimizer in zip(self.parts, self.its_optimizers, strict=True):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(part(data[0]) ** 2.0) / self.count
            gradients = tape.gradient(loss, part.trainable_variables)
            optimizer.apply_gradients(zip(gradients, part.trainable_variables, strict=True))
        return {"loss": loss}


def test_further_optimizers_and_variables_go_on(tmp_path):
    def made(rate=0.125, build=True):
        keras.utils.set_random_seed(0)
        its = Two()
        its(X)
        its.compile(*(keras.optimizers.Adam(rate) for _ in range(2)))
        for part, optimizer in zip(its.parts, its.its_optimizers if build else (), strict=build):
            optimizer.build(part.trainable_variables)
        return its

    with pytest.raises(ValueError, match=r"Two\.its_optimizers is an optimizer that is not built"):
        train(tmp_path / "killed", made(build=False))
    wanted, _ = train(tmp_path / "undisturbed", made())
    with pytest.raises(SystemExit):
        train(tmp_path / "killed", made(), callbacks=[Preemption(2)])
    with pytest.raises(ValueError, match=r"other optimizers.*learning_rate \(0\.125 there, 0\.5 h"):
        train(tmp_path / "killed", made(0.5), callbacks=[Preemption(-1)])
    again, _ = train(tmp_path / "killed", made(), callbacks=[Preemption(-1)])
    assert float(again.count) == 8.0
    assert_same_weights(again, wanted)
    longer = {"steps": 12, "callbacks": [Preemption(-1)]}
    accepted = {"accept_changes": [f"optimizers.{n}.learning_rate" for n in (0, 1)]}
    later, _ = train(tmp_path / "killed", made(0.5), **longer, **accepted)
    assert [float(each.learning_rate) for each in later.its_optimizers] == [0.5, 0.5]


def test_the_state_of_a_recurrent_layer_goes_on(tmp_path):
    def made():
        keras.utils.set_random_seed(0)
        recurrent = keras.layers.LSTM(2, stateful=True)
        layers = [keras.Input(batch_shape=(8, 4)), keras.layers.Reshape((1, 4)), recurrent]
        its = keras.Sequential([*layers, keras.layers.Dense(3)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        its.compile("sgd", loss, run_eagerly=True)
        return its, recurrent.states

    wanted, states = made()
    train(tmp_path / "undisturbed", wanted)
    with pytest.raises(SystemExit):
        train(tmp_path / "killed", made()[0], callbacks=[Preemption(2)])
    again, its_states = made()
    train(tmp_path / "killed", again, callbacks=[Preemption(-1)])
    assert_same_weights(again, wanted)
    np.testing.assert_array_equal(its_states, states)


def test_a_log_of_epochs_goes_on(tmp_path):
    log = tmp_path / "log.csv"
    with pytest.raises(SystemExit):
        train(tmp_path, callbacks=[keras.callbacks.CSVLogger(log), Preemption(2, epoch=1)])
    train(tmp_path, callbacks=[keras.callbacks.CSVLogger(log), Preemption(-1)])
    epochs = [line.split(",")[0] for line in log.read_text().splitlines()]
    assert epochs == ["epoch", "0", "1"]


def test_tensorboard_goes_on(tmp_path, recwarn):
    def board():
        return keras.callbacks.TensorBoard(tmp_path / "board", update_freq=1, histogram_freq=1)

    with pytest.raises(SystemExit):
        train(tmp_path, callbacks=[board(), Preemption(2, epoch=1)])
    train(tmp_path, callbacks=[board(), Preemption(-1)])
    found = tensors_of(tmp_path / "board" / "train")
    assert [step for step, _ in found["epoch_loss"]] == [0, 1]
    batches = [step for step, _ in found["batch_loss"]]  # A kill may lose the last one before it.
    assert batches[-1] == 8 and len(set(batches)) == len(batches)
    histograms = [values for tag, values in found.items() if tag.endswith("kernel/histogram")]
    assert [step for values in histograms for step, _ in values] == [0, 1]
    assert not [each for each in recwarn if "do not keep" in str(each.message)]


def test_an_early_stop_stays_one(tmp_path):
    stop = keras.callbacks.EarlyStopping("loss", patience=1, min_delta=10.0)
    _, history = train(tmp_path, steps=40, callbacks=[stop])
    assert len(history["loss"]) == 2
    assert train(tmp_path, steps=40, callbacks=[stop])[1] == history


@pytest.mark.slow
def test_what_callbacks_keep_goes_on(tmp_path):
    class Keeping(keras.callbacks.Callback):
        def __init__(self, name):
            super().__init__()
            self.name, self.kept, self.unkept = name, None, object()

        def on_train_begin(self, logs=None):
            self.kept = {"counts": [0], "sums": [np.float32(0.0)]}

        def on_epoch_end(self, epoch, logs=None):
            self.kept["counts"].append(epoch)
            self.kept["sums"].append(np.float32(logs["loss"]))

    def callbacks(preempted_at, name):
        # The largest loss, and the weights to restore, are those of an epoch before the last.
        stop = keras.callbacks.EarlyStopping(
            "loss", patience=2, mode="max", restore_best_weights=True
        )
        return [Preemption(preempted_at), stop, Keeping(name)]

    undisturbed = callbacks(-1, "a")
    wanted, its_history = train(tmp_path / "undisturbed", steps=40, callbacks=undisturbed)
    epochs = len(its_history["loss"])
    assert epochs < 10 and np.argmax(its_history["loss"]) == epochs - 3
    for at, name in ((3, "b"), (0, "c")):  # An epoch's last step and its first.
        with pytest.raises(SystemExit):
            train(tmp_path / "b", steps=40, callbacks=callbacks(at, name))
    again = callbacks(-1, "f")
    got, history = train(tmp_path / "b", steps=40, callbacks=again)
    assert history == its_history
    assert again[2].kept == undisturbed[2].kept
    assert again[2].kept["counts"] == [0, *range(epochs)]
    assert again[2].name == "f" and isinstance(again[2].kept["sums"][1], np.float32)
    finished = callbacks(-1, "g")  # Killed after the last checkpoint, before its result was used.
    train(tmp_path / "b", steps=40, callbacks=finished)
    assert finished[2].kept == undisturbed[2].kept
    assert_same_weights(got, wanted)


@pytest.mark.slow
def test_what_callbacks_do_as_a_run_or_an_epoch_begins_is_done_once(tmp_path):
    class Annealing(keras.callbacks.Callback):
        begun = 0

        def on_train_begin(self, logs=None):
            self.model.optimizer.learning_rate = 0.9 * self.model.optimizer.learning_rate

        def on_epoch_begin(self, epoch, logs=None):
            self.begun += 1
            self.model.temperature *= 0.9
            kernel = self.model.student.trainable_variables[0]
            kernel.assign(0.9 * kernel)

    def callbacks(at, epoch=None):
        halved = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.5 * rate)
        return [halved, Annealing(), Preemption(at, epoch)]

    def its_train(directory, its_callbacks):
        keras.utils.set_random_seed(0)
        made = Distiller(network(4), network(4), sampler="Empirical", temperature=2.0)
        made.compile(keras.optimizers.SGD(0.1))
        return train(directory, made, steps=12, callbacks=its_callbacks)

    undisturbed = callbacks(-1)
    wanted, its_history = its_train(tmp_path / "undisturbed", undisturbed)
    assert wanted.optimizer.learning_rate.numpy() == pytest.approx(0.1 * 0.9 * 0.5**3)
    assert wanted.temperature == pytest.approx(2.0 * 0.9**3)
    for at, epoch in ((2, 0), (1, 1)):  # The last step of the rest of an epoch is its 2nd.
        with pytest.raises(SystemExit):
            its_train(tmp_path / "killed", callbacks(at, epoch))
    again = callbacks(-1)
    got, history = its_train(tmp_path / "killed", again)
    assert history == its_history and again[1].begun == undisturbed[1].begun == 3
    assert got.optimizer.learning_rate.numpy() == wanted.optimizer.learning_rate.numpy()
    assert got.temperature == wanted.temperature
    assert_same_weights(got.student, wanted.student)


def test_a_full_disk_ends_the_run_and_what_was_written_stays(tmp_path, monkeypatch, undisturbed):
    savez = np.savez

    def full(file, **arrays):
        if json.loads(str(arrays["about"]))["step"] == 6:
            file.write(b"half")
            raise OSError(28, "No space left on device")
        savez(file, **arrays)

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        with pytest.raises(OSError, match="No space left"):
            train(tmp_path / "disturbed")
    assert "step-4.npz" in names_in(tmp_path / "disturbed")
    _, history = train(tmp_path / "disturbed")
    assert history == undisturbed[1]
    assert names_in(tmp_path / "disturbed") == ["step-6.npz", "step-8.npz"]
