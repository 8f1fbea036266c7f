"""Requests about a drain at the admin socket."""

from __future__ import annotations

import asyncio

from pcgrelay.admin.answers import DrainAnswer
from pcgrelay.admin.http import Answer, json_answer
from pcgrelay.admin.server import UID, Query
from pcgrelay.errors import PcgrelayError
from pcgrelay.fleet.lock import DRAIN
from pcgrelay.gateway.actor import user_name
from pcgrelay.gateway.node import Node
from pcgrelay.gateway.relay import RelayRole

DRAIN_MOST_S = 86_400


class DrainApi:
    """The handlers of /v1/drain."""

    def __init__(self, node: Node) -> None:
        self._node = node
        # A drain and its end are asked one after the other, however slow the store is.
        self._turn = asyncio.Lock()

    def shown(self, query: Query) -> Answer:
        """How far a drain is."""
        return json_answer(drain_state(self._node))

    async def acted(self, query: Query, body: bytes) -> Answer:
        """Begin a drain, or end it. With [fleet] the node holds the lock of its organisation meanwhile."""
        async with self._turn:
            try:
                if query.get("undo") == "1":
                    await self._undone()
                elif not self._node.draining:
                    await self._begun(query)
            except PcgrelayError as error:
                return json_answer(drain_state(self._node, error), 409)
            return json_answer(drain_state(self._node))

    async def _begun(self, query: Query) -> None:
        changes, by = self._node.fleet.changes, user_name(int(query[UID]))
        if query.get("without_lock") == "1":
            changes.pass_over(DRAIN, by)
        else:
            await changes.take(DRAIN, by)
        if not self._node.draining:
            self._node.drain_begin(_milliseconds(query.get("wait_ms", "0")))

    async def _undone(self) -> None:
        if self._node.draining:
            await self._node.drain_undo()
        await self._node.fleet.changes.give_back(DRAIN)


def drain_state(node: Node, refused: PcgrelayError | None = None) -> DrainAnswer:
    """Return the progress of a drain. refused: why the last request was."""
    role = node.role
    return DrainAnswer(
        draining=node.draining,
        empty=node.draining and not role.is_busy(),
        streams=node.plane.streams(),
        paths=len(role.paths) if isinstance(role, RelayRole) else 0,
        reason="" if refused is None else str(refused),
        exit_code=0 if refused is None else refused.exit_code,
    )


def _milliseconds(text: str) -> int:
    return min(int(text), DRAIN_MOST_S * 1000) if text.isascii() and text.isdigit() and len(text) < 12 else 0
