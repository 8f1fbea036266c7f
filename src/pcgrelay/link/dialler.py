"""Dialling of links: each [[link]] of the configuration, one attempt at a time, with back-off, without end.

`discovery` has how relays are found that the file does not name.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

from pcgrelay.clock import Clock
from pcgrelay.config import DiscoverSettings, LinkSettings
from pcgrelay.identity.exporter import wipe_secret
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.identity.tls import HandshakeRefused
from pcgrelay.link.api import LinkRegistry
from pcgrelay.link.control import handshake_over
from pcgrelay.link.dialled import DialledLink
from pcgrelay.link.discovery import Discovery
from pcgrelay.link.link import Link
from pcgrelay.log.events import Emit, LinkFailed
from pcgrelay.log.throttle import Throttle
from pcgrelay.model import NodeId
from pcgrelay.net.backoff import STEADY_MS, backoff_ms
from pcgrelay.net.ratelimit import TokenBucket
from pcgrelay.net.sockets import SourceError, Where, connect

FAILURE_LINE_MS = 60_000
# A neighbour whose lanes are up and whose control connection ends is being upgraded: it is dialled again with less
# back-off, but only this often. One that lets links come up and ends them repeatedly is not being upgraded.
RETURNS_AT_ONCE = 3
RETURNS_EACH_SECOND = 0.05


class Dialler:
    """Dials the links that the configuration names, and dials them again whenever they are lost."""

    def __init__(self, registry: LinkRegistry, local: LocalIdentity, emit: Emit, clock: Clock) -> None:
        self.named = [DialledLink(settings) for settings in local.config.named_links]
        self.discoveries: list[Discovery] = []
        self._searches: dict[str, list[asyncio.Task[None]]] = {}  # by the name
        self._registry = registry
        self._local = local
        self._emit = emit
        self._clock = clock
        self._throttle = Throttle(FAILURE_LINE_MS)
        self.discoveries += [self._discovery(settings) for settings in local.config.discoveries]

    @property
    def wanted(self) -> list[DialledLink]:
        """The links that are dialled: to neighbours that the file names, then to relays that DNS leads to."""
        return [*self.named, *(slot for discovery in self.discoveries for slot in discovery.slots)]

    def discovery(self, name: str) -> Discovery | None:
        """Return what looks for relays by that name, if the file has it."""
        return next((each for each in self.discoveries if each.settings.discover == name), None)

    def awaited(self) -> Iterator[DialledLink]:
        """Return the links that are not there and may be in a moment: not tried yet, or lost a moment ago."""
        bar = self._registry.bar
        for wanted in self.wanted:
            is_early = wanted.attempts <= (0 if wanted.link is None else 1)
            if is_early and not wanted.lives and not (bar and bar.holds(wanted.peer, wanted.settings.bearer)):
                yield wanted

    def adopt(self, link: Link, settings: LinkSettings, last: list[Where]) -> None:
        """Go on with a link of the process before. last: where its host was, which holds while DNS does not answer."""
        if discovery := self.discovery(settings.discover):
            discovery.adopt(link, settings.address, last)
        for wanted in self.named:
            if _dials_as(wanted, settings):
                wanted.last = last

    def start(self) -> None:
        """Start a task for each link that has none yet, and those that look for relays."""
        for wanted in self.wanted:
            self._begin(wanted)
        for discovery in self.discoveries:
            name = discovery.settings.discover
            if name not in self._searches:
                self._searches[name] = [self._registry.spawn(work, "discovery") for work in discovery.work()]

    def _begin(self, wanted: DialledLink) -> None:
        if wanted.task is None:
            wanted.task = self._registry.spawn(self._keep(wanted), "dialler")

    def _discovery(self, settings: DiscoverSettings) -> Discovery:
        return Discovery(
            settings,
            self._local.config.node.id,
            begin=self._begin,
            is_named=lambda peer: any(wanted.peer == peer for wanted in self.named),
            refuse_count=self._registry.refuse_count,
            emit=self._emit,
            clock=self._clock,
        )

    def reload(self) -> None:
        """Apply a new configuration: dial the new links, retire the removed ones."""
        settings = self._local.config.named_links
        old, self.named = self.named, []
        for each in settings:
            kept = next((wanted for wanted in old if _dials_as(wanted, each)), None) or DialledLink(each)
            kept.settings = each
            self.named.append(kept)
        gone = [wanted for wanted in old if not any(wanted is kept for kept in self.named)]
        self._reload_discoveries()
        self.start()
        for wanted in gone:
            wanted.drop("removed")

    def _reload_discoveries(self) -> None:
        config, old = self._local.config, self.discoveries
        self.discoveries = []
        for each in config.discoveries:
            kept = next((known for known in old if known.settings.discover == each.discover), None)
            if kept is not None:
                kept.apply(each, config.policy)
            self.discoveries.append(kept or self._discovery(each))
        for gone in old:
            if not any(gone is kept for kept in self.discoveries):
                for task in self._searches.pop(gone.settings.discover, []):
                    task.cancel()
                gone.end()

    async def _keep(self, wanted: DialledLink) -> None:
        while True:
            await self._let_through(wanted)
            started = self._clock.monotonic_ms()
            try:
                link = await self._dialled(wanted)
            except HandshakeRefused as refused:
                if refused.shuts_out and wanted.peer is not None:
                    self._registry.shut_out_by(wanted.peer)
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
            wanted.changed()
            await asyncio.sleep(backoff_ms(wanted.attempts) / 1000)

    async def _let_through(self, wanted: DialledLink) -> None:
        """Wait until the link may come up. Then it is dialled at once, whatever came before."""
        while (bar := self._registry.bar) is not None and bar.holds(wanted.peer, wanted.settings.bearer):
            wanted.reason = "drill"
            await bar.lifted.wait()
            wanted.attempts = 0

    def _may_return(self, wanted: DialledLink) -> bool:
        now = self._clock.monotonic_ms()
        wanted.returns = wanted.returns or TokenBucket(RETURNS_AT_ONCE, RETURNS_EACH_SECOND, now)
        return wanted.returns.spend(now)

    async def _dialled(self, wanted: DialledLink) -> Link | None:
        local, settings = self._local, wanted.settings
        policy = local.config.policy

        def judge(peer: NodeId) -> str | None:
            return wanted.refusal(peer, policy)

        async def dial() -> socket.socket:
            return await connect(settings.address, policy.handshake_deadline_ms, wanted.last, settings.sources)

        try:
            sock = await dial()
        except SourceError as error:
            raise HandshakeRefused("no_source_address", f"{error} Links to {wanted.title} go out from it.") from None
        except (OSError, TimeoutError):
            raise HandshakeRefused("unreachable", f"{wanted.title} cannot be reached at its address.") from None
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
        made = wanted.made_with(established.peer, established.peer_role, local.config.policy)
        if isinstance(made, str):
            wipe_secret(established.secret)
            connection.abandon()
            raise HandshakeRefused(made, f"{established.peer} answered, which is not to be linked by this name.")
        return self._registry.add(established, connection, made, dial)

    def _failed(self, wanted: DialledLink, reason: str, cause: str) -> None:
        settings = wanted.settings
        wanted.reason = reason
        if reason == "peer_refused" and self._local.own_fault:
            cause = f"{cause} {self._local.own_fault}"
        self._registry.refuse_count(reason)
        # A new reason is logged at once, the same one again at intervals.
        if self._throttle.admit(f"{wanted.title} {settings.address} {reason}", self._clock.monotonic_ms()) is not None:
            self._emit(
                LinkFailed(
                    peer=wanted.peer.dotted if wanted.peer is not None else "",
                    discover=wanted.discover,
                    bearer=settings.bearer,
                    reason=reason,
                    cause=cause,
                    attempts=wanted.attempts + 1,
                )
            )


def _dials_as(wanted: DialledLink, settings: LinkSettings) -> bool:
    return isinstance(wanted.settings, LinkSettings) and wanted.settings.dials_as(settings)
