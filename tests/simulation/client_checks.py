"""What must hold of clients of datagrams in the end of a world."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.simulation.clients import NUMBER
from tests.simulation.edges import PORT_ANSWERS, PORT_REFUSES, port_of
from tests.simulation.outlets import DIRECT_PORT

if TYPE_CHECKING:
    from tests.simulation.world import World

SAYS, PACE_US = 20, 100_000  # of a client that no network fails
HARM_MS = 5_000  # so long what operations do goes on at most: what is held, still, or silent
WELL_MS = 60_000  # for sessions to be up at both edges: a lost way is waited for, and another set-up has to be tried
# Where a refusal comes back within the time that an outlet has: its patience, the delay of a wire, and its room.
PATIENT_MS, NEAR_US, ROOMY = 300, 5_000, 20_000


# Where packets and frames are dropped on their way. The least datagram of a client takes 28 bytes.
PACKETS_DROPPED = ("packets_not_sent", "refused_token", "refused_late", "refused_replayed")
FRAMES_DROPPED = (
    "datagram_frames_late", "datagram_frames_no_lane", "datagram_frames_no_room", "datagram_frames_old",
    "unknown_flow_frames",
)  # fmt: skip
IN_A_PACKET, IN_A_FRAME = 1_200 // 28, 65_536 // 28


def check_clients(world: World, quiet_us: int) -> None:
    """In a quiet world a client is answered, however much has happened to the gateway before.

    quiet_us: when the last operation had begun. An edge that is not back yet, or has no session that works, drops what
    clients say, as it must; so both edges get their time for that first. Where there are outlets, a client is answered
    too if one of them refuses, by ICMP or by RESET.
    """
    world.run_for(max(0, HARM_MS - (world.later.now_us - quiet_us) / 1000))
    world.wait_for_sessions(WELL_MS)
    ask_and_hear(world, "in a quiet world")
    shape = world.scenario
    if not shape.outlets or shape.patience_ms < PATIENT_MS or shape.delay_us > NEAR_US or shape.room < ROOMY:
        return
    for beside, words in ((0, "which the far side refuses"), (DIRECT_PORT, "which the old network refuses")):
        _targets(world, beside, PORT_REFUSES)
        ask_and_hear(world, words)
        _targets(world, beside, PORT_ANSWERS)


def targets_answer(world: World) -> None:
    """All that a service of datagrams leads to answers again."""
    for beside in (0, DIRECT_PORT):
        _targets(world, beside, PORT_ANSWERS)


def _targets(world: World, beside: int, what: int) -> None:
    for edge in ("e0", "e1"):
        world.library.virtual_datagram_target(port_of(edge, NUMBER) + beside, what)


def ask_and_hear(world: World, words: str) -> None:
    """Have a client of each edge say something that no network fails, and hear an answer."""
    askers = [edge.clients.ask(SAYS, PACE_US, sure=True) for edge in map(world.edge, (0, 1))]
    world.run_for(SAYS * PACE_US / 1000 + 1_000)
    for asker in askers:
        if not world.library.virtual_client_heard(asker, True):
            world.broken(f"datagrams: client {asker} said {SAYS} datagrams, {words}, and heard no answer")


def check_lost(world: World) -> None:
    """In a calm world no more datagrams are lost than were in packets that somebody has lost, or counted as dropped.

    A datagram may be as long as if its packet were a probe: then the network does not know what it loses.
    """
    edges = [world.edge(number) for number in (0, 1)]
    if not world.scenario.udp or not world.scenario.is_calm:
        return
    for edge in edges:
        edge.clients.check_sums()
    lost = sum(edge.clients.said for edge in edges) - sum(edge.clients.arrived for edge in edges)
    totals: Counter[str] = Counter()
    for node in world.nodes.values():
        totals.update(node.core.counters())
    packets = world.library.virtual_packets_lost() + sum(totals[f"udp_{name}_total"] for name in PACKETS_DROPPED)
    frames = sum(totals[f"{name}_total"] for name in FRAMES_DROPPED)
    if not 0 <= lost <= packets * IN_A_PACKET + frames * IN_A_FRAME:
        world.broken(f"account: {lost} datagrams were lost on their way, with {packets} packets and {frames} frames")
