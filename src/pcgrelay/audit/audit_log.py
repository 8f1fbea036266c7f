"""The audit log as a node uses it: records go into a bounded queue, and a thread writes them.

Nobody waits for the disk but those who ask to (`settle`). If the queue is full, records are lost, counted, and the
first record afterwards tells how many.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec import Struct

from pcgrelay.audit.bounds import Bounds
from pcgrelay.audit.disk import Disk
from pcgrelay.audit.ended import QueuedEnded
from pcgrelay.audit.keys import Endorse, LogKeys
from pcgrelay.audit.lines import Queued
from pcgrelay.audit.losses import Lost
from pcgrelay.audit.note import Note, Signature
from pcgrelay.audit.restarting import Restart
from pcgrelay.audit.totals import Totals
from pcgrelay.audit.turns import CHECKPOINT_MS
from pcgrelay.audit.write_queue import records_in
from pcgrelay.audit.writer import Hooks, LogWriter
from pcgrelay.clock import Clock
from pcgrelay.config import AuditSettings
from pcgrelay.log.ended import EndedAlike
from pcgrelay.log.events import Emit, Record
from pcgrelay.log.stream_events import StreamEnd, StreamRefused
from pcgrelay.model import NodeId

QUEUE_MOST = 65_536
STOP_S = 5.0
# Kinds whose promise somebody waits for.
URGENT = ("policy.", "cutover.", "approval.")


class AuditFigures(Struct, frozen=True, kw_only=True):
    """How the log stands."""

    size: int = 0  # records
    synced: int = 0
    signed: int = 0
    signed_at_s: float = 0.0  # seconds since 1970; 0: not by this process
    lost: int = 0
    queue: int = 0
    failing: str = ""  # why it cannot be written
    refusing: str = ""  # why it is not signed


@dataclass(slots=True)
class _Waiter:
    """Somebody who waits for what was queued up to a number."""

    target: int
    lost: int  # that had been lost before
    future: asyncio.Future[bool]


class AuditLog:
    """The audit log of a node below one folder. Its methods are called from the event loop."""

    def __init__(
        self,
        folder: Path,
        node: NodeId,
        settings: AuditSettings,
        endorse: Endorse,
        tell: Emit,
        clock: Clock,
        on_signed: Callable[[Note], None] = lambda note: None,
        disk: Disk | None = None,
    ) -> None:
        """folder: that of the log, below that of state. endorse, which the thread calls, signs by the certificate.

        tell: the ordinary log. on_signed: told of each new head that is signed.
        """
        self._clock = clock
        self._bounds = Bounds()
        self._bounds_told_ms = clock.monotonic_ms()
        self._totals = Totals()
        self._overflow: Lost | None = None
        self._waiters: list[_Waiter] = []
        self._writer = LogWriter(folder, node, Hooks(endorse, tell, on_signed, self._handled), clock, disk or Disk())
        self.folder = folder
        self.apply(settings)

    def apply(self, settings: AuditSettings) -> None:
        """Go by these settings from now on."""
        self._settings = settings
        self._writer.keep_days = settings.keep_days

    def start(self) -> None:
        """Begin to write; also after `release`, if the other process did not."""
        self._writer.start()

    def emit(self, record: Record, policy: str) -> bool:
        """Queue a record; return whether there was room. One that was left out is counted, and told in time."""
        if isinstance(record, StreamEnd | StreamRefused) and self._settings.kept_streams != "all":
            if self._settings.kept_streams == "totals":
                self._totals.add(record, policy)
                return True
            if isinstance(record, StreamEnd):
                return True
        queued = self._bounds.admit(record, self._clock.wall(), policy, self._clock.monotonic_ms())
        if queued is None:
            return True
        has_room = self._put(queued)
        if record.EVENT.startswith(URGENT):
            self._writer.hurry()
        return has_room

    def emit_ended(self, ended: EndedAlike, policy: str) -> None:
        """Queue the records of streams that ended alike. Those that have no room are counted, and told in time."""
        if self._settings.kept_streams == "totals":
            self._totals.add_ended(ended, policy)
        elif self._settings.kept_streams == "all":
            self._put(QueuedEnded(ended, self._clock.wall(), policy))

    async def settle(self, seconds: float) -> bool:
        """Wait until all that was queued is on the disk; return whether it is."""
        writer = self._writer
        waiter = _Waiter(writer.queue.queued, writer.lost_total, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        writer.hurry()
        try:
            async with asyncio.timeout(seconds):
                return await waiter.future
        except TimeoutError:
            return False

    async def flush(self) -> bool:
        """Write, sync and sign all that was queued; return whether it is on the disk."""
        self._writer.put(self._writer.sign)
        return await self.settle(STOP_S)

    def tick(self, policy: str) -> None:
        """Tell once a minute what was left out, and the totals of streams; called each second."""
        now_ms = self._clock.monotonic_ms()
        if now_ms - self._bounds_told_ms >= CHECKPOINT_MS:
            self._bounds_told_ms = now_ms
            self._tell_left_out(policy)

    def certificate_changed(self) -> None:
        """Have the keys of the log signed by the certificate that the node has now."""
        self._writer.put(self._writer.certify)

    def cosigned(self, text: str, signature: Signature) -> None:
        """Keep what a witness has signed, which the caller has verified."""
        self._writer.put(lambda: self._writer.add_cosignature(text, signature))

    def refuse(self, problem: str) -> None:
        """Sign nothing more: somebody has proved that this log signs two histories."""
        self._writer.put(lambda: self._writer.refuse(problem))

    async def restart(self, restart: Restart) -> str:
        """Begin a new log. Return what speaks against it; nothing: it has begun."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()

        def answer(text: str) -> None:
            if not future.done():
                future.set_result(text)

        def begin() -> None:
            loop.call_soon_threadsafe(answer, self._writer.begin_again(restart))

        self._writer.put(begin)
        try:
            async with asyncio.timeout(STOP_S):
                return await future
        except TimeoutError:
            return f"The audit log has not answered within {STOP_S:.0f} s; look at its disk."

    async def stop(self, policy: str = "") -> None:
        """Write, sync and sign what was queued, then end."""
        self._tell_left_out(policy)
        await self._writer.stop(STOP_S)

    def release(self, policy: str = "") -> tuple[bytes, ...]:
        """End without a sync, so that another process goes on; return the bodies of records that were not written.

        PcgrelayError: a write takes too long; then this one goes on.
        """
        self._tell_left_out(policy)
        return self._writer.release()

    def restore(self, bodies: Sequence[bytes]) -> None:
        """Put first what another process had queued."""
        self._writer.restore(bodies)

    @property
    def figures(self) -> AuditFigures:
        """How it stands."""
        writer, store = self._writer, self._writer.store
        return AuditFigures(
            size=0 if store is None else store.size,
            synced=0 if store is None else store.synced,
            signed=0 if store is None else store.signed,
            signed_at_s=writer.signed_at_s,
            lost=writer.lost_total,
            queue=writer.queue.waiting,
            failing=writer.failing,
            refusing=writer.refusing,
        )

    @property
    def keys(self) -> LogKeys | None:
        """The keys of the log; nothing before it is open."""
        store = self._writer.store
        return None if store is None else store.keys

    @property
    def newest(self) -> Note | None:
        """The newest head that was signed; nothing if it is not to be shown any more."""
        store = self._writer.store
        return None if store is None or self._writer.refusing else store.newest

    def _put(self, queued: Queued | QueuedEnded) -> bool:
        writer, count = self._writer, records_in(queued)
        if writer.queue.waiting >= QUEUE_MOST:
            writer.lost_total += count
            if self._overflow is None:
                self._overflow = Lost(count, queued.moment, queued.moment, "busy")
            else:
                self._overflow.add(count, queued.moment, queued.moment)
            return False
        if self._overflow is not None:
            lost, self._overflow = self._overflow, None
            writer.put(Queued(lost.record, queued.moment, queued.policy))
        writer.put(queued)
        return True

    def _tell_left_out(self, policy: str) -> None:
        for queued in self._totals.take(self._clock.wall()):
            self._put(queued)
        for queued in self._bounds.left_out(self._clock.wall(), policy, self._clock.monotonic_ms()):
            self._put(queued)

    def _handled(self) -> None:
        writer = self._writer
        for waiter in [each for each in self._waiters if each.target <= writer.durable or each.future.done()]:
            self._waiters.remove(waiter)
            if not waiter.future.done():
                waiter.future.set_result(writer.lost_total == waiter.lost)
