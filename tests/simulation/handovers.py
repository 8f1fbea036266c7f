"""A node is handed over to another process, as `gateway/handover.py` and `gateway/takeover.py` do it: the old one's
workers end with their turn, its core's state goes into a record, and its descriptors into other hands. Until "go" the
old one may take all of it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcgrelay._core.face import core as native
from pcgrelay.handover.records import UdpSocketHandover
from tests.simulation.virtual import FAULTS

if TYPE_CHECKING:
    from tests.simulation.nodes import Node
    from tests.simulation.world import World

SETTLES_MOST = 100  # far more than events and what they lead to ever need


def hand_over(world: World, node: Node, *, gives_up: bool, still_ms: float) -> None:
    """Have another process take the place of a node's, or nearly. For still_ms its workers stand still."""
    _settle(world, node)
    old_owner, old = node.owner, node.core
    sockets = node.udp.to_handover()
    record = bytearray(old.handover_size())
    fds = old.handover_write(record)
    owner, fresh = node.process()
    for fd in fds[_strikes(world, "kept_descriptor") :]:
        world.library.virtual_hand_over(fd, owner)
    if left := fresh.handover_read(record, fds):
        world.broken(f"descriptors: nothing came for {len(left)} of node {node.name} in its new process")
    native.wiped(record)
    if gives_up:
        fresh.abandon()
        del fresh
        for fd in fds:
            world.library.virtual_hand_back(fd, old_owner)
        world.library.virtual_owner(old_owner)
        old.start()
        _gone(world, node, owner)
    else:
        node.leaves(old)
        node.owner, node.core = owner, fresh
        world.library.virtual_clients_of(old_owner, owner)
        _go_on(world, node, sockets)
        if _strikes(world, "two_places"):
            _seal_once_more(node, old)
        world.library.virtual_owner(old_owner)
        old.abandon()
        del old
        _gone(world, node, old_owner)
    world.count("hand-over given up" if gives_up else "hand-over")
    world.freeze(node, still_ms)


def _settle(world: World, node: Node) -> None:
    """Until all that was ordered is done, and what came of that is known."""
    node.core.freeze()
    world.library.virtual_owner(node.owner)
    for _ in range(SETTLES_MOST):
        if node.core.settle() and not node.take_events():
            return
    world.broken(f"settles: node {node.name} does not come to rest for its hand-over")


def _go_on(world: World, node: Node, sockets: tuple[UdpSocketHandover, ...]) -> None:
    """In the new process: control connections are lost, and tables come before the first frame."""
    for link in list(node.links.values()):
        link.end(node).restored = True
        link.control_lost()
    node.taken_over()
    node.udp.taken_over(sockets)
    node.core.start()
    # What was there before is no part of the new budget.
    node.squeeze(node.budget)


def _gone(world: World, node: Node, owner: int) -> None:
    """A process is gone without an end to any connection, and has kept none."""
    world.library.virtual_left(owner)
    if kept := world.library.virtual_open_descriptors(owner):
        world.broken(f"descriptors: {kept} of node {node.name} are still open in a process that is gone")


def _seal_once_more(node: Node, old: native.Core) -> None:
    """A fault on purpose."""
    for number in node.links:
        old.link_drain(number, 1)
    old.settle()


def _strikes(world: World, fault: str) -> int:
    return int(world.library.virtual_strikes(FAULTS.index(fault)))
