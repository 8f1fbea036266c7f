"""Imports with several outlets: which one a set-up takes, and where it is led when that fails."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pcgrelay._core.face import core as native
from tests.support.applications import Across, client, echo, is_turned_away, read_all, server, silent
from tests.support.cores import Node, carried_out, listen
from tests.support.ports import free_port
from tests.support.waiting import receive, until

GATEWAY, DIRECT = 0, 1
NAME = b"echo"
ROUTES = "routes"


@pytest.fixture
def across() -> Iterator[Across]:
    with Across(relays=0) as built:
        yield built


class Outlets:
    """One import of the near edge, with the gateway and one direct outlet."""

    def __init__(self, across: Across, far: tuple[str, int], direct: tuple[str, int] | None) -> None:
        self.across = across
        self.near, self.far = across.near, across.far
        self.meter = self.near.core.meter_open(2)
        self.direct = direct
        self.state = native.IMPORT_LIVE
        self.granted = True
        self.target = far
        self.export()
        self.publish()
        self.address = listen(self.near)

    def export(self) -> None:
        grants = [(self.across.session, [0])] if self.granted else []
        self.far.core.publish(
            exports=[(0, NAME, 1, 3, native.EXPORT_READY, 5000, [self.target])], imports=[], grants=grants
        )
        carried_out(self.far)

    def publish(
        self,
        *,
        shares: int = 0,
        order: bytes = bytes([DIRECT, GATEWAY]),
        patience_ms: int = 5_000,
        deadline_ms: int = 10_000,
        wait_ms: int = 0,
        careful: bool = True,
        leads_denied: bool = True,
        kind: int = native.OUTLET_DIRECT,
    ) -> None:
        """shares: of 200 slots, those of the direct outlet; they come last. No busy machine needs all that patience."""
        slots = bytes([GATEWAY] * (200 - shares) + [DIRECT] * shares)
        targets = [self.direct] if self.direct else []
        ways = [(native.OUTLET_GATEWAY, patience_ms, [], None), (kind, patience_ms, targets, None)]
        row = (self.meter, careful, leads_denied, deadline_ms, wait_ms, slots, order, ways)
        routes = [(self.across.session, 2, 100)] if self.state == native.IMPORT_LIVE else []
        self.near.core.publish(exports=[], imports=[(0, NAME, 1, 0, self.state, routes, row)], grants=[])
        carried_out(self.near)

    def figures(self, outlet: int, *, shadow: bool = False) -> dict[str, Any]:
        return self.near.core.meter_read(self.meter)[outlet][shadow]

    def ends(self, count: int = 1) -> list[tuple[Any, ...]]:
        """What the ends of that many streams say of their set-up: (outlet, setup_us, moved, up, shadow)."""

        def seen() -> list[tuple[Any, ...]]:
            self.near.poll()
            return [event[12][:5] for event in self.near.seen if event[0] == native.EVENT_STREAM_END]

        until(lambda: len(seen()) >= count)
        return seen()

    def failures(self, count: int = 1) -> list[tuple[Any, ...]]:
        """(outlet, outcome, cause) of each attempt that failed, once there are so many."""

        def seen() -> list[tuple[Any, ...]]:
            self.near.poll()
            return [event[2:5] for event in self.near.seen if event[0] == native.EVENT_SETUP_ENDED]

        until(lambda: len(seen()) >= count)
        return seen()


def says(name: bytes) -> Any:
    """A server that says who it is and then echoes."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(name)
        echo(connection)

    return talk


