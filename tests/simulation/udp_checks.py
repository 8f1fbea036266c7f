"""What must hold of UDP lanes in the end of a world, when its network is well, and when it is blocked once more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.client_checks import ask_and_hear
from tests.simulation.udp_lanes import host_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.edges import Edge
    from tests.simulation.links import Link, Pair
    from tests.simulation.world import World

PROBE_MS = 500
# An offer after the longest back-off, and a lane that has lost so much that it must lose less for as long as may be.
# The lengths of packets are tried anew meanwhile, a silence for each.
UP_MS = 60_000 + 120_000 + 4 * 5 * PROBE_MS
# Four intervals without an answer, the tick that finds it, and what was on its way (docs/protocol.md, 5.6).
SILENT_MS = 4 * PROBE_MS + PROBE_MS
LOOK_MS = 250


def packets_are(world: World, wild: int) -> None:
    """Have the network of packets be so wild from now on."""
    shape = world.scenario
    world.library.virtual_packets(wild, shape.longest, shape.tells, shape.cuts, shape.delay_us, shape.jitter_us)


def check_udp_lanes(world: World) -> None:
    """Links whose ends want UDP lanes have them again, lose them while they are blocked, and have them once more."""
    if not world.scenario.udp:
        return
    pairs = [pair for pair in world.pairs if _wants(world, pair)]
    _await(world, UP_MS, lambda: _all_up(world, pairs), "are not up, though nothing is in their way")
    if not pairs:
        return
    _carried(world, pairs, "while UDP lanes are up")
    _block(world, pairs, True)
    world.run_for(SILENT_MS + 2 * (world.scenario.delay_us + world.scenario.jitter_us) / 1000)
    for pair in pairs:
        for link, node in _ends(pair):
            if "up" in (states := node.udp.states(link)):
                world.broken(f"udp: node {node.name} has UDP lanes {states}, and nothing comes through")
    ask_and_hear(world, "while UDP lanes are blocked")
    _block(world, pairs, False)
    _await(world, UP_MS, lambda: _all_up(world, pairs), "do not come up again")
    _carried(world, pairs, "after UDP lanes were blocked")


def _wants(world: World, pair: Pair) -> bool:
    return all(world.nodes[name].udp.is_wanted for name in (pair.dialler, pair.acceptor))


def _ends(pair: Pair) -> list[tuple[Link, object]]:
    link = pair.link
    assert link is not None
    return [(link, end.node) for end in (link.a, link.b)]


def _all_up(world: World, pairs: list[Pair]) -> bool:
    wanted = ["up"] * world.scenario.lanes
    for pair in pairs:
        link = pair.link
        if link is None or not link.a.is_open or not link.b.is_open:
            return False
        if any(node.udp.states(link) != wanted for link, node in _ends(pair)):
            return False
    return True


def _await(world: World, most_ms: int, holds: Callable[[], bool], words: str) -> None:
    waited_ms = 0
    while not holds():
        if waited_ms > most_ms:
            world.broken(f"udp: after {waited_ms} ms UDP lanes {words}: {_shown(world)}")
        world.run_for(LOOK_MS)
        waited_ms += LOOK_MS


def _shown(world: World) -> dict[str, list[list[str]]]:
    return {
        f"{pair.dialler}-{pair.acceptor}": [node.udp.states(link) for link, node in _ends(pair) if node.alive]
        for pair in world.pairs
        if pair.link is not None
    }


def _block(world: World, pairs: list[Pair], are_blocked: bool) -> None:
    """In one direction, or in both."""
    for pair in pairs:
        ends = (host_number(pair.dialler), host_number(pair.acceptor))
        which = world.scenario.seed % 3
        for direction in [ends] * (which != 0) + [ends[::-1]] * (which != 1):
            world.library.virtual_packets_block(*direction, are_blocked)


def _carried(world: World, pairs: list[Pair], words: str) -> None:
    """What clients say goes by UDP, where the first link of their way has it."""
    edges = [edge for edge in map(world.edge, (0, 1)) if _leaves_by_udp(edge, pairs) and not world.scenario.outlets]
    before = [edge.udp.sums.datagrams for edge in edges]
    ask_and_hear(world, words)
    for edge, said in zip(edges, before, strict=True):
        if edge.udp.sums.datagrams <= said:
            world.broken(f"udp: no datagram of node {edge.name} goes by UDP, {words}")


def _leaves_by_udp(edge: Edge, pairs: list[Pair]) -> bool:
    paths = [session.path for session in edge.sessions.values()]
    return bool(paths) and all(path is not None and path.link.pair in pairs for path in paths)
