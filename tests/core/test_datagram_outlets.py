"""Imports of datagrams with several outlets: which one an association takes, and where it is led when it is refused."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from pcgrelay._core.face import core as native
from tests.support.applications import PATIENCE, Across
from tests.support.datagram_outlets import DIRECT, GATEWAY, DatagramOutlets
from tests.support.datagrams import Address, Server, Terms, ask, client, dropped, server
from tests.support.waiting import until

WORKERS = {"one worker": (1, 1), "two workers": (2, 2)}


@pytest.fixture
def across() -> Iterator[Across]:
    with Across(relays=0) as built:
        yield built


@pytest.fixture
def far() -> Iterator[Server]:
    with server(lambda data, _: b"far " + data) as running:
        yield running


@pytest.fixture
def old() -> Iterator[Server]:
    with server(lambda data, _: b"old " + data) as running:
        yield running


def nobody() -> Address:
    """Where nothing listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        host, port = taken.getsockname()
        return host, port


# -- which one --------------------------------------------------------------------------------------------------------


def test_a_direct_outlet_carries_datagrams(across: Across, far: Server, old: Server) -> None:
    outlets = DatagramOutlets(across, far.address, old.address, Terms(idle_ms=2_000))
    outlets.publish(shares=200)
    with client(outlets.address) as asker:
        for number in range(3):
            assert ask(asker, b"%d" % number) == b"old %d" % number
        assert outlets.ends() == [(DIRECT, 0, 0, "done", 3, 3, 0)]
        assert ask(asker, b"another") == b"old another"
    assert far.seen == []
    assert {name: outlets.counts(DIRECT)[name] for name in ("tried", "up")} == {"tried": 2, "up": 2}
    assert outlets.counts(GATEWAY) == {}
    figures = outlets.figures(DIRECT)
    assert sum(figures["setup_us"].values()) == sum(figures["answer_us"].values()) == 2
    assert (figures["sent_bytes"], figures["received_bytes"]) == (3, 15)
    # A client may have the last one before it is counted.
    until(lambda: across.near.core.counters()["datagrams_received_total"] == 4)
    assert across.near.core.counters()["datagrams_sent_total"] == 4
    assert dropped(across.near) == {}


def test_the_target_may_say_more_than_it_was_asked(across: Across, far: Server) -> None:
    with server(lambda _data, _source: None) as quiet:
        outlets = DatagramOutlets(across, far.address, quiet.address)
        outlets.publish(shares=200)
        with client(outlets.address) as asker:
            asker.send(b"subscribe")
            until(lambda: quiet.seen)
            for number in range(100):
                quiet.socket.sendto(b"%d" % number, quiet.seen[0][1])
                assert asker.recv(100) == b"%d" % number


@pytest.mark.parametrize("size", [0, 1_232, 65_507])
def test_a_datagram_of_any_size_arrives_whole(across: Across, far: Server, size: int) -> None:
    data = bytes(at % 251 for at in range(size))
    with server() as echo:
        outlets = DatagramOutlets(across, far.address, echo.address)
        outlets.publish(shares=200)
        with client(outlets.address) as asker:
            assert ask(asker, data) == data


@pytest.mark.parametrize(("workers", "lanes"), WORKERS.values(), ids=WORKERS)
def test_shares_are_exact(far: Server, old: Server, workers: int, lanes: int) -> None:
    with Across(relays=0, workers=workers, lanes=lanes) as across, contextlib.ExitStack() as stack:
        outlets = DatagramOutlets(across, far.address, old.address)
        outlets.publish(shares=50)
        for number in range(200):
            ask(stack.enter_context(client(outlets.address)), b"%d" % number)
    assert (len(old.seen), len(far.seen)) == (50, 150)


def test_a_share_of_zero_sends_nothing_new_there(across: Across, far: Server, old: Server) -> None:
    outlets = DatagramOutlets(across, far.address, old.address)
    outlets.publish(shares=200)
    with client(outlets.address) as before, client(outlets.address) as after:
        assert ask(before, b"one") == b"old one"
        outlets.publish(shares=0)
        assert ask(before, b"two") == b"old two"
        assert ask(after, b"three") == b"far three"


