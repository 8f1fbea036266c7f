"""A line of nodes whose one link is long: what stands at its near end is in one network, the rest in another."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.scenarios.kit.distance import Side, far_apart
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, Line, Service, Stage
from tests.support.ports import free_port

CLONE_NEWNET = 0x4000_0000
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def long_line(
    folder: Path,
    topology: str,
    services: Sequence[str],
    *,
    round_trip_ms: float,
    lost_of_a_thousand: int,
    exported: Mapping[str, Any],
    imported: Mapping[str, Any],
) -> Iterator[tuple[Line, Side, Side]]:
    """The nodes, started and well, and both networks. topology: edge-edge, or edge-relay-relay-edge.

    The importing edge is near, with its relay; the long link is that between the relays, or between the edges.
    exported, imported: keys of each export and import.
    """
    made = {name: Service(name, (HOST, free_port()), (HOST, free_port())) for name in services}
    exports = [
        {"service": name, "target": f"{HOST}:{service.target[1]}", "allow": [MET], **exported}
        for name, service in made.items()
    ]
    imports = [
        {"service": service.full_name, "listen": f"{HOST}:{service.door[1]}", **imported} for service in made.values()
    ]
    with far_apart(folder, round_trip_ms, lost_of_a_thousand) as (near, far), Stage(folder) as stage:
        at_near, at_far = f"{HOST}:{free_port()}", f"{far.address}:{free_port()}"
        if topology == "edge-edge":
            met = stage.node(MET, "met-1", links=[{"peer": f"kent-1.{KENT}", "address": at_far}], imports=imports)
            kent = stage.node(KENT, "kent-1", listens=[at_far], exports=exports)
            relays = []
        else:
            further = [{"peer": f"relay-2.{HUB}", "address": at_far}]
            relays = [
                stage.relay("relay-1", listens=[at_near], links=further),
                stage.relay("relay-2", listens=[at_far]),
            ]
            met = stage.node(MET, "met-1", links=[{"peer": f"relay-1.{HUB}", "address": at_near}], imports=imports)
            kent = stage.node(KENT, "kent-1", links=further, exports=exports)
        for node in (met, *relays[:1]):
            node.prefix = near.prefix
        for node in (kent, *relays[1:]):
            node.prefix = far.prefix
        found = Line(stage, topology, met, kent, tuple(relays), made)
        found.start()
        yield found, near, far


@contextmanager
def inside(side: Side) -> Iterator[None]:
    """Have this thread, and what it starts, live in one of the networks until the end of the block."""
    before, there = (os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in _namespaces(side))
    try:
        _enter(there)
        try:
            yield
        finally:
            _enter(before)
    finally:
        os.close(before)
        os.close(there)


def _namespaces(side: Side) -> tuple[str, str]:
    return "/proc/thread-self/ns/net", f"/run/netns/{side.name}"


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET):
        error = ctypes.get_errno()
        raise PermissionError(error, f"{os.strerror(error)}: scenarios with a network of their own run as root")