def asks(address: tuple[str, int], words: bytes = b"hello") -> bytes:
    with client(address) as connection:
        connection.sendall(words)
        connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def test_a_direct_outlet_carries_a_connection(across: Across) -> None:
    with server(says(b"far ")) as far, server(says(b"old ")) as old:
        outlets = Outlets(across, far, old)
        outlets.publish(shares=200)
        assert asks(outlets.address) == b"old hello"
        [(outlet, setup_us, moved, up, shadow)] = outlets.ends()
    assert (outlet, moved, up, shadow) == (DIRECT, 0, True, 0)
    assert 0 < setup_us < 5_000_000
    figures = outlets.figures(DIRECT)
    assert (figures["tried"], figures["up"], figures["active"]) == (1, 1, 0)
    assert (figures["sent_bytes"], figures["received_bytes"]) == (5, 9)
    assert sum(figures["setup_us"].values()) == sum(figures["answer_us"].values()) == 1
    assert outlets.figures(GATEWAY)["tried"] == 0


def test_shares_are_exact(across: Across) -> None:
    with server(says(b"far ")) as far, server(says(b"old ")) as old:
        outlets = Outlets(across, far, old)
        outlets.publish(shares=40)
        told = [asks(outlets.address) for _ in range(200)]
    assert told.count(b"old hello") == 40
    assert told.count(b"far hello") == 160


def test_what_the_far_side_refuses_is_led_on(across: Across) -> None:
    with server(says(b"old ")) as old:
        outlets = Outlets(across, ("127.0.0.1", free_port()), old)
        assert asks(outlets.address) == b"old hello"
        [(outlet, _, moved, up, _)] = outlets.ends()
    assert (outlet, moved, up) == (DIRECT, 1, True)
    assert outlets.failures() == [(GATEWAY, "refused", "far-reset")]
    assert outlets.figures(GATEWAY)["refused"] == outlets.figures(GATEWAY)["moved"] == 1


def test_what_the_old_network_refuses_is_led_on(across: Across) -> None:
    with server(says(b"far ")) as far:
        outlets = Outlets(across, far, ("127.0.0.1", free_port()))
        outlets.publish(shares=200)
        assert asks(outlets.address) == b"far hello"
    assert outlets.failures() == [(DIRECT, "refused", "target-refused")]


def test_a_gateway_that_is_silent_is_given_up_in_its_time(across: Across) -> None:
    with silent() as far, server(says(b"old ")) as old:
        outlets = Outlets(across, far, old)
        outlets.publish(patience_ms=150)
        began = time.monotonic()
        assert asks(outlets.address) == b"old hello"
        took = time.monotonic() - began
        assert outlets.failures() == [(GATEWAY, "silent", "target-silent")]
        # By itself it would be given up after 5 s, at either edge.
        assert 0.1 < took < 5.0


def test_a_gateway_without_a_route_is_away(across: Across) -> None:
    with server(says(b"far ")) as far, server(says(b"old ")) as old:
        outlets = Outlets(across, far, old)
        for outlets.state in (native.IMPORT_DOWN, native.IMPORT_PENDING, native.IMPORT_UNCLEARED):
            outlets.publish()
            assert asks(outlets.address) == b"old hello"
        causes = ("no-route", "no-route", "marking")
        assert outlets.failures(3) == [(GATEWAY, "away", cause) for cause in causes]
        wanted = [event for event in outlets.near.seen if event[0] == native.EVENT_IMPORT_WANTED]
    assert len(wanted) == 1


def asked_while(outlets: Outlets, state: int) -> list[bytes]:
    """Ask while the gateway is waited for, which is in that state then; return the answer."""
    outlets.state = native.IMPORT_PENDING
    outlets.publish(wait_ms=5_000)
    answers: list[bytes] = []
    asking = threading.Thread(target=lambda: answers.append(asks(outlets.address)))
    asking.start()
    outlets.near.wait_kind(native.EVENT_IMPORT_WANTED)
    outlets.state = state
    outlets.publish(wait_ms=5_000)
    asking.join(20)
    return answers


def test_a_gateway_that_comes_in_time_is_waited_for(across: Across) -> None:
    with server(says(b"far ")) as far, server(says(b"old ")) as old:
        outlets = Outlets(across, far, old)
        assert asked_while(outlets, native.IMPORT_LIVE) == [b"far hello"]


