"""Dialling of links: each [[link]] of the configuration, one attempt at a time, with back-off, without end."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field

from pcgrelay.clock import Clock
from pcgrelay.config import LinkSettings
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.identity.tls import HandshakeRefused
from pcgrelay.link.api import LinkRegistry
from pcgrelay.link.control import handshake_over
from pcgrelay.link.link import Link
from pcgrelay.log.events import Emit, LinkFailed
from pcgrelay.log.throttle import Throttle
from pcgrelay.model import NodeId
from pcgrelay.net.backoff import STEADY_MS, backoff_ms
from pcgrelay.net.ratelimit import TokenBucket
from pcgrelay.net.sockets import SourceError, Where, connect
from pcgrelay.policy.rules import link_refusal

FAILURE_LINE_MS = 60_000
# A neighbour whose lanes are up and whose control connection ends is being upgraded: it is dialled again with less
# back-off, but only this often. One that lets links come up and ends them repeatedly is not being upgraded.
RETURNS_AT_ONCE = 3
RETURNS_EACH_SECOND = 0.05


@dataclass(slots=True)
class DialledLink:
    """A link that the configuration names, and the state of dialling it."""

    settings: LinkSettings
    link: Link | None = None
    attempts: int = 0
    reason: str = ""
    last: list[Where] = field(default_factory=list)  # the addresses of its name when it was last resolved
    returns: TokenBucket | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Dialler:
    """Dials the links that the configuration names, and dials them again whenever they are lost."""

    def __init__(self, registry: LinkRegistry, local: LocalIdentity, emit: Emit, clock: Clock) -> None:
        self.wanted = [DialledLink(settings) for settings in local.config.links]
        self._registry = registry
        self._local = local
        self._emit = emit
        self._clock = clock
        self._throttle = Throttle(FAILURE_LINE_MS)

    def start(self) -> None:
        """Start a task for each link that has none yet."""
        for wanted in self.wanted:
            if wanted.task is None:
                wanted.task = self._registry.spawn(self._keep(wanted), "dialler")

    def reload(self) -> None:
        """Apply a new configuration: dial the new links, retire the removed ones."""
        settings = self._local.config.links
        old, self.wanted = self.wanted, []
        for each in settings:
            kept = next((wanted for wanted in old if wanted.settings.dials_as(each)), None) or DialledLink(each)
            kept.settings = each
            self.wanted.append(kept)
        gone = [wanted for wanted in old if not any(wanted is kept for kept in self.wanted)]
        self.start()
        for wanted in gone:
            if wanted.task is not None:
                wanted.task.cancel()
            if wanted.link is not None:
                wanted.link.retire("removed")

    async def _keep(self, wanted: DialledLink) -> None:
        while True:
            await self._let_through(wanted)
            started = self._clock.monotonic_ms()
            try:
                link = await self._dialled(wanted.settings, wanted.last)
            except HandshakeRefused as refused:
                if refused.shuts_out:
                    self._registry.shut_out_by(wanted.settings.peer)
                self._failed(wanted, refused.reason, str(refused))
            except Exception as error:
                # An error of a library ends this attempt and nothing else.
                self._failed(wanted, "failure", f"Setting up the link broke ({type(error).__name__}).")
            else:
                if link is not None:
                    wanted.link = link
                    await link.control_lost.wait()
                if self._clock.monotonic_ms() - started > STEADY_MS:
                    wanted.attempts = 0
                elif link is not None and link.lanes_up and self._may_return(wanted):
                    # Its lanes show that the neighbour is alive: it is being upgraded and is back at once.
                    wanted.attempts = min(wanted.attempts, 1)
            wanted.attempts += 1
            await asyncio.sleep(backoff_ms(wanted.attempts) / 1000)

    async def _let_through(self, wanted: DialledLink) -> None:
        """Wait until the link may come up. Then it is dialled at once, whatever came before."""
        settings = wanted.settings
        while (bar := self._registry.bar) is not None and bar.holds(settings.peer, settings.bearer):
            wanted.reason = "drill"
            await bar.lifted.wait()
            wanted.attempts = 0

    def _may_return(self, wanted: DialledLink) -> bool:
        now = self._clock.monotonic_ms()
        wanted.returns = wanted.returns or TokenBucket(RETURNS_AT_ONCE, RETURNS_EACH_SECOND, now)
        return wanted.returns.spend(now)

    async def _dialled(self, settings: LinkSettings, last: list[Where]) -> Link | None:
        local = self._local
        policy = local.config.policy

        def judge(peer: NodeId) -> str | None:
            return link_refusal(policy, peer, settings.peer)

        async def dial() -> socket.socket:
            return await connect(settings.address, policy.handshake_deadline_ms, last, settings.sources)

        try:
            sock = await dial()
        except SourceError as error:
            raise HandshakeRefused("no_source_address", f"{error} Links to {settings.peer} go out from it.") from None
        except (OSError, TimeoutError):
            raise HandshakeRefused("unreachable", f"{settings.peer} cannot be reached at its address.") from None
        try:
            established, connection = await handshake_over(
                sock,
                local.context,
                local.link_parameters(),
                judge,
                client=True,
                deadline_ms=policy.handshake_deadline_ms,
            )
        except BaseException:
            sock.close()
            raise
        return self._registry.add(established, connection, settings, dial)

    def _failed(self, wanted: DialledLink, reason: str, cause: str) -> None:
        settings = wanted.settings
        wanted.reason = reason
        if reason == "peer_refused" and self._local.own_fault:
            cause = f"{cause} {self._local.own_fault}"
        self._registry.refuse_count(reason)
        # A new reason is logged at once, the same one again at intervals.
        if self._throttle.admit(f"{settings.peer} {settings.address} {reason}", self._clock.monotonic_ms()) is not None:
            self._emit(
                LinkFailed(
                    peer=settings.peer.dotted,
                    bearer=settings.bearer,
                    reason=reason,
                    cause=cause,
                    attempts=wanted.attempts + 1,
                )
            )
