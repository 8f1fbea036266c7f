"""Nodes keep services of datagrams to their rates: in both directions, at both edges, by direct outlets too."""

from __future__ import annotations

import socket

import pytest

from tests.support.applications import Across
from tests.support.cores import Node
from tests.support.datagram_outlets import DatagramOutlets
from tests.support.datagrams import Server, Terms, ask, client, dropped, import_rows, serve, server
from tests.support.handover import hand_over
from tests.support.handover_records import ASSOCIATION, FLOW, HEAD, SESSION, STREAM, WORKER, changed, item
from tests.support.stream_ends import end_of
from tests.support.waiting import until

KIB, GIB = 1 << 10, 1 << 30
# At the least rate: what may come at once, and hardly anything after it.
AT_ONCE = 65_536
SIZE, MANY = 1_024, 200
RATE = 8  # its place among the causes
SETUP = 12
AN_ASSOCIATION, DROPPED = (WORKER, SESSION, FLOW, STREAM, ASSOCIATION), 11


def limit(node: Node, rate: int, *, is_import: bool = True) -> None:
    row = [(0, 0, 0, 0, 0, 0, rate)]
    node.core.bounds(imports=row if is_import else [], exports=[] if is_import else row)


def flood(asker: socket.socket, many: int = MANY) -> None:
    for _ in range(many):
        asker.send(bytes(SIZE))


def counted(node: Node, *names: str) -> int:
    counts = node.core.counters()
    return sum(counts[f"datagrams_{name}_total"] for name in names)


def passes_its_share(passed: int) -> bool:
    """The least rate lets one more through each second; a machine may be busy for some."""
    return AT_ONCE // SIZE - 2 <= passed <= AT_ONCE // SIZE + 20


def answer_many(target: Server, node: Node, passed: str) -> None:
    """Have the target of the one association answer often, and no more at a time than its socket has room for."""
    until(lambda: counted(node, passed) == 1)
    for number in range(1, MANY + 1):
        target.socket.sendto(bytes(SIZE), target.seen[0][1])
        if number % 50 == 0:
            until(lambda wanted=1 + number: counted(node, passed, "dropped_rate") == wanted)


