"""Distils Keras teachers into small students, and compares the ways to do it.

    ecl-tf COMMAND --config=digits --workdir=runs/digits [--FLAG=VALUE ...]

    headroom       whether XCL is worth trying, from short trainings, in minutes
    compare        XCL with ordinary distillation and training on labels, over several seeds
    train-teacher  the teacher ensemble of an experiment
    distill        one student by extracurricular learning, and its export
    evaluate       scores of a student and its teacher on a split
    reinforce      a teacher's answers, stored for students to replay
    report         table, plot and page of a comparison, written again; or of several, side by side

`ecl-tf COMMAND --help` lists the flags of a command. Configs: a shipped one by its name, or the
path of a file.
"""

import importlib
import os
import sys

COMMANDS = (
    *("headroom", "compare", "train-teacher", "distill"),
    *("evaluate", "reinforce", "report"),
)


def main():
    """Runs the script that the first argument names."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(__doc__.strip())
        return
    # Modules that a config names may be in the current directory, as for `python -m`.
    sys.path.append(os.getcwd())
    from . import command_line  # Only now, so that help is quick.

    if name not in COMMANDS:
        command_line.refuse(f"Unknown command {name!r}; expected one of {', '.join(COMMANDS)}.")
    script = importlib.import_module(f".{name.replace('-', '_')}", __package__)
    # What --help says, and whose flags it lists.
    sys.modules["__main__"].__doc__ = script.__doc__
    sys.argv = [script.__name__, *arguments]
    command_line.run(script.main, getattr(script, "TAKES_DIRECTORIES", False))
