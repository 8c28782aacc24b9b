"""The flags that scripts share; each declares those that it takes.

Nothing heavy is imported here, and by scripts only in their main function: --help answers at once.
"""

import re

from absl import flags
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The experiment, e.g. configs/digits.py; change settings by --config.KEY=VALUE."
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Directory for all that is written. It decides what is resumed."
)
STRATEGY = flags.DEFINE_enum(
    "strategy",
    "default",
    ["default", "mirrored", "multi_worker", "tpu"],
    "Trains on one device, on all of this machine, on the workers that the environment variable "
    "TF_CONFIG names (run the same command on each, with one --workdir that all of them see), or "
    "on the TPU that TPU_NAME names. A batch is parted among all devices.",
)
TEACHER = flags.DEFINE_string(
    "teacher", None, "Directory with the teacher's .keras files; WORKDIR/teacher by default."
)
CHECKPOINT_EVERY = flags.DEFINE_string(
    "checkpoint_every", "60 seconds", 'How often: "60 seconds", or "500 steps".'
)


def interval(text):
    """The arguments of `resume.fit` that --checkpoint_every gives, or None."""
    found = re.fullmatch(r"(?:(\d*\.?\d+) *s(?:econds?)?|(\d+) *steps?)", text)
    if not found:
        return None
    seconds, steps = found.groups()
    if seconds:
        return {"every_seconds": float(seconds)}
    return {"every_steps": int(steps), "every_seconds": None}


@flags.validator(CHECKPOINT_EVERY.name, 'Give seconds or steps: "60 seconds", or "500 steps".')
def _validate(text):
    return interval(text) is not None
