"""When an edge publishes its tables to the core, and what applies if the core refuses them.

Tables are published at once, or once for all changes of a loop turn. The core accepts or refuses them as a whole. A row
that is refused by itself is neutralised: that export is unresolved or that import down, and all others are served. If
the rest is refused too, the last tables stay in force without every grant that the new ones lack, so that nobody keeps
what a rule removes. Both cases are counted, logged, shown in the status and retried each second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from pcgrelay.dataplane.adapter import Export, Grant, Import
from pcgrelay.dataplane.api import DataPlaneRefused
from pcgrelay.errors import ConfigError
from pcgrelay.log.events import Emit, Failure, TablesRefused
from pcgrelay.services.tables import EXPORT, IMPORT, Row, Tables, shrunk

TABLES_REFUSED = "tables_refused"


class TablesPlane(Protocol):
    """The methods of the data plane that publishing needs."""

    EXPORT_UNRESOLVED: int
    IMPORT_DOWN: int
    OUTLET_NONE: int
    OUTLET_FORBIDDEN: int
    OUTLET_ENDED: int

    def publish(self, *, exports: Sequence[Export], imports: Sequence[Import], grants: Sequence[Grant]) -> None: ...
    def tables_check(
        self, *, exports: Sequence[Export], imports: Sequence[Import], grants: Sequence[Grant]
    ) -> None: ...


class TablePublisher:
    """Publishes one edge's tables, and keeps what the core has."""

    def __init__(
        self,
        plane: TablesPlane,
        build: Callable[[], Tables],
        taken: Callable[[], None],
        refuse_count: Callable[[str], None],
        emit: Emit,
    ) -> None:
        """build returns the current tables; taken is called each time after the core accepted them."""
        self._plane = plane
        self._build = build
        self._taken = taken
        self._refuse_count = refuse_count
        self._emit = emit
        self._waits = False
        self._last = Tables()  # what the core accepted last
        self.has_failed = False  # the core's tables are out of date
        self.reason = ""  # the reason
        self.left_out: dict[Row, str] = {}  # rows that the core refuses, with the reasons

    def check(self, tables: Tables) -> None:
        """Check tables without publishing them; a row that is refused already may stay.

        ConfigError: the core would refuse them.
        """
        try:
            self._plane.tables_check(**tables.rows())
            return
        except DataPlaneRefused:
            fitting, refused = self._fitting(tables)
        for row, reason in refused.items():
            if self.left_out.get(row) != reason:
                raise ConfigError(f"{row.words}: the data plane does not take it ({reason}); change it and reload.")
        try:
            self._plane.tables_check(**fitting.rows())
        except DataPlaneRefused as whole:
            raise ConfigError(f"The data plane does not take the tables of the services ({whole}).") from None

    def now(self) -> None:
        """Publish. DataPlaneRefused: the core refuses the tables."""
        self._waits = False
        tables = self._build()
        try:
            self._last = self._given(tables)
        except DataPlaneRefused as refused:
            self.has_failed, self.reason = True, str(refused)
            plane = self._plane
            closed = (plane.OUTLET_NONE, plane.OUTLET_FORBIDDEN, plane.OUTLET_ENDED)
            lessened = shrunk(self._last, tables, closed)
            if lessened != self._last:
                # If this is refused too, it is retried in a second with the rest.
                with suppress(DataPlaneRefused):
                    self._plane.publish(**lessened.rows())
                    self._last = lessened
            raise
        self.has_failed, self.reason = False, ""
        self._taken()

    def attempt(self) -> None:
        """Publish; a failure is logged and retried later."""
        had_failed = self.has_failed
        try:
            self.now()
        except Exception as error:
            self._refuse_count(TABLES_REFUSED)
            if not had_failed:
                self._emit(Failure(where="tables", error=type(error).__name__))
            if not isinstance(error, DataPlaneRefused):
                self.has_failed, self.reason = True, type(error).__name__

    def soon(self) -> None:
        """Publish at the end of this turn of the loop."""
        if not self._waits:
            self._waits = True
            asyncio.get_running_loop().call_soon(self._if_waiting)

    def _if_waiting(self) -> None:
        if self._waits:
            self.attempt()

    def _given(self, tables: Tables) -> Tables:
        """Publish the rows that the core accepts; return them."""
        try:
            self._plane.publish(**tables.rows())
        except DataPlaneRefused:
            fitting, refused = self._fitting(tables)
            if not refused:
                raise
            self._plane.publish(**fitting.rows())
        else:
            fitting, refused = tables, {}
        for row, reason in refused.items():
            if row not in self.left_out:
                self._refuse_count(TABLES_REFUSED)
                self._emit(TablesRefused(part=row.words, reason=reason))
        self.left_out = refused
        return fitting

    def _fitting(self, tables: Tables) -> tuple[Tables, dict[Row, str]]:
        """Return the tables with each row that is refused by itself neutralised, and those rows with the reasons."""
        refused: dict[Row, str] = {}
        exports: list[Export] = []
        imports: list[Import] = []
        for export in tables.exports:
            if reason := self._refusal(exports=[export]):
                refused[Row(EXPORT, export[0], export[1])] = reason
                exports.append((*export[:4], self._plane.EXPORT_UNRESOLVED, export[5], (), (), False, None))
            else:
                exports.append(export)
        for entry in tables.imports:
            if reason := self._refusal(imports=[entry]):
                refused[Row(IMPORT, entry[0], entry[1])] = reason
                imports.append((*entry[:4], self._plane.IMPORT_DOWN, (), None, None))
            else:
                imports.append(entry)
        return Tables(exports, imports, tables.grants), refused

    def _refusal(self, exports: Sequence[Export] = (), imports: Sequence[Import] = ()) -> str:
        try:
            self._plane.tables_check(exports=exports, imports=imports, grants=[])
        except DataPlaneRefused as refused:
            return str(refused)
        return ""
