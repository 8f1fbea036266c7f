"""Services of datagrams over real workers and sockets: associations begin, carry, are bounded and end."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest

from pcgrelay._core.face import core as native
from tests.support.applications import Across, is_turned_away, transfer
from tests.support.applications import echo as echo_stream
from tests.support.applications import server as stream_server
from tests.support.cores import carried_out
from tests.support.cores import listen as listen_for_streams
from tests.support.datagrams import Terms, ask, client, dropped, import_rows, listen, publish, serve, server
from tests.support.ports import free_port
from tests.support.stream_ends import causes, end_of, ends
from tests.support.waiting import until

REMOTE, SETUP = 11, 12
AT_ONCE = 64  # that one call reads or writes


def datagrams_of(event: tuple[object, ...]) -> tuple[object, ...]:
    """Protocol, sent, received, and dropped in all, of the end of an association."""
    fields = event[SETUP]
    assert isinstance(fields, tuple)
    protocol, sent, received, drops = fields[-4:]
    return protocol, sent, received, sum(drops)


# -- there and back ---------------------------------------------------------------------------------------------------


def test_a_datagram_there_and_back(across: Across) -> None:
    with server() as target, client(serve(across, target.address)) as asker:
        assert ask(asker, b"hello") == b"hello"


@pytest.mark.parametrize("size", [0, 1, 512, 1_232, 4_096, 16_384, 65_507])
def test_a_datagram_of_any_size_arrives_whole(across: Across, size: int) -> None:
    data = bytes(at % 251 for at in range(size))
    with server() as target, client(serve(across, target.address)) as asker:
        assert ask(asker, data) == data


def test_each_client_gets_its_own_answers(across: Across) -> None:
    with server(lambda data, _: data[::-1]) as target, contextlib.ExitStack() as stack:
        address = serve(across, target.address)
        askers = [stack.enter_context(client(address)) for _ in range(200)]
        for round_ in range(3):
            for number, asker in enumerate(askers):
                asker.send(b"%d of %d" % (number, round_))
            for number, asker in enumerate(askers):
                assert asker.recv(100) == (b"%d of %d" % (number, round_))[::-1]
    assert len({source for _, source in target.seen}) == 200


def test_a_target_may_say_more_than_it_was_asked(across: Across) -> None:
    with server(lambda _data, _source: None) as target, client(serve(across, target.address)) as asker:
        asker.send(b"subscribe")
        until(lambda: target.seen)
        for number in range(50):
            target.socket.sendto(b"%d" % number, target.seen[0][1])
            assert asker.recv(100) == b"%d" % number


def test_an_answer_leaves_from_the_address_that_was_asked(across: Across) -> None:
    with server() as target, client() as asker:
        publish(across, target.address)
        _, port = listen(across.near, host="0.0.0.0")
        for host in ("127.0.0.1", "127.0.0.2", "127.9.9.9"):
            asker.sendto(b"who", (host, port))
            assert asker.recvfrom(100) == (b"who", (host, port))
    # It is another association for each: which one an answer belongs to is known by its target's side alone.
    assert len({source for _, source in target.seen}) == 3


def test_clients_and_targets_of_ipv6_are_served(across: Across) -> None:
    with server(host="::1") as target, client(source="::1") as asker:
        publish(across, target.address)
        asker.connect(listen(across.near, host="::1"))
        assert ask(asker, b"six") == b"six"


def test_streams_go_on_beside_datagrams(across: Across) -> None:
    data = bytes(3_000_000)
    with stream_server(echo_stream) as echo, server() as target:
        across.far.core.publish(
            exports=[
                (0, b"echo", 1, 0, native.EXPORT_READY, 2000, [target.address], (), False, tuple(Terms()[:3])),
                (1, b"bulk", 1, 0, native.EXPORT_READY, 2000, [echo]),
            ],
            imports=[],
            grants=[(across.session, [0, 1])],
        )
        bulk = (1, b"bulk", 1, 0, native.IMPORT_LIVE, [(across.session, 2, 100)])
        across.near.core.publish(exports=[], imports=[*import_rows(across.session), bulk], grants=[])
        address, streams = listen(across.near), listen_for_streams(across.near, 1)
        with client(address) as asker:
            for _ in range(3):
                assert transfer(streams, data) == data
                assert ask(asker, b"still here") == b"still here"


# -- ends -------------------------------------------------------------------------------------------------------------


def test_an_association_that_is_idle_ends_in_order_at_both_edges(across: Across) -> None:
    terms = Terms(idle_ms=1_000)  # no busy machine needs so long from one question to the next
    with server() as target, client(serve(across, target.address, terms)) as asker:
        for _ in range(3):
            assert ask(asker, b"four") == b"four"
        near, far = end_of(across.near), end_of(across.far)
    assert near[1:7] == (True, 0, across.session, b"echo", 12, 12)
    assert far[1:7] == (False, 0, across.session, b"echo", 12, 12)
    assert near[8:10] == far[8:10] == (0, "done")
    assert datagrams_of(near) == datagrams_of(far) == ("udp", 3, 3, 0)
    assert across.near.core.streams() == across.far.core.streams() == 0
    # Its client begins another.
    with server() as target, client(serve(across, target.address, terms)) as asker:
        assert ask(asker, b"again") == b"again"


def test_the_importers_end_goes_first() -> None:
    """What a client says just then meets an association that is still there, or begins one."""
    near, far = Terms(idle_ms=400), Terms(idle_ms=300)
    with Across(relays=0) as across, server() as target, client(serve(across, target.address, near, far)) as asker:
        ask(asker, b"begin")
        first, second = end_of(across.near), end_of(across.far)
    assert (first[REMOTE], second[REMOTE]) == (False, True)


def test_traffic_either_way_keeps_an_association() -> None:
    terms = Terms(idle_ms=1_500, silent_ms=1_500)
    with Across(relays=0) as across, server() as target, client(serve(across, target.address, terms)) as asker:
        ask(asker, b"begin")
        began = time.monotonic()
        while time.monotonic() < began + 3.5:
            # The target alone speaks.
            target.socket.sendto(b"tick", target.seen[0][1])
            assert asker.recv(100) == b"tick"
            time.sleep(0.05)
        assert ends(across.near) == ends(across.far) == []
        assert len(target.seen) == 1


def test_one_that_was_never_answered_has_a_time_of_its_own() -> None:
    terms = Terms(idle_ms=60_000, silent_ms=300)
    with Across(relays=0) as across, server(lambda _data, _source: None) as target:
        asker = client(serve(across, target.address, terms))
        asker.send(b"syslog")
        assert datagrams_of(end_of(across.near)) == ("udp", 1, 0, 0)
        assert datagrams_of(end_of(across.far)) == ("udp", 0, 1, 0)
        asker.close()


def test_a_port_that_nobody_listens_on_is_unreachable(across: Across) -> None:
    address = serve(across, ("127.0.0.1", free_port()))
    with client(address) as asker:
        asker.send(b"anybody")
        assert causes(across.far) == (6, "target-refused")
        assert causes(across.near) == (6, "far-reset")


def test_an_association_ends_with_its_session(across: Across) -> None:
    with server() as target, client(serve(across, target.address)) as asker:
        ask(asker, b"begin")
        across.near.core.session_close(across.session, 0)
        assert causes(across.near)[1] == "session-lost"
        assert causes(across.far)[1] == "session-lost"
        asker.send(b"gone")
        until(lambda: dropped(across.near) == {"no_route": 1})


def test_one_whose_import_is_no_more_listened_for_ends(across: Across) -> None:
    with server() as target, client(serve(across, target.address)) as asker:
        ask(asker, b"begin")
        across.near.core.import_unlisten(0)
        assert causes(across.near) == (9, "draining")
        assert causes(across.far) == (9, "far-reset")


def test_a_drain_lets_associations_go_on_and_none_begin(across: Across) -> None:
    with server() as target:
        address = serve(across, target.address)
        with client(address) as old, client(address) as new:
            ask(old, b"begin")
            across.near.core.drain()
            carried_out(across.near)
            assert ask(old, b"goes on") == b"goes on"
            new.send(b"begin")
            until(lambda: dropped(across.near) == {"no_route": 1})


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_datagrams_are_not_sent_to_a_service_of_streams(across: Across) -> None:
    publish(across, ("127.0.0.1", 9), far=None)
    with client(listen(across.near)) as asker:
        asker.send(b"wrong")
        assert causes(across.far) == (5, "transport")
        assert causes(across.near) == (5, "far-reset")


def test_streams_are_not_opened_to_a_service_of_datagrams(across: Across) -> None:
    publish(across, ("127.0.0.1", 9), near=None)
    assert is_turned_away(listen_for_streams(across.near))
    assert causes(across.far) == (5, "transport")


def test_tables_that_change_what_a_service_carries_end_what_is_open(across: Across) -> None:
    with server() as target, client(serve(across, target.address)) as asker:
        ask(asker, b"begin")
        across.near.core.publish(exports=[], imports=import_rows(across.session, None), grants=[])
        assert causes(across.near) == (5, "transport")


def test_clients_of_other_prefixes_are_not_served() -> None:
    terms = Terms(prefixes=(("127.0.0.2", 32), ("127.7.0.0", 17), ("fd00::", 8)))
    with Across(relays=0) as across, server() as target:
        address = serve(across, target.address, terms)
        for source in ("127.0.0.2", "127.7.1.2", "127.7.127.255"):
            with client(address, source) as asker:
                assert ask(asker, b"known") == b"known"
        for source in ("127.0.0.1", "127.0.0.3", "127.7.128.1"):
            with client(address, source) as asker:
                asker.send(b"unknown")
        until(lambda: dropped(across.near) == {"source": 3})
        assert len(target.seen) == 3


def test_of_too_many_associations_the_one_used_least_recently_goes() -> None:
    with Across(relays=0) as across, server() as target, contextlib.ExitStack() as stack:
        address = serve(across, target.address, Terms(associations=3))
        askers = [stack.enter_context(client(address)) for _ in range(4)]
        for asker in askers[:3]:
            ask(asker, b"begin")
        ask(askers[0], b"used again")
        ask(askers[3], b"one more")
        assert causes(across.near) == (2, "limit")
        assert causes(across.far) == (2, "far-reset")
        assert across.near.core.streams() == 3
        ports = [source for _, source in target.seen]
        ask(askers[0], b"still the same")
        assert target.seen[-1][1] == ports[0]
        ask(askers[1], b"another")
        assert target.seen[-1][1] not in ports


def test_one_address_has_its_own_bound() -> None:
    with Across(relays=0) as across, server() as target, contextlib.ExitStack() as stack:
        address = serve(across, target.address, Terms(of_source=2))
        other = stack.enter_context(client(address, "127.0.0.9"))
        ask(other, b"begin")
        for _ in range(5):
            ask(stack.enter_context(client(address)), b"begin")
        until(lambda: across.near.core.streams() == 3)
        seen = len(target.seen)
        ask(other, b"still here")
        assert target.seen[seen][1] == target.seen[0][1]


def test_new_associations_come_at_a_rate() -> None:
    with Across(relays=0) as across, server(lambda _data, _source: None) as target, contextlib.ExitStack() as stack:
        address = serve(across, target.address, Terms(each_second=10))
        for _ in range(200):
            stack.enter_context(client(address)).send(b"x")
        until(lambda: dropped(across.near).get("limit", 0) + len(target.seen) == 200)
        assert 10 <= len(target.seen) <= 100


def test_an_import_without_a_route_asks_for_one_and_drops(across: Across) -> None:
    across.near.core.publish(
        exports=[], imports=[(0, b"echo", 1, 0, native.IMPORT_PENDING, [], None, tuple(Terms()))], grants=[]
    )
    with client(listen(across.near)) as asker:
        for _ in range(5):
            asker.send(b"lost")
        until(lambda: dropped(across.near) == {"no_route": 5})
    across.near.wait(lambda event: event == (native.EVENT_IMPORT_WANTED, 0))
    assert across.near.core.streams() == 0


@pytest.mark.parametrize(
    "row",
    [
        Terms(idle_ms=0),
        Terms(silent_ms=0),
        Terms(wait_ms=1 << 31),
        Terms(prefixes=(("127.0.0.1", 33),)),
        Terms(prefixes=(("/tmp/x", 8),)),
        Terms(prefixes=(("10.0.0.0", 8),) * 65),
    ],
)
def test_terms_that_make_no_sense_are_refused(row: Terms) -> None:
    with Across(relays=0) as across, pytest.raises(native.CoreError):
        across.near.core.publish(exports=[], imports=import_rows(1, row), grants=[])


def test_a_socket_for_no_worker_is_closed() -> None:
    with Across(relays=0) as across, pytest.raises(native.CoreError, match="no worker 7"):
        across.near.core.listen_datagrams(7, 0, socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach())


# -- floods -----------------------------------------------------------------------------------------------------------


def test_a_flood_of_sources_leaves_streams_and_memory_alone() -> None:
    with Across(relays=1) as across, server(lambda _data, _source: None) as target, stream_server(echo_stream) as echo:
        rows = [
            (0, b"echo", 1, 0, native.EXPORT_READY, 2000, [target.address], (), False, tuple(Terms()[:3])),
            (1, b"bulk", 1, 0, native.EXPORT_READY, 2000, [echo]),
        ]
        across.far.core.publish(exports=rows, imports=[], grants=[(across.session, [0, 1])])
        bulk = (1, b"bulk", 1, 0, native.IMPORT_LIVE, [(across.session, 2, 100)])
        terms = Terms(associations=200, each_second=2_000)
        across.near.core.publish(exports=[], imports=[*import_rows(across.session, terms), bulk], grants=[])
        address, streams = listen(across.near), listen_for_streams(across.near, 1)
        before = across.near.core.memory()["used_bytes"]
        for number in range(4_000):
            with client(source=f"127.{1 + number % 100}.{number // 100}.1") as forged:
                forged.sendto(b"flood", address)
        assert across.near.core.services()["imports"].get(0, 0) <= 201
        assert across.near.core.memory()["used_bytes"] - before < 8 << 20
        assert transfer(streams, b"goes on") == b"goes on"


# -- many at once -----------------------------------------------------------------------------------------------------


def test_what_waits_is_read_and_written_by_one_call_each() -> None:
    with Across(relays=0) as across, server(lambda _data, _source: None) as target, client() as asker:
        publish(across, target.address)
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.bind(("127.0.0.1", 0))
        listener.setblocking(False)
        asker.connect(listener.getsockname())
        for number in range(AT_ONCE):
            asker.send(b"%d" % number)
        across.near.core.listen_datagrams(0, 0, listener.detach())
        until(lambda: len(target.seen) == AT_ONCE)
        assert [data for data, _ in target.seen] == [b"%d" % number for number in range(AT_ONCE)]
        assert across.near.core.counters()["datagram_reads_total"] == 1
        assert across.far.core.counters()["datagram_writes_total"] == 1


def test_answers_to_many_clients_leave_together() -> None:
    with Across(relays=0) as across, server(lambda _data, _source: None) as target, contextlib.ExitStack() as stack:
        address = serve(across, target.address)
        askers = [stack.enter_context(client(address)) for _ in range(AT_ONCE)]
        for number, asker in enumerate(askers):
            asker.send(b"%d" % number)
        until(lambda: len(target.seen) == AT_ONCE)
        # All answers are there when their edge looks.
        across.far.core.freeze()
        for data, source in target.seen:
            target.socket.sendto(data, source)
        across.far.core.start()
        for number, asker in enumerate(askers):
            assert asker.recv(100) == b"%d" % number
        assert across.far.core.counters()["datagram_reads_total"] == AT_ONCE
        # One call for each frame, and as many sockets as epoll tells of at once are in one.
        assert across.near.core.counters()["datagram_writes_total"] <= 4


# -- ports ------------------------------------------------------------------------------------------------------------


def test_an_association_has_a_port_that_none_had_before_it() -> None:
    """So a late answer to one that has ended reaches nobody."""
    with Across(relays=0) as across, server() as target:
        address = serve(across, target.address, Terms(associations=1))
        for _ in range(300):
            with client(address) as asker:
                ask(asker, b"x")
        assert len({source for _, source in target.seen}) == 300


# -- workers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_a_client_is_served_whichever_worker_has_its_flow(lanes: int) -> None:
    """The kernel chooses a socket for a client, and the worker that has it may have no flow."""
    with Across(relays=0, workers=2, lanes=lanes) as across, server() as target, contextlib.ExitStack() as stack:
        address = serve(across, target.address)
        askers = [stack.enter_context(client(address)) for _ in range(40)]
        for round_ in range(3):
            for number, asker in enumerate(askers):
                asker.send(b"%d of %d" % (number, round_))
            for number, asker in enumerate(askers):
                assert asker.recv(100) == b"%d of %d" % (number, round_)
        assert len({source for _, source in target.seen}) == 40
        handed = across.near.core.counters()["datagrams_handed_total"]
        assert (handed > 0) == (lanes == 1)
        assert dropped(across.near) == {}
        # What was handed over leaves nothing behind: the address is free once nobody listens.
        across.near.core.import_unlisten(0)
        carried_out(across.near)
        until(lambda: across.near.core.streams() == 0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(address)
