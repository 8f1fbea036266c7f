"""Each native module has a stub, and each stub a module."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Nothing cimports these; their contract is their stub.
FACES = {"core", "probe"}


def test_each_native_module_has_a_stub_and_no_stub_is_left_over() -> None:
    modules = {path.stem for path in (ROOT / "src" / "_core").glob("*.pyx")}
    stubs = {path.stem for path in (ROOT / "src" / "pcgrelay" / "_core").glob("*.pyi")} - {"__init__"}
    assert stubs == modules


def test_each_native_module_has_declarations() -> None:
    for path in (ROOT / "src" / "_core").glob("*.pyx"):
        assert path.stem in FACES or path.with_suffix(".pxd").exists(), path
