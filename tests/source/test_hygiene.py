"""Small promises about the sources: nothing left undone, nothing too long, no host in the pinned requirements."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
READ = ["src", "tests", "benches", "docs", "scripts", ".ci", "requirements"]
SUFFIXES = {".py", ".pyi", ".pyx", ".pxd", ".pxi", ".h", ".c"}
SUFFIXES |= {".md", ".toml", ".in", ".txt", ".json", ".supp", ".allow", ""}
# Put together here, so that this file does not find itself.
LEFT_UNDONE = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK"]) + r")\b")
LINES_AT_MOST = 500


def texts() -> Iterator[Path]:
    for path in [*ROOT.iterdir(), *(path for folder in READ for path in (ROOT / folder).rglob("*"))]:
        generated = path.suffix == ".c" and path.parent.name in {"_core", "native"}
        if path.is_file() and path.suffix in SUFFIXES and "__pycache__" not in path.parts and not generated:
            yield path


def test_nothing_is_marked_as_left_undone() -> None:
    marked = [str(path.relative_to(ROOT)) for path in texts() if LEFT_UNDONE.search(path.read_text(errors="replace"))]
    assert marked == []


def test_no_source_file_is_too_long() -> None:
    files = [path for folder in ("src", "tests", "benches") for path in (ROOT / folder).rglob("*")]
    sources = [path for path in files if path.suffix in {".py", ".pyi", ".pyx", ".pxd", ".h"}]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources}
    assert {name: lines for name, lines in lengths.items() if lines > LINES_AT_MOST} == {}


def test_no_test_is_imported() -> None:
    """What several tests use is in tests/support, tests/scenarios/kit or tests/reference."""
    importing = re.compile(r"^\s*(?:from|import) .*\btest_\w+", re.MULTILINE)
    found = {
        str(path.relative_to(ROOT)): importing.findall(path.read_text())
        for folder in ("tests", "benches")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_each_scenario_says_in_which_tier_it_is() -> None:
    """At its head. Single cases may be for `make test-all` alone."""
    tiers = {
        path.name: re.findall(r"^pytestmark = .*pytest\.mark\.(tier_\w+)", path.read_text(), re.MULTILINE)
        for path in (ROOT / "tests" / "scenarios").glob("test_*.py")
    }
    assert tiers
    known = (["tier_test"], ["tier_all"], ["tier_upgrade"])
    assert {name: said for name, said in tiers.items() if said not in known} == {}


@pytest.mark.parametrize("name", ["dev.in", "dev.txt", "oscal.in", "oscal.txt"])
def test_requirements_name_no_host(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert not [line for line in lines if re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host|@", line)]


@pytest.mark.parametrize("name", ["dev.txt", "oscal.txt"])
def test_each_requirement_is_pinned_with_hashes(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text().replace("\\\n", " ")
    requirements = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert requirements
    assert not [line for line in requirements if "==" not in line or "--hash=sha256:" not in line]
