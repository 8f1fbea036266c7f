"""The hot path holds no Python: no function below the face calls into the interpreter.

The compiler accepts silently what takes the lock when it fails, or after each call. So this reads the C that it wrote.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "src" / "_core"
TEST_FACES = ROOT / "tests" / "native"
GENERATED = ROOT / "build" / "cython"
FACE = CORE / "face"

# Macros that are plain C without Python, by name and with the reason.
HARMLESS: set[str] = set()

# A cdef function with a body, in a .pyx or (inline) in a .pxd; its signature may run over lines.
DEFINITION = re.compile(r"^( *)cdef\s+(?!extern\b|class\b|struct\b|enum\b|union\b|packed\b)([^\n=]*?)(\w+)\(", re.M)
FUNCTION = re.compile(r"^static [^;{]*?\b(__pyx_f_\w+)\([^;{]*\)\s*\{\n(.*?)^\}", re.S | re.M)
CALL = re.compile(r"\b((?:__Pyx|Py)\w*)\s*\(")


def definitions(source: str) -> Iterator[tuple[str, str]]:
    """Name and what follows the parameters, for each cdef function that has a body."""
    source = re.sub(r"#.*", "", source)
    for match in DEFINITION.finditer(source):
        depth, end = 1, match.end()
        while depth and end < len(source):
            depth += {"(": 1, ")": -1}.get(source[end], 0)
            end += 1
        tail = source[end : source.find("\n", end)]
        if tail.rstrip().endswith(":"):
            yield match[3], tail


def is_free(tail: str) -> bool:
    return bool(re.search(r"\bnoexcept\s+nogil\b", tail))


def plain_name(mangled: str) -> str:
    """Without the packages, modules and classes, each of which stands before it with its length."""
    rest = mangled.removeprefix("__pyx_f_")
    while length := re.match(r"\d+", rest):
        rest = rest[length.end() + int(length[0]) + 1 :]
    return rest


def python_calls(c_source: str, names: set[str]) -> dict[str, set[str]]:
    """For each generated function that has one of these names: what it calls of Python."""
    found: dict[str, set[str]] = {}
    for mangled, body in FUNCTION.findall(c_source):
        if plain_name(mangled) in names:
            body = re.sub(r"/\*.*?\*/", "", body, flags=re.S)
            body = re.sub(r'"(?:\\.|[^"\\])*"', '""', body)
            found.setdefault(plain_name(mangled), set()).update(set(CALL.findall(body)) - HARMLESS)
    return found


def native_sources() -> list[Path]:
    """All of Cython: the core's, then the test faces'."""
    return [*sorted(CORE.rglob("*.pyx")), *sorted(TEST_FACES.glob("*.pyx"))]


def generated_from(source: Path) -> Path:
    return GENERATED / source.relative_to(ROOT).with_suffix(".c")


def is_generated(source: Path) -> bool:
    """Whether its C is there, and not that of an earlier version."""
    generated = generated_from(source)
    return generated.exists() and generated.stat().st_mtime >= source.stat().st_mtime


def inline_names() -> set[str]:
    return {name for path in CORE.rglob("*.pxd") for name, tail in definitions(path.read_text()) if is_free(tail)}


def test_every_function_below_the_face_is_noexcept_nogil() -> None:
    files = [*CORE.rglob("*.pyx"), *CORE.rglob("*.pxd")]
    bound = [
        f"{path.name}: {name}"
        for path in files
        if FACE not in path.parents
        for name, tail in definitions(path.read_text())
        if not is_free(tail)
    ]
    assert bound == []


def test_there_is_generated_code_to_read() -> None:
    assert native_sources(), "the core has no source"
    assert [path.stem for path in native_sources() if not is_generated(path)] == [], "build the core first: make build"


@pytest.mark.parametrize("path", native_sources(), ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_no_call_of_python_in_a_free_function(path: Path) -> None:
    own = {name for name, tail in definitions(path.read_text()) if is_free(tail)}
    seen = python_calls(generated_from(path).read_text(), own | inline_names())
    assert own - set(seen) == set(), "not found in the generated C"
    assert {name: calls for name, calls in seen.items() if calls} == {}


PLANTED = {
    "clean": ("cdef int clean(int a, int b) noexcept nogil:\n    return a + b\n", False),
    "division": ("cdef int division(int a, int b) noexcept nogil:\n    return a // b\n", True),
    "unraisable": (
        "cdef void inner() nogil:\n    pass\n\ncdef int unraisable(int a) noexcept nogil:\n    inner()\n    return a\n",
        True,
    ),
    "raising": (
        "cdef int raising(\n    int a,\n) noexcept nogil:\n    with gil:\n        raise ValueError\n",
        True,
    ),
}


def test_python_in_a_free_function_is_seen(tmp_path: Path) -> None:
    source = (
        "\n".join(text for text, _ in PLANTED.values())
        + "\ndef use():\n    return "
        + ("clean(1, 2) + division(1, 2) + unraisable(1) + raising(1)\n")
    )
    (tmp_path / "planted.pyx").write_text(source)
    subprocess.run([sys.executable, "-m", "cython", "-3", "planted.pyx"], cwd=tmp_path, check=True, capture_output=True)
    free = {name for name, tail in definitions(source) if is_free(tail)}
    assert free == set(PLANTED)
    seen = python_calls((tmp_path / "planted.c").read_text(), free)
    expected = {name: dirty for name, (_, dirty) in PLANTED.items()}
    assert {name: bool(calls) for name, calls in seen.items()} == expected
