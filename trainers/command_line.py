"""The flags that scripts share, and how a script runs; each declares the flags that it takes.

Nothing heavy is imported here, and by scripts only in their main function: --help answers at once.
"""

import contextlib
import errno
import linecache
import os
import pathlib
import platform
import re
import shlex
import signal
import socket
import sys
import threading
import traceback

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

_TRAINERS = pathlib.Path(__file__).parent
_CONFIGS = _TRAINERS.parent / "configs"
_FAULT, _USER_ERROR = 1, 2  # As of most commands.
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it.
_FULL = (errno.ENOSPC, errno.EDQUOT)  # A disk, and what one user may write to it.

CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "The experiment: a shipped one by its name, e.g. digits, or the path of a file; perhaps with "
    "an argument, e.g. fashion_mnist:mlp. Change settings by --config.KEY=VALUE.",
    lock_config=False,
    accept_new_attributes=True,  # Keys with defaults may be left out; others `settings` refuses.
)


def _with_sections(parse):
    """Has the config have all sections that flags name, which a file may leave out.

    One that there is not is for the settings to refuse.
    """

    def parsed(path):
        config = parse(path)
        for name in re.findall(r"(?m)^--?config\.([\w.-]+)\.", "\n".join(sys.argv)):
            section = config
            for part in name.split("."):
                with section.unlocked(), section.ignore_type():
                    if section.get(part) is None:
                        section[part] = ConfigDict()
                section = section[part]
                if not isinstance(section, ConfigDict):
                    break
        return config

    return parsed


_parser = flags.FLAGS["config"].parser
_parser.parse = _with_sections(_parser.parse)  # type: ignore[method-assign]
WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Directory for all that is written. It decides what is resumed.",
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
DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Only check all settings, say what would be done, and write nothing."
)
TRACKERS = {
    "tensorboard": flags.DEFINE_bool(
        "tensorboard", False, "Write every training for TensorBoard, too: WORKDIR/logs/tensorboard."
    ),
    "wandb": flags.DEFINE_bool(
        "wandb",
        False,
        "Write every training for Weights & Biases, too: offline, in WORKDIR/logs/wandb, unless "
        "the environment variable WANDB_MODE says otherwise.",
    ),
    "mlflow": flags.DEFINE_bool(
        "mlflow",
        False,
        "Write every training for MLflow, too: to WORKDIR/logs/mlflow.db, or where the "
        "environment variable MLFLOW_TRACKING_URI says.",
    ),
}
DEBUG = flags.DEFINE_bool("debug", False, "Show the traceback of an error, too.")
flags.disclaim_key_flags()  # What `takes` declares is the script's that calls it.


def takes(*names):
    """Declares that a script takes the shared flags of an experiment, and others by name."""
    for name in ("config", "workdir", "strategy", "teacher", "debug", *names):
        flags.declare_key_flag(name)
    flags.mark_flags_as_required(["config", "workdir"])


def begin(shares=False, joins=False):
    """Makes the strategy, and returns the work directory if the config can have it.

    Nothing is written. `shares` says that another process may work there, and `joins` that one may
    that joins, too.
    """
    from ecl_tf.experiments import logs, strategies, work_directory

    workdir = str(WORKDIR.value)  # Required, so never None.
    logs.use([name for name, flag in TRACKERS.items() if flag.value], workdir)
    if joins and STRATEGY.value != "default":
        raise ValueError(
            f"--processes and --join are of processes that train apart, and --strategy="
            f"{STRATEGY.value} of one training on several devices. Leave one of them away."
        )
    strategies.use(STRATEGY.value)
    return work_directory.check(workdir, CONFIG.value, shares, joins)


def start(shares=False):
    """Returns the `Experiment` that the flags describe, and what `begin` returns."""
    from ecl_tf.experiments.experiment import Experiment

    place = begin(shares)
    return Experiment(CONFIG.value, interval(CHECKPOINT_EVERY.value)), place


def interval(text):
    """The arguments of `resume.fit` that --checkpoint_every gives, or None."""
    found = re.fullmatch(r"(?:(\d*\.?\d+) *s(?:econds?)?|(\d*[1-9]\d*) *steps?)", text)
    if not found:
        return None
    seconds, steps = found.groups()
    if seconds:
        return {"every_seconds": float(seconds)}
    return {"every_steps": int(steps), "every_seconds": None}