@pytest.mark.parametrize("kind", [native.OUTLET_ENDED, native.OUTLET_FORBIDDEN])
def test_an_outlet_that_has_ended_ends_its_associations(across: Across, far: Server, old: Server, kind: int) -> None:
    outlets = DatagramOutlets(across, far.address, old.address)
    outlets.publish(shares=200)
    with client(outlets.address) as asker:
        assert ask(asker, b"one") == b"old one"
        outlets.publish(shares=0, kind=kind)
        cause = "not-allowed" if kind == native.OUTLET_ENDED else "marking"
        assert [end[:4:3] for end in outlets.ends()] == [(DIRECT, cause)]
        assert ask(asker, b"two") == b"far two"


# -- led on -----------------------------------------------------------------------------------------------------------


def test_what_the_old_network_refuses_is_led_on(across: Across, far: Server) -> None:
    """By ICMP. The client says it once, and gets its answer."""
    outlets = DatagramOutlets(across, far.address, nobody())
    outlets.publish(shares=200)
    with client(outlets.address) as asker:
        assert ask(asker, b"once") == b"far once"
        assert ask(asker, b"twice") == b"far twice"
    assert [data for data, _ in far.seen] == [b"once", b"twice"]
    assert outlets.failures() == [(DIRECT, "refused", "target-refused")]
    assert outlets.counts(DIRECT) == {"tried": 1, "refused": 1, "moved": 1}
    assert {name: outlets.counts(GATEWAY)[name] for name in ("tried", "up")} == {"tried": 1, "up": 1}
    assert dropped(across.near) == {}


def test_what_the_far_side_refuses_is_led_on(across: Across, old: Server) -> None:
    """By RESET, before anything was answered."""
    outlets = DatagramOutlets(across, nobody(), old.address)
    with client(outlets.address) as asker:
        assert ask(asker, b"once") == b"old once"
    assert [data for data, _ in old.seen] == [b"once"]
    assert outlets.failures() == [(GATEWAY, "refused", "far-reset")]
    assert outlets.counts(GATEWAY) == {"tried": 1, "refused": 1, "moved": 1}
    until(lambda: across.far.core.streams() == 0)


def test_a_far_edge_that_denies_is_led_on(across: Across, far: Server, old: Server) -> None:
    outlets = DatagramOutlets(across, far.address, old.address)
    across.far.core.publish(exports=[], imports=[], grants=[])
    with client(outlets.address) as asker:
        assert ask(asker, b"once") == b"old once"
    assert far.seen == []


@pytest.mark.parametrize("state", [native.IMPORT_DOWN, native.IMPORT_PENDING])
def test_a_gateway_without_a_route_is_away(across: Across, far: Server, old: Server, state: int) -> None:
    outlets = DatagramOutlets(across, far.address, old.address)
    outlets.publish(state=state)
    with client(outlets.address) as asker:
        assert ask(asker, b"once") == b"old once"
    assert outlets.failures() == [(GATEWAY, "away", "no-route")]


def test_a_gateway_that_comes_in_time_is_waited_for_where_the_tables_say_so(
    across: Across, far: Server, old: Server
) -> None:
    outlets = DatagramOutlets(across, far.address, old.address)
    outlets.publish(state=native.IMPORT_PENDING, wait_ms=5_000)
    with client(outlets.address) as asker:
        asker.send(b"early")
        across.near.wait(lambda event: event[0] == native.EVENT_IMPORT_WANTED)
        outlets.publish(wait_ms=5_000)
        assert asker.recv(100) == b"far early"
        assert old.seen == []
        outlets.publish(state=native.IMPORT_PENDING, wait_ms=50)
        with client(outlets.address) as other:
            assert ask(other, b"late") == b"old late"


def test_a_session_that_ends_before_the_answer_is_led_on_or_its_client_begins_anew(across: Across, old: Server) -> None:
    with server(lambda _data, _source: None) as quiet:
        outlets = DatagramOutlets(across, quiet.address, old.address)
        with client(outlets.address) as asker:
            asker.send(b"once")
            until(lambda: quiet.seen)
            across.near.core.session_close(across.session, 1)
            until(lambda: across.session not in across.near.core.sessions())
            assert ask(asker, b"again") in (b"old once", b"old again")


