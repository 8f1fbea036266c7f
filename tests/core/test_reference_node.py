"""The neighbour made of the reference, against itself over loopback."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tests.reference.frames import Header, Type, body_encode
from tests.reference.keys import Suite
from tests.reference.lanes import State as LaneState
from tests.reference.node import FarEdge, Link, Neighbour, Session, dial, listen
from tests.reference.records import record_accept, record_data, record_open
from tests.reference.refusals import Reason

LINK = Link(b"l" * 32, b"b" * 32, Suite.AES_256_GCM, b"i" * 16, lanes=2)
NEAR = Session(b"s" * 32, b"c" * 32, Suite.CHACHA20_POLY1305, True, label_out=9, label_in=7)
FAR = Session(b"s" * 32, b"c" * 32, Suite.CHACHA20_POLY1305, False, label_out=7, label_in=9)


@asynccontextmanager
async def two() -> AsyncIterator[tuple[Neighbour, Neighbour]]:
    async with listen(LINK) as (port, taken):
        here = await dial(LINK, "127.0.0.1", port, index=1)
        try:
            there = await taken.get()
            await here.until_up()
            await there.until_up()
            yield here, there
        finally:
            await here.close()


async def test_stream_crosses() -> None:
    async with two() as (here, there):
        near, far = FarEdge(NEAR, here), FarEdge(FAR, there)
        await near.start()
        await far.start()
        near.send(record_open(1, "custody", 65_536), record_data(1, b"question"))
        await there.until(lambda: far.data(1) == b"question")
        far.send(record_accept(1, 65_536), record_data(1, b"answer"))
        await here.until(lambda: near.data(1) == b"answer")
        await here.until(lambda: not near.flow.retained)


async def test_malformed_header_is_named() -> None:
    async with two() as (here, there):
        here.send_header(Header(8, 0x7F), bytes(16), bytes(8))
        await there.ended.wait()
        assert there.lane.reason is Reason.BAD_TYPE
        await here.ended.wait()
        assert here.lane.reason is Reason.PEER_CLOSED


async def test_flipped_bit_is_named() -> None:
    async with two() as (here, there):
        here.send(Type.PING, body_encode(Type.PING, token=1), damage=48)
        await there.ended.wait()
        assert there.lane.reason is Reason.BAD_TAG


@pytest.mark.parametrize(("changes", "reason"), [({"number": 70}, Reason.BAD_TAG), ({"epoch": 5}, Reason.BAD_EPOCH)])
async def test_lie_about_a_flow_frame_is_named(changes: dict[str, int], reason: Reason) -> None:
    async with two() as (here, there):
        near, far = FarEdge(NEAR, here), FarEdge(FAR, there)
        await near.start()
        near.send_frame(Type.ACK, body_encode(Type.ACK, next_number=1), **changes)
        await there.until(lambda: far.refused == [reason])
        assert there.lane.state is LaneState.UP


async def test_relay_of_two_lanes_changes_nothing_but_the_label() -> None:
    async with two() as (here, relay_in), two() as (relay_out, there):
        near, far = FarEdge(replace(NEAR, label_out=21, label_in=22), here), FarEdge(FAR, there)
        relay_in.on_flow[21] = lambda frame: relay_out.send_flow(9, frame)
        relay_out.on_flow[7] = lambda frame: relay_in.send_flow(22, frame)
        await near.start()
        near.send(record_open(1, "custody", 65_536), record_data(1, b"through"))
        await there.until(lambda: far.data(1) == b"through")


async def test_preamble_is_taken_once() -> None:
    async with listen(LINK) as (port, taken):
        first = await dial(LINK, "127.0.0.1", port)
        await first.until_up()
        again = await dial(LINK, "127.0.0.1", port)
        await again.ended.wait()
        assert again.lane.reason is Reason.SOCKET
        assert taken.qsize() == 1
        for lane in (first, again):
            await lane.close()
