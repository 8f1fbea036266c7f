"""When an edge publishes, and what becomes of it if the core does not take the tables."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.dataplane.adapter import Export, Grant, Import, OutletsRow
from pcgrelay.dataplane.api import DataPlaneRefused
from pcgrelay.errors import ConfigError
from pcgrelay.log.events import Failure, Record, TablesRefused
from pcgrelay.services.publisher import TABLES_REFUSED, TablePublisher
from pcgrelay.services.tables import EXPORT, IMPORT, Row, Tables, shrunk

READY, DRAIN, UNRESOLVED = 0, 1, 2
DOWN, LIVE = 0, 2
CLOSED = (0, 3, 4)


def export(number: int, host: str = "10.0.0.1", marking: int = 1, state: int = READY, name: str = "") -> Export:
    return number, (name or f"s{number}").encode(), marking, number, state, 1_000, ((host, 5432),), (), False, None


def entry(number: int, *sessions: int) -> Import:
    return number, f"i{number}".encode(), 1, 0, LIVE, tuple((session, 2, 100) for session in sessions), None, None


def _led(number: int, outlets: OutletsRow) -> Import:
    return (*entry(number)[:6], outlets, None)


class Core:
    """The core, as it takes or refuses tables."""

    EXPORT_UNRESOLVED = UNRESOLVED
    IMPORT_DOWN = DOWN
    OUTLET_NONE, OUTLET_FORBIDDEN, OUTLET_ENDED = CLOSED

    def __init__(self) -> None:
        self.wanted = Tables([export(0)])
        self.has: Tables | None = None
        self.asked = 0
        self.taken = 0
        self.refuses = False
        self.bad: set[str] = set()
        self.said: list[Record] = []
        self.counted: list[str] = []
        self.publisher = TablePublisher(self, lambda: self.wanted, self._taken, self.counted.append, self.said.append)

    def _taken(self) -> None:
        self.taken += 1

    def tables_check(self, *, exports: Sequence[Export], imports: Sequence[Import], grants: Sequence[Grant]) -> None:
        names = [host for row in exports for host, _ in row[6]] + [row[1].decode() for row in imports if row[5]]
        if self.refuses or self.bad & set(names):
            raise DataPlaneRefused("no")

    def publish(self, *, exports: Sequence[Export], imports: Sequence[Import], grants: Sequence[Grant]) -> None:
        self.asked += 1
        self.tables_check(exports=exports, imports=imports, grants=grants)
        self.has = Tables(exports, imports, grants)


async def test_what_changes_in_one_turn_is_published_once() -> None:
    core = Core()
    core.publisher.soon()
    core.publisher.soon()
    assert core.asked == 0
    await asyncio.sleep(0)
    assert core.asked == 1
    core.publisher.soon()
    core.publisher.now()
    await asyncio.sleep(0)
    assert core.asked == core.taken == 2


async def test_tables_that_are_refused_are_told_once_and_counted_each_time() -> None:
    core = Core()
    core.refuses = True
    for _ in range(3):
        core.publisher.soon()
        await asyncio.sleep(0)
    assert (core.publisher.has_failed, core.publisher.reason, core.taken) == (True, "no", 0)
    assert core.said == [Failure(where="tables", error="DataPlaneRefused")]
    assert core.counted == [TABLES_REFUSED] * 3
    with pytest.raises(DataPlaneRefused):
        core.publisher.now()
    core.refuses = False
    core.publisher.attempt()
    assert (core.publisher.has_failed, core.publisher.reason) == (False, "")


def test_one_row_that_is_refused_takes_no_other_down() -> None:
    core = Core()
    core.wanted = Tables([export(0), export(1, "bad"), export(2)], [entry(0, 7), entry(1, 7)], [(7, (0, 1, 2))])
    core.bad = {"bad", "i1"}
    core.publisher.attempt()
    core.publisher.attempt()
    assert core.has is not None
    assert [(row[4], len(row[6])) for row in core.has.exports] == [(READY, 1), (UNRESOLVED, 0), (READY, 1)]
    assert [(row[4], len(row[5])) for row in core.has.imports] == [(LIVE, 1), (DOWN, 0)]
    assert core.has.grants == core.wanted.grants
    assert not core.publisher.has_failed
    assert core.publisher.left_out == {Row(EXPORT, 1, b"s1"): "no", Row(IMPORT, 1, b"i1"): "no"}
    assert core.said == [TablesRefused(part="export s1", reason="no"), TablesRefused(part="import i1", reason="no")]
    core.bad = set()
    core.publisher.attempt()
    assert core.has == core.wanted
    assert core.publisher.left_out == {}


def test_a_grant_goes_although_the_tables_that_lack_it_are_refused() -> None:
    core = Core()
    core.wanted = Tables([export(0), export(1)], [], [(7, (0, 1)), (8, (0,))])
    core.publisher.now()

    def publish(*, exports: Sequence[Export], imports: Sequence[Import], grants: Sequence[Grant]) -> None:
        if len(exports) > 2:
            raise DataPlaneRefused("too many")
        core.has = Tables(exports, imports, grants)

    core.publish = publish  # type: ignore[method-assign]
    core.wanted = Tables([export(0), export(1), export(2)], [], [(7, (1, 2)), (9, (0, 1, 2))])
    core.publisher.attempt()
    assert core.publisher.has_failed
    assert core.has == Tables([export(0), export(1)], [], [(7, (1,))])


ROWS = st.lists(
    st.builds(
        export, st.integers(0, 5), marking=st.integers(1, 3), state=st.integers(0, 2), name=st.sampled_from("ab")
    ),
    unique_by=lambda row: row[0],
)
TABLES = st.builds(
    lambda exports, grants: Tables(
        exports,
        [],
        [
            (session, tuple(n for n in sorted(numbers) if n in {row[0] for row in exports}))
            for session, numbers in grants.items()
        ],
    ),
    ROWS,
    st.dictionaries(st.integers(1, 3), st.sets(st.integers(0, 5))),
)


@given(TABLES, TABLES)
def test_what_holds_instead_of_new_tables_is_in_both(last: Tables, new: Tables) -> None:
    """What may be opened is named by session, service and number, and never at a lower marking than either demands."""

    def may(tables: Tables) -> dict[tuple[int, int, bytes], int]:
        rows = {row[0]: row for row in tables.exports}
        return {(session, n, rows[n][1]): rows[n][2] for session, numbers in tables.grants for n in numbers}

    held, before, wanted = may(shrunk(last, new, CLOSED)), may(last), may(new)
    assert set(held) == set(before) & set(wanted)
    assert all(marking == max(before[what], wanted[what]) for what, marking in held.items())


def test_a_check_names_the_row_and_changes_nothing() -> None:
    core = Core()
    core.bad = {"bad"}
    core.publisher.check(core.wanted)
    with pytest.raises(ConfigError, match=r"export s1: the data plane does not take it \(no\)"):
        core.publisher.check(Tables([export(0), export(1, "bad")]))
    assert (core.asked, core.has, core.publisher.left_out) == (0, None, {})
    # What is refused already keeps nobody from changing something else.
    core.wanted = Tables([export(0), export(1, "bad")])
    core.publisher.now()
    core.publisher.check(Tables([export(1, "bad")]))
    core.refuses = True
    with pytest.raises(ConfigError):
        core.publisher.check(Tables([export(0)]))


def outlets(kind: int = 2) -> OutletsRow:
    ways = ((1, 1_000, (), None), (kind, 1_000, (("10.0.0.1", 1),) if kind == 2 else (), None))
    return 7, True, True, 10_000, 0, bytes(200), bytes([1, 0]), ways


def test_what_holds_instead_of_new_tables_has_no_outlet_that_they_close() -> None:
    last = Tables(imports=[_led(0, outlets()), _led(1, outlets()), entry(2)])
    new = Tables(imports=[_led(0, outlets(kind=3)), _led(2, outlets())])
    held = [row[6] for row in shrunk(last, new, CLOSED).imports]
    assert held[0] == outlets(kind=3)
    # An import that is gone has no meter, and with it no outlets.
    assert held[1] is None
    # What is new waits until the tables are taken.
    assert held[2] is None
