"""The wheel holds the library and nothing else, and imports outside the checkout."""

import pathlib
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    directory = tmp_path_factory.mktemp("wheel")
    # In a copy, so that no build directory is left in the checkout.
    source = directory / "source"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "ecl_tf", "trainers"):
        (source / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", str(directory)]
    subprocess.run([*command, str(source)], check=True, capture_output=True)
    return next(directory.glob("ecl_tf-*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_only_ecl_tf_and_all_of_it(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    modules = {name for name in names if ".dist-info/" not in name}
    expected = {str(path.relative_to(ROOT)) for path in (ROOT / "ecl_tf").rglob("*.py")}
    assert modules == expected


@pytest.mark.slow
def test_the_wheel_imports_outside_the_checkout(wheel, tmp_path):
    code = f"import sys; sys.path.insert(0, {str(wheel)!r}); import ecl_tf; print(ecl_tf.__file__)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert str(wheel) in run.stdout
