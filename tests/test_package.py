"""The wheel holds the library and works alone; no module imports what stands above it."""

import ast
import pathlib
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parent.parent
# The rooms of ecl_tf from the bottom up: a module imports from its own room and those below.
ROOMS = [
    "_internal",
    "relatives divergences uncertainty preprocessing outputs",
    "samplers models",
    "data",
    "losses metrics gap headroom teachers callbacks prediction_sets",
    "evaluation export replay resume "
    "_label_metrics _weights _class_weights _validation_scores _checks _loops _settings _exports "
    "_step _teacher_precision",
    "distiller",
    "experiments",
    "trainers configs",
]
LEVELS = {name: level for level, names in enumerate(ROOMS) for name in names.split()}
FOLDERS = {"ecl_tf": ROOT / "ecl_tf", "ecl_tf.trainers": ROOT / "trainers"}
FOLDERS["ecl_tf.configs"] = ROOT / "configs"


def modules():
    """From the name of each module to its file."""
    return {
        ".".join([package, *path.relative_to(folder).with_suffix("").parts]): path
        for package, folder in FOLDERS.items()
        for path in folder.rglob("*.py")
    }


def imports(name, nodes, known):
    """The modules of ecl_tf that some statements of a module import."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = name.split(".")[: -node.level] if node.level else []
            base = ".".join([*package, *filter(None, [node.module])])
            names = {f"{base}.{alias.name}" for alias in node.names}
            found |= {each if {each, f"{each}.__init__"} & known else base for each in names}
    assert not {each.partition(".")[0] for each in found} & {"trainers", "configs"}, name
    found |= {f"{each}.__init__" for each in found}
    return (found & known) - {name, "ecl_tf.__init__"}


def test_nothing_imports_upward_or_in_a_circle():
    files = modules()
    trees = {name: ast.parse(path.read_text()) for name, path in files.items()}
    del trees["ecl_tf.__init__"]
    for name, tree in trees.items():
        room = name.split(".")[1]
        for other in imports(name, ast.walk(tree), set(files)):
            imported = other.split(".")[1]
            assert LEVELS[imported] <= LEVELS[room], f"{name} imports {other}"
            assert imported not in ("trainers", "configs") or imported == room, name
    # Imports within functions, which wait until all is there, make no circle.
    graph = {name: imports(name, tree.body, set(files)) for name, tree in trees.items()}
    assert "ecl_tf.experiments.experiment" in graph["ecl_tf.experiments.runs"]
    while free := [name for name, found in graph.items() if not found & set(graph)]:
        for name in free:
            del graph[name]
    assert not graph, f"A circle: {sorted(graph)}"


def build_wheel(directory):
    # In a copy, so that no build directory is left in the checkout.
    source = directory / "source"
    source.mkdir()
    names = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "ecl_tf", "trainers", "configs")
    for name in names:
        (source / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", str(directory)]
    subprocess.run([*command, str(source)], check=True, capture_output=True)
    return next(directory.glob("ecl_tf-*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_ecl_tf_alone_and_its_command_works_outside_the_checkout(tmp_path):
    """In a new environment, which sees the packages of this one."""
    wheel = build_wheel(tmp_path)
    names = zipfile.ZipFile(wheel).namelist()
    found = {name for name in names if ".dist-info/" not in name}
    expected = {f"{name.replace('.', '/')}.py" for name in modules()} | {"ecl_tf/py.typed"}
    pages = [*(ROOT / "ecl_tf").rglob("*.html"), *(ROOT / "ecl_tf").rglob("*.md")]
    assert found == expected | {str(path.relative_to(ROOT)) for path in pages}

    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    scripts = tmp_path / "venv" / "bin"
    (site,) = (tmp_path / "venv").glob("lib/*/site-packages")
    present = [path for path in sys.path if path.endswith("-packages")]
    (site / "present.pth").write_text("\n".join(present))
    install = [sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--quiet"]
    subprocess.run([*install, "--no-deps", "--no-index", "--force-reinstall", wheel], check=True)

    def run(*command):
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    assert "train-teacher" in run(scripts / "ecl-tf", "--help")
    few = "--config.teacher.members=1", "--config.teacher.train.steps=20"
    told = "print(ecl_tf.__file__, 'tensorflow_datasets' in sys.modules)"
    code = f"import sys, ecl_tf.data; {told}; from ecl_tf.trainers.command import main; main()"
    command = "train-teacher", "--config=digits", "--workdir=run", *few
    printed = run(scripts / "python", "-c", code, *command)
    assert printed.startswith(str(site)) and " False\n" in printed
    assert (tmp_path / "run" / "teacher" / "member_0.keras").exists()
