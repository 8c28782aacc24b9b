"""What a store is of, and whether its files are those that were written."""

import hashlib
import json
import pathlib

from ecl_tf._internal import identity

FORMAT = 2
PLAN, MANIFEST = "plan.json", "manifest.json"
_HASH = "sha256"
_KEYS = {"plan", "fields", "event_size", "first_inputs", "shards"}
_PLAN_KEYS = {"batch_size", "data", "output", "sampler", "shards", "steps", "teacher", "top_k"}
_LOST = (
    "Restore it from a copy, or delete manifest.json and the shard, and record again: the same "
    "command writes what is missing."
)


def shard_name(number, count):
    return f"shard-{number:05d}-of-{count:05d}.tfrecord"


def shard_names(plan):
    """The names of all shards of a plan; a store has no other ones."""
    return [shard_name(number, plan["shards"]) for number in range(plan["shards"])]


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


def with_hash(content):
    """A manifest with a hash of all that it says."""
    return {**content, _HASH: _hash_of(content)}


def _hash_of(content):
    return identity.fingerprint_of_text(json.dumps(content, sort_keys=True))


def read_json(path, remedy):
    """The dict in a JSON file; ValueError with a remedy if it is damaged."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"The file {path} is damaged: it is not JSON ({error}). {remedy}"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"The file {path} is damaged: it holds no JSON object. {remedy}")
    return content


def read(directory):
    """The manifest of a store that is whole.

    Raises:
        ValueError: if there is none, it is not finished, damaged, or of another format, or a shard
            is missing or no file of the store's own.
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
    remedy = "Delete it, and record again: the same command writes it from the shards."
    manifest = read_json(path, remedy)
    found = manifest.get("format")
    if found != FORMAT:
        newer = isinstance(found, int) and found > FORMAT
        raise ValueError(
            f"The store {directory} has the format {found!r}; this version reads {FORMAT}. "
            + ("Update ecl_tf, or record it again." if newer else "Record it again.")
        )
    if missing := sorted(_KEYS - manifest.keys()):
        raise ValueError(f"The file {path} is damaged: it lacks {missing[0]!r}. {remedy}")
    plan, shards = manifest["plan"], manifest["shards"]
    if not isinstance(plan, dict) or (missing := sorted(_PLAN_KEYS - plan.keys())):
        raise ValueError(f"The file {path} is damaged: its plan lacks {missing}. {remedy}")
    for name in ("batch_size", "shards", "steps"):
        if not isinstance(plan[name], int) or not 1 <= plan[name] < 2**40:
            raise ValueError(
                f"The file {path} is damaged: its plan's {name} is {plan[name]!r}. {remedy}"
            )
    # In any directory but the store's own, a name could be that of any file of the machine.
    count = plan["shards"]
    if not isinstance(shards, dict) or len(shards) != count or [*shards] != shard_names(plan):
        raise ValueError(
            f"The file {path} is damaged: it names other files than the {count} shards of its "
            f"plan, {shard_name(0, count)} and so on. {remedy}"
        )
    for name, shard in shards.items():
        if not isinstance(shard, dict) or not {"bytes", "sha256"} <= shard.keys():
            raise ValueError(f"The file {path} is damaged: it does not describe {name}. {remedy}")
        require_regular(directory / name)
    expected = manifest.pop(_HASH, None)  # Earlier versions wrote none.
    if expected not in (None, _hash_of(manifest)):
        raise ValueError(f"The file {path} is damaged: it is not what was written. {remedy}")
    return manifest


def require_regular(path):
    """Raises ValueError unless a shard is there and a file by itself, not a link to another."""
    if not path.exists() and not path.is_symlink():
        raise ValueError(f"The shard {path} is missing. {_LOST}")
    if path.is_symlink() or not path.is_file():
        raise ValueError(f"The shard {path} is a link or a directory; expected a file. {_LOST}")


def verify_files(directory, shards):
    """Compares the shards with what the manifest says of them.

    Raises:
        ValueError: naming the shard that is truncated, damaged, swapped or foreign.
    """
    by_hash = {shard["sha256"]: name for name, shard in shards.items()}
    for name, shard in shards.items():
        path = pathlib.Path(directory) / name
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
        raise ValueError(f"The shard {path} {said}. {_LOST}")


def verify_sizes(directory, shards):
    """Compares the shards' sizes alone with the manifest, without reading them.

    Raises:
        ValueError: naming the shard that has another size.
    """
    for name, shard in shards.items():
        path = pathlib.Path(directory) / name
        if (size := path.stat().st_size) != shard["bytes"]:
            raise ValueError(f"The shard {path} has {size} of {shard['bytes']} bytes. {_LOST}")


def require_known(directory, shards):
    """Raises ValueError if the directory holds shards that are not of the store."""
    found = sorted(path.name for path in pathlib.Path(directory).glob("shard-*.tfrecord"))
    others = [name for name in found if name not in shards]
    if others:
        raise ValueError(
            f"The store {directory} holds {others[0]} (and {len(others) - 1} more), which its "
            "manifest does not know: a shard of another store. Move it away."
        )
