"""Logs of trainings, read back as the programs read them that show them."""

import json
import struct
import sys
from unittest import mock

import keras
import numpy as np
import pytest
from logged import rows_of, tensors_of

from ecl_tf import resume
from ecl_tf.experiments import logs, progress, strategies, trackers

EPOCHS = {"epoch", "step"}


@pytest.fixture(autouse=True)
def none_in_use():
    yield
    logs.use((), "")


def interrupt_at(step, model):
    """A callback that fails after a step."""

    def end(batch, logs):
        if int(model.optimizer.iterations) == step:
            raise InterruptedError

    return keras.callbacks.LambdaCallback(on_train_batch_end=end)


def train(directory, killed_at=-1):
    """Six steps, in epochs of two; a checkpoint after the third one."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.01), "mse", run_eagerly=True)
    x = np.random.default_rng(0).random((32, 4), "float32")
    with logs.Run(directory, "one", seed=7) as run:
        log = logs.TrainingLog(directory / "one.csv", run)
        resume.fit(
            model,
            resume.batches((x, x[:, :1]), batch_size=8, seed=0),
            directory / "checkpoints",
            steps=6,
            steps_per_epoch=2,
            every_steps=3,
            every_seconds=None,
            callbacks=[log, interrupt_at(killed_at, model)],
            verbose=0,
        )


@pytest.mark.slow
def test_a_continued_training_is_one_run_with_each_epoch_once(tmp_path):
    train(tmp_path / "undisturbed")  # Nothing is in use: there is the CSV file alone.
    assert not (tmp_path / "undisturbed" / "logs").exists()
    wanted = rows_of(tmp_path / "undisturbed" / "one.csv")
    assert [row["step"] for row in wanted] == [2, 4, 6]
    assert wanted[0].keys() == EPOCHS | {"loss", "learning_rate"}

    place = tmp_path / "killed"
    logs.use(["tensorboard"], place)
    with pytest.raises(InterruptedError):
        train(place, killed_at=5)  # The epoch that ends with step 4 is trained again.
    for _ in range(2):  # The second time it is finished.
        train(place)
        assert rows_of(place / "one.csv") == wanted
        found = tensors_of(place / "logs" / "tensorboard" / "one")
        for name in wanted[0].keys() - EPOCHS:
            assert found[name] == [(row["step"], np.float32(row[name])) for row in wanted]
    ((_, text),) = found.pop("settings")
    assert b'"seed": 7' in text.item()
    assert found.keys() == {"loss", "learning_rate"}


def test_others_than_the_chief_write_nothing(tmp_path, monkeypatch):
    logs.use(["tensorboard"], tmp_path)
    monkeypatch.setattr(strategies, "is_chief", lambda: False)
    train(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]


def test_a_missing_package_is_told_before_anything_is_written(
    run_script, digits_config, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "wandb", None)
    message = r'--wandb needs wandb.*pip install "ecl_tf\[wandb\]"'
    for script in ("compare", "distill", "evaluate", "headroom", "train_teacher"):
        with pytest.raises(ImportError, match=message):
            run_script(script, digits_config, tmp_path / "run", wandb=True)
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_fails_is_told_of_and_written_later(tmp_path, monkeypatch, capsys):
    class Away(trackers.TensorBoard):
        def scalars(self, step, values):
            raise ConnectionError("the server is away")

    logs.use(["tensorboard"], tmp_path)
    monkeypatch.setattr(progress, "_said", set())
    with monkeypatch.context() as patch:
        patch.setitem(trackers.TRACKERS, "tensorboard", Away)
        train(tmp_path)
    printed = capsys.readouterr().out
    assert printed.count("NOTE: --tensorboard could not be written (ConnectionError") == 1
    with logs.Run(tmp_path, "one") as run:
        run.epochs(rows_of(tmp_path / "one.csv"))
    steps = [step for step, _ in tensors_of(tmp_path / "logs/tensorboard/one")["loss"]]
    assert steps == [2, 4, 6]


def write_twice(kind, directory):
    """A run that is opened again, as after a kill."""
    logs.use([kind], directory)
    picture = {"score": "accuracy", "final": {}, "runs": {}}
    picture["teacher_reliability"] = {key: [0.5] for key in ("predicted", "observed", "weight")}
    rows = [{"epoch": 0, "step": 2, "loss": 0.5}, {"epoch": 1, "step": 4, "loss": 0.25}]
    for count in (1, 2):
        with logs.Run(directory, "XCL_seed_5", "XCL, seed 5", method="XCL", seed=5) as run:
            run.epochs(rows[:count])
    with logs.Run(directory, "XCL_seed_5", "XCL, seed 5") as run:
        run.epochs(rows)
        run.scores(4, "test", {"accuracy": 0.75, "T = 2, mixed": 0.5})
        run.text("verdict", "**XCL.**")
        run.pictures(picture)
    written = json.loads((directory / f"logs/written/{kind}/XCL_seed_5.json").read_text())
    assert len(written["parts"]) == 5
    return written["id"]


def stand_in(monkeypatch, name, **attributes):
    """A module in the place of one that need not be installed; what it is asked is recorded."""
    module = mock.MagicMock(name=name, **attributes)
    monkeypatch.setitem(sys.modules, name, module)
    return module


def test_what_weights_and_biases_is_asked(tmp_path, monkeypatch):
    wandb = stand_in(monkeypatch, "wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_PROJECT", "ours")
    number = write_twice("wandb", tmp_path)
    opened = [call.kwargs for call in wandb.init.call_args_list]
    assert {(call["id"], call["name"], call["resume"]) for call in opened} == {
        (number, "XCL, seed 5", "allow")
    }
    assert {(call["mode"], call["project"]) for call in opened} == {("offline", "ours")}
    assert opened[0]["config"]["seed"] == 5 and opened[0]["dir"].is_dir()
    run = wandb.init.return_value
    first, second, picture = run.log.call_args_list
    assert (first, second) == (mock.call({"loss": 0.5}, step=2), mock.call({"loss": 0.25}, step=4))
    assert picture == mock.call({"reliability": wandb.Image.return_value})
    run.summary.update.assert_any_call({"test/accuracy": 0.75, "test/T = 2, mixed": 0.5})
    assert run.finish.call_count == len(opened) == 3


def test_what_mlflow_is_asked(tmp_path, monkeypatch):
    mlflow = stand_in(monkeypatch, "mlflow", **{"entities.Metric": lambda *parts: parts})
    client = mlflow.MlflowClient.return_value
    client.get_experiment_by_name.return_value = None
    client.create_run.return_value.info.run_id = "number"
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert write_twice("mlflow", tmp_path) == "number"
    assert mlflow.MlflowClient.call_args == mock.call(f"sqlite:///{tmp_path}/logs/mlflow.db")
    client.create_experiment.assert_called_once_with(
        "ecl_tf", artifact_location=(tmp_path / "logs/mlflow").as_uri()
    )
    client.create_run.assert_called_once()  # The second time it is known.
    batches = [call.kwargs["metrics"] for call in client.log_batch.call_args_list]
    numbers = [(name, value, step) for batch in batches for name, value, _, step in batch]
    assert numbers[:2] == [("loss", 0.5, 2), ("loss", 0.25, 4)]
    assert numbers[2:] == [("test/accuracy", 0.75, 4), ("test/T _ 2_ mixed", 0.5, 4)]
    client.log_param.assert_any_call("number", "seed", 5)
    assert client.log_image.call_args.args[2] == "reliability.png"
    assert client.set_terminated.call_count == 3


def test_mlflow_has_each_number_once(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    number = write_twice("mlflow", tmp_path)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/logs/mlflow.db")
    (run,) = client.search_runs(["1"])
    assert (run.info.run_id, run.info.run_name) == (number, "XCL, seed 5")
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(number, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(2, 0.5), (4, 0.25)]
    assert (
        run.data.metrics["test/accuracy"] == 0.75 and run.data.metrics["test/T _ 2_ mixed"] == 0.5
    )
    assert run.data.params["method"] == "XCL" and run.data.params["seed"] == "5"
    files = {file.path for file in client.list_artifacts(number)}
    assert files == {"settings.json", "verdict.md", "reliability.png"}


def records_of(path):
    """The records of a file of Weights & Biases, which is a log of LevelDB behind 7 bytes."""
    data, place, parts = path.read_bytes(), 7, b""
    while place < len(data):
        if (left := -place % 32768) < 7:  # The rest of a block is too short for a header.
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # Whole, or the last part.
            yield parts
            parts = b""


def test_weights_and_biases_has_each_number_once(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.delenv("WANDB_MODE", raising=False)
    number = write_twice("wandb", tmp_path)
    rows, summary, names = [], {}, set()
    for path in sorted((tmp_path / "logs/wandb").glob(f"offline-run-*-{number}*/*.wandb")):
        for data in records_of(path):
            record = wandb_internal_pb2.Record.FromString(data)
            names |= {record.run.display_name} - {""}
            rows.append({".".join(i.nested_key): i.value_json for i in record.history.item})
            updates = record.summary.update
            summary |= {i.key or ".".join(i.nested_key): i.value_json for i in updates}
    losses = [(row["_step"], row["loss"]) for row in rows if "loss" in row]
    assert losses == [("2", "0.5"), ("4", "0.25")] and names == {"XCL, seed 5"}
    assert json.loads(summary["test/accuracy"]) == 0.75
    assert [row for row in rows if "reliability.height" in row]
