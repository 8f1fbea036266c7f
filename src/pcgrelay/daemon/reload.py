"""Reload of a running node: the new configuration is read and checked whole, then swapped in one loop turn, or not.

Reading, checking and preparing TLS run in a thread, so that the event loop never waits for a disk. Sockets are opened
before anything changes. After that point nothing can fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL

from pcgrelay import config as configuration
from pcgrelay.admin.answers import ApprovalTaken, ReloadAnswer
from pcgrelay.admin.status import ConfigurationStatus
from pcgrelay.check import refuse_reload
from pcgrelay.config import Config, differences, restart_reason, sized_as
from pcgrelay.daemon.keeper import reloading
from pcgrelay.errors import ConfigError, PcgrelayError, PermissionProblem, RunError
from pcgrelay.gateway.approved_start import require_judged
from pcgrelay.gateway.bundles import Brought
from pcgrelay.gateway.node import Node
from pcgrelay.identity.credentials import Credentials, load_credentials
from pcgrelay.identity.lists import newest
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.log.events import ConfigRefused, ConfigReloaded, Failure
from pcgrelay.log.writer import Log
from pcgrelay.policy.approving import Reason, without_owner
from pcgrelay.policy.change import NARROWS, NEUTRAL, WIDENS
from pcgrelay.policy.gate import ApprovalProblem, Decision
from pcgrelay.policy.signatures import ToolProblem
from pcgrelay.policy.widening import classify
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

    async def reload(self, uid: int | None = None, change: Path | None = None) -> ReloadAnswer:
        """Apply the configuration that the file contains now; return what changed, or why nothing did.

        uid: who asks for it, as the kernel names them; nothing: a signal. change: where the text that approves it lies,
        if not beside the configuration.
        """
        node = self._node
        async with self.lock:
            began_ms = node.clock.monotonic_ms()
            self._notify(reloading())
            try:
                fresh, changes = await self._swap(uid, change)
            except ApprovalProblem as problem:
                await node.approvals.refuse(problem, uid)
                return self._refused(problem, problem.exit_code)
            except ToolProblem as error:
                await node.approvals.refuse(ApprovalProblem(Reason.TOOL, str(error)), uid)
                return self._refused(error, error.exit_code)
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
            took_ms = node.clock.monotonic_ms() - began_ms
            told = tuple(map(without_owner, fresh.policy))
            node.emit(ConfigReloaded(changes=changes, policy=told, milliseconds=took_ms))
            approval = approval_of(fresh.decision)
            return ReloadAnswer(ok=True, changes=changes, policy=fresh.policy, approval=approval)

    async def try_out(self) -> ReloadAnswer:
        """Return what `reload` would change and end now, or why it would be refused; nothing is changed.

        Ports are opened and targets looked up, as for a reload, and let go again.
        """
        node = self._node
        async with self.lock:
            try:
                fresh, changes = await self._read_changes(None)
                if changes:
                    (await node.prepare(fresh.local.config)).close()
            except PcgrelayError as error:
                return ReloadAnswer(ok=False, reason=str(error), exit_code=_code_of(error))
            effects, approval = reload_effects(node, fresh.local, changes), approval_of(fresh.decision)
            return ReloadAnswer(ok=True, changes=changes, effects=effects, policy=fresh.policy, approval=approval)

    async def _swap(self, uid: int | None, change: Path | None) -> tuple[Fresh, tuple[str, ...]]:
        node = self._node
        fresh, changes = await self._read_changes(change)
        if not changes:
            node.role.read_system()
            await node.bundles.reloaded(fresh.brought)
            if fresh.decision is not None:
                # White space, or what the digest has and no table shows: the next start is to find these very files.
                await node.approvals.keep(fresh.decision, uid)
            return fresh, changes
        config = fresh.local.config
        prepared = await node.prepare(config)
        try:
            prepared.listen()
            if fresh.decision is not None:
                # First: what is in force and not kept would be undone by a restart, and nobody could say who allowed
                # it.
                await node.approvals.keep(fresh.decision, uid)
            node.take(fresh.local, prepared)
        finally:
            prepared.close()
        await node.bundles.reloaded(fresh.brought)
        self._log.set_level(config.log.level)
        self._log.set_format(config.log.format)
        return fresh, changes

    async def _read_changes(self, change: Path | None) -> tuple[Fresh, tuple[str, ...]]:
        """Read the files as they are now, and what differs from what holds. Raises PcgrelayError."""
        old = self._node.local
        fresh = await asyncio.to_thread(_read, self._node, change)
        local = fresh.local
        changes = (*differences(old.written, local.written), *renewals(old.from_files, local.from_files))
        both = old.store_credentials is not None and local.store_credentials is not None
        if both and old.store_credentials != local.store_credentials and old.from_files == local.from_files:
            changes += ("fleet files renewed",)
        return fresh, (*changes, *self._node.bundles.changes(fresh.brought))

    def _refused(self, error: PcgrelayError, exit_code: int = ConfigError.exit_code) -> ReloadAnswer:
        reason = str(error)
        self._node.configuration = ConfigurationStatus(
            successful=False,
            timestamp_s=self._node.configuration.timestamp_s,
            reason=error.unnamed if isinstance(error, ApprovalProblem) else reason,
        )
        self._node.emit(ConfigRefused(reason=reason))
        code = error.exit_code if isinstance(error, PermissionProblem) else exit_code
        return ReloadAnswer(ok=False, reason=reason, exit_code=code)


@dataclass(frozen=True, slots=True)
class Fresh:
    """What was read and found good."""

    local: LocalIdentity
    brought: Brought | None  # a bundle of the realm that the file brings; nothing: no other than before
    decision: Decision | None  # nothing: nobody has to approve anything
    policy: tuple[str, ...]  # what it widens, narrows, or neither


def _read(node: Node, change: Path | None) -> Fresh:
    """Read the files as they are now, and build everything that does not need the node.

    ConfigError: the configuration is refused, or a change in it needs a restart. ApprovalProblem: it is not approved.
    """
    old, clock, bundles = node.local, node.clock, node.bundles
    path: Path = old.written.path
    decision = node.approvals.judge(path, change)
    config = sized_as(old.written, configuration.load(path) if decision is None else decision.policy.config)
    if reason := restart_reason(old.written, config):
        raise ConfigError(reason)
    # Valid dates are not replaced by invalid ones. If the dates are invalid already, they must not block other changes.
    received = old.received()
    dates = rehearse(old.config, old.credentials, clock.wall()) is None
    refuse_reload(config, clock, dates=dates, received=received)
    try:
        files = load_credentials(config.identity)
        brought = bundles.read_file(config, files)
        received = newest([*received, *bundles.lists_with(brought, files)])
        terms = bundles.terms_with(brought, files)
        fresh = LocalIdentity(config, files, clock=clock, received=received, terms=terms)
        fresh.prepare()
        if decision is not None:
            require_judged(decision, fresh.from_files)
        return Fresh(fresh, brought, decision, _policy_words(old, config, decision))
    except (ValueError, SSL.Error):
        # The check found no error, so the files changed while they were being read.
        raise ConfigError(f"{path}: the files of [identity] do not fit together; reload again.") from None


def _policy_words(old: LocalIdentity, config: Config, decision: Decision | None) -> tuple[str, ...]:
    """Return each difference with what it does, as people sign it."""
    if decision is not None:
        return tuple(f"{line.kind:<9} {line.sentence}" for line in decision.proposed.lines)
    return tuple(map(str, classify(old.written, config)))


def _code_of(error: PcgrelayError) -> int:
    return (
        error.exit_code
        if isinstance(error, PermissionProblem | ApprovalProblem | ToolProblem)
        else ConfigError.exit_code
    )


def approval_of(decision: Decision | None) -> ApprovalTaken | None:
    """Return what an answer says of approvals."""
    if decision is None:
        return None
    return ApprovalTaken(
        policy=decision.policy.digest,
        widens=decision.count(WIDENS),
        narrows=decision.count(NARROWS),
        neutral=decision.count(NEUTRAL),
        lines=tuple(f"{line.kind:<9} {line.sentence}" for line in decision.proposed.lines),
        approved=decision.taken.approvers,
    )


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
