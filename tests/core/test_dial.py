"""A target with several addresses: each has a moment to itself, then the next is tried beside it (RFC 8305)."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pcgrelay._core.face import core as native
from tests.support.applications import Across, client, echo, is_turned_away, reset, server, transfer
from tests.support.dialled_targets import Address, serve
from tests.support.handover import hand_over
from tests.support.ports import free_port
from tests.support.socket_options import options_of
from tests.support.waiting import until

NEXT_S = 0.25
YOUNG_S = 1.0  # without keep-alive


@pytest.fixture
def across() -> Iterator[Across]:
    with Across(relays=0) as built:
        yield built


@pytest.fixture
def answers() -> Iterator[Address]:
    with server(echo) as target:
        yield target


@pytest.fixture
def refuses() -> Address:
    return "127.0.0.1", free_port()


class Silent:
    """A listener whose queue is full, so that the kernel drops what knocks, until it makes room."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.address: Address = self.listener.getsockname()
        self.callers: list[Address] = []
        self.knocking = [socket.socket() for _ in range(4)]
        for each in self.knocking:
            each.setblocking(False)
            each.connect_ex(self.address)

    def answer(self) -> None:
        """Take all and give back what each says, from now on."""
        for each in self.knocking:
            each.close()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, caller = self.listener.accept()
                self.callers.append(caller)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            echo(connection)

    def close(self) -> None:
        for each in self.knocking:
            each.close()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    made = Silent()
    yield made
    made.close()


def cause(across: Across) -> object:
    return across.far.wait_kind(native.EVENT_STREAM_END, 20.0)[9]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


ORDERS = [
    "silent answers",
    "refuses answers",
    "silent refuses answers",
    "refuses silent answers",
    "silent " * 7 + "answers",
]


@pytest.mark.parametrize("order", ORDERS)
def test_the_first_that_answers_is_taken(
    across: Across, silent: Silent, refuses: Address, answers: Address, order: str
) -> None:
    addresses = {"silent": silent.address, "refuses": refuses, "answers": answers}
    address = serve(across, *(addresses[name] for name in order.split()))
    before = descriptors()
    assert transfer(address, b"hello") == b"hello"
    until(lambda: across.far.core.streams() == 0 and descriptors() <= before)


def test_one_that_refuses_is_followed_at_once_and_a_silent_one_soon(
    across: Across, silent: Silent, refuses: Address, answers: Address
) -> None:
    address = serve(across, refuses, refuses, refuses, answers)
    began = time.monotonic()
    assert transfer(address, b"hello") == b"hello"
    at_once = time.monotonic() - began
    address = serve(across, silent.address, answers)
    began = time.monotonic()
    assert transfer(address, b"hello") == b"hello"
    soon = time.monotonic() - began
    assert soon >= NEXT_S - 0.01
    # The machine may be busy, but no address has waited for the deadline of 10 s.
    assert at_once < 5
    assert soon < 5


def test_the_order_is_that_of_the_table(across: Across) -> None:
    asked = {"first": 0, "second": 0}

    def answer(name: str, connection: socket.socket) -> None:
        asked[name] += 1
        echo(connection)

    with server(partial(answer, "first")) as first, server(partial(answer, "second")) as second:
        address = serve(across, first, second)
        for _ in range(20):
            assert transfer(address, b"hello") == b"hello"
    assert asked == {"first": 20, "second": 0}


def test_the_first_is_still_taken_when_it_answers_late(across: Across, silent: Silent) -> None:
    other = Silent()
    try:
        address = serve(across, silent.address, other.address)
        filling = [waiting_for(each.address) for each in (silent, other)]
        with client(address) as connection:
            connection.sendall(b"hello")
            # Both are under way; the kernel knocks again after a second.
            until(lambda: waiting_for(silent.address) > filling[0] and waiting_for(other.address) > filling[1])
            silent.answer()
            assert connection.recv(5) == b"hello"
        until(lambda: across.far.core.streams() == 0 and waiting_for(other.address) == filling[1])
    finally:
        other.close()


def test_a_target_that_is_slow_to_answer_is_kept_alive_at_once(across: Across, silent: Silent) -> None:
    address = serve(across, silent.address)
    filling = waiting_for(silent.address)
    with client(address) as connection:
        connection.sendall(b"hello")
        until(lambda: waiting_for(silent.address) > filling)
        time.sleep(YOUNG_S)
        silent.answer()
        assert connection.recv(5) == b"hello"
        assert options_of(silent.callers[-1]).keep_alive


def waiting_for(address: Address) -> int:
    """How many sockets wait for an answer from an address, those of the test that fill its queue among them."""
    wanted = f":{address[1]:04X}"
    count = 0
    for line in Path("/proc/self/net/tcp").read_text().splitlines():
        _, _, remote, state, *_ = line.split()
        count += remote.endswith(wanted) and state == "02"
    return count


def test_the_deadline_is_for_all_of_them(across: Across, silent: Silent, refuses: Address) -> None:
    before = descriptors()
    address = serve(across, silent.address, refuses, silent.address, deadline_ms=700)
    began = time.monotonic()
    assert is_turned_away(address)
    assert time.monotonic() - began >= 0.6
    assert cause(across) == "target-silent"
    until(lambda: across.far.core.streams() == 0 and descriptors() <= before + 1)


def test_a_client_that_leaves_leaves_no_connection_under_way(across: Across, silent: Silent) -> None:
    filling = waiting_for(silent.address)
    address = serve(across, *[silent.address] * 8)
    connection = client(address)
    until(lambda: waiting_for(silent.address) >= filling + 3)
    reset(connection)
    until(lambda: waiting_for(silent.address) == filling)
    assert across.far.core.streams() == 0


@pytest.mark.parametrize("late", [False, True], ids=["next-answers", "second-answers"])
def test_a_hand_over_takes_along_what_is_under_way(
    across: Across, silent: Silent, answers: Address, late: bool
) -> None:
    other = Silent()
    try:
        targets = [silent.address, other.address] if late else [silent.address, silent.address, answers]
        address = serve(across, *targets)
        filling = [waiting_for(each.address) for each in (silent, other)]
        with client(address) as connection:
            connection.sendall(b"hello")
            until(lambda: waiting_for(silent.address) > filling[0])
            if late:
                until(lambda: waiting_for(other.address) > filling[1])
            hand_over(across, across.far, *targets)
            if late:
                other.answer()
            assert connection.recv(5) == b"hello"
        until(lambda: across.far.core.streams() == 0)
    finally:
        other.close()
