"""Each datagram that comes is counted once: as sent, as received, or as dropped for one cause."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from pcgrelay._core.face import core as native
from pcgrelay._core.face.end_bodies import end_bodies
from tests.native.probe_datagrams import DROPS, is_late
from tests.support.applications import Across
from tests.support.cores import Node, carried_out
from tests.support.datagrams import Terms, ask, client, dropped, import_rows, serve, server
from tests.support.handover import hand_over
from tests.support.handover_records import FLOW, HEAD, SESSION, WORKER, changed, item, word
from tests.support.stream_ends import end_of
from tests.support.waiting import until

SETUP = 12
QUEUE, NO_STREAM = 0, 5
DONE, LIMIT = 0, 2
# Of a service whose datagrams may wait long, and come from one address alone.
PATIENT = Terms(wait_ms=60_000, prefixes=(("127.0.0.1", 32),))


def sent(node: Node) -> int:
    return node.core.counters()["datagrams_sent_total"]


def told(node: Node) -> tuple[int, int, tuple[int, ...]]:
    """What the end of its association says: sent, received, and dropped by cause."""
    fields = end_of(node)[SETUP]
    assert isinstance(fields, tuple)
    _, of_sent, received, drops = fields[-4:]
    return of_sent, received, drops


@contextlib.contextmanager
def silence(across: Across) -> Iterator[None]:
    """The far edge stands still: the flow has lost its path, and nobody answers on the next one until this is over."""
    across.far.core.freeze()
    near, far = across.realm.number(), across.realm.number()
    across.far.core.session_path(across.session, link=across.links[0], in_label=far, out_label=near)
    across.near.core.session_path(across.session, link=across.links[0], in_label=near, out_label=far)
    carried_out(across.near)
    yield
    across.far.core.start()


def until_read(across: Across, asker: socket.socket) -> None:
    """Wait until all that was sent has been read: what one that is not served says comes last."""
    with client(asker.getpeername(), "127.0.0.9") as stranger:
        stranger.send(b"after them")
        until(lambda: dropped(across.near).get("source") == 1)


def answers(asker: socket.socket, data: bytes) -> bool:
    with contextlib.suppress(TimeoutError):
        return ask(asker, data) == data
    return False


# -- sockets that are full --------------------------------------------------------------------------------------------


def test_what_finds_no_room_in_the_socket_is_counted() -> None:
    """Without another datagram that does: a flood may be over."""
    with (
        Across(relays=0) as across,
        server(lambda _data, _source: None) as target,
        client(serve(across, target.address)) as asker,
    ):
        across.near.core.freeze()
        for _ in range(5_000):
            asker.send(bytes(1_000))
        across.near.core.start()
        until(lambda: sent(across.near) + dropped(across.near).get("queue", 0) == 5_000)
        assert dropped(across.near).keys() == {"queue"}


def test_what_finds_no_room_before_the_socket_is_closed_is_counted() -> None:
    with (
        Across(relays=0) as across,
        server(lambda _data, _source: None) as target,
        client(serve(across, target.address)) as asker,
    ):
        across.near.core.freeze()
        for _ in range(5_000):
            asker.send(bytes(1_000))
        across.near.core.import_unlisten(0)
        across.near.core.start()
        until(lambda: "queue" in dropped(across.near))
        # What it had room for was never read.
        assert 0 < dropped(across.near)["queue"] < 5_000
        assert sent(across.near) == 0


def test_what_finds_no_room_in_the_socket_of_an_association_is_counted() -> None:
    with Across(relays=0) as across, server() as target, client(serve(across, target.address)) as asker:
        ask(asker, b"begin")
        across.far.core.freeze()
        for _ in range(2_000):
            target.socket.sendto(bytes(1_000), target.seen[0][1])
        across.far.core.start()
        until(lambda: sent(across.far) + dropped(across.far).get("queue", 0) == 2_001)
        assert dropped(across.far).keys() == {"queue"}
        across.near.core.import_unlisten(0)
        of_sent, received, drops = told(across.far)
        assert (of_sent + drops[QUEUE], received) == (2_001, 1)
        assert sum(drops) == drops[QUEUE] > 0


def test_what_finds_no_room_during_a_hand_over_is_counted_by_the_next_process() -> None:
    with (
        Across(relays=0) as across,
        server(lambda _data, _source: None) as target,
        client(serve(across, target.address)) as asker,
    ):

        def flood(record: bytearray) -> bytearray:
            for _ in range(5_000):
                asker.send(bytes(1_000))
            return record

        for rounds in range(1, 4):
            hand_over(across, across.near, imports=import_rows(across.session), change=flood)
            until(lambda n=5_000 * rounds: sent(across.near) + dropped(across.near).get("queue", 0) == n)
        assert dropped(across.near).keys() == {"queue"}


# -- flows that send nothing ------------------------------------------------------------------------------------------


def test_what_waits_longer_than_its_service_says_goes() -> None:
    """A flow that has lost its path sends nothing; what comes meanwhile is of no use once it is back."""
    with (
        Across(relays=0) as across,
        server() as target,
        client(serve(across, target.address, Terms(wait_ms=200))) as asker,
    ):
        ask(asker, b"begin")
        with silence(across):
            for _ in range(10):
                asker.send(b"late")
            until(lambda: dropped(across.near) == {"age": 10})
        # The flow goes on, and so does the association.
        asker.settimeout(0.2)
        until(lambda: answers(asker, b"in time"))
        assert [data for data, _ in target.seen if data == b"late"] == []


def test_what_waits_when_its_association_ends_is_counted() -> None:
    with (
        Across(relays=0) as across,
        server() as target,
        client(serve(across, target.address, PATIENT)) as asker,
    ):
        ask(asker, b"begin")
        with silence(across):
            for _ in range(3):
                asker.send(b"never")
            until_read(across, asker)
            across.near.core.import_unlisten(0)
            of_sent, received, drops = told(across.near)
        assert (of_sent, received) == (1, 1)
        assert sum(drops) == drops[NO_STREAM] == dropped(across.near)["no_stream"] == 3


def test_what_waits_in_a_process_that_is_replaced_is_counted() -> None:
    with (
        Across(relays=0) as across,
        server() as target,
        client(serve(across, target.address, PATIENT)) as asker,
    ):
        ask(asker, b"begin")
        with silence(across):
            for _ in range(3):
                asker.send(b"never")
            until_read(across, asker)
            hand_over(across, across.near, imports=import_rows(across.session, PATIENT))
        assert dropped(across.near) == {"source": 1, "no_stream": 3}
        asker.settimeout(0.2)
        until(lambda: answers(asker, b"goes on"))


def test_what_no_key_bears_waits_and_is_not_counted_as_sent() -> None:
    """So it is after an upgrade from a version that had none for datagrams, until the step of keys that follows."""
    sender, datagrams_from = (WORKER, SESSION, FLOW, 2), 16
    with Across(relays=0) as across, server() as target:
        terms = Terms(wait_ms=200)

        def without_a_key(record: bytearray) -> bytearray:
            return record[:HEAD] + changed(bytes(record[HEAD:]), sender, item(datagrams_from, word(2)))

        with client(serve(across, target.address, terms)) as asker:
            ask(asker, b"begin")
            # A step follows at once, and is not enough here.
            hand_over(across, across.near, imports=import_rows(across.session, terms), change=without_a_key)
            for _ in range(10):
                asker.send(b"never")
            until(lambda: dropped(across.near) == {"age": 10})
            assert sent(across.near) == 1


# -- targets and orders -----------------------------------------------------------------------------------------------


def test_what_cannot_be_sent_to_its_target_is_counted() -> None:
    # A socket that may not broadcast has no way there.
    with Across(relays=0) as across, client(serve(across, ("255.255.255.255", 9))) as asker:
        # Its OPEN and itself come together.
        across.far.core.freeze()
        asker.send(b"anybody")
        until(lambda: sent(across.near) == 1)
        carried_out(across.near)
        across.far.core.start()
        assert told(across.far)[0:2] == (0, 0)
        assert dropped(across.far) == {"unreachable": 1}


@pytest.mark.parametrize(
    ("unlistened", "at", "late"),
    [
        ([], 0, False),
        ([5], 0, True),
        ([4], 0, False),
        ([5], 1, False),
        ([5, 4], 1, False),
        ([4, 5], 1, True),
        ([5, *range(100, 116)], 1, False),
        # Who cannot know drops it.
        ([5, *range(100, 117)], 1, True),
        # It comes from a worker that has carried out more of them.
        ([4], 3, False),
    ],
)
def test_a_batch_of_an_import_whose_sockets_were_closed_meanwhile_is_late(
    unlistened: list[int], at: int, late: bool
) -> None:
    """Of import 5, read when its worker had carried out `at` of these orders; this one has carried out all."""
    assert is_late(unlistened, at, 5) is late


# -- ends that are told together --------------------------------------------------------------------------------------

CLIENTS = 30
# Of a line: its numbers alone, with spaces between.
PARTS = (b"", b" ", b" ", b" ", b" ", b" ", b" ", b"")


def test_associations_that_were_done_are_told_in_one_with_their_datagrams() -> None:
    """At a server of names each question is an association: to be told of each would cost more than to carry it."""
    terms = Terms(idle_ms=300)
    with Across(relays=0) as across, server() as target, contextlib.ExitStack() as stack:
        address = serve(across, target.address, terms)
        for _ in range(CLIENTS):
            asker = stack.enter_context(client(address))
            assert ask(asker, b"name") == ask(asker, b"name") == b"name"
        for node, opener in ((across.near, True), (across.far, False)):
            found: list[tuple[Any, ...]] = []

            def are_all_told(node: Node = node, found: list[tuple[Any, ...]] = found) -> bool:
                events = node.core.events(4_096, False, True)
                found.extend(each for each in events if each[0] == native.EVENT_STREAMS_DONE)
                assert native.EVENT_STREAM_END not in [each[0] for each in events]
                return sum(each[4] for each in found) == CLIENTS

            until(are_all_told)
            for _, is_opener, _, session, count, _, sums, _, service, details, protocol, *ended in found:
                assert (is_opener, session, service, protocol) == (opener, across.session, b"echo", "udp")
                assert ended == [DONE, "done", not opener, True]
                assert sums[:2] == (8 * count, 8 * count)
                assert sums[6:] == (2 * count, 2 * count, (0,) * DROPS)
                lines = end_bodies(PARTS, details, 0, 0, b"", 1)
                ending = b',"protocol":"udp","sent_datagrams":2,"received_datagrams":2}'
                assert [line[-len(ending) :] for line in lines] == [ending] * count


@pytest.mark.parametrize("is_answered", [True, False])
def test_associations_that_made_room_for_others_are_told_in_one_if_nobody_wants_each(is_answered: bool) -> None:
    """Of a flood of forged sources each does."""
    terms = Terms(associations=2)
    answer = (lambda data, _: data) if is_answered else (lambda _data, _source: None)
    with Across(relays=0) as across, server(answer) as target, contextlib.ExitStack() as stack:
        address = serve(across, target.address, terms)
        for number in range(CLIENTS + 2):
            asker = stack.enter_context(client(address))
            asker.send(b"name")
            if is_answered:
                assert asker.recv(100) == b"name"
            until(lambda number=number: len(target.seen) > number)
        for node, opener in ((across.near, True), (across.far, False)):
            until(lambda node=node: node.core.streams() == 2)
            found: list[tuple[Any, ...]] = []

            def are_all_told(node: Node = node, found: list[tuple[Any, ...]] = found) -> bool:
                events = node.core.events(4_096, False, crowded=True)
                found.extend(each for each in events if each[0] == native.EVENT_STREAMS_DONE)
                assert native.EVENT_STREAM_END not in [each[0] for each in events]
                return sum(each[4] for each in found) == CLIENTS

            until(are_all_told)
            cause = "limit" if opener else "far-reset"
            for _, is_opener, _, session, count, _, sums, _, service, _, protocol, *ended in found:
                assert (is_opener, session, service, protocol) == (opener, across.session, b"echo", "udp")
                assert ended == [LIMIT, cause, not opener, is_answered]
                assert sums[6:8] == ((count, is_answered * count) if opener else (is_answered * count, count))


def test_each_that_made_room_is_told_where_somebody_wants_it() -> None:
    with Across(relays=0) as across, server() as target, contextlib.ExitStack() as stack:
        address = serve(across, target.address, Terms(associations=1))
        for _ in range(2):
            ask(stack.enter_context(client(address)), b"name")
        found: list[tuple[Any, ...]] = []

        def is_told() -> bool:
            found.extend(across.near.core.events(4_096, False))
            return native.EVENT_STREAM_END in [each[0] for each in found]

        until(is_told)
        assert native.EVENT_STREAMS_DONE not in [each[0] for each in found]


def test_those_that_made_room_are_told_in_one_beside_others_that_are_told_each() -> None:
    """As an access log has it: a line for each that was done, and one for all that a flood has ended."""
    with Across(relays=0) as across, server() as target, contextlib.ExitStack() as stack:
        address = serve(across, target.address, Terms(associations=2))
        for _ in range(5):
            ask(stack.enter_context(client(address)), b"name")
        until(lambda: across.near.core.streams() == 2)
        across.near.core.import_unlisten(0)
        until(lambda: across.near.core.streams() == 0)
        found: list[tuple[Any, ...]] = []

        def are_told() -> bool:
            found.extend(across.near.core.events(4_096, True, crowded=True))
            return len([each for each in found if each[0] == native.EVENT_STREAM_END]) == 2

        until(are_told)
        together = [each for each in found if each[0] == native.EVENT_STREAMS_DONE]
        assert sum(each[4] for each in together) == 3
        assert {each[11] for each in together} == {LIMIT}


def test_each_that_was_done_is_told_where_somebody_wants_it() -> None:
    with Across(relays=0) as across, server() as target:
        address = serve(across, target.address, Terms(idle_ms=100, silent_ms=100))
        with client(address) as asker:
            ask(asker, b"name")
        found: list[tuple[Any, ...]] = []

        def is_told() -> bool:
            found.extend(across.near.core.events(4_096, True, crowded=True))
            return native.EVENT_STREAM_END in [each[0] for each in found]

        until(is_told)
        assert native.EVENT_STREAMS_DONE not in [each[0] for each in found]
