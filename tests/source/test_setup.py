"""The set-up refuses an interpreter that it cannot use before it installs anything, and says how to name another.

What is installed elsewhere is the package alone.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def refused(python: str | None, path: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON"}
    environment |= {"PATH": path} if python is None else {"PYTHON": python, "PATH": path}
    answer = subprocess.run(
        ["/bin/sh", "scripts/setup"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr.startswith("setup: ")
    assert answer.stderr.count("\n") == 1
    return answer.stderr


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Something that answers as an interpreter that is too old does."""
    python = tmp_path / "python3"
    python.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.2 && exit 0\nexit 1\n')
    python.chmod(0o755)
    return python


def test_one_that_is_not_there_is_refused() -> None:
    assert "there is no python3.99 here" in refused("python3.99", os.environ["PATH"])


def test_one_that_was_named_and_is_too_old_is_refused(old: Path) -> None:
    assert "is not CPython 3.11 to 3.14; name another in PYTHON" in refused(str(old), os.environ["PATH"])


def test_where_there_is_none_but_an_old_one_it_is_named(old: Path, tmp_path: Path) -> None:
    for tool in ("dirname", "sh"):
        (tmp_path / tool).symlink_to(f"/usr/bin/{tool}")
    assert "python3 is Python 3.9.2, and pcgrelay needs CPython 3.11 to 3.14" in refused(None, str(tmp_path))


def test_the_versions_are_those_of_the_package() -> None:
    script = (ROOT / "scripts" / "setup").read_text()
    oldest, newest = (int(re.search(rf"{word}_PYTHON=(\d+)", script)[1]) for word in ("OLDEST", "NEWEST"))  # type: ignore[index]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [line.rsplit(" ", 1)[1] for line in project["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert named == [f"3.{minor}" for minor in range(oldest, newest + 1)]
    assert project["requires-python"] == f">=3.{oldest}"


def test_bytecode_is_written_where_python_itself_would_write_none(tmp_path: Path) -> None:
    """Each start of a node would compile all sources otherwise."""
    script = (ROOT / "scripts" / "setup").read_text()
    function = re.search(r"^bytecode\(\) \{\n.*?^\}\n", script, re.M | re.S)
    stamp_is = re.search(r"^stamp_is\(\) .*\n", script, re.M)
    assert function
    assert stamp_is
    assert re.search(r"^package\nbytecode\n", script, re.M), "it is not called"
    package = tmp_path / ".venv" / "lib" / "python3.11" / "site-packages" / "other.py"
    own = tmp_path / "src" / "pcgrelay" / "one.py"
    for path in (package, own):
        path.parent.mkdir(parents=True)
        path.write_text("x = 1\n")
    package.with_name("template.py").write_text("{{ this is no Python }}\n")
    (tmp_path / ".venv" / "bin").mkdir()
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / ".venv" / "requirements.stamp").write_text("of this Python\n")
    subprocess.run(
        ["/bin/sh", "-euc", f"VENV=.venv\n{stamp_is[0]}{function[0]}bytecode"],
        cwd=tmp_path, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, check=True, timeout=60,
    )  # fmt: skip
    for path in (package, own):
        assert list((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc")), path


# What a wheel is made of, and what an installation from an sdist makes, as setuptools sees it. Nothing is compiled.
DESCRIBED = """
import sys
from distutils.core import run_setup

described = run_setup("setup.py", stop_after="init")
print(*described.packages, *(module.name for module in described.ext_modules), file=sys.stderr)
"""


def test_a_wheel_has_the_package_and_the_core_and_no_test_face() -> None:
    command = [sys.executable, "-c", f"import setuptools\n{DESCRIBED}"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=600)
    names = set(answer.stderr.splitlines()[-1].split())
    core = {f"pcgrelay._core.{path.parent.name}.{path.stem}" for path in (ROOT / "src" / "_core").rglob("*.pyx")}
    assert core
    assert core <= names
    folders = {name.rpartition(".")[0] for name in core}
    assert folders <= names
    others = names - core - folders
    assert "pcgrelay.cli" in others
    assert [name for name in names if not (name == "pcgrelay" or name.startswith("pcgrelay."))] == []
    assert [name for name in others if name.startswith("pcgrelay._core.")] == []
    assert [name for name in names if name.rpartition(".")[2].startswith("probe")] == []