def test_silence_is_no_failure(across: Across, far: Server) -> None:
    """Nobody owes an answer to a datagram: after the outlet's time the set-up counts as up, and nothing is led on."""
    with server(lambda _data, _source: None) as quiet:
        outlets = DatagramOutlets(across, far.address, quiet.address, Terms(silent_ms=3_000))
        outlets.publish(shares=200, patience_ms=300)
        with client(outlets.address) as asker:
            asker.send(b"syslog")
            until(lambda: outlets.counts(DIRECT) == {"tried": 1, "up": 1, "active": 1})
            assert outlets.ends() == [(DIRECT, 0, 0, "done", 1, 0, 0)]
    assert far.seen == []
    assert outlets.figures(DIRECT)["setup_us"] == {}
    assert outlets.figures(DIRECT)["sent_bytes"] == len(b"syslog")


def test_an_answer_that_comes_late_is_timed_from_the_beginning(across: Across, far: Server) -> None:
    with server(lambda _data, _source: None) as slow:
        outlets = DatagramOutlets(across, far.address, slow.address)
        outlets.publish(shares=200, patience_ms=50)
        with client(outlets.address) as asker:
            asker.send(b"hard question")
            until(lambda: outlets.counts(DIRECT).get("up") == 1)
            slow.socket.sendto(b"answer", slow.seen[0][1])
            assert asker.recv(100) == b"answer"
    figures = outlets.figures(DIRECT)
    assert (sum(figures["setup_us"].values()), sum(figures["answer_us"].values())) == (0, 1)


def test_after_an_answer_nothing_is_led_on(across: Across, far: Server) -> None:
    """Its association ends, and the next datagram of its client begins another one."""
    outlets = DatagramOutlets(across, far.address, None)
    with server(lambda data, _: b"old " + data) as short:
        outlets.direct = short.address
        outlets.publish(shares=200)
        with client(outlets.address) as asker:
            assert ask(asker, b"one") == b"old one"
            short.close()
            asker.send(b"two")
            assert outlets.ends()[0][:4] == (DIRECT, 0, 6, "far-reset")
            assert ask(asker, b"three") == b"far three"
    assert [data for data, _ in far.seen] == [b"three"]


def test_where_all_refuse_the_first_cause_is_told(across: Across) -> None:
    outlets = DatagramOutlets(across, nobody(), nobody())
    outlets.publish(shares=200)
    with client(outlets.address) as asker:
        asker.send(b"nobody")
        [(outlet, moved, _, cause, sent, received, lost)] = outlets.ends()
    assert (outlet, moved, cause) == (GATEWAY, 1, "target-refused")
    assert (sent, received, lost) == (0, 0, 1)
    assert dropped(across.near) == {"unreachable": 1}
    assert across.near.core.streams() == 0


def test_where_no_outlet_is_there_no_association_begins(across: Across, far: Server) -> None:
    outlets = DatagramOutlets(across, far.address, None)
    outlets.publish(state=native.IMPORT_DOWN)
    with client(outlets.address) as asker:
        for _ in range(10):
            asker.send(b"anybody")
        until(lambda: dropped(across.near) == {"no_route": 10})
    assert across.near.core.counters()["streams_opened_total"] == 0


def test_what_makes_room_for_another_client_is_not_led_on(across: Across, far: Server) -> None:
    with server(lambda _data, _source: None) as quiet:
        outlets = DatagramOutlets(across, far.address, quiet.address, Terms(associations=1))
        outlets.publish(shares=200)
        with client(outlets.address) as first, client(outlets.address) as second:
            first.send(b"first")
            until(lambda: len(quiet.seen) == 1)
            second.send(b"second")
            until(lambda: len(quiet.seen) == 2)
            assert [end[:4:3] for end in outlets.ends()] == [(DIRECT, "limit")]
    assert far.seen == []
    assert outlets.counts(DIRECT).get("moved", 0) == 0


def test_a_long_datagram_is_not_kept_for_the_next_outlet(across: Across, far: Server) -> None:
    outlets = DatagramOutlets(across, far.address, nobody())
    outlets.publish(shares=200)
    with client(outlets.address) as asker:
        asker.send(bytes(5_000))
        outlets.failures()
        assert ask(asker, b"short") == b"far short"
    until(lambda: dropped(across.near) == {"unreachable": 1})


# -- shadows, nudges, the end -----------------------------------------------------------------------------------------


