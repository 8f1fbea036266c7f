"""One world: two edges and three relays on virtual wires and a virtual clock, what happens to them, and what must hold.

A world has one outcome: all that is random follows from the scenario's seed, and time passes only when nobody has
anything left to do. What is checked while it runs (bytes, nonces, memory, descriptors, spinning) is checked by the
library below; here stands what must hold in the end.
"""

from __future__ import annotations

import ctypes
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pcgrelay._core.base import map as map_module
from pcgrelay._core.face import core as native
from pcgrelay._core.worker import event_loop as loop
from tests.simulation.client_checks import check_clients, check_lost, targets_answer
from tests.simulation.clients import NUMBER as DATAGRAMS
from tests.simulation.edges import CODE_TIMEOUT, PORT_ANSWERS, SERVICES, Edge, port_of
from tests.simulation.later import Later
from tests.simulation.links import Pair
from tests.simulation.nodes import BUDGET, Node, Relay
from tests.simulation.operations import Operations
from tests.simulation.outlets import DIRECT_PORT
from tests.simulation.scenario import Operation, Scenario
from tests.simulation.udp_checks import check_udp_lanes, packets_are
from tests.simulation.virtual import FAULTS, function_of, loaded

BEGIN_MS = 20_000  # at most, for links and a session to come up
QUIET_MS = 150_000  # for a stream to come to its end, while nobody hears anything
SLOW_MS = 1_500_000  # and at most
SETTLE_MS = 40_000  # for the last acknowledgements, and for sessions that are on their way
LAST_WORDS_MS = 100  # for what nodes have still to say of what has ended
ONE_BY_ONE_MS = 0.2  # between operations
# How a stream may end that nothing harsh happened to.
GENTLE_CAUSES = {"done"}
# What resets as soon as it is connected was hardly there.
RESET_CAUSES = {"application-reset", "far-reset", "target-unreachable"}


class Broken(Exception):
    """A check failed. The text begins with its name."""


@dataclass
class Applications:
    count: int
    running: int
    whole: int
    bytes: int


@dataclass
class Outcome:
    """What there was in one world; two runs of a scenario must give the same."""

    fault: str = ""
    applications: int = 0
    whole: int = 0
    bytes: int = 0
    seals: int = 0
    turns: int = 0
    virtual_ms: int = 0
    links: int = 0
    sessions: int = 0
    pauses_ms: list[int] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def check(self) -> str:
        return self.fault.partition(":")[0]


