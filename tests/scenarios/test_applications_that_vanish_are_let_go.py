"""An application that goes without a word, or closes one half and never the other: no stream and no socket stays."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.scenarios.kit.network_namespace import own_network, tcp_states
from tests.scenarios.kit.nodes import Line
from tests.scenarios.kit.real_programs import program
from tests.scenarios.kit.socket_steps import wire
from tests.support.applications import Across, client, read_all, server
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

KEEPALIVE_S = 1
VANISHED_S = 3 * KEEPALIVE_S + 5.0
LINGER_MS = 500


def test_a_client_whose_machine_is_gone(figure: Callable[[str], None]) -> None:
    """TCP asks, nobody answers, and the far application sees a reset."""
    over = threading.Event()

    def hold(connection: socket.socket) -> None:
        with suppress(OSError):
            read_all(connection)
        over.set()

    with (
        own_network() as network,
        server(hold) as target,
        Across(relays=0, keepalive_s=KEEPALIVE_S) as across,
        client(across.serve(target)) as connection,
    ):
        connection.sendall(b"x")
        until(lambda: across.far.core.streams() == 1, 20, "the stream is open")
        network.drop(connection.getsockname()[1])
        began = time.monotonic()
        assert over.wait(VANISHED_S)
        until(lambda: across.near.core.streams() == across.far.core.streams() == 0, 20, "no stream is left")
        figure(f"asked after {KEEPALIVE_S} s, given up after {time.monotonic() - began:.1f} s")


def test_half_closed_streams_leave_no_socket_behind() -> None:
    """Whatever state the two applications leave theirs in, both are gone soon after the linger."""
    stay = threading.Event()
    served: list[tuple[str, int]] = []

    def half(connection: socket.socket) -> None:
        read_all(connection)  # the client's FIN; its own never comes
        stay.wait(20)

    with own_network(), server(half) as target, Across(relays=0, linger_ms=LINGER_MS) as across:
        served.append(across.serve(target))
        connections = [client(served[0]) for _ in range(20)]
        for connection in connections:
            connection.sendall(b"all that I have to say")
            connection.shutdown(socket.SHUT_WR)
        until(lambda: "CLOSE_WAIT" in tcp_states(served[0][1]), 20, "they are half closed")
        until(
            lambda: (
                not {"CLOSE_WAIT", "FIN_WAIT2", "FIN_WAIT1", "LAST_ACK"}
                & {*tcp_states(served[0][1]), *tcp_states(target[1])}
            ),
            LINGER_MS / 1000 + 5,
            "nothing is half closed any more",
        )
        assert across.near.core.streams() == across.far.core.streams() == 0
        stay.set()
        for connection in connections:
            connection.close()


@pytest.mark.parametrize("side", ["door", "target"])
def test_a_node_has_every_connection_asked(path: Line, side: str) -> None:
    """The kernel's timer runs on both of the gateway's sockets, at the minute that is documented."""
    with wire(path) as (near, far):
        near.sendall(b"x")
        assert far.recv(1) == b"x"
        port = (path.door if side == "door" else path.target)("echo")[1]
        way = "sport" if side == "door" else "dport"
        command = [program("ss"), "-Htnop", "state", "established", f"( {way} = :{port} )"]

        def is_asked() -> bool:
            listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            timers = [text for text in listing.splitlines() if "pcgrelay" in text or "python" in text]
            return any("timer:(keepalive," in text for text in timers)

        # The connection to the target gets it when it is a second old.
        until(is_asked, 10, f"keep-alive runs at the {side}")
