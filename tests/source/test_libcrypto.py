"""What the core calls of libcrypto: one list in three places, and fetched by each module that calls any of it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [path for folder in ("src/_core", "tests/native") for path in sorted((ROOT / folder).rglob("*.pyx"))]
DECLARED = (ROOT / "src/_core/base/libcrypto.pxd").read_text()
HEADER = (ROOT / "src/_core/base/crypto_calls.h").read_text()
CALLS = set(re.findall(r"\b([A-Z]\w+)\(", re.sub(r"#.*", "", DECLARED)))
IMPORTED = re.compile(r"from pcgrelay\._core\.base\.libcrypto cimport (\([^)]*\)|.*)")


def test_the_table_has_what_is_declared_and_nothing_else() -> None:
    assert len(CALLS) == 14
    listed = re.findall(r"\bCALL\((\w+)\)", HEADER)
    assert sorted(listed) == sorted(CALLS)
    through_the_table = re.findall(r"#define (\w+) \(crypto_table_bound->(\w+)_\)", HEADER)
    assert sorted(through_the_table) == sorted((name, name) for name in CALLS)


def test_without_the_table_the_header_is_openssl_alone() -> None:
    before, _, rest = HEADER.partition("#ifndef PCG_CRYPTO_TABLE\n")
    plain = rest.partition("#else")[0]
    assert all("openssl/" in line for line in re.findall(r"#include.*", before))
    assert re.findall(r"#define (\S+)", plain) == ["CRYPTO_IS_BUNDLED", "crypto_bind()"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_a_module_that_calls_libcrypto_fetches_the_table(path: Path) -> None:
    """By the C that was generated: an inline function of a .pxd may bring a call that the .pyx does not show."""
    generated = re.sub(
        r"/\*.*?\*/", "", (ROOT / "build/cython" / path.relative_to(ROOT)).with_suffix(".c").read_text(), flags=re.S
    )
    calls = CALLS & set(re.findall(r"\b([A-Z]\w+)\(", generated))
    binds = re.search(r"^crypto_bind\(\)$", path.read_text(), re.M) is not None
    assert binds == bool(calls), sorted(calls)
    named = {name for found in IMPORTED.findall(path.read_text()) for name in re.findall(r"\w+", found)}
    assert named & CALLS <= calls
