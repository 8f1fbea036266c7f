"""The pages under docs/ name files, tests, events, reasons and counters; here they are held to the sources."""

import re
from pathlib import Path

import pytest

from pcgrelay.cli.root import COMMANDS
from pcgrelay.identity.certificates import Refusal
from pcgrelay.log import events as record

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
CYTHON = (".pyx", ".pxd")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted(DOCS.rglob("*.md"))]
# Words that are refused under a constant or as an argument; see pcgrelay.session and pcgrelay.routing.
REASON = re.compile(r'(?:Refused|PathRefusal|_farewell|_count)\((?:Code\.\w+, )?"([a-z_]+)"|return "([a-z]+_[a-z_]+)"')


def words(page: Path) -> set[str]:
    """Everything that stands in backquotes."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.S | re.M)
    return set(re.findall(r"`([^`]+)`", text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def section(page: str, heading: str) -> str:
    """What stands under a heading of a page."""
    return page.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def files_in_rows(text: str) -> set[str]:
    """The names in backquotes in the first column of tables."""
    return {name for row in re.findall(r"^\| (`[^|]+) \|", text, re.M) for name in re.findall(r"`([\w/]+)`", row)}


def test_the_architecture_names_every_file() -> None:
    page = (DOCS / "architecture.md").read_text()
    package = ROOT / "src" / "pcgrelay"
    control = {str(path.relative_to(package).with_suffix("")) for path in package.rglob("*.py")}
    control = {name for name in control if not name.startswith("_core/")} - {"__init__"}
    native = ROOT / "src" / "_core"
    core = {str(path.relative_to(native).with_suffix("")) for path in native.rglob("*") if path.suffix in CYTHON}
    core = {name for name in core if not name.endswith("__init__")}
    assert files_in_rows(section(page, "The core, file by file")) == core
    assert files_in_rows(section(page, "The control plane, file by file")) == control


def test_the_ten_files_to_begin_with_are_there() -> None:
    files = re.findall(r"^\| \d+\. `([^`]+)`", (DOCS / "architecture.md").read_text(), re.M)
    assert len(files) == 10
    assert [file for file in files if not (ROOT / file).is_file()] == []


def source_of(name: str) -> str:
    """The text of a file as the step tables name it; of a native module with its contract."""
    if not name.startswith("_core/"):
        return (ROOT / "src" / "pcgrelay" / f"{name}.py").read_text()
    paths = [(ROOT / "src" / name).with_suffix(suffix) for suffix in CYTHON]
    return "".join(path.read_text() for path in paths if path.exists())


def is_defined(function: str, source: str) -> bool:
    """Whether a file has the function or class; of `Class.method` both."""
    return all(
        re.search(rf"^ *(?:async def|cp?def|def|class)\b[^\n(=]*\b{part}(?:\(|:)", source, re.M)
        for part in function.split(".")
    )


def test_the_steps_of_the_architecture_name_functions_that_are_there() -> None:
    page = (DOCS / "architecture.md").read_text()
    tables = re.findall(r"^\| step [^|]+\| file \| function \|\n\|[-|]+\|\n((?:\|.*\|\n)+)", page, re.M)
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for table in tables for row in table.splitlines()]
    assert len(tables) == 8
    assert len(rows) > 80
    missing = []
    for _step, file, functions in rows:
        source = source_of(file.strip("`"))
        names = re.findall(r"`([\w.]+)`", functions)
        assert names, file
        missing += [(file, name) for name in names if not is_defined(name, source)]
    assert missing == []


def test_the_threats_name_tests_that_are_there() -> None:
    missing = []
    last = Path()
    for name in re.findall(r"`((?:[\w/]+/test_\w+\.py)?(?:::\w+)?)`", (DOCS / "threats.md").read_text()):
        path, _, function = name.partition("::")
        last = ROOT / "tests" / path if path else last
        if not last.is_file() or (function and f"def {function}(" not in last.read_text()):
            missing.append(name)
    assert missing == []


def test_the_operations_name_tests_that_are_there() -> None:
    for path in re.findall(r"pytest (tests/\S+\.py)", (DOCS / "operations.md").read_text()):
        assert (ROOT / path).is_file(), path


def test_each_bad_day_names_the_scenario_that_proves_it() -> None:
    section = (DOCS / "operations.md").read_text().partition("## Bad days\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\|.*\|$", section, re.M)[2:]]
    assert len(rows) > 20
    scenarios = ROOT / "tests" / "scenarios"
    for what, happens, _seen, scenario in rows:
        assert what, happens
        name = scenario.strip("`")
        assert scenario == "the same" or (scenarios / f"test_{name}.py").is_file(), scenario


def test_the_operations_name_every_event() -> None:
    named = words(DOCS / "operations.md")
    events = {kind.EVENT for kind in vars(record).values() if isinstance(kind, type) and hasattr(kind, "EVENT")}
    assert events
    assert events - named == set()


def test_the_operations_name_every_reason() -> None:
    named = words(DOCS / "operations.md")
    found = {reason.value for reason in Refusal} - {Refusal.OTHER.value}
    for path in (ROOT / "src" / "pcgrelay").rglob("*.py"):
        found |= {first or second for first, second in REASON.findall(path.read_text())}
    assert {"no_route", "unreachable", "session_id_taken"} <= found
    assert found - named == set()


def test_the_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text()
    assert [name for name in COMMANDS if f"`pcgrelay {name}" not in text] == []
