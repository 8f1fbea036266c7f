"""The built modules are hardened: bound at start, no executable stack, protected against smashed stacks."""

import platform
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# The test faces run beside the core, built as it is.
MODULES = [path for where in ("src/pcgrelay/_core", "tests/native") for path in sorted((ROOT / where).rglob("*.so"))]
X86 = platform.machine() == "x86_64"


def readelf(path: Path, *options: str) -> str:
    return subprocess.run(["readelf", *options, str(path)], check=True, capture_output=True, text=True).stdout


def test_there_are_modules_to_read() -> None:
    assert MODULES, "build the core first: make build"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}.{path.name.split('.')[0]}")
def test_module_is_hardened(path: Path) -> None:
    assert re.search(r"\bBIND_NOW\b|FLAGS_1.*\bNOW\b", readelf(path, "--dynamic", "--wide"))
    segments = readelf(path, "--segments", "--wide")
    assert re.search(r"GNU_STACK\s.*\sRW\s", segments)
    assert "GNU_RELRO" in segments
    # The compiler writes down how it was called: a small module may have nothing to protect.
    compiled = re.findall(r"DW_AT_producer.*", readelf(path, "--debug-dump=info", "--dwarf-depth=1", "--wide"))
    assert compiled
    wanted = ["-O2", "-fstack-protector-strong", "-fstack-clash-protection", *(["-fcf-protection=full"] if X86 else [])]
    assert [flag for unit in compiled for flag in wanted if flag not in unit] == []


def test_stacks_are_protected() -> None:
    assert any("__stack_chk_fail" in readelf(path, "--dyn-syms", "--wide") for path in MODULES)
