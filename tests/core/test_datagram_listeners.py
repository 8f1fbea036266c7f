"""What comes by each listener of an import of datagrams is counted: an old address is quiet when nobody comes there."""

from __future__ import annotations

import contextlib

from tests.support.applications import Across
from tests.support.cores import carried_out
from tests.support.datagrams import Terms, ask, client, dropped, import_rows, listen, publish, server
from tests.support.handover import hand_over
from tests.support.waiting import until

COUNTS = 7


def test_who_is_not_served_comes_too() -> None:
    """As a connection that is refused counts as one."""
    terms = Terms(prefixes=(("127.0.0.1", 32),))
    with Across(relays=0) as across, server() as target:
        publish(across, target.address, near=terms)
        address = listen(across.near, counts=COUNTS)
        with client(address) as asker, client(address, "127.0.0.9") as stranger:
            assert [ask(asker, b"one"), ask(asker, b"two")] == [b"one", b"two"]
            assert across.near.core.listener(COUNTS)[:2] == (1, 1)
            stranger.send(b"three")
            until(lambda: dropped(across.near) == {"source": 1})
            assert across.near.core.listener(COUNTS)[:2] == (2, 1)
            across.near.core.publish(exports=[], imports=[], grants=[])
            carried_out(across.near)
            with client(address) as another:
                another.send(b"four")
                until(lambda: dropped(across.near).get("no_route") == 1)
            assert across.near.core.listener(COUNTS)[0] == 3


def test_what_another_worker_is_handed_is_counted_as_well() -> None:
    """Here, and in another core."""
    with Across(relays=0, workers=2, lanes=1) as across, server() as target, contextlib.ExitStack() as stack:
        publish(across, target.address)
        address = listen(across.near, counts=COUNTS)
        for rounds in range(1, 3):
            for number in range(20):
                assert ask(stack.enter_context(client(address)), b"%d" % number) == b"%d" % number
            until(lambda n=20 * rounds: across.near.core.listener(COUNTS)[:2] == (n, n))
            hand_over(across, across.near, imports=import_rows(across.session))
        assert across.near.core.counters()["datagrams_handed_total"] > 0
