"""What one neighbour says or chooses takes no link, path or allowance from another."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from doubles import Member
from lying_relay import LyingRelay
from stage import Stage, free_port, until
from witness import counts, host_port

pytestmark = pytest.mark.tier_test


async def test_an_acceptor_that_gives_the_id_of_another_link(tmp_path: Path) -> None:
    """Preambles show the ids of links: whoever is dialled may call its own link by one of them."""
    port = free_port()
    with Stage(tmp_path) as stage:
        malicious = LyingRelay(stage.pki)
        to_malicious = [{"peer": malicious.member.dotted, "address": host_port(malicious.port)}]
        table = {"memory": "64MiB", "lanes": 1}
        relay = stage.relay("relay-2", listens=[host_port(port)], links=to_malicious, node_table=table)
        await asyncio.to_thread(stage.start)
        async with Member.new(stage.pki).linked(port) as good:
            # It is dialled again and again, and answers once there is an id that it may take.
            malicious.link_id = good.reference.link_id
            async with malicious:
                await asyncio.to_thread(until, lambda: len(relay.log("link.up")) == 2, 15.0, "both links are up")
                await good.lane()
                malicious.cut()
                await asyncio.to_thread(until, lambda: relay.log("link.down"), 15.0, "the malicious one has gone")
                await good.lane()
        assert not counts(relay).get("lane_unknown_link")
