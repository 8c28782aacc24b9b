"""Programs that show trainings: TensorBoard, Weights & Biases, and MLflow.

Each is a class with the same methods, for one run. Their packages are extras, which are imported
by those alone who ask for them.
"""

import contextlib
import json
import logging
import os
import pathlib
import re
import time
import uuid
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from ecl_tf._internal import extras

_PROJECT = "ecl_tf"  # Where the user's environment names none.


class Tracker(Protocol):
    """One run, as one program shows it.

    Attributes:
        id: by which the program finds the run again.
    """

    id: str

    def __init__(self, directory: pathlib.Path, name: str, about: dict[str, Any], id: str):
        """Begins the run, or opens it again.

        Args:
            directory: for the files of all runs.
            name: that of the run's files.
            about: its settings by name, as JSON holds them; "run" is the name to show.
            id: as the attribute was; "" for a new run.
        """

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes values of a step, which is later than those before."""

    def scores(self, step: int, values: Mapping[str, float]) -> None:
        """Writes scores of what so many steps led to."""

    def text(self, name: str, text: str) -> None:
        """Writes a text in Markdown."""

    def pictures(self, pictures: Mapping[str, np.ndarray]) -> None:
        """Writes pictures by name: (h, w, 3) bytes."""

    def close(self) -> None:
        """Ends the run, which may be opened again."""


class TensorBoard:
    """Event files in DIRECTORY/tensorboard/NAME; see `Tracker`."""

    def __init__(self, directory: pathlib.Path, name: str, about: dict[str, Any], id: str):
        self.id = name
        self._writer = tf.summary.create_file_writer(str(directory / "tensorboard" / name))
        if not id:
            self.text("settings", f"```json\n{json.dumps(about, indent=2)}\n```")

    @contextlib.contextmanager
    def _writing(self, step=0):
        with self._writer.as_default(step):
            yield
        self._writer.flush()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        with self._writing(step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    scores = scalars

    def text(self, name: str, text: str) -> None:
        with self._writing():
            tf.summary.text(name, text)

    def pictures(self, pictures: Mapping[str, np.ndarray]) -> None:
        with self._writing():
            for name, picture in pictures.items():
                tf.summary.image(name, picture[None])

    def close(self) -> None:
        self._writer.close()


class WandB:
    """A run of Weights & Biases, in DIRECTORY/wandb; see `Tracker`.

    The environment variables of Weights & Biases hold, such as WANDB_PROJECT. WANDB_MODE is
    "offline" if it is not set: nothing leaves the machine until `wandb sync`.
    """

    def __init__(self, directory: pathlib.Path, name: str, about: dict[str, Any], id: str):
        import wandb

        self.id = id or uuid.uuid4().hex
        self._image = wandb.Image
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            mode=os.environ.get("WANDB_MODE", "offline"),
            dir=directory,
            group=os.environ.get("WANDB_RUN_GROUP", directory.resolve().parent.name),
            name=about["run"],
            id=self.id,
            resume="allow",
            config=about,
            reinit="create_new",  # Other runs of this process go on.
            settings=wandb.Settings(silent=True, console="off"),
        )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def scores(self, step: int, values: Mapping[str, float]) -> None:
        self._run.summary.update(values)  # The history takes no value of a step that is over.

    def text(self, name: str, text: str) -> None:
        self._run.summary.update({name: text})

    def pictures(self, pictures: Mapping[str, np.ndarray]) -> None:
        self._run.log({name: self._image(picture) for name, picture in pictures.items()})

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """A run of MLflow; see `Tracker`.

    The environment variables MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME hold. Without the
    first one runs are in the data base DIRECTORY/mlflow.db, and pictures in DIRECTORY/mlflow.
    """

    def __init__(self, directory: pathlib.Path, name: str, about: dict[str, Any], id: str):
        import mlflow

        logging.getLogger("alembic").setLevel(logging.WARNING)  # It tells of making tables.
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self._metric = mlflow.entities.Metric
        directory = directory.resolve()
        own = {}
        if not (uri := os.environ.get("MLFLOW_TRACKING_URI")):
            uri = f"sqlite:///{directory / 'mlflow.db'}"
            own = {"artifact_location": (directory / "mlflow").as_uri()}
        self._client = mlflow.MlflowClient(uri)
        self.id = id
        if not id:
            run = self._client.create_run(self._experiment(own), run_name=about["run"])
            self.id = run.info.run_id
            self._client.log_dict(self.id, about, "settings.json")
            for key, value in about.items():
                if not isinstance(value, dict):
                    self._client.log_param(self.id, key, value)

    def _experiment(self, own):
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
        if found := self._client.get_experiment_by_name(name):
            return found.experiment_id
        return self._client.create_experiment(name, **own)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        metrics = [
            # It refuses other characters, such as those of a method "half mixed, T = 2".
            self._metric(re.sub(r"[^/\w.\- :]", "_", name), value, now, step)
            for name, value in values.items()
        ]
        self._client.log_batch(self.id, metrics=metrics)

    scores = scalars

    def text(self, name: str, text: str) -> None:
        self._client.log_text(self.id, text, f"{name}.md")

    def pictures(self, pictures: Mapping[str, np.ndarray]) -> None:
        for name, picture in pictures.items():
            self._client.log_image(self.id, picture, f"{name}.png")

    def close(self) -> None:
        self._client.set_terminated(self.id)


TRACKERS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}


def require(name: str) -> None:
    """Imports the package of a tracker.

    Args:
        name: a key of `TRACKERS`, which is also that of the package and of its extra.

    Raises:
        ImportError: if it is not installed, with the command that does it.
    """
    extras.require(name, name, f"--{name}", name)