def test_where_all_fail_the_first_cause_is_told(across: Across) -> None:
    outlets = Outlets(across, ("127.0.0.1", free_port()), ("127.0.0.1", free_port()))
    outlets.publish(shares=200)
    assert is_turned_away(outlets.address)
    event = outlets.near.wait_kind(native.EVENT_STREAM_END)
    assert event[9] == "target-refused"
    assert event[12][2] == 1
    assert outlets.failures(2) == [(DIRECT, "refused", "target-refused"), (GATEWAY, "refused", "far-reset")]


@pytest.mark.parametrize(("state", "cause"), [(native.IMPORT_DOWN, "no-route"), (native.IMPORT_UNCLEARED, "marking")])
def test_nowhere_to_go(across: Across, state: int, cause: str) -> None:
    outlets = Outlets(across, ("127.0.0.1", free_port()), None)
    outlets.state = state
    outlets.publish()
    assert is_turned_away(outlets.address)
    assert outlets.near.wait_kind(native.EVENT_STREAM_END)[9] == cause
    assert outlets.failures(2) == [(GATEWAY, "away", cause), (DIRECT, "away", "target-unresolved")]


def test_a_gateway_that_is_waited_for_and_is_not_cleared_is_led_on(across: Across) -> None:
    with server(says(b"old ")) as old:
        outlets = Outlets(across, ("127.0.0.1", free_port()), old)
        assert asked_while(outlets, native.IMPORT_UNCLEARED) == [b"old hello"]
    assert outlets.failures() == [(GATEWAY, "away", "marking")]


@pytest.mark.parametrize("leads", [True, False])
def test_a_denial_is_led_on_only_where_the_tables_say_so(across: Across, leads: bool) -> None:
    with server(says(b"far ")) as far, server(says(b"old ")) as old:
        outlets = Outlets(across, far, old)
        outlets.granted = False
        outlets.export()
        outlets.publish(leads_denied=leads)
        if leads:
            assert asks(outlets.address) == b"old hello"
        else:
            assert is_turned_away(outlets.address)
        assert outlets.failures() == [(GATEWAY, "denied", "far-reset")]


def test_a_session_that_ends_before_the_answer_is_led_on(across: Across) -> None:
    with silent() as far, server(says(b"old ")) as old:
        outlets = Outlets(across, far, old)
        outlets.publish(patience_ms=9_000)
        answers: list[bytes] = []
        asking = threading.Thread(target=lambda: answers.append(asks(outlets.address)))
        asking.start()
        until(lambda: outlets.figures(GATEWAY)["tried"] == 1)
        outlets.near.core.session_close(across.session, 1)
        asking.join(20)
    assert answers == [b"old hello"]
    assert outlets.failures() == [(GATEWAY, "lost", "session-lost")]


