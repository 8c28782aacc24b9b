"""What a store is of, and whether its files are those that were written."""

import hashlib
import json
import pathlib

from ecl_tf._internal import identity

FORMAT = 2
PLAN, MANIFEST = "plan.json", "manifest.json"


def shard_name(number, count):
    return f"shard-{number:05d}-of-{count:05d}.tfrecord"


def require_equal(found, wanted, directory, remedy):
    """Raises ValueError if a store's record is not the wanted one, naming what differs."""
    if fields := identity.differences(found, wanted):
        raise ValueError(
            f"The store {directory} was recorded with other settings than these: "
            f"{'; '.join(fields)}. {remedy}"
        )


def describe_file(path):
    with open(path, "rb") as file:
        return {
            "bytes": path.stat().st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }


def read(directory):
    """The manifest of a store that is whole.

    Raises:
        ValueError: if there is none, it is not finished, or of another format.
    """
    directory = pathlib.Path(directory)
    path = directory / MANIFEST
    if not path.exists():
        state = "is not finished" if (directory / PLAN).exists() else "is none"
        raise ValueError(
            f"The store {directory} {state}: it has no {MANIFEST}. Record it with "
            "ecl_tf.replay.record or `ecl-tf reinforce`; the same command continues one "
            "that was stopped."
        )
    manifest = json.loads(path.read_text())
    if manifest.get("format") != FORMAT:
        raise ValueError(
            f"The store {directory} has the format {manifest.get('format')!r}; this version "
            f"reads {FORMAT}. Record it again."
        )
    return manifest


def verify_files(directory, shards):
    """Compares the shards with what the manifest says of them.

    Raises:
        ValueError: naming the shard that is missing, truncated, damaged, swapped or foreign.
    """
    by_hash = {shard["sha256"]: name for name, shard in shards.items()}
    remedy = (
        "Restore it from a copy, or delete manifest.json and the shard, and record again: the "
        "same command writes what is missing."
    )
    for name, shard in shards.items():
        path = pathlib.Path(directory) / name
        if not path.exists():
            raise ValueError(f"The shard {path} is missing. {remedy}")
        found = describe_file(path)
        if found == {key: shard[key] for key in found}:
            continue
        if found["sha256"] in by_hash:
            said = f"is swapped: it holds what {by_hash[found['sha256']]} should"
        elif found["bytes"] < shard["bytes"]:
            said = f"is truncated: {found['bytes']} of {shard['bytes']} bytes"
        elif found["bytes"] > shard["bytes"]:
            said = f"is another file: {found['bytes']} in place of {shard['bytes']} bytes"
        else:
            said = "is damaged: its checksum is not the manifest's"
        raise ValueError(f"The shard {path} {said}. {remedy}")


def require_known(directory, shards):
    """Raises ValueError if the directory holds shards that are not of the store."""
    found = sorted(path.name for path in pathlib.Path(directory).glob("shard-*.tfrecord"))
    others = [name for name in found if name not in shards]
    if others:
        raise ValueError(
            f"The store {directory} holds {others[0]} (and {len(others) - 1} more), which its "
            "manifest does not know: a shard of another store. Move it away."
        )
