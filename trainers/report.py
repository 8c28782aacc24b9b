"""What `ecl-tf compare` measured, as a table, a plot, and a page to read.

    ecl-tf report --workdir=runs/digits

writes table.md, plot.png and report.html again, from WORKDIR/results.json alone. The page is
one file that needs no network. (A grid of comparisons has no plot.png.)

    ecl-tf report runs/digits runs/fewer_digits --output=runs

compares two or more work directories, the first one with each of the others: which settings
differ, the scores of each method, and size and speed. It writes side_by_side.md and
side_by_side.html. Where all were tested on the same rows, differences of scores are shown.
"""

from absl import flags

from . import command_line

for _name in ("workdir", "debug"):
    flags.declare_key_flag(_name)
TAKES_DIRECTORIES = True  # As arguments that are no flags.
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "Directory for what is written: by default the work directory, and of several the current one.",
)


def main(arguments):
    from ecl_tf.experiments import report, side_by_side

    directories = [*filter(None, [command_line.WORKDIR.value]), *arguments[1:]]
    if not directories:
        raise ValueError(
            "Which work directory? Name it, as in `ecl-tf report runs/digits`, or several to "
            "compare."
        )
    if len(directories) == 1:
        place = _OUTPUT.value or directories[0]
        print(f"Written to {place}: {report.rebuild(directories[0], _OUTPUT.value)}")
        return
    place = _OUTPUT.value or "."
    print(
        f"{side_by_side.write(directories, place)}\nWritten to {place}: side_by_side.md, "
        "side_by_side.html"
    )


if __name__ == "__main__":
    command_line.run(main, TAKES_DIRECTORIES)