def test_an_application_that_leaves_is_no_failure_of_the_outlet(across: Across) -> None:
    with silent() as far, server(says(b"old ")) as old:
        outlets = Outlets(across, far, old)
        outlets.publish(patience_ms=9_000)
        connection = client(outlets.address)
        until(lambda: outlets.figures(GATEWAY)["tried"] == 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
        assert outlets.failures() == [(GATEWAY, "left", "application-reset")]
    assert outlets.figures(DIRECT)["tried"] == 0


def test_nothing_is_sent_before_the_answer(across: Across) -> None:
    """What the application says first comes once, and to the side that answered."""
    heard: list[bytes] = []
    with server(says(b"old ")) as old:
        outlets = Outlets(across, ("127.0.0.1", free_port()), old)
        assert asks(outlets.address, b"x" * 10_000) == b"old " + b"x" * 10_000
    assert heard == []


def test_a_shadow_takes_its_outlet_and_no_turn(across: Across) -> None:
    with server(says(b"far ")) as far, server(says(b"old ")) as old:
        outlets = Outlets(across, far, old)
        for outlet, name in ((GATEWAY, b"far "), (DIRECT, b"old ")):
            ours, theirs = socket.socketpair()
            theirs.setblocking(False)
            outlets.near.core.import_connect(0, theirs.detach(), outlet, 1)
            ours.settimeout(20)
            assert ours.recv(4) == name
            ours.close()
            until(lambda outlet=outlet: outlets.figures(outlet, shadow=True)["active"] == 0)
            assert outlets.figures(outlet, shadow=True)["up"] == 1
            assert outlets.figures(outlet)["tried"] == 0


def test_a_connection_that_was_accepted_elsewhere_is_one_of_an_application(across: Across) -> None:
    """It takes its turn of the slots, is led on, and is counted as any other."""
    with server(says(b"old ")) as old, socket.create_server(("127.0.0.1", 0)) as door:
        outlets = Outlets(across, ("127.0.0.1", free_port()), old)
        for _ in range(3):
            with socket.create_connection(door.getsockname(), timeout=20) as application:
                taken, _ = door.accept()
                taken.setblocking(False)
                outlets.near.core.import_adopt(0, taken.detach())
                application.sendall(b"hello")
                assert receive(application, 9) == b"old hello"
        until(lambda: outlets.figures(DIRECT)["active"] == 0)
        assert outlets.figures(DIRECT)["up"] == 3
        assert outlets.figures(GATEWAY)["refused"] == outlets.figures(GATEWAY)["moved"]
        assert outlets.figures(DIRECT, shadow=True)["tried"] == 0
        with socket.create_connection(door.getsockname(), timeout=20) as application:
            taken, _ = door.accept()
            taken.setblocking(False)
            outlets.near.core.import_adopt(99, taken.detach())
            with pytest.raises(ConnectionResetError):
                application.recv(1)


def test_a_shadow_is_not_led_on(across: Across) -> None:
    with server(says(b"old ")) as old:
        outlets = Outlets(across, ("127.0.0.1", free_port()), old)
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        outlets.near.core.import_connect(0, theirs.detach(), GATEWAY, 1)
        ours.settimeout(20)
        assert ours.recv(4) == b""
        ours.close()
    assert outlets.figures(GATEWAY, shadow=True)["refused"] == 1
    assert outlets.figures(DIRECT, shadow=True)["tried"] == 0


def test_streams_below_the_marking_end(across: Across) -> None:
    with server(says(b"far ")) as far, server(says(b"old ")) as old:
        outlets = Outlets(across, far, old)
        outlets.publish(shares=200)
        with client(outlets.address) as connection:
            assert connection.recv(4) == b"old "
            outlets.publish(shares=0, kind=native.OUTLET_NONE)
            connection.sendall(b"still here")
            assert connection.recv(10) == b"still here"
            outlets.publish(shares=0, kind=native.OUTLET_FORBIDDEN)
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
    event = outlets.near.wait_kind(native.EVENT_STREAM_END)
    assert event[9] == "marking"


def test_rows_that_no_worker_could_use_are_refused(across: Across) -> None:
    node: Node = across.near
    meter = node.core.meter_open(2)
    way = (native.OUTLET_GATEWAY, 100, [], None)
    good = (meter, True, True, 10_000, 0, bytes(200), b"\1", [way, (native.OUTLET_DIRECT, 100, [], None)])
    for at, wrong in (
        (0, meter + 1),
        (3, 0),
        (3, 60_001),
        (4, 10_001),
        (5, bytes(199)),
        (5, bytes([2]) * 200),
        (6, b"\2"),
        (6, bytes(5)),
        (7, []),
        (7, [way] * 5),
        (7, [(native.OUTLET_DIRECT, 100, [], None)]),
        (7, [way, (9, 100, [], None)]),
        (7, [way, (native.OUTLET_DIRECT, 0, [], None)]),
        (7, [way, (native.OUTLET_DIRECT, 100, [("name", 1)], None)]),
    ):
        row = (*good[:at], wrong, *good[at + 1 :])
        with pytest.raises(native.CoreError):
            node.core.publish(exports=[], imports=[(0, NAME, 1, 0, native.IMPORT_DOWN, [], row)], grants=[])
    node.core.publish(exports=[], imports=[(0, NAME, 1, 0, native.IMPORT_DOWN, [], good)], grants=[])
    with pytest.raises(native.CoreError):
        node.core.meter_open(5)
    node.core.meter_close(meter)
    with pytest.raises(native.CoreError):
        node.core.meter_read(meter)


# -- an outlet that is closed by its row ---------------------------------------------------------------------------


def is_cut(sock: socket.socket) -> bool:
    """Whether the other side has reset it, whatever is left to read."""
    poll = select.poll()
    poll.register(sock, 0)
    return bool(poll.poll(0))


def let_go(outlets: Outlets, application: socket.socket, target: socket.socket) -> None:
    outlets.near.core.streams_nudge(0, DIRECT, idle_us=0, most=10, hard=False)
    assert application.recv(1) == target.recv(1) == b""


def fill(outlets: Outlets, application: socket.socket, target: socket.socket) -> None:
    """Have bytes wait everywhere on the way to the target."""
    application.setblocking(False)
    waited = 0
    while waited < 20:
        try:
            application.send(bytes(1 << 16))
            waited = 0
        except BlockingIOError:
            waited += 1
            time.sleep(0.01)
    application.setblocking(True)


def by_application(outlets: Outlets, application: socket.socket, target: socket.socket) -> None:
    application.shutdown(socket.SHUT_WR)
    assert target.recv(1) == b""


def by_target(outlets: Outlets, application: socket.socket, target: socket.socket) -> None:
    target.shutdown(socket.SHUT_WR)
    assert application.recv(1) == b""


STATES = {
    "open": lambda *_: None,
    "half-closed by the application": by_application,
    "half-closed by the target": by_target,
    "let go": let_go,
    "with bytes that wait": fill,
}


@pytest.mark.parametrize("kind", [native.OUTLET_ENDED, native.OUTLET_FORBIDDEN], ids=["ended", "forbidden"])
@pytest.mark.parametrize("state", STATES)
def test_in_whatever_state_a_stream_is_it_ends_with_its_outlet(across: Across, state: str, kind: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        outlets = Outlets(across, ("127.0.0.1", free_port()), door.getsockname())
        outlets.publish(shares=200)
        with client(outlets.address) as application:
            target, _ = door.accept()
            with target:
                target.settimeout(20)
                application.sendall(b"question")
                assert receive(target, 8) == b"question"
                target.sendall(b"answer")
                assert receive(application, 6) == b"answer"
                STATES[state](outlets, application, target)
                outlets.publish(shares=0, kind=kind)
                until(lambda: is_cut(target))
                if state != "let go":
                    until(lambda: is_cut(application))
    [event] = [event for event in outlets.near.seen if event[0] == native.EVENT_STREAM_END] or [
        outlets.near.wait_kind(native.EVENT_STREAM_END)
    ]
    wanted = {native.OUTLET_ENDED: "not-allowed", native.OUTLET_FORBIDDEN: "marking"}[kind]
    assert event[9] == ("nudged" if state == "let go" else wanted)
    assert outlets.figures(DIRECT)["active"] == 0


def test_a_set_up_that_is_under_way_ends_with_its_outlet(across: Across) -> None:
    with silent() as nowhere:
        outlets = Outlets(across, ("127.0.0.1", free_port()), nowhere)
        outlets.publish(shares=200, order=bytes([DIRECT]), patience_ms=60_000, deadline_ms=60_000)
        with client(outlets.address) as application:
            until(lambda: outlets.figures(DIRECT)["tried"] == 1)
            outlets.publish(shares=0, order=bytes([GATEWAY]), kind=native.OUTLET_ENDED)
            until(lambda: is_cut(application))
    assert outlets.figures(DIRECT)["up"] == 0
