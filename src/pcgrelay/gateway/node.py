"""The common part of an edge and a relay: links, listeners, the catalogue, the core's events, start and stop.

What differs is in the role that the node is given (`role`). `handover` has how a node is handed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from msgspec import Struct

from pcgrelay import __version__
from pcgrelay.admin.status import ConfigurationStatus
from pcgrelay.catalogue.exchange import CatalogueExchange, CatalogueMessage
from pcgrelay.clock import Clock
from pcgrelay.config import Config, PolicySettings
from pcgrelay.config.settings import RealmTerms
from pcgrelay.dataplane import events
from pcgrelay.dataplane.adapter import Plane
from pcgrelay.dataplane.api import DataPlaneRefused
from pcgrelay.errors import ConfigError, RunError
from pcgrelay.gateway.ageing import Ageing
from pcgrelay.gateway.approvals import Approvals
from pcgrelay.gateway.audit import NodeAudit
from pcgrelay.gateway.bundles import RealmBundles
from pcgrelay.gateway.clocks import Clocks
from pcgrelay.gateway.fleet import NodeFleet
from pcgrelay.gateway.link_totals import LinkTotals
from pcgrelay.gateway.listeners import Listeners
from pcgrelay.gateway.lists import RevocationLists
from pcgrelay.gateway.prepared import Prepared
from pcgrelay.gateway.readers import Readers
from pcgrelay.gateway.refused import RefusalCounts
from pcgrelay.gateway.role import NodeParts, NodeRole
from pcgrelay.gateway.rule_ends import RuleEnds
from pcgrelay.gateway.store_bundles import StoreBundles
from pcgrelay.gateway.tasks import spawn
from pcgrelay.gateway.twins import TwinWatch
from pcgrelay.gateway.waiting import WaitingTexts
from pcgrelay.gateway.watching import LinkWatch
from pcgrelay.gateway.witnesses import Witnesses
from pcgrelay.identity.credentials import Credentials
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.link.link import Link
from pcgrelay.link.table import LinkTable
from pcgrelay.log.events import EventsLost as EventsLostRecord
from pcgrelay.log.events import Failure, NodeDraining, NodeDrainUndone, NodeReady, NodeStopped
from pcgrelay.log.writer import Log
from pcgrelay.messages import Code, Message, Object, ObjectGet, ObjectPiece, Twin, Witness
from pcgrelay.objects.exchange import KIND_BUNDLE, KIND_LIST, ObjectExchange
from pcgrelay.objects.kinds import ObjectKinds
from pcgrelay.policy.clearances import Clearances
from pcgrelay.policy.in_force import in_force
from pcgrelay.state.folder import StateFolder
from pcgrelay.state.writes import StateWrites

TICK_S = 1.0
CONTROL_BACK_S = 2.0
DRAIN_POLL_S = 0.1


class Node:
    """One running node. Its methods are called from the event loop only."""

    def __init__(
        self,
        config: Config,
        plane: Plane,
        log: Log,
        clock: Clock,
        make_role: Callable[[NodeParts], NodeRole],
        credentials: Credentials | None = None,
    ) -> None:
        """make_role: called last, with this node, when all that a role uses of it exists.

        credentials: what was loaded of the files of [identity] already.

        Raises what `LocalIdentity` raises for the files of [identity].
        """
        self.plane = plane
        self.clock = clock
        self.log = log
        self.emit = log.emit
        # The network: identity, links, listeners for links, and the catalogue.
        self.local = LocalIdentity(config, credentials, clock=clock)
        self.link_table = LinkTable(self.local, plane, self, log.emit, clock)
        self.listeners = Listeners(self.local, self.link_table, plane, log.emit, clock)
        self.readers = Readers(self.local, log.emit)
        self.exchange = CatalogueExchange(
            self.local, self.link_table.links, self._paths_over, self._catalogue_changed, log.emit, clock
        )
        self.writes = StateWrites()
        # Signed objects of neighbours. Whatever replaces the identity holds the lock, so that none is lost by it.
        self.identity_lock = asyncio.Lock()
        self.lists = RevocationLists(self.local, self.identity_lock, self._trust_renewed, log.emit, clock)
        self.bundles = RealmBundles(self.local, self.identity_lock, self._realm_says, log.emit, clock, self.writes)
        stores = ObjectKinds({KIND_LIST: self.lists, KIND_BUNDLE: self.bundles})
        self.objects = ObjectExchange(self.link_table.links, stores, self.link_table.spawn, clock)
        # Checked once a second: dates of the own files, clocks of others, neighbours that are missing or twice there.
        self.ageing = Ageing(self.local, log.emit, clock)
        self.clocks = Clocks(self.local.skews, log.emit, clock)
        self.rule_ends = RuleEnds(self.local, self, self.identity_lock, log.emit, clock)
        self.watch = LinkWatch(log.emit, clock)
        self.twins = TwinWatch(config.node.id, config.node.role, log.emit, clock)
        self.link_totals = LinkTotals()
        self.approvals = Approvals(log, clock)
        self.waiting = WaitingTexts(self.approvals, log.emit, clock)
        self.audit = NodeAudit(self.local, log, clock)
        self.audit.in_force = self.approvals.in_force
        self.witnesses = Witnesses(self.local, self.audit, log.emit, clock, self.writes)
        self.fleet = NodeFleet(self.local, log.emit, clock)
        self.fleet.draining = lambda: self.draining
        self.store_bundles = StoreBundles(lambda: self.fleet.client, self.bundles, self.local, log.emit)
        # For status and metrics.
        self.started_ms = clock.monotonic_ms()
        self.draining = False
        self.state: StateFolder | None = None  # which the daemon has taken before the node starts
        self.stands_back = True  # its priority is below that of the workers
        self.configuration = ConfigurationStatus(timestamp_s=clock.wall().timestamp())
        self.refused = RefusalCounts(plane, self.link_table.unknown_messages)
        self.refused.register("neighbours", self.link_table.refused)
        self.refused.register("adverts", self.exchange.refused)
        self.refused.register("readers", self.readers.refused)
        self.refused.register("objects", self.objects.refused)
        self.refused.register("bundles", self.bundles.refused)
        self.refused.register("twins", self.twins.refused)
        self.refused.register("witnesses", self.witnesses.refused)
        self.refused.register("approvals", self.approvals.refused)
        self.refused.register("fleet", self.fleet.refused)
        self._news_lost = False
        self._tick_task: asyncio.Task[None] | None = None
        # The part of an edge or a relay alone.
        self.role: NodeRole = make_role(self)

    @property
    def config(self) -> Config:
        """The configuration that is in force."""
        return self.local.config

    # -- life --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open all listeners, start the core, then begin to dial.

        Raises RunError if a port is not available, before anything runs, or if the core refuses; ConfigError if TLS for
        readers does not take the files of [identity].
        """
        self.audit.attach(self.state)
        self.audit.start()
        self.bundles.begin(self.state)
        self.local.prepare_readers()
        prepared = await self._open(self.config)
        try:
            self.plane.start(self.handlers(), self.event_failed)
            if not self.role.apply(prepared):
                raise RunError("The data plane does not take the tables of the services; the log says more.")
            self.listeners.apply(self.config.listens, prepared)
            self.readers.apply(self.config, prepared)
        except DataPlaneRefused as refused:
            raise RunError(f"The data plane does not start: {refused}.") from None
        finally:
            prepared.close()
        self.begin()

    def begin(self) -> None:
        """Begin to dial and log that the node is ready: the listeners are open and the core runs."""
        self._tick_task = spawn(self._tick(), "tick", self.emit)
        self.link_table.start()
        self.fleet.start()
        self.store_bundles.begin()
        self.emit(
            NodeReady(
                node=self.config.node.id.dotted,
                role=self.config.node.role.title,
                version=__version__,
                workers=self.plane.workers,
            )
        )

    async def prepare(self, config: Config) -> Prepared:
        """Open the sockets and resolve the targets that a new configuration needs and this node does not have.

        Raises RunError if something is not available, ConfigError if the core would refuse the tables; then nothing
        has changed.
        """
        prepared = await self._open(config)
        try:
            self.role.check(config, prepared)
        except BaseException:
            prepared.close()
            raise
        return prepared

    async def _open(self, config: Config, *, reopen: bool = False) -> Prepared:
        """Open what a configuration needs and this node does not have. reopen: also what a drain has closed."""
        held = {**self.listeners.sockets(), **self.readers.held(), **self.role.held()}
        prepared = Prepared(held, self.listeners.expected)
        try:
            await self.listeners.open(config.listens, prepared)
            await self.readers.open(config, prepared)
            await self.role.prepare(config, prepared, reopen=reopen)
        except BaseException:
            prepared.close()
            raise
        return prepared

    def take(self, fresh: LocalIdentity, prepared: Prepared) -> None:
        """Apply a new configuration, using the sockets and targets prepared for it. What it no longer allows ends."""
        before, clearances = self.config, self.local.clearances
        renewed = self.local.credentials.differ(fresh.credentials)
        # A rule may have ended since the sockets were prepared.
        fresh.hold(in_force(fresh.config, self.clock.wall()))
        self._apply_settings(before.policy, fresh.config.policy)
        self.local.take(fresh)
        self._serve(prepared, before, clearances, renewed=renewed)

    def keep(self, config: Config) -> None:
        """Apply what is left of the configuration in force."""
        self.give_back(config, Prepared())

    def give_back(self, config: Config, prepared: Prepared) -> None:
        """Apply another configuration in force, with what was prepared for what it has more."""
        before, clearances = self.config, self.local.clearances
        self.local.hold(config)
        self._serve(prepared, before, clearances)

    def publish(self) -> None:
        """Publish the tables of services as the time allows."""
        self.role.catalogue_changed()

    def _serve(self, prepared: Prepared, before: Config, clearances: Clearances, *, renewed: bool = False) -> None:
        """Serve what the configuration in force says. before, clearances: what was in force up to now.

        renewed: the files of [identity] have changed.
        """
        judged = before.policy != self.config.policy or renewed
        self.fleet.apply()
        self.listeners.apply(self.config.listens, prepared)
        self.readers.apply(self.config, prepared, trust_changed=renewed)
        self.audit.apply()
        self.link_table.reload()
        if judged:
            self.role.trust_changed()
            self.fleet.trust_changed()
        self.role.apply(prepared)
        if judged:
            # Last, and only if necessary: there may be thousands of signatures to verify.
            self.exchange.reload()
            self.objects.changed()
        ways = (clearances, before.listens, before.links)
        if ways != (self.local.clearances, self.config.listens, self.config.links):
            self.role.clearances_changed()
            self.exchange.clearances_changed()

    def _trust_renewed(self, fresh: LocalIdentity) -> None:
        """Judge by another revocation list. What it revokes ends; the configuration is the same."""
        self.local.take(fresh)
        self.audit.apply()
        self.readers.trust_changed()
        self.link_table.judge()
        self.role.trust_changed()
        self.fleet.trust_changed()
        self.exchange.reload()

    def _realm_says(self, terms: RealmTerms, fresh: LocalIdentity | None) -> None:
        """Apply what the realm's bundle says. fresh: with revocation lists of it, if these are newer."""
        before, clearances = self.config, self.local.clearances
        if fresh is not None:
            self.local.take(fresh)
        self.local.terms = terms
        self.local.hold(self.local.config)
        self._serve(Prepared(), before, clearances, renewed=fresh is not None)

    def _apply_settings(self, before: PolicySettings, policy: PolicySettings) -> None:
        """Give the core the settings of a policy. If it refuses one, all stay as before, and ConfigError is raised."""
        try:
            self.plane.settings(policy)
        except DataPlaneRefused as refused:
            with suppress(DataPlaneRefused):
                self.plane.settings(before)
            raise ConfigError(f"The data plane does not take what [policy] says ({refused}).") from None

    # -- drain and stop ----------------------------------------------------------------------------------------

    def drain_begin(self, milliseconds: int) -> None:
        """Accept nothing new and tell the neighbours; streams and paths go on. milliseconds: until the node ends."""
        self.draining = True
        self.emit(
            NodeDraining(node=self.config.node.id.dotted, milliseconds=milliseconds, streams=self.plane.streams())
        )
        self.role.drain_begun()
        for link in self.link_table.links.values():
            link.drain(milliseconds)

    async def drain_undo(self) -> None:
        """Accept new work again. Raises RunError if a port is no longer available.

        The protocol has no message for the end of a drain, so each link is made again.
        """
        prepared = await self._open(self.config, reopen=True)
        try:
            self.draining = False
            self.role.apply(prepared)
        finally:
            prepared.close()
        self.emit(NodeDrainUndone(node=self.config.node.id.dotted))
        for link in list(self.link_table.links.values()):
            link.remake("drain_undone")

    async def drain(self, seconds: float) -> None:
        """Accept nothing new, tell the neighbours, and wait at most so many seconds for the end of streams or paths."""
        with suppress(DataPlaneRefused):
            self.plane.drain()
        self.drain_begin(int(seconds * 1000))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                # Polled: the core sends no event when the last stream has ended.
                while self.role.is_busy():  # noqa: ASYNC110
                    await asyncio.sleep(DRAIN_POLL_S)

    async def stop(self) -> None:
        """End everything. It may be called at any point after the start began."""
        streams = self.plane.streams()
        self.readers.stop()
        self.rule_ends.stop()
        self.waiting.stop()
        tasks = self.listeners.tasks()
        if self._tick_task is not None:
            tasks.append(self._tick_task)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.role.close(Code.DRAINING)
        await self.link_table.stop(Code.DRAINING)
        await self.witnesses.stop()
        await self.store_bundles.stop()
        await self.fleet.stop()
        self.plane.stop()
        self.emit(NodeStopped(node=self.config.node.id.dotted, streams=streams))
        await self.audit.stop()

    # -- what links and the catalogue report -------------------------------------------------------------------

    def _paths_over(self, link: Link) -> int:
        return self.role.paths.count_over(link)

    def _catalogue_changed(self) -> None:
        self.role.catalogue_changed()

    def link_up(self, link: Link) -> None:
        self.exchange.link_up(link)
        self.objects.link_up(link)
        if self.draining:
            link.drain(0)

    def link_control_lost(self, link: Link, reason: str) -> None:
        self.role.paths.control_lost(link)
        # A neighbour that is upgraded is back at once, and its lanes are still up: no other node is told until then.
        asyncio.get_running_loop().call_later(CONTROL_BACK_S, self._still_lost, link)

    def _still_lost(self, link: Link) -> None:
        if link.number in self.link_table.links:
            self.exchange.link_unusable(link)

    def link_message(self, link: Link, message: Message) -> None:
        if isinstance(message, CatalogueMessage):
            self.exchange.receive(link, message)
        elif isinstance(message, Object | ObjectGet | ObjectPiece):
            self.objects.receive(link, message)
        elif isinstance(message, Witness):
            self.witnesses.receive(link, message)
        elif isinstance(message, Twin):
            self.twins.receive(link, message)
        else:
            self.role.paths.receive(link, message)

    def link_has_room(self, link: Link) -> None:
        self.exchange.link_has_room(link)
        self.objects.link_has_room(link)

    def link_drains(self, link: Link) -> None:
        # The entries of a replaced link stay valid until the new link has brought them again.
        if not link.replaced:
            self.exchange.link_unusable(link)
        self.role.link_drains(link)

    def link_is_used(self, link: Link) -> bool:
        return self.role.link_is_used(link)

    def link_down(self, link: Link, reason: str) -> None:
        self.exchange.link_down(link)
        self.objects.link_down(link)
        self.role.paths.link_down(link)
        self.watch.link_down(link, reason)
        self.twins.link_down(link)
        self.witnesses.link_down(link)

    # -- what the core reports ---------------------------------------------------------------------------------

    def handlers(self) -> events.Handlers:
        """Return the handlers by type of event: the node's for links and lanes, followed by the role's."""
        handlers: dict[type[Struct], Callable[[Any], None]] = {
            events.LaneUp: self.lane_up,
            events.LaneDown: self.lane_down,
            events.PeerDrains: self.peer_drains,
            events.LinkRenewed: self.link_renewed,
            **self.link_table.udp_lanes.handlers(),
            events.EventsLost: self.events_lost,
        }
        for kind, handler in self.role.handlers().items():
            handlers[kind] = _one_after_the_other(handlers[kind], handler) if kind in handlers else handler
        return handlers

    def lane_up(self, event: events.LaneUp) -> None:
        if link := self.link_table.links.get(event.link):
            was_usable = link.usable
            link.lane_is_up(event.index, event.number)
            if link.usable and not was_usable:
                self.role.catalogue_changed()

    def lane_down(self, event: events.LaneDown) -> None:
        if link := self.link_table.links.get(event.link):
            link.lane_is_down(event.index, event.number, event.code, event.reason)

    def peer_drains(self, event: events.PeerDrains) -> None:
        if link := self.link_table.links.get(event.link):
            link.peer_drains()

    def link_renewed(self, event: events.LinkRenewed) -> None:
        if link := self.link_table.links.get(event.link):
            link.mix_is_kept(event.mix)

    def events_lost(self, event: events.EventsLost) -> None:
        self.emit(EventsLostRecord(count=event.count))
        self._news_lost = self._news_lost or event.kept > 0

    def look_again(self) -> None:
        """End the links whose lanes differ from those that the core counts, after events may have been lost."""
        for number, figures in self.plane.links().items():
            link = self.link_table.links.get(number)
            if link is not None and figures["lanes_up"] != len(link.lanes_up):
                link.cut("events_lost", Code.BUSY)

    def event_failed(self, error: Exception) -> None:
        self.emit(Failure(where="event", error=type(error).__name__))

    # -- once a second -----------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                self.tick()
            except Exception as error:
                self.emit(Failure(where="tick", error=type(error).__name__))

    def tick(self) -> None:
        """Do what is due once a second."""
        self.rule_ends.tick(TICK_S)
        self.audit.tick()
        self.waiting.tick()
        self.ageing.tick()
        self.clocks.tick()
        self.link_table.judge_expiry()
        self.link_table.renewer.renew()
        self.link_table.udp_lanes.tick()
        figures = self.plane.links()
        self.link_totals.look(self.link_table.links.values(), figures)
        if self.link_table.look(figures):
            self.role.catalogue_changed()
        self.exchange.tick()
        self.objects.tick()
        self.bundles.tick()
        self.fleet.tick()
        links = list(self.link_table.links.values())
        self.watch.look(links, self.config)
        self.twins.look(links, self.exchange.catalogue)
        self.witnesses.look(links)
        if self._news_lost:
            self._news_lost = False
            self.look_again()
        self.role.tick()


def _one_after_the_other(first: Callable[[Any], None], then: Callable[[Any], None]) -> Callable[[Any], None]:
    def both(event: Any) -> None:
        first(event)
        then(event)

    return both
