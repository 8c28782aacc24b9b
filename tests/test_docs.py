"""The code of README and docs runs, and their commands, flags, configs and links exist."""

import importlib
import os
import pathlib
import re
import shlex
import sys

import keras
import pytest
from absl import flags
from ml_collections import config_flags

from ecl_tf.experiments import settings
from trainers import command

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"\n]*)\")?\n(.*?)^```", re.DOTALL | re.MULTILINE)
SCRIPTS = {name.replace("-", "_") for name in command.COMMANDS}


def blocks(page, language):
    """The title and the text of every block of code."""
    return [block[1:] for block in BLOCK.findall(page.read_text()) if block[0] == language]


def of_pages(has):
    """A test for each page that has what is asked."""
    found = [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES if has(page)]
    return pytest.mark.parametrize("page", found)


@pytest.mark.slow
@of_pages(lambda page: blocks(page, "python"))
def test_the_python_code_runs(page, tmp_path, monkeypatch, request):
    """README, how_long and resume to the end; other pages take two steps a fit.

    The steps are eager, but where a page writes functions or classes: these must work in graphs.
    """
    code = "".join(code for _, code in blocks(page, "python"))
    is_whole = page.name in ("README.md", "how_long.md", "resume.md")
    if not is_whole and not os.environ.get("WHOLE_EXAMPLES"):
        request.getfixturevalue("briefly")
        if not re.search(r"^ *(def|class) ", code, re.MULTILINE):
            request.getfixturevalue("eagerly")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    keras.utils.set_random_seed(0)
    before, written = set(sys.modules), {"__name__": "__main__"}
    for title, code in blocks(page, "python"):
        if title:  # A module, which other code on the page imports.
            (tmp_path / title).write_text(code)
        else:
            exec(compile(code, str(page), "exec"), written)
    for name in {path.stem for path in tmp_path.glob("*.py")} - before:
        sys.modules.pop(name, None)
    if page.name == "README.md":
        probabilities = written["ecl_tf"].load_student("student")(written["x"][1000:])
        right = probabilities.probs_parameter().numpy().argmax(-1) == written["y"][1000:]
        assert right.mean() > 0.8


def commands(page):
    """The commands of a page's shell blocks, as lists of words."""
    lines = "".join(code for _, code in blocks(page, "sh")).replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in re.split(r" && ", line)]
    return [words for part in parts if (words := shlex.split(part, comments=True))]


def scripts(page):
    """Pairs of a script of `trainers` that a page starts, and its arguments."""
    for words in commands(page):
        if words[0] == "ecl-tf":
            yield words[1].replace("-", "_"), words[2:]
        elif words[:2] == ["python", "-m"] and words[2].startswith("trainers."):
            yield words[2].removeprefix("trainers."), words[3:]


def flags_of(script):
    module = importlib.import_module(f"trainers.{script}")
    return {flag.name: flag for flag in flags.FLAGS.get_key_flags_for_module(module.__name__)}


@of_pages(lambda page: list(scripts(page)))
def test_the_commands_are_understood(page, tmp_path, monkeypatch):
    for title, code in blocks(page, "python"):
        if title:  # A config that the page writes.
            (tmp_path / title).write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    for script, arguments in scripts(page):
        assert script in SCRIPTS, f"no script {script!r}"
        known = flags_of(script)
        configured = []
        if getattr(importlib.import_module(f"trainers.{script}"), "TAKES_DIRECTORIES", False):
            arguments = [argument for argument in arguments if argument.startswith("--")]
        for argument in arguments:
            name = argument.removeprefix("--").split("=")[0].split(".")[0]
            assert argument.startswith("--") and name in known, f"{script} takes no {argument}"
            if name == "config":
                configured.append(argument)
        if "config" in known:
            configured[0] = f"--config={file_of(configured[0], tmp_path)}"
            values = flags.FlagValues()
            argv = ["docs", *configured]
            config_flags.DEFINE_config_file(
                "config",
                flag_values=values,
                sys_argv=argv,
                lock_config=False,
                accept_new_attributes=True,
            )
            values(argv)
            settings.parse(values.config)


def file_of(argument, tmp_path):
    """The file of --config=NAME:ARGUMENT, and the argument."""
    name, colon, argument = argument.removeprefix("--config=").partition(":")
    file = pathlib.Path(name).name if name.endswith(".py") else f"{name}.py"
    (found,) = [path for path in (tmp_path / file, ROOT / "configs" / file) if path.exists()]
    return f"{found}{colon}{argument}"


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_the_flags_of_each_script_are_documented(script):
    page = (ROOT / "docs/reference/commands.md").read_text()
    (section,) = re.findall(rf"^## {script.replace('_', '-')}\n(.*?)(?=^## |\Z)", page, re.S | re.M)
    documented = dict(re.findall(r"^\| `--(\w+)` \| ([^|]*) \|", section, re.MULTILINE))
    known = flags_of(script)
    assert documented.keys() == known.keys()
    for name, default in documented.items():
        value = known[name].default
        assert default.strip("` ") == ("none" if value is None else str(value).lower())


def test_ci_runs_the_readmes_test_command():
    (command,) = [code for _, code in blocks(ROOT / "README.md", "sh") if "pytest" in code]
    assert command.strip() in (ROOT / ".ci/run").read_text().splitlines()


def test_the_links_of_readme_and_contributing_exist():
    for name in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", (ROOT / name).read_text()):
            assert (ROOT / target).exists(), target


def test_every_config_and_example_has_its_place():
    results = "".join(path.read_text() for path in (ROOT / "docs").rglob("*.md"))
    for path in (ROOT / "configs").glob("[!_]*.py"):
        if path.stem != "common":
            assert re.search(rf"--config={path.stem}\b", results), f"no page runs {path.stem}"
    for path in (ROOT / "examples").glob("*.py"):
        assert f'"examples/{path.name}"' in results, f"no page shows {path.name}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 700
