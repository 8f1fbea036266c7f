"""When an edge publishes, and what becomes of it if the core does not take the tables."""

from __future__ import annotations

import asyncio

import pytest

from pcgrelay.audit.record import Failure, Record
from pcgrelay.gateway.publishing import TABLES_REFUSED, Publishing
from pcgrelay.session.dataplane import DataPlaneRefused


class Tables:
    """The core, as it takes or refuses tables."""

    def __init__(self) -> None:
        self.asked = 0
        self.refuses = False
        self.said: list[Record] = []
        self.counted: list[str] = []
        self.publishing = Publishing(self._publish, self.counted.append, self.said.append)

    def _publish(self) -> None:
        self.asked += 1
        if self.refuses:
            raise DataPlaneRefused("no")


async def test_what_changes_in_one_turn_is_published_once() -> None:
    tables = Tables()
    tables.publishing.soon()
    tables.publishing.soon()
    assert tables.asked == 0
    await asyncio.sleep(0)
    assert tables.asked == 1
    tables.publishing.soon()
    tables.publishing.now()
    await asyncio.sleep(0)
    assert tables.asked == 2


async def test_tables_that_are_refused_are_told_once_and_counted_each_time() -> None:
    tables = Tables()
    tables.refuses = True
    for _ in range(3):
        tables.publishing.soon()
        await asyncio.sleep(0)
    assert tables.publishing.has_failed
    assert tables.said == [Failure(where="tables", error="DataPlaneRefused")]
    assert tables.counted == [TABLES_REFUSED] * 3
    with pytest.raises(DataPlaneRefused):
        tables.publishing.now()
    tables.refuses = False
    tables.publishing.attempt()
    assert not tables.publishing.has_failed
