"""The snapshot of service tables: lookups by name, number and grant, and who frees it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay._core.face import core as native
from pcgrelay.config import Address
from pcgrelay.services.imports import ROUTES_MOST
from tests.native.probe_store import Tables

# Two names with the same FNV-1a hash of 32 bits, so that the chain behind one hash is walked.
TWINS = (b"costarring", b"liquid")


def fnv(name: bytes) -> int:
    value = 2166136261
    for octet in name:
        value = (value ^ octet) * 16777619 % (1 << 32)
    return value


def test_names_that_share_a_hash_are_told_apart() -> None:
    assert fnv(TWINS[0]) == fnv(TWINS[1])
    tables = Tables([(4, TWINS[0]), (5, TWINS[1])], [], [])
    assert [tables.export(name) for name in TWINS] == [4, 5]


def test_a_name_is_found_whole_or_not_at_all() -> None:
    tables = Tables([(0, b"custody"), (1, b"custody-2"), (65_535, b"s" * 63)], [], [])
    assert tables.export(b"custody") == 0
    assert tables.export(b"custody-2") == 1
    assert tables.export(b"s" * 63) == 65_535
    for name in (b"", b"custod", b"custody-", b"Custody", b"s" * 62):
        assert tables.export(name) is None


def test_imports_are_found_by_number() -> None:
    tables = Tables([], [(0, b"zero"), (7, b"seven"), (65_535, b"last")], [])
    assert [tables.imported(number) for number in (0, 7, 65_535, 1, 65_536)] == [b"zero", b"seven", b"last", None, None]


@given(grants=st.sets(st.tuples(st.integers(0, 5) | st.just(0xFFFFFFFF), st.integers(0, 5) | st.just(0xFFFF))))
def test_only_what_is_granted_is_granted(grants: set[tuple[int, int]]) -> None:
    tables = Tables([], [], sorted(grants))
    for session in (0, 1, 2, 3, 4, 5, 0xFFFFFFFF):
        for export in (0, 1, 2, 3, 4, 5, 0xFFFF):
            assert tables.grants(session, export) == ((session, export) in grants)


def test_an_empty_snapshot_grants_nothing() -> None:
    tables = Tables([], [], [])
    assert (tables.export(b"x"), tables.imported(0), tables.grants(0, 0)) == (None, None, False)


def test_a_snapshot_lives_until_its_last_reference_goes() -> None:
    tables = Tables([(1, b"x")], [], [])
    tables.hold()
    assert tables.references == 2
    tables.drop()
    assert (tables.references, tables.export(b"x")) == (1, 1)


@pytest.mark.parametrize(("count", "taken"), [(ROUTES_MOST, True), (ROUTES_MOST + 1, False)])
def test_an_import_has_as_many_routes_as_the_table_gives_it(count: int, taken: bool) -> None:
    core = native.Core(workers=1, memory_bytes=16 << 20, role=native.ROLE_EDGE)
    routes = [(session, 2, 100) for session in range(1, count + 1)]
    try:
        core.start()
        core.publish(exports=[], imports=[(0, b"echo", 1, 0, native.IMPORT_LIVE, routes)], grants=[])
        assert taken
    except native.CoreError:
        assert not taken
    finally:
        core.stop()


def refusals(exports: list[object], imports: list[object]) -> tuple[str, str]:
    """What a check says, and what publishing says."""
    core = native.Core(workers=1, memory_bytes=16 << 20, role=native.ROLE_EDGE)
    words = []
    try:
        core.start()
        for call in (core.tables_check, core.publish):
            try:
                call(exports=exports, imports=imports, grants=[])
                words.append("")
            except native.CoreError as refused:
                words.append(str(refused))
    finally:
        core.stop()
    return words[0], words[1]


GOOD_EXPORT = (0, b"echo", 1, 0, native.EXPORT_READY, 1_000, (("10.0.0.1", 5432),))


@pytest.mark.parametrize(
    "row",
    [
        (0, b"echo", 1, 0, native.EXPORT_READY, 1_000, (("fe80::1%eth0", 5432),)),
        (0, b"echo", 1, 0, native.EXPORT_READY, 1_000, (("nowhere", 5432),)),
        (0, b"echo", 1, 0, native.EXPORT_READY, 1_000, (("10.0.0.1", 70_000),)),
        (0, b"echo", 1, 0, native.EXPORT_READY, 1_000, (("10.0.0.1", 5432),) * 9),
        (0, b"", 1, 0, native.EXPORT_READY, 1_000, ()),
        (0, b"e" * 64, 1, 0, native.EXPORT_READY, 1_000, ()),
        (65_536, b"echo", 1, 0, native.EXPORT_READY, 1_000, ()),
        (-1, b"echo", 1, 0, native.EXPORT_READY, 1_000, ()),
        (0, "echo", 1, 0, native.EXPORT_READY, 1_000, ()),
        (0, b"echo", 1, 0, native.EXPORT_READY, -1, ()),
    ],
)
def test_what_publishing_refuses_a_check_refuses_in_the_same_words(row: object) -> None:
    checked, published = refusals([GOOD_EXPORT, row], [])
    assert checked == published != ""


@given(st.ip_addresses().map(str), st.integers(1, 65_535))
def test_the_core_takes_each_address_that_the_configuration_takes(host: str, port: int) -> None:
    address = Address.parse(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    row = (0, b"echo", 1, 0, native.EXPORT_READY, 1_000, ((address.host, address.port),))
    assert refusals([row], []) == ("", "")
