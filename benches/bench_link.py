"""Rung 3: two edges in memory, with and without a relay between them. No socket, no clock, no application.

A bundle of one record is sealed, retained, carried, opened, checked and acknowledged. A copy stands for each socket.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.native.probe_bench import carry
from tests.support.virtual_wires import World  # the virtual wires of the tests of the core

# A record may be 8 bytes less than the largest body.
SIZES = [64, 1024, 16384, 65528]
BYTES_AT_ONCE = 8 << 20
FRAMES_MOST = 4096


def chain(relays: int) -> Callable[[int, int], int]:
    """Two edges with a session between them; answer how to carry so many frames of that size."""
    world = World()
    near, far = world.edge(), world.edge()
    relay = world.relay() if relays else None
    links = [world.link(near, relay), world.link(relay, far)] if relay else [world.link(near, far)]
    session = world.session(near, far, links, cap=8 << 20)
    numbers = [link.number for link in links]

    def run(size: int, frames: int) -> int:
        assert world.nodes
        return carry(near, relay, far, session=session, links=numbers, size=size, frames=frames)

    return run


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("relays", [0, 1])
def test_link(rounds: Callable[..., None], relays: int, size: int) -> None:
    run = chain(relays)
    count = min(FRAMES_MOST, BYTES_AT_ONCE // size)
    assert run(size, 3) == 3 * size
    rounds(lambda: run(size, count), rung=3, what=f"link, {relays} relays", size=size, count=count)