@flags.validator(CHECKPOINT_EVERY.name, 'Give seconds or steps: "60 seconds", or "500 steps".')
def _validate(text):
    return interval(text) is not None


def run(main, takes_directories=False):
    """Runs a script's main function with the flags of `sys.argv`, and perhaps with directories.

    An error of the user's ends it with one line and the exit code 2; --debug shows the traceback,
    too. Any other error keeps its traceback. Ctrl-C ends it with the command that continues.
    """
    given = sys.argv[1:]

    def interrupted():
        refuse(f"Interrupted. To continue: {_command(given)}", _INTERRUPTED)

    def ended_in_one_line(arguments):
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # TFDS tells of every file that it reads.
        try:
            if arguments[1:] and not takes_directories:
                raise ValueError(
                    f"{shlex.join(arguments[1:])!r} is no flag: flags begin with --, and their "
                    "values follow after = without spaces. See --help."
                )
            _require_own_flags(sys.modules[main.__module__])
            main(arguments)
            if STRATEGY.value == "multi_worker":
                from ecl_tf.experiments import strategies

                strategies.end()
        except BrokenPipeError:  # As of `| head`.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # For Python's own end.
            refuse(f"Nobody reads what is printed any more. To continue: {_command(given)}")
        except Exception as error:
            if ctrl_c_came():
                interrupted()
            if not _is_users(error):
                raise
            if DEBUG.value:
                traceback.print_exc()
            # A worker that was lost is nobody's mistake.
            code = _FAULT if isinstance(error, RuntimeError) else _USER_ERROR
            names = [kind.__name__ for kind in type(error).__mro__]  # Some are our own affair.
            told = f"{next(n for n in names if not n.startswith('_'))}: {error}"
            if isinstance(error, OSError) and error.errno in _FULL:
                told += f". Make room there. To continue: {_command(given)}"
            refuse(told, code)

    sys.argv = list(_with_paths(sys.argv))
    sys.unraisablehook = _keep_interruptions
    if platform.machine() in ("x86_64", "AMD64"):
        # TensorFlow leaves oneDNN off without AVX-512, where a step of convolutions takes half as
        # long with it. It is read when TensorFlow is imported, by `ecl-tf` with the package.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    try:
        with _noticing_ctrl_c() as ctrl_c_came:
            app.run(ended_in_one_line, flags_parser=_parse)
    except KeyboardInterrupt:  # A config may import TensorFlow, which takes seconds.
        interrupted()


def _require_own_flags(script):
    """Refuses shared flags that a script does not take, and so would not heed."""
    own = {flag.name for flag in flags.FLAGS.get_key_flags_for_module(script)}
    shared = CONFIG, WORKDIR, STRATEGY, TEACHER, CHECKPOINT_EVERY, DRY_RUN, *TRACKERS.values()
    if unused := [f"--{flag.name}" for flag in shared if flag.present and flag.name not in own]:
        raise ValueError(f"This command takes no {', '.join(unused)}. Leave it away; see --help.")


@contextlib.contextmanager
def _noticing_ctrl_c():
    """Gives a function that tells whether Ctrl-C came, whoever dropped its KeyboardInterrupt.

    TensorFlow's tests of types do, and take a value for what it is not, so that an error follows.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # Only there do signals come.
        return
    come, written = socket.socketpair()
    with come, written:
        come.setblocking(False)
        written.setblocking(False)

        def came():
            with contextlib.suppress(BlockingIOError):
                return signal.SIGINT in come.recv(4096)
            return False

        before = signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
        try:
            yield came
        finally:
            signal.set_wakeup_fd(before)


def _keep_interruptions(dropped):
    """Has a Ctrl-C come again that came where Python drops errors, as in a callback of weakref."""
    if issubclass(dropped.exc_type, KeyboardInterrupt):
        main, number = threading.main_thread().ident, signal.SIGINT
        # Right away it would be dropped, too.
        threading.Timer(0.1, signal.pthread_kill, (main, number)).start()
    else:
        sys.__unraisablehook__(dropped)


def refuse(message, code=_USER_ERROR):
    """Ends the script with a message, by default with the exit code of a user's error."""
    print(message, file=sys.stderr)
    sys.exit(code)


