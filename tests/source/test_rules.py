"""Rules of CONTRIBUTING.md that are about the shape of the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "src" / "_core"
CONTROL = ROOT / "src" / "pcgrelay"
# A screen, and a head with a long list of parameters.
FUNCTION_LINES_AT_MOST = 70
HEAD = re.compile(r"^( *)(?:cdef|cpdef|def)\b(?! class)[^=\n]*?(\w+)\(", re.MULTILINE)
RETURNS_RESULT = re.compile(r"^ *cdef (?:inline )?Result (\w+)\(", re.MULTILINE)
RETURNS_NOTHING = re.compile(r"^ *cdef (?:inline )?void (\w+)\(", re.MULTILINE)


def python_functions(source: str) -> Iterator[tuple[str, int]]:
    """Name and length in lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def cython_functions(source: str) -> Iterator[tuple[str, int]]:
    """Name and length in lines. A function ends with its last line that is indented deeper than its head."""
    for head in HEAD.finditer(source):
        lines = source[head.start() :].splitlines()
        length = 1
        for number, line in enumerate(lines[1:], 2):
            indent = len(line) - len(line.lstrip())
            if line.strip() and indent <= len(head[1]) and not line.lstrip().startswith(")"):
                break
            length = number if line.strip() else length
        yield head[2], length


def ignored_results(source: str, names: set[str]) -> Iterator[str]:
    """Calls whose Result nobody looks at, without a comment that says why."""
    lines = source.splitlines()
    for number, line in enumerate(lines):
        call = re.match(r"\s+(\w+)\(", line)
        if call and call[1] in names and "#" not in line and not lines[number - 1].lstrip().startswith("#"):
            yield f"{number + 1}: {line.strip()}"


def test_a_function_fits_on_a_screen() -> None:
    found = [
        (f"{path.relative_to(ROOT)}: {name}", length)
        for root, suffix, functions in ((CONTROL, ".py", python_functions), (CORE, ".pyx", cython_functions))
        for path in root.rglob(f"*{suffix}")
        for name, length in functions(path.read_text())
    ]
    assert found
    assert [each for each in found if each[1] > FUNCTION_LINES_AT_MOST] == []


def test_a_result_is_looked_at_or_it_is_said_why_not() -> None:
    files = [*CORE.rglob("*.pyx"), *CORE.rglob("*.pxd")]
    names = {name for path in files for name in RETURNS_RESULT.findall(path.read_text())}
    # A name that stands for one of each in two files is left out.
    names -= {name for path in files for name in RETURNS_NOTHING.findall(path.read_text())}
    assert names
    assert [f"{path.name}:{each}" for path in files for each in ignored_results(path.read_text(), names)] == []


@pytest.mark.parametrize("length", [1, FUNCTION_LINES_AT_MOST + 1])
def test_lengths_are_measured(length: int) -> None:
    body = "    pass\n" * (length - 1)
    assert dict(cython_functions(f"cdef void one() noexcept nogil:\n{body}\n\ncdef int x = 1\n")) == {"one": length}
    assert dict(python_functions(f"def one():\n    '''.'''\n{body}")) == {"one": length + 1}


def test_an_ignored_result_is_found() -> None:
    assert list(ignored_results("def f():\n    send(1)\n", {"send"})) == ["2: send(1)"]
    assert (
        list(ignored_results("def f():\n    # It is sent again.\n    send(1)\n    result = send(2)\n", {"send"})) == []
    )


def test_no_socket_is_trusted_to_wait_for_all() -> None:
    """MSG_WAITALL means nothing on a socket with a time-out; tests/support/waiting.py has `receive`."""
    name = "MSG_" + "WAITALL"
    files = [path for folder in ("src", "tests", "benches") for path in (ROOT / folder).rglob("*.py")]
    calls = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if f"socket.{name}" in line
    ]
    assert files
    assert calls == []


def lone_commands(source: str) -> list[str]:
    """Commands that a test calls by themselves, as CliRunner().invoke(query, …)."""
    roots = set(re.findall(r"^from pcgrelay\.cli\.root import pcgrelay as (\w+)$", source, re.MULTILINE))
    return [name for name in re.findall(r"CliRunner\([^)]*\)\.invoke\(\s*(\w+)", source) if name not in roots]


def test_a_command_is_called_through_the_command_line_it_belongs_to() -> None:
    """click keeps the help option that a command gets at its first call, and a lone one has no -h: for good."""
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in (ROOT / "tests").rglob("*.py")
        if "CliRunner" in (source := path.read_text()) and path != Path(__file__)
        for name in lone_commands(source)
    }
    assert found == set()


def test_a_lone_command_is_found() -> None:
    through = "from pcgrelay.cli.root import pcgrelay as command\ndone = CliRunner().invoke(command, [])\n"
    assert lone_commands(through) == []
    assert lone_commands(through + "CliRunner().invoke(query, [])\n") == ["query"]