def told(node: Node) -> tuple[int, int, tuple[int, ...]]:
    """What the end of its association says: sent, received, and dropped by cause."""
    fields = end_of(node)[SETUP]
    assert isinstance(fields, tuple)
    return fields[-3:]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_applications_send_beyond_the_rate_of_an_import_is_dropped(workers: int) -> None:
    with (
        Across(relays=0, lanes=workers, workers=workers) as across,
        server(lambda _data, _source: None) as target,
        client(serve(across, target.address)) as asker,
        client(asker.getpeername()) as other,
    ):
        limit(across.near, KIB)
        for each in (asker, other):
            each.send(b"begin")
        until(lambda: counted(across.far, "received") == 2)
        for _ in range(MANY // 2):
            for each in (asker, other):
                each.send(bytes(SIZE))
        until(lambda: counted(across.near, "sent", "dropped_rate") == MANY + 2)
        assert dropped(across.near).keys() == {"rate"}
        assert passes_its_share(counted(across.near, "sent") - 2)
        across.near.core.import_unlisten(0)
        of_sent, received, drops = told(across.near)
        assert (of_sent + drops[RATE], received) == (MANY // 2 + 1, 0)
        assert sum(drops) == drops[RATE] > 0
        assert dropped(across.far) == {}


def test_no_association_begins_for_what_is_beyond_the_rate() -> None:
    with (
        Across(relays=0) as across,
        server(lambda _data, _source: None) as target,
        client(serve(across, target.address)) as asker,
    ):
        limit(across.near, KIB)
        flood(asker)
        until(lambda: counted(across.near, "sent", "dropped_rate") == MANY)
        opened = across.near.core.counters()["streams_opened_total"]
        with client(asker.getpeername()) as other:
            other.send(bytes(60_000))
            until(lambda: counted(across.near, "sent", "dropped_rate") == MANY + 1)
        assert across.near.core.counters()["streams_opened_total"] == opened
        assert len({source for _, source in target.seen}) == 1


def test_who_may_not_send_takes_nothing_of_the_rate() -> None:
    with (
        Across(relays=0) as across,
        server() as target,
        client(serve(across, target.address, Terms(prefixes=(("127.0.0.1", 32),)))) as asker,
        client(asker.getpeername(), "127.0.0.9") as stranger,
    ):
        limit(across.near, KIB)
        flood(stranger)
        until(lambda: dropped(across.near) == {"source": MANY})
        assert ask(asker, b"question") == b"question"


@pytest.mark.parametrize("at", ["near", "far"])
def test_answers_have_a_rate_of_their_own(at: str) -> None:
    """In the other direction, at the importing edge and at the exporting one."""
    with Across(relays=0) as across, server() as target, client(serve(across, target.address)) as asker:
        node: Node = getattr(across, at)
        assert ask(asker, b"begin") == b"begin"
        limit(node, KIB, is_import=at == "near")
        answer_many(target, node, "sent" if at == "far" else "received")
        assert dropped(node).keys() == {"rate"}
        assert passes_its_share(counted(across.near, "received") - 1)
        # Questions go on.
        for _ in range(10):
            asker.send(b"question")
        until(lambda: len(target.seen) == 11)


def test_what_comes_for_a_target_beyond_the_rate_of_its_export_is_dropped() -> None:
    with (
        Across(relays=0) as across,
        server(lambda _data, _source: None) as target,
        client(serve(across, target.address)) as asker,
    ):
        limit(across.far, KIB, is_import=False)
        flood(asker)
        until(lambda: counted(across.far, "received", "dropped_rate") == MANY)
        assert passes_its_share(counted(across.far, "received"))
        assert (counted(across.near, "sent"), dropped(across.near)) == (MANY, {})
        across.near.core.import_unlisten(0)
        drops = told(across.far)[2]
        assert sum(drops) == drops[RATE] == counted(across.far, "dropped_rate")


def test_a_reload_changes_it_and_ends_nothing() -> None:
    with Across(relays=0) as across, server() as target, client(serve(across, target.address)) as asker:
        limit(across.near, KIB)
        flood(asker)
        until(lambda: counted(across.near, "sent", "dropped_rate") == MANY)
        before = counted(across.near, "dropped_rate")
        limit(across.near, GIB)
        asker.settimeout(0.2)

        def is_asked() -> bool:
            try:
                return ask(asker, b"more" * 100) != b""
            except TimeoutError:
                return False

        # What is used up lasts for a tenth of a second more at the most.
        until(is_asked)
        limit(across.near, 0)
        flood(asker)
        until(lambda: counted(across.near, "sent") >= MANY)
        limit(across.near, KIB)
        flood(asker)
        until(lambda: counted(across.near, "dropped_rate") > before + MANY // 2)
        assert across.near.core.streams() == 1
        assert len({source for _, source in target.seen}) == 1


@pytest.mark.parametrize("before", [False, True])
def test_it_holds_after_an_upgrade(before: bool) -> None:
    """From a version that knew no rates, too: its associations have eight causes."""

    def as_before(record: bytearray) -> bytearray:
        eight = item(DROPPED, bytes(8 * 4))
        return record[:HEAD] + changed(bytes(record[HEAD:]), AN_ASSOCIATION, eight) if before else record

    with (
        Across(relays=0) as across,
        server(lambda _data, _source: None) as target,
        client(serve(across, target.address)) as asker,
    ):
        flood(asker, 3)
        until(lambda: counted(across.near, "sent") == 3)
        hand_over(across, across.near, imports=import_rows(across.session), change=as_before)
        limit(across.near, KIB)
        flood(asker)
        until(lambda: counted(across.near, "sent", "dropped_rate") == MANY + 3)
        assert passes_its_share(counted(across.near, "sent") - 3)
        dropped_now = counted(across.near, "dropped_rate")
        hand_over(across, across.near, imports=import_rows(across.session))
        assert counted(across.near, "dropped_rate") == dropped_now
        assert len({source for _, source in target.seen}) == 1


# -- direct outlets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answers", [False, True])
def test_direct_outlets_are_within_it(answers: bool) -> None:
    with Across(relays=0) as across, server() as far, server() as target:
        outlets = DatagramOutlets(across, far.address, target.address)
        outlets.publish(shares=200)
        with client(outlets.address) as asker:
            assert ask(asker, b"begin") == b"begin"
            limit(across.near, KIB)
            if answers:
                answer_many(target, across.near, "received")
            else:
                flood(asker)
                until(lambda: counted(across.near, "sent", "dropped_rate") == MANY + 1)
            assert dropped(across.near).keys() == {"rate"}
            assert passes_its_share(counted(across.near, "received" if answers else "sent") - 1)
        assert far.seen == []