def written(name):
    """The command line that a user would write, for a script's name."""
    given = sys.orig_argv[len(sys.orig_argv) - len(sys.argv[1:]) :]  # Configs by their names.
    return shlex.join(["ecl-tf", name, *given])


def _command(given):
    """The command line of this process, as a shell takes it."""
    whole = sys.orig_argv
    if whole[len(whole) - len(given) :] != given:  # Another program has started this script.
        whole = ["ecl-tf", pathlib.Path(sys.argv[0]).stem.replace("_", "-"), *given]
    return shlex.join(whole)


def _is_users(error):
    """Whether an error is the user's to mend, and its text says all that is needed.

    It is if it comes from a `raise` of this package, is of a file, such as one that a config
    reads, or of a full disk.
    """
    if isinstance(error, OSError) and (
        error.filename is not None
        or error.errno in _FULL
        or str(error).startswith("Configuration is not available")
    ):
        return True
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    # By the package, as a script that `python -m` runs has no name of its own.
    package, _, _ = (frame.f_globals.get("__package__") or "").partition(".")
    source = linecache.getline(frame.f_code.co_filename, line)
    return package in ("ecl_tf", "trainers") and source.lstrip().startswith("raise ")


def _with_paths(arguments):
    """Yields the arguments with the path of a shipped config in place of its name.

    A home's `~` after = is no shell's business; it is replaced here.
    """
    is_config = False
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if flag.startswith("-") and value.startswith("~"):
            argument = f"{flag}{equals}{pathlib.Path(value).expanduser()}"
        found = re.fullmatch(r"(--?config=)?([^:]*)(:.*)?", argument)
        if found and (found[1] or is_config):
            argument = f"{found[1] or ''}{_path(found[2])}{found[3] or ''}"
        is_config = argument in ("-config", "--config")
        yield argument


def _path(name):
    if pathlib.Path(name).is_file():
        return name
    shipped = {path.stem: path for path in sorted(_CONFIGS.glob("[a-z]*.py"))}
    del shipped["common"]
    if name not in shipped:
        known = ", ".join(shipped)
        refuse(f"There is no config {name!r}. It is no file, and shipped are: {known}.")
    return shipped[name]


def _parse(arguments):
    """As absl does, but what the user did wrong is told in one line, without a traceback."""
    try:
        return flags.FLAGS(arguments)
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        refuse(_in_one_line(error))


def _in_one_line(error):
    if isinstance(error, flags.Error):
        if CONFIG.present and flags.FLAGS["config"].value is None:
            return "get_config() of the file that --config names returns None; return the config."
        pattern = r"flag (\S+?)=.*: Failed to parse (.*) as a ConfigDict: .*"
        if of_dict := re.fullmatch(pattern, str(error)):
            flag, given = of_dict.groups()
            return (
                f"{flag} is a dict of settings, and {given} is none. Give one in quotes, such as "
                f"{flag}=\"{{'class_name': {given}, 'config': {{}}}}\"."
            )
        lines = str(error).splitlines()
        # A config's own refusal comes with its traceback.
        if lines[-2:-1] and lines[-2].lstrip().startswith("raise "):
            lines = lines[-1:]
        elif traces := [n for n, line in enumerate(lines) if line.startswith("Traceback")]:
            lines = [*lines[: traces[0]], lines[-1]]
        return " ".join([*map(str.strip, lines), "See --help."])
    said = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_config(frame)]
    if own or isinstance(error, SyntaxError):
        file, line = (own[-1].filename, own[-1].lineno) if own else (error.filename, error.lineno)
        return f"The config {file} fails at line {line}: {type(error).__name__}: {said}"
    if "'get_config'" in said:
        return "The file that --config names has no function get_config()."
    if isinstance(error, (AttributeError, KeyError)):
        return f"A flag --config.SECTION.KEY=VALUE has an unknown section: {said}"
    return f"{type(error).__name__}: {said}"


def _is_config(frame):
    """Whether a frame of a traceback is code of the config, or of what it imports."""
    return frame.name == "get_config" or (
        frame.name == "<module>" and pathlib.Path(frame.filename).parent != _TRAINERS
    )
