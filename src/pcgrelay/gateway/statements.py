"""The statements of others that an edge keeps: noted by a person, written before they hold."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from pcgrelay.errors import ConfigError
from pcgrelay.gateway.actor import Actor
from pcgrelay.gateway.role import NodeParts
from pcgrelay.log.outlet_events import QuietNoted, StateUnreadable
from pcgrelay.services.statements import (
    Statement,
    StatementsState,
    checked_bearer,
    checked_bytes,
    checked_days,
    checked_text,
)
from pcgrelay.state.file import Found, StateFile

NAME = "statements.json"
KIND, VERSION = "pcgrelay statements", 1


class Statements:
    """The statements of one node."""

    def __init__(self, node: NodeParts) -> None:
        self.state = StatementsState()
        self._node = node
        self._file: StateFile[StatementsState] | None = None
        self._lock = asyncio.Lock()  # around each change of the file

    def load(self) -> None:
        """Read what an earlier process left, once."""
        if self._file is not None or self._node.state is None:
            return
        self._file = StateFile(self._node.state.path / NAME, KIND, VERSION, StatementsState)
        found, state = self._file.read()
        if found in (Found.BEFORE, Found.LOST):
            self._node.emit(StateUnreadable(file=NAME, lost=found is Found.LOST))
        self.state = state or StatementsState()

    def bearers(self) -> set[str]:
        """The networks that this node's configuration names."""
        config = self._node.local.config
        return {each.name for each in config.bearers} | {each.bearer for each in config.directs}

    async def note(self, bearer: str, said: Mapping[str, str], actor: Actor) -> Statement:
        """Keep a statement; PcgrelayError if it is refused, and then nothing has changed.

        said: observer, from, to and bytes, as they were written.
        """
        now = self._node.clock.wall()
        since, until = checked_days(said.get("from", ""), said.get("to", ""), now.date())
        statement = Statement(
            bearer=checked_bearer(bearer, self.bearers()),
            observer=checked_text("--observer", said.get("observer", ""), needed=True),
            since=since,
            until=until,
            transferred=checked_bytes(said.get("bytes", "")),
            at=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            uid=actor.uid,
            by=checked_text("--by", actor.by),
            reason=checked_text("--reason", actor.reason),
        )
        if self._file is None:
            raise ConfigError(
                "A statement would not outlast this process, for it has no folder to keep it in; write "
                f'state = "/var/lib/pcgrelay/{self._node.local.config.node.id.name}" in [node], make that folder '
                "(install -d -m 0700, owned by the node's user), and restart the node."
            )
        async with self._lock:
            state = self.state.with_statement(statement, now.date())
            await self._node.writes.run(self._file.write, state)
            self.state = state
        self._node.emit(
            QuietNoted(
                bearer=statement.bearer,
                observer=statement.observer,
                since=since.isoformat(),
                until=until.isoformat(),
                transferred_bytes=statement.transferred,
                uid=actor.uid,
                by=statement.by,
                reason=statement.reason,
            )
        )
        return statement
