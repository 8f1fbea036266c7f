"""What was cut off never looks like a clean end, on either side."""

import pytest

from tests.scenarios.kit.nodes import Line
from tests.scenarios.kit.socket_steps import read_exactly, reset, sequence, wire, write_until_reset

pytestmark = pytest.mark.tier_test


def cut_by(path: Line, cutter: str) -> None:
    with wire(path) as (client, server):
        near, far = (client, server) if cutter == "client" else (server, client)
        near.sendall(b"something first")
        assert read_exactly(far, 15) == b"something first"
        reset(near)
        with pytest.raises(ConnectionResetError):
            far.recv(1)
    path.await_quiet()


def test_when_the_server_resets(path: Line) -> None:
    cut_by(path, "server")
    path.exporter.await_log("stream.end", direction="export", sent_bytes=15, cause="application-reset", code="aborted")
    path.importer.await_log("stream.end", direction="import", received_bytes=15, cause="far-reset", code="aborted")


def test_when_the_client_resets(path: Line) -> None:
    cut_by(path, "client")
    path.importer.await_log("stream.end", direction="import", sent_bytes=15, cause="application-reset", code="aborted")
    path.exporter.await_log("stream.end", direction="export", received_bytes=15, cause="far-reset", code="aborted")


def test_when_the_server_resets_after_it_half_closed(path: Line) -> None:
    with wire(path) as (client, server):
        server.shutdown(1)
        assert client.recv(1) == b""
        reset(server)
        # The client may still write; what it learns, it learns by that.
        write_until_reset(client)
    path.await_quiet()


def test_when_the_server_leaves_what_the_client_sent_unread(path: Line) -> None:
    with wire(path) as (client, server):
        client.sendall(sequence(100_000, "unread"))
        assert read_exactly(server, 10) == sequence(100_000, "unread")[:10]
        # With bytes unread, the kernel makes a reset of this.
        server.close()
        write_until_reset(client)
    path.await_quiet()
