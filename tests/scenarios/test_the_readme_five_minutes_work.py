"""The commands of the README, as they stand there, in a fresh folder and with a real PostgreSQL.

Only the port numbers are changed, so that it can run beside anything else.
"""

import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ports import free_port

pytestmark = pytest.mark.tier_test

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"<!-- (step|database) -->\n```sh\n(.*?)```\n", re.S)
DEADLINE_S = 60


def blocks() -> list[tuple[str, str]]:
    return BLOCK.findall((ROOT / "README.md").read_text())


def script_of(folder: Path) -> str:
    """All steps in their order, in one shell. What concerns the database is done by an ordinary user."""
    prefix = ""
    if os.geteuid() == 0:
        prefix = f"setpriv --reuid={database_user()} --regid=nogroup --clear-groups "
    parts = ["set -eu"]
    for number, (kind, text) in enumerate(blocks()):
        if kind == "database":
            (folder / f"database-{number}.sh").write_text(f"set -eu\n{text}")
            # Both shells find the programs at the same place: the first one of the README keeps its PATH.
            text = f'{prefix}env PATH="$PATH:$(echo /usr/lib/postgresql/*/bin)" sh database-{number}.sh\n'
        parts.append(text)
    return "\n".join(parts)


def database_user() -> str:
    return "postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the database's user can write to; those of pytest belong to root alone."""
    made = Path(subprocess.run(["mktemp", "-d"], check=True, capture_output=True, text=True).stdout.strip())
    if os.geteuid() == 0:
        shutil.chown(made, database_user())
    try:
        yield made
    finally:
        shutil.rmtree(made)


@pytest.fixture
def done(folder: Path) -> subprocess.CompletedProcess[str]:
    """The README, done."""
    script = script_of(folder)
    numbers = dict(zip(["15432", "5432", "7400"], [free_port() for _ in range(3)], strict=True))
    changed = re.compile("|".join(rf"\b{number}\b" for number in numbers))

    def own(text: str) -> str:
        return changed.sub(lambda match: str(numbers[match[0]]), text)

    for path in folder.glob("*.sh"):
        path.write_text(own(path.read_text()))
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    process = subprocess.Popen(
        ["bash", "-c", own(script)],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    try:
        out, err = process.communicate(timeout=DEADLINE_S)
    finally:
        end_all_in(folder)
        process.wait(5)
    # What it printed is compared with the page, so it gets the page's numbers back.
    for number, port in numbers.items():
        out = re.sub(rf"\b{port}\b", number, out)
    return subprocess.CompletedProcess("README.md", process.returncode, out, err)


def end_all_in(folder: Path) -> None:
    """End what a failure left running: everything whose working folder this is."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            mine = (entry / "cwd").resolve(strict=True)
        except OSError:
            continue
        if mine == folder or folder in mine.parents:
            os.kill(int(entry.name), 9)


def test_the_page_has_its_steps() -> None:
    kinds = [kind for kind, _ in blocks()]
    assert kinds.count("step") >= 7
    assert kinds.count("database") == 2


def test_psql_reaches_kent_from_the_met(done: subprocess.CompletedProcess[str]) -> None:
    page = (ROOT / "README.md").read_text()
    assert (done.returncode, done.stderr) == (0, "")
    # psql's answer and the three lines of the nodes stand in the page as they came, but for the width of the number.
    answer = re.search(r"^ server \|.*?\(1 row\)$", done.stdout, re.S | re.M)
    assert answer
    assert " ".join(answer[0].split()) in " ".join(page.split())
    ready = re.findall(r"^pcgrelay: .* is ready .*$", done.stdout, re.M)
    assert len(ready) == 3
    assert all(line in page for line in ready)
    assert done.stdout.count(".toml: all is well.") == 3
    assert "custody@kent.police.example  import  ready" in done.stdout
    assert re.search(r'"event":"stream\.end",.*"from_organisation":"met\.police\.example"', done.stdout)


def test_every_file_that_the_page_links_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target
