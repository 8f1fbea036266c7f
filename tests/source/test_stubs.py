"""Each native module has a stub, and each stub a module."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Where native modules have their sources, and their stubs.
PLACES = [("src/_core", "src/pcgrelay/_core"), ("tests/native", "tests/native")]
# Nothing cimports these; their contract is their stub.
FACES = {"core", "probe"}


@pytest.mark.parametrize(("sources", "stubs"), PLACES)
def test_each_native_module_has_a_stub_and_no_stub_is_left_over(sources: str, stubs: str) -> None:
    modules = {path.relative_to(ROOT / sources).with_suffix("") for path in (ROOT / sources).rglob("*.pyx")}
    assert modules
    assert {path.relative_to(ROOT / stubs).with_suffix("") for path in (ROOT / stubs).rglob("*.pyi")} - {
        Path("__init__")
    } == modules


@pytest.mark.parametrize("sources", [sources for sources, _ in PLACES])
def test_each_native_module_has_declarations(sources: str) -> None:
    for path in (ROOT / sources).rglob("*.pyx"):
        assert path.stem in FACES or path.with_suffix(".pxd").exists(), path
