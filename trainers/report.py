"""What `ecl-tf compare` measured, as a table, a plot, and a page to read.

    ecl-tf report --workdir=runs/digits

writes table.md, plot.png and report.html again, from WORKDIR/results.json alone. The page is
one file that needs no network. (A grid of comparisons has no plot.png.)
"""

from absl import flags

from . import command_line

flags.declare_key_flag("workdir")
flags.declare_key_flag("debug")


def main(_):
    from ecl_tf.experiments import report

    workdir = str(command_line.WORKDIR.value)  # Required, so never None.
    print(f"Written to {workdir}: {report.rebuild(workdir)}")


if __name__ == "__main__":
    command_line.run(main)
