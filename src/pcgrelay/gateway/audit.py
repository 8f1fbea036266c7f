"""The audit log of a node: whether there is one, by whose certificate, and when it begins and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

from pcgrelay.audit.audit_log import AuditFigures, AuditLog
from pcgrelay.audit.keys import CERTIFICATES_MOST, SIGNED_BEFORE, LogKeys
from pcgrelay.audit.note import Note
from pcgrelay.audit.restarting import Restart
from pcgrelay.clock import Clock
from pcgrelay.errors import RunError
from pcgrelay.gateway.tasks import spawn
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.identity.tls import leaf_der
from pcgrelay.log.audit_events import AuditEnded
from pcgrelay.log.events import Record
from pcgrelay.log.writer import Log
from pcgrelay.signing import sign
from pcgrelay.state.folder import StateFolder

FOLDER = "audit"  # below that of state


class NodeAudit:
    """What a node has to do with its audit log. Without [audit] it does nothing."""

    def __init__(self, local: LocalIdentity, log: Log, clock: Clock) -> None:
        self._local = local
        self._emits = log
        self._clock = clock
        self._state: StateFolder | None = None
        self.log: AuditLog | None = None
        self.on_signed: Callable[[Note], None] = lambda note: None
        # What holds, to be said each day, and in each log that begins: segments are removed after keep_days, and what
        # holds may have been approved long before.
        self.in_force: Callable[[], Record | None] = lambda: None
        self._said_on: date | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self.rest: tuple[bytes, ...] = ()  # records that the process that takes over has to write

    def attach(self, state: StateFolder | None) -> None:
        """Queue records from now on, if there is a log; `start` writes them."""
        self._state = state
        settings = self._local.config.audit
        if settings is None or state is None or self.log is not None:
            return
        self.log = AuditLog(
            state.path / FOLDER,
            self._local.config.node.id,
            settings,
            self._endorse,
            self._emits.tell,
            self._clock,
            self._signed,
        )
        self._said_on = None
        self._emits.audit = self.log

    def start(self) -> None:
        """Begin to write."""
        if self.log is not None:
            self.log.start()

    def apply(self) -> None:
        """Go by the configuration and the certificate that are in force now."""
        settings = self._local.config.audit
        if settings is None:
            if self.log is not None:
                self._emits.emit(AuditEnded())
                self._ending.add(task := spawn(self._end(self._detach()), "audit", self._emits.emit))
                task.add_done_callback(self._ending.discard)
            return
        if self.log is None:
            self.attach(self._state)
            self.start()
        else:
            self.log.apply(settings)
            self.log.certificate_changed()

    def tick(self) -> None:
        """Tell what was left out, and each day what holds; called each second."""
        if self.log is None:
            return
        self.log.tick(self._emits.policy)
        today = self._clock.wall().date()
        if today != self._said_on:
            self._said_on = today
            if (record := self.in_force()) is not None:
                self._emits.emit_audit(record)

    async def stop(self) -> None:
        """Write, sync and sign everything, then end; may be called twice."""
        await asyncio.gather(*self._ending, return_exceptions=True)
        await self._end(self._detach())

    async def flush(self) -> None:
        """Have all records on the disk and signed, before another process takes over."""
        if self.log is not None:
            await self.log.flush()

    def release(self) -> None:
        """Let another process have the log. PcgrelayError: the disk is too slow, and this one goes on."""
        if self.log is not None:
            self.rest = self.log.release(self._emits.policy)

    def restore(self, bodies: Sequence[bytes]) -> None:
        """Write what another process had queued, if there is a log here too."""
        if self.log is not None:
            self.log.restore(bodies)

    async def restart(self, restart: Restart) -> None:
        """Begin a new log in the place of one that cannot be signed any more. RunError: it is not to be."""
        if self.log is None:
            raise RunError("This node has no audit log; its configuration has no [audit].")
        if why := await self.log.restart(restart):
            raise RunError(why)
        self._said_on = None

    def told_keys(self, keys: LogKeys) -> tuple[bytes, ...]:
        """Return the keys of the log as WITNESS has them: three vkeys, the signature, the chain."""
        public = keys.public
        chain, signature = self._endorse(SIGNED_BEFORE + public.statement)
        vkeys = (public.ed25519.vkey, public.ml_dsa_44.vkey, public.cosigner.vkey)
        return (*(each.encode() for each in vkeys), signature, *chain[:CERTIFICATES_MOST])

    @property
    def state(self) -> Path | None:
        """The folder of state, if there is a log in it."""
        return None if self.log is None or self._state is None else self._state.path

    @property
    def figures(self) -> AuditFigures | None:
        """How it stands; nothing: there is none."""
        return None if self.log is None else self.log.figures

    def _signed(self, note: Note) -> None:
        self.on_signed(note)

    def _detach(self) -> AuditLog | None:
        log, self.log, self._emits.audit = self.log, None, None
        return log

    async def _end(self, log: AuditLog | None) -> None:
        if log is not None:
            await log.stop(self._emits.policy)

    def _endorse(self, data: bytes) -> tuple[Sequence[bytes], bytes]:
        credentials = self._local.credentials
        return tuple(leaf_der(each) for each in credentials.chain), sign(credentials.key, data)
