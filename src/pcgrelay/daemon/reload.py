"""Reload of a running node: the new configuration is read and checked whole, then swapped in one loop turn, or not.

Reading, checking and preparing TLS run in a thread, so that the event loop never waits for a disk. Sockets are opened
before anything changes. After that point nothing can fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL

from pcgrelay import config as configuration
from pcgrelay.admin.answers import ReloadAnswer
from pcgrelay.admin.status import ConfigurationStatus
from pcgrelay.check import refuse_reload
from pcgrelay.clock import Clock
from pcgrelay.config import differences, restart_reason, sized_as
from pcgrelay.daemon.keeper import reloading
from pcgrelay.errors import ConfigError, PcgrelayError, PermissionProblem, RunError
from pcgrelay.gateway.node import Node
from pcgrelay.identity.credentials import Credentials
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.log.events import ConfigRefused, ConfigReloaded, Failure
from pcgrelay.log.writer import Log
from pcgrelay.rehearsal import rehearse
from pcgrelay.views.reload_effects import reload_effects

BROKEN_OFF = "An internal error of pcgrelay interrupted the reload, which may be partly applied; restart the node."

UNSERVED = (
    "The data plane does not take all of it ({reason}): it serves by the last of its tables, without what this file no "
    "longer allows; check the status, and restart the node if this persists."
)


class Reloader:
    """Reloads of one node, one at a time."""

    def __init__(self, node: Node, log: Log, notify: Callable[[str], None]) -> None:
        """notify sends a message to the service manager, in the format of sd_notify(3)."""
        self._node = node
        self._log = log
        self._notify = notify
        self.lock = node.identity_lock  # held by everything that must not overlap with a reload

    async def reload(self) -> ReloadAnswer:
        """Apply the configuration that the file contains now; return what changed, or why nothing did."""
        node = self._node
        async with self.lock:
            began_ms = node.clock.monotonic_ms()
            self._notify(reloading())
            try:
                changes = await self._swap()
            except PcgrelayError as error:
                return self._refused(error)
            except Exception as error:
                # No such fault is known. The caller still gets an answer, and the next reload is still accepted.
                node.emit(Failure(where="reload", error=type(error).__name__))
                return self._refused(RunError(BROKEN_OFF), RunError.exit_code)
            finally:
                self._notify("READY=1")
            if reason := node.role.unserved():
                return self._refused(ConfigError(UNSERVED.format(reason=reason)))
            node.configuration = ConfigurationStatus(timestamp_s=node.clock.wall().timestamp())
            node.emit(ConfigReloaded(changes=changes, milliseconds=node.clock.monotonic_ms() - began_ms))
            return ReloadAnswer(ok=True, changes=changes)

    async def try_out(self) -> ReloadAnswer:
        """Return what `reload` would change and end now, or why it would be refused; nothing is changed.

        Ports are opened and targets looked up, as for a reload, and let go again.
        """
        node = self._node
        async with self.lock:
            try:
                fresh, changes = await self._read_changes()
                if changes:
                    (await node.prepare(fresh.config)).close()
            except PcgrelayError as error:
                code = error.exit_code if isinstance(error, PermissionProblem) else ConfigError.exit_code
                return ReloadAnswer(ok=False, reason=str(error), exit_code=code)
            return ReloadAnswer(ok=True, changes=changes, effects=reload_effects(node, fresh, changes))

    async def _swap(self) -> tuple[str, ...]:
        node = self._node
        fresh, changes = await self._read_changes()
        if changes:
            prepared = await node.prepare(fresh.config)
            try:
                prepared.listen()
                node.take(fresh, prepared)
            finally:
                prepared.close()
            self._log.set_level(fresh.config.log.level)
            self._log.set_format(fresh.config.log.format)
        return changes

    async def _read_changes(self) -> tuple[LocalIdentity, tuple[str, ...]]:
        """Read the files as they are now, and what differs from what holds. Raises PcgrelayError."""
        old = self._node.local
        fresh = await asyncio.to_thread(_read, old, self._node.clock)
        return fresh, (*differences(old.written, fresh.written), *renewals(old.from_files, fresh.from_files))

    def _refused(self, error: PcgrelayError, exit_code: int = ConfigError.exit_code) -> ReloadAnswer:
        reason = str(error)
        self._node.configuration = ConfigurationStatus(
            successful=False, timestamp_s=self._node.configuration.timestamp_s, reason=reason
        )
        self._node.emit(ConfigRefused(reason=reason))
        code = error.exit_code if isinstance(error, PermissionProblem) else exit_code
        return ReloadAnswer(ok=False, reason=reason, exit_code=code)


def _read(old: LocalIdentity, clock: Clock) -> LocalIdentity:
    """Read the files as they are now, and build everything that does not need the node.

    ConfigError: the configuration is refused, or a change in it needs a restart.
    """
    path: Path = old.written.path
    config = sized_as(old.written, configuration.load(path))
    if reason := restart_reason(old.written, config):
        raise ConfigError(reason)
    # Valid dates are not replaced by invalid ones. If the dates are invalid already, they must not block other changes.
    received = old.received()
    dates = rehearse(old.config, old.credentials, clock.wall()) is None
    refuse_reload(config, clock, dates=dates, received=received)
    try:
        fresh = LocalIdentity(config, clock=clock, received=received)
        fresh.prepare()
        return fresh
    except (ValueError, SSL.Error):
        # The check found no error, so the files changed while they were being read.
        raise ConfigError(f"{path}: the files of [identity] do not fit together; reload again.") from None


def renewals(old: Credentials, new: Credentials) -> tuple[str, ...]:
    """Return what changed inside the files of [identity], as short phrases (pure)."""
    pairs = {
        "certificate renewed": (old.chain, new.chain),
        "private key renewed": (_public(old), _public(new)),
        "trusted certificates changed": (old.trust, new.trust),
        "revocation list renewed": (old.crls, new.crls),
    }
    return tuple(words for words, (before, after) in pairs.items() if before != after)


def _public(credentials: Credentials) -> bytes:
    return credentials.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
