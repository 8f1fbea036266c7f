"""Connections by name: where a name led last serves while nobody can tell where it leads."""

from __future__ import annotations

import socket

import pytest

from pcgrelay.config import Address
from pcgrelay.session import sockets
from pcgrelay.session.sockets import Where, connected

NAME = "relay-1.hub.example"


@pytest.fixture
def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def leading(monkeypatch: pytest.MonkeyPatch, *found: str) -> list[int]:
    """Names lead there from now on, or nobody answers; notes how long each look-up may take."""
    deadlines: list[int] = []

    async def resolved(address: Address, deadline_ms: int) -> list[Where]:
        deadlines.append(deadline_ms)
        if not found:
            raise TimeoutError
        return [(socket.AF_INET, (host, address.port)) for host in found]

    monkeypatch.setattr(sockets, "resolved", resolved)
    return deadlines


async def test_a_name_that_led_somewhere_is_found_again(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, last = Address(NAME, listener.getsockname()[1]), list[Where]()
    with listener:
        leading(monkeypatch, "127.0.0.1")
        (await connected(address, 5_000, last)).close()
        assert last == [(socket.AF_INET, ("127.0.0.1", address.port))]
        deadlines = leading(monkeypatch)
        (await connected(address, 5_000, last)).close()
        # Who knows where to go does not wait long to be told.
        assert deadlines == [sockets.LOOK_UP_AGAIN_MS]
        leading(monkeypatch, "127.0.0.2")
        with pytest.raises(OSError, match=r"127\.0\.0\.2"):
            await connected(address, 5_000, last)
        assert last == [(socket.AF_INET, ("127.0.0.2", address.port))]


async def test_a_name_that_never_led_anywhere_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines, last = leading(monkeypatch), list[Where]()
    with pytest.raises(TimeoutError):
        await connected(Address(NAME, 1), 5_000, last)
    assert (deadlines, last) == ([5_000], [])
