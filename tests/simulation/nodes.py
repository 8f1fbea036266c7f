"""Nodes of a world: a real core without threads, and a control plane that orders what `session` would order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pcgrelay._core.face import core as native
from tests.simulation.links import Link
from tests.simulation.udp_lanes import EVENTS as UDP_EVENTS
from tests.simulation.udp_lanes import UdpLanesOfNode

if TYPE_CHECKING:
    from tests.simulation.world import World

BUDGET = 16_777_216
EXPORT_DRAINS = native.EXPORT_DRAIN


class Node:
    """One incarnation of a node; a restart makes another."""

    role = 0

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.alive = True
        self.migration = False
        self.links: dict[int, Link] = {}
        self._numbers = 0
        self._labels = 0
        self.owner, self.core = self.process()
        self.budget = BUDGET
        self.core.start()
        if world.library.virtual_budget(self.owner) != BUDGET:
            raise RuntimeError("the layout of a pool is not what world.c believes")
        if world.scenario.budget:
            self.squeeze(world.scenario.budget)
        self.udp = UdpLanesOfNode(self)

    def process(self) -> tuple[int, native.Core]:
        """A process of this node, whose workers do not run yet: its number and its core."""
        shape = self.world.scenario
        owner = self.world.owner_taken(self)
        self.world.library.virtual_owner(owner)
        return owner, native.Core(
            workers=shape.workers, memory_bytes=BUDGET, role=self.role, probe_interval_ms=500,
            handshake_deadline_ms=3_000, wait_ms=5_000, linger_ms=60_000, rekey_frames=shape.rekey_frames,
            rekey_bytes=shape.rekey_bytes, rekey_ms=shape.rekey_ms,
        )  # fmt: skip

    def squeeze(self, budget: int) -> None:
        """All its workers together have so much memory from now on."""
        self.budget = budget
        self.world.library.virtual_squeeze(self.owner, budget // self.world.scenario.workers)

    def number_taken(self) -> int:
        self._numbers += 1
        return self._numbers

    def label_taken(self) -> int:
        self._labels += 1
        return self._labels

    # -- what the core says

    def take_events(self) -> bool:
        """Whether there were any."""
        events = self.core.events()
        for kind, *fields in events:
            if kind == native.EVENT_LANE_UP:
                if link := self.links.get(fields[0]):
                    link.lane_up(self, fields[1], fields[2])
            elif kind == native.EVENT_LANE_DOWN:
                self.world.count(f"lane {fields[4]}")
                self.mix_known(f"lane of link {fields[0]}", fields[4])
                if link := self.links.get(fields[0]):
                    link.lane_down(self, fields[1], fields[2])
            elif kind == native.EVENT_LINK_RENEWED:
                if link := self.links.get(fields[0]):
                    link.renewing.kept(self, fields[1])
            elif kind == native.EVENT_EVENTS_LOST:
                self.world.broken(f"events: node {self.name} lost {fields[0]} events")
            elif kind in UDP_EVENTS:
                self.udp.told(kind, fields)
            elif kind == native.EVENT_PEER_DRAINS:
                if link := self.links.get(fields[0]):
                    link.end(self).draining = True
                    self.link_drains(link)
            else:
                self.told(kind, fields)
        return bool(events)

    def mix_known(self, what: str, reason: str) -> None:
        """No end names a renewal that the other one does not keep."""
        if reason == "unknown-mix":
            self.world.broken(f"mixes: a {what} of node {self.name} was told of a renewal that is not kept there")

    def told(self, kind: int, fields: list[Any]) -> None:
        """An event that only an edge has."""

    # -- what links say

    def leaves(self, old: native.Core) -> None:
        """What its process before has counted is read a last time."""

    def taken_over(self) -> None:
        """Another process has its place, and must know what no record says."""

    def link_up(self, link: Link) -> None: ...
    def link_down(self, link: Link) -> None: ...
    def link_drains(self, link: Link) -> None: ...
    def said(self, link: Link, message: tuple[Any, ...]) -> None: ...

    # -- ends

    def killed(self) -> None:
        """Its process is gone: no word to anybody but what its system says for it."""
        self.alive = False
        self.udp.leaves()
        self.world.library.virtual_kill(self.owner)
        for link in list(self.links.values()):
            link.control_lost()
        self._left()

    def stopped(self) -> None:
        """It leaves in order."""
        for link in list(self.links.values()):
            link.close(self)
        self.alive = False
        self.udp.leaves()
        self._left()

    def _left(self) -> None:
        self.world.library.virtual_owner(self.owner)
        self.core.stop()
        self.world.library.virtual_stopped(self.owner)
        left = self.world.library.virtual_open_descriptors(self.owner)
        # The descriptor of its events lives as long as the core's object, and so do the mailboxes' until then.
        if left > 1:
            self.world.broken(f"descriptors: {left - 1} of node {self.name} are still open after its end")


class RelayPath:
    """A path through a relay."""

    def __init__(self, number: int, session: int, to: str, a: Link, b: Link, labels: tuple[int, int, int]) -> None:
        self.number = number
        self.session = session
        self.to = to
        self.a, self.b = a, b
        self.a_out, self.a_in, self.b_in = labels
        self.is_live = self.is_gone = False

    def opened(self, link: Link) -> int:
        return self.a_out if link is self.a else self.b_in


class Relay(Node):
    """`path/relay.py`: a request comes in over one link, goes out over another, and frames follow."""

    role = native.ROLE_RELAY

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.relay_paths: dict[tuple[Link, int, int], RelayPath] = {}

    def said(self, link: Link, message: tuple[Any, ...]) -> None:
        kind, session, *rest = message
        if kind == "open":
            self._asked(link, session, *rest)
            return
        forward = self._meant(link, kind, session, rest)
        if forward is None:
            return
        if kind == "accept" and not forward.is_live and link is forward.b:
            forward.is_live = True
            self.core.path_add(
                forward.number, a_link=forward.a.number(self), a_in=forward.a_in, a_out=forward.a_out,
                b_link=forward.b.number(self), b_in=forward.b_in, b_out=rest[1], cap=self.world.scenario.cap,
                priority=0,
            )  # fmt: skip
            forward.a.say(self, "accept", session, forward.a_out, forward.a_in)
        elif kind == "refuse" and not forward.is_live and link is forward.b:
            self._drop(forward)
            forward.a.say(self, "refuse", session, forward.a_out, rest[1])
        elif kind == "close":
            self._drop(forward)
            to = forward.b if link is forward.a else forward.a
            to.say(self, "close", session, forward.opened(to))
        elif kind == "carry" and forward.is_live:
            (forward.b if link is forward.a else forward.a).say(self, *message)

    def _meant(self, link: Link, kind: str, session: int, rest: list[Any]) -> RelayPath | None:
        if kind != "carry":
            return self.relay_paths.get((link, session, rest[0]))
        alike = [
            each for (of, id, _), each in self.relay_paths.items() if of is link and id == session and each.is_live
        ]
        return alike[0] if alike else None

    def _asked(self, a: Link, session: int, source: str, to: str, label: int, *rest: Any) -> None:
        resume, via = rest
        b = self._next(a, source, to, via)
        if b is None or (a, session, label) in self.relay_paths:
            a.say(self, "refuse", session, label, False)
            return
        # As in `_label_on` there: no path of that session was opened with it over that link, from either side.
        while (b, session, onward := self.label_taken()) in self.relay_paths:
            continue
        labels = (label, self.label_taken(), onward)
        forward = RelayPath(self.number_taken(), session, to, a, b, labels)
        for link in (a, b):
            self.relay_paths[link, session, forward.opened(link)] = forward
        b.say(self, "open", session, source, to, forward.b_in, resume, (*via, self.name))

    def _next(self, a: Link, source: str, to: str, via: tuple[str, ...]) -> Link | None:
        ways = {
            link.other(self).name: link
            for link in self.links.values()
            if link is not a and link.usable(self) and link.other(self).name not in (*via, source)
        }
        around = [name for name in ways if name in self.world.relay_names]
        if to in ways and not (around and not via and self.world.dice.random() < 0.3):
            return ways[to]
        return ways[self.world.dice.choice(around)] if around and not via else None

    def link_down(self, link: Link) -> None:
        for forward in [forward for (of, *_), forward in self.relay_paths.items() if of is link]:
            self._end(forward, told=(forward.b if link is forward.a else forward.a,))

    def _end(self, forward: RelayPath, told: tuple[Link, ...]) -> None:
        self._drop(forward)
        for link in told:
            if link is forward.a and not forward.is_live:
                link.say(self, "refuse", forward.session, forward.a_out, False)
            else:
                link.say(self, "close", forward.session, forward.opened(link))

    def _drop(self, forward: RelayPath) -> None:
        if forward.is_gone:
            return
        forward.is_gone = True
        for link in (forward.a, forward.b):
            del self.relay_paths[link, forward.session, forward.opened(link)]
        if forward.is_live:
            self.core.path_remove(forward.number)
