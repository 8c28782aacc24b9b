"""Loads networks from files, and says which file is damaged or can't be loaded."""

import json
import os
import pathlib
import tempfile
import zipfile
import zlib
from typing import Any

import keras

from ecl_tf._internal import files

_PARTS = {"config.json", "metadata.json", "model.weights.h5"}
# What zipfile raises for a damaged archive; the last one for bytes that name another compression.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)
_OUTPUT = "ecl_tf_output.json"  # One part more, which Keras leaves alone.


def load(path: str | os.PathLike, remedy: str = "", trust_code: bool = False) -> keras.Model:
    """The network of a .keras file (or of an older format of Keras), not compiled.

    Args:
        path: of the file.
        remedy: what helps if the file is damaged, a sentence.
        trust_code: whether Python code in the file may run.

    Raises:
        ValueError: if the file is damaged or can't be loaded.
        FileNotFoundError: if there is none.
    """
    require_whole(path, remedy)
    try:
        return keras.models.load_model(path, compile=False, safe_mode=not trust_code)
    except Exception as error:
        if trust_code or "safe_mode" not in str(error):
            # Keras puts the settings of each network and layer around the reason.
            reason = str(error).rpartition("Exception encountered: ")[2]
            reason = reason.partition(" Full object config: ")[0]
            raise ValueError(f"{path} can't be loaded: {reason}") from error
        raise ValueError(
            f"{path} holds Python code (a Lambda layer, say), which would run here. If you trust "
            "where the file comes from, load it by ecl_tf.pretrained.load('keras', ..., "
            "trust_code=True), or in a configuration by teacher.pretrained with trust_code=True."
        ) from error


def add_output(path: str | os.PathLike, config: Any) -> None:
    """Puts the configuration of the output that a network has into its .keras file."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_OUTPUT, json.dumps(config))


def output_of(path: str | os.PathLike) -> Any:
    """What `add_output` put into a .keras file, or what a teacher's or a distiller's own is.

    It is None if there is nothing, or no such file. What is wrong with a file is for `load` to say.
    """
    try:
        with zipfile.ZipFile(files.at_home(path)) as archive:
            if _OUTPUT in archive.namelist():
                return json.loads(archive.read(_OUTPUT))
            network = json.loads(archive.read("config.json"))
    except (OSError, *_DAMAGED, LookupError, ValueError):  # Parts are missing, or no JSON.
        return None
    is_ours = str(network.get("registered_name")).startswith("ecl_tf>")
    return network["config"].get("output") if is_ours else None


def require_loadable(network: keras.Model) -> None:
    """Raises ValueError if a network can be saved, and not be loaded again."""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "network.keras")
        network.save(path)
        try:
            load(path)
        except ValueError as error:
            raise ValueError(str(error).replace(str(path), "What is saved of it")) from error


def require_whole(path: str | os.PathLike, remedy: str = "") -> None:
    """Reads a .keras file once, and compares its checksums; for arguments and errors see `load`."""
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no Keras file at {path}.")
    if not path.is_file():
        raise ValueError(f"{path} is a directory; expected a .keras file, as model.save writes it.")
    if path.suffix != ".keras":
        return  # Keras reads older formats too, and checks what it reads.
    # Also of a file whose start is there and whose end, the table of contents, is not.
    damaged = f"{path} is damaged, or not a .keras file: {{}}. {remedy}".rstrip()
    try:
        with zipfile.ZipFile(path) as archive:
            whole = [each.filename for each in archive.infolist() if each.file_size]
            missing = sorted(_PARTS.difference(whole))
            broken = archive.testzip()
    except _DAMAGED as error:
        raise ValueError(damaged.format("it is no whole zip archive")) from error
    if missing or broken:
        what = f"{broken} in it is broken" if broken else f"it lacks {missing[0]}"
        raise ValueError(damaged.format(what))