def shadow_of(outlets: DatagramOutlets, outlet: int, number: int = 1) -> socket.socket:
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    ours.settimeout(PATIENCE)
    ours.send(b"who")
    theirs.setblocking(False)
    outlets.near.core.import_connect(0, theirs.detach(), outlet, number)
    return ours


@pytest.mark.parametrize(("workers", "lanes"), [(1, 1), (2, 1)])
def test_a_shadow_takes_its_outlet_and_no_turn(far: Server, old: Server, workers: int, lanes: int) -> None:
    with Across(relays=0, workers=workers, lanes=lanes) as across:
        outlets = DatagramOutlets(across, far.address, old.address)
        for outlet, answer in ((GATEWAY, b"far who"), (DIRECT, b"old who")):
            for number in (1, 2, 3):
                with shadow_of(outlets, outlet, number) as ours:
                    assert ours.recv(100) == answer
                until(lambda outlet=outlet: outlets.counts(outlet, shadow=True).get("active", 0) == 0)
            assert outlets.counts(outlet, shadow=True) == {"tried": 3, "up": 3}
            assert outlets.counts(outlet) == {}
        told = outlets.failures(6)
        assert {each[1] for each in told} == {"up"}
        until(lambda: across.near.core.streams() == across.far.core.streams() == 0)


@pytest.mark.parametrize("outlet", [GATEWAY, DIRECT])
def test_silence_is_a_failure_of_a_shadow(across: Across, outlet: int) -> None:
    with server(lambda _data, _source: None) as quiet:
        outlets = DatagramOutlets(across, quiet.address, quiet.address)
        outlets.publish(patience_ms=300)
        with shadow_of(outlets, outlet) as ours:
            assert ours.recv(100) == b""
        assert outlets.failures() == [(outlet, "silent", "target-silent")]
        assert outlets.counts(outlet, shadow=True) == {"tried": 1, "silent": 1}


@pytest.mark.parametrize("outlet", [GATEWAY, DIRECT])
def test_a_shadow_that_is_refused_is_not_led_on(across: Across, outlet: int) -> None:
    outlets = DatagramOutlets(across, nobody(), nobody())
    with shadow_of(outlets, outlet) as ours:
        assert ours.recv(100) == b""
    assert outlets.failures()[0][:2] == (outlet, "refused")
    assert outlets.counts(1 - outlet, shadow=True) == {}


def test_a_connection_that_is_no_shadow_is_turned_away(across: Across, far: Server) -> None:
    outlets = DatagramOutlets(across, far.address, None)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    outlets.near.core.import_adopt(0, theirs.detach())
    ours.settimeout(PATIENCE)
    with ours, contextlib.suppress(ConnectionResetError):
        assert ours.recv(1) == b""


def test_idle_associations_of_an_outlet_are_nudged(across: Across, far: Server, old: Server) -> None:
    outlets = DatagramOutlets(across, far.address, old.address)
    outlets.publish(shares=200)
    with client(outlets.address) as asker:
        assert ask(asker, b"one") == b"old one"
        outlets.publish(shares=0)
        time.sleep(0.1)
        across.near.core.streams_nudge(0, DIRECT, idle_us=50_000, most=10, hard=False)
        # The first round sees that nothing moves, and one of the next ones closes it.
        deadline = time.monotonic() + PATIENCE
        while across.near.core.streams() and time.monotonic() < deadline:
            time.sleep(0.1)
            across.near.core.streams_nudge(0, DIRECT, idle_us=50_000, most=10, hard=False)
        assert [end[:4] for end in outlets.ends()] == [(DIRECT, 0, 0, "nudged")]
        assert ask(asker, b"two") == b"far two"


def test_a_worker_that_stops_lets_go_of_all(far: Server, old: Server) -> None:
    with Across(relays=0) as across:
        outlets = DatagramOutlets(across, far.address, old.address)
        outlets.publish(shares=100)
        with contextlib.ExitStack() as stack:
            for number in range(20):
                ask(stack.enter_context(client(outlets.address)), b"%d" % number)
            with server(lambda _data, _source: None) as quiet:
                outlets.direct = quiet.address
                outlets.publish(shares=200)
                stack.enter_context(client(outlets.address)).send(b"unanswered")
                until(lambda: quiet.seen)
                across.near.core.stop()