class World:
    """A scenario while it runs."""

    def __init__(self, scenario: Scenario, fault: tuple[str, int] | None = None) -> None:
        self.scenario = scenario
        self.library = loaded()
        self.dice = random.Random(scenario.seed ^ 0x5EED)
        # Tables are walked in an order that nobody knows; here it is always the same.
        ctypes.CFUNCTYPE(None, ctypes.c_uint32)(function_of(map_module, "map_seed"))(0)
        self.library.virtual_begin(scenario.seed, function_of(loop, "loop_turn"))
        self.library.virtual_salt(self.dice.getrandbits(62))
        # What edges make up and what clients say would be taken for each other.
        # Where datagrams go by UDP, they are lost there.
        relays_fail = scenario.clients and not scenario.udp
        self.library.virtual_datagrams(scenario.datagrams and not scenario.clients, relays_fail)
        self.library.virtual_datagram_outlets(2 if scenario.outlets else 1)
        packets_are(self, scenario.wild)
        if fault is not None:
            self.library.virtual_arm(FAULTS.index(fault[0]), fault[1])
        self.later = Later(self.library.virtual_now())
        self.began_us = self.later.now_us
        self.counts: Counter[str] = Counter()
        self.pauses_ms: list[int] = []
        self.links_made = self.sessions_made = self.renewals_made = self.owners = 0
        self.resets = 0
        self.is_over = False
        self.relay_names = ["r0", "r1", "r2"]
        self.nodes: dict[str, Node] = {}
        self.past: list[Node] = []
        for name in [*self.relay_names, "e0", "e1"]:
            self._start(name)
        self.pairs = [Pair(self, edge, relay) for edge in ("e0", "e1") for relay in self.relay_names]
        if scenario.relays_linked:
            self.pairs += [Pair(self, a, b) for a, b in (("r0", "r1"), ("r1", "r2"), ("r0", "r2"))]
        self._operations = Operations(self)

    # -- what nodes ask

    def owner_taken(self, node: Node) -> int:
        self.owners += 1
        return self.owners

    def session_taken(self) -> int:
        self.sessions_made += 1
        return self.sessions_made

    def renewal_taken(self) -> int:
        self.renewals_made += 1
        return self.renewals_made

    def far_of(self, name: str) -> str:
        return "e1" if name == "e0" else "e0"

    def edge(self, number: int) -> Edge:
        found = self.nodes[f"e{number}"]
        assert isinstance(found, Edge)
        return found

    def flight_ms(self) -> float:
        """How long a control message is under way."""
        return (self.scenario.delay_us + self.dice.random() * (self.scenario.control_us + 200)) / 1000

    def count(self, what: str) -> None:
        self.counts[what] += 1

    def stream_ended(self, edge: Edge, opener: bool, number: int, *rest: Any) -> None:
        cause = rest[6]
        if number == DATAGRAMS:
            self.count(f"association {cause}")
            if opener:
                edge.outlets.association_ended(rest[2], rest[3], cause, rest[9])
            return
        self.count(f"stream {cause}")
        if opener:
            edge.outlets.stream_ended(number, rest[2], rest[3], cause, rest[9])
        if opener and self.scenario.outlets and not rest[9][3]:
            # It was not set up, which is another question.
            return
        if not opener and self.scenario.outlets and cause == "far-reset" and rest[5] == CODE_TIMEOUT:
            # Its opener lost its patience and was led on.
            return
        if edge.quotas.refuses(opener, rest[5], cause):
            return
        allowed = GENTLE_CAUSES | (RESET_CAUSES if self.resets else set())
        if self.scenario.is_gentle and cause not in allowed:
            self.broken(f"outlives: a stream of service {number} ended by {cause}, and nothing harsh had happened")

    def broken(self, text: str) -> None:
        raise Broken(text)

    # -- nodes

    def _start(self, name: str) -> None:
        self.nodes[name] = (
            Edge(self, name, initiates=self.scenario.both_begin or name == f"e{self.scenario.seed % 2}")
            if name.startswith("e")
            else Relay(self, name)
        )

    def end_node(self, name: str, *, in_order: bool, back_ms: float) -> None:
        node = self.nodes[name]
        if not node.alive:
            return
        node.stopped() if in_order else node.killed()
        self.past.append(node)
        self.later.after(back_ms, self._start, name)

    def unsqueeze(self, node: Node) -> None:
        if node.alive:
            node.squeeze(self.scenario.budget or BUDGET)

    def freeze(self, node: Node, ms: float) -> None:
        """The workers of a node stand still for so long."""
        self.library.virtual_freeze(node.owner, self.later.now_us + int(ms * 1000))
        if isinstance(node, Edge):
            node.outlets.still(ms)

    # -- time

    def run_for(self, ms: float) -> None:
        until_us = self.later.now_us + int(ms * 1000)
        while True:
            now_us = self.library.virtual_run(min(until_us, self.later.next_us))
            self.look()
            self.later.now_us = now_us
            for node in list(self.nodes.values()):
                if node.alive:
                    node.take_events()
                    if isinstance(node, Edge):
                        node.quotas.look()
            self.later.run(now_us)
            if now_us >= until_us and self.later.next_us > until_us:
                return

    def look(self) -> None:
        fault = self.library.virtual_fault()
        if fault:
            raise Broken(fault.decode())

    def applications(self) -> Applications:
        running, whole, size = ctypes.c_int(), ctypes.c_int(), ctypes.c_uint64()
        count = self.library.virtual_applications(ctypes.byref(running), ctypes.byref(whole), ctypes.byref(size))
        return Applications(count, running.value, whole.value, size.value)

    # -- the whole of it

    def run(self) -> Outcome:
        outcome = Outcome()
        try:
            self.begin()
            for operation in self.scenario.operations:
                self.perform(operation)
            self.quiet()
        except Broken as broken:
            outcome.fault = str(broken)
        except native.CoreError as refused:
            outcome.fault = f"refused: {refused}"
        applications = self.applications()
        outcome.applications, outcome.whole, outcome.bytes = applications.count, applications.whole, applications.bytes
        outcome.seals = ctypes.c_uint64.in_dll(self.library, "virtual_seals").value
        outcome.turns = self.library.virtual_turns()
        outcome.virtual_ms = (self.later.now_us - self.began_us) // 1000
        outcome.links, outcome.sessions, outcome.pauses_ms = self.links_made, self.sessions_made, self.pauses_ms
        said, heard = ctypes.c_uint32(), ctypes.c_uint32()
        self.library.virtual_datagrams_heard(ctypes.byref(said), ctypes.byref(heard))
        self.counts.update({"datagrams said": said.value, "datagrams heard": heard.value})
        asked, answered = ctypes.c_uint64(), ctypes.c_uint64()
        self.library.virtual_datagram_sums(ctypes.byref(asked), ctypes.byref(answered))
        self.counts.update({"clients said": asked.value, "clients heard": answered.value})
        outcome.counts = dict(sorted(self.counts.items()))
        self._end()
        return outcome

    def begin(self) -> None:
        """Until all sessions are there for both edges; a budget may be too small for one."""
        self.wait_for_sessions(BEGIN_MS)

    def wait_for_sessions(self, most_ms: int) -> None:
        """Wait until both edges have sessions, and none that is not up; no longer than most_ms."""
        waited_ms = 0
        while waited_ms < most_ms and not all(self._is_well(number) for number in (0, 1)):
            self.run_for(100)
            waited_ms += 100

    def _is_well(self, number: int) -> bool:
        edge = self.edge(number)
        sessions = edge.sessions.values()
        return edge.alive and bool(sessions) and all(session.state == "up" for session in sessions)

    def perform(self, operation: Operation) -> None:
        getattr(self._operations, operation.kind)(operation.a, operation.b, operation.c)
        self.run_for(ONE_BY_ONE_MS)

    def quiet(self) -> None:
        """Nothing happens any more: every stream ends, and all comes back to what it was."""
        quiet_us = self.later.now_us
        for node in self.nodes.values():
            self.unsqueeze(node)
        for edge in ("e0", "e1"):
            for number in range(SERVICES):
                self.library.virtual_ports(port_of(edge, number), PORT_ANSWERS)
                self.library.virtual_ports(port_of(edge, number) + DIRECT_PORT, PORT_ANSWERS)
        targets_answer(self)
        packets_are(self, 0)
        self.library.virtual_scarce(-1)
        waited_ms = still_ms = heard = 0
        while self.applications().running and still_ms < QUIET_MS and waited_ms < SLOW_MS:
            self.run_for(500)
            waited_ms += 500
            # Many streams over one slow lane take their time.
            still_ms = still_ms + 500 if self.applications().bytes == heard else 0
            heard = self.applications().bytes
        self.library.virtual_stuck()
        self.look()
        self._rest()
        if self.scenario.clients and not self.scenario.budget:
            check_clients(self, quiet_us)
            check_lost(self)
            check_udp_lanes(self)
        self.run_for(LAST_WORDS_MS)
        # A round may have begun meanwhile, at an edge that stands still.
        self._rest()
        self._check_edges()
        self._leave()

    def _rest(self) -> None:
        """Wait until nothing remains."""
        waited_ms = 0
        while (self.remains() or self._is_to_be_told()) and waited_ms < SETTLE_MS:
            self.run_for(100)
            waited_ms += 100
        if what := self.remains():
            self.broken(f"ends: {what}, though no application is there any more")

    def _check_edges(self) -> None:
        """Each connection that was accepted has one end, and what edges counted is what was."""
        edges = [self.edge(number) for number in (0, 1)]
        if any(isinstance(node, Edge) for node in self.past):
            # What an edge knew that was killed went with it.
            return
        if (ends := sum(edge.outlets.ends for edge in edges)) != (accepts := self.library.virtual_accepts()):
            self.broken(f"outcomes: {accepts} connections were accepted, and {ends} ends were told")
        for edge in edges:
            edge.outlets.check()
            if self.scenario.clients and not self.scenario.outlets:
                edge.clients.check_sums()
        nudged, early = self.counts["stream nudged"], self.library.virtual_early_ends()
        if early > 2 * nudged:
            self.broken(f"whole: {early} times an end came before the other side's, and {nudged} streams were let go")

    def remains(self) -> str:
        """What nodes still keep of streams that have ended, or have still to do, or nothing."""
        for node in self.nodes.values():
            if node.alive and (streams := node.core.streams()):
                return f"node {node.name} has {streams} streams"
            for session, facts in node.core.sessions().items() if node.alive else ():
                if facts["retained_bytes"] or facts["streams"]:
                    return f"session {session} of node {node.name} has {facts}"
            if node.alive and isinstance(node, Edge) and (rounds := node.outlets.rounds_left()):
                return f"node {node.name} has {rounds} rounds under way"
        return ""

    def _is_to_be_told(self) -> bool:
        """Whether a shadow has no outcome yet, as at an edge that stands still."""
        edges = [node for node in self.nodes.values() if node.alive and isinstance(node, Edge)]
        return any(edge.outlets.shadows_left() for edge in edges)

    def _leave(self) -> None:
        """All nodes are stopped: nothing of them is left."""
        for node in self.nodes.values():
            if node.alive:
                counters = node.core.counters()
                self.counts["steps mixed"] += counters["rekeys_mixed_total"]
                for what in ("late", "replayed"):
                    self.counts[f"datagrams {what}"] += counters[f"datagram_frames_{what}_total"]
                node.stopped()
        self.look()

    def _end(self) -> None:
        self.is_over = True
        for node in self.nodes.values():
            if node.alive:
                node.alive = False
                self.library.virtual_owner(node.owner)
                node.core.stop()
        for node in {*self.nodes.values(), *self.past}:
            del node.core
        self.library.virtual_end()


def outcome_of(scenario: Scenario, fault: tuple[str, int] | None = None) -> Outcome:
    return World(scenario, fault).run()
