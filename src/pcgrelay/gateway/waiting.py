"""Which texts wait beside the configuration of a node: looked for now and then in a thread, for status and metrics."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pcgrelay.admin.waiting import WaitingStatus
from pcgrelay.clock import Clock
from pcgrelay.errors import PcgrelayError
from pcgrelay.gateway.approvals import Approvals
from pcgrelay.gateway.tasks import spawn
from pcgrelay.log.events import Emit
from pcgrelay.policy.gate import Policy
from pcgrelay.policy.waiting import Holding, waiting_texts
from pcgrelay.state.approved import ApprovedStore, Used

LOOK_MS = 10_000


class WaitingTexts:
    """The texts that wait at one node. Without approvals nothing is looked for."""

    def __init__(self, approvals: Approvals, emit: Emit, clock: Clock) -> None:
        self._approvals = approvals
        self._emit = emit
        self._clock = clock
        self._due_ms = 0
        self._digest = ""  # of the policy for which it was looked
        self._task: asyncio.Task[None] | None = None
        self.found: tuple[WaitingStatus, ...] = ()

    def tick(self) -> None:
        """Look, if it is time; called once a second."""
        held, now_ms = self._approvals.held, self._clock.monotonic_ms()
        if held is None:
            self.found = ()
        elif held.digest != self._digest:
            # What waited begins from another policy, if it was not taken just now.
            self.found, self._digest, self._due_ms = (), held.digest, now_ms
        if held is not None and now_ms >= self._due_ms and (self._task is None or self._task.done()):
            self._due_ms = now_ms + LOOK_MS
            self._task = spawn(self.look(held), "waiting", self._emit)

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    async def look(self, held: Policy) -> None:
        """Look now."""
        config, approvals = held.config, held.config.approvals
        assert approvals is not None
        taken = frozenset(self._approvals.taken.texts)
        node = config.node.id

        def look() -> tuple[WaitingStatus, ...]:
            used = _used(config.node.state)
            holds = used.holds if approvals.holds else {}
            holding = Holding(node.dotted, node.realm, held.digest, taken | used.acts.keys(), holds)
            return tuple(
                WaitingStatus(
                    what=each.what,
                    change=each.number,
                    until_timestamp_s=each.until.timestamp(),
                    signatures=each.signatures,
                    needs=approvals.needs,
                    held=each.held,
                )
                for each in waiting_texts(config.path, holding, self._clock.wall())
            )

        self.found = await asyncio.to_thread(look)


def _used(state: Path | None) -> Used:
    try:
        return Used() if state is None else ApprovedStore(state).used()
    except PcgrelayError:
        return Used()
