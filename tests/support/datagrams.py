"""A service of datagrams across real nodes: an exchange of datagrams by a client, and servers that answer."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pcgrelay._core.face import core as native
from tests.support.applications import PATIENCE, Across
from tests.support.cores import Node, carried_out

Address = tuple[str, int]
Answer = Callable[[bytes, Address], bytes | None]


class Terms(NamedTuple):
    """The row of an import of datagrams; an export has the first three."""

    idle_ms: int = 60_000
    silent_ms: int = 60_000
    wait_ms: int = 2_000
    associations: int = 4_096
    of_source: int = 4_096
    each_second: int = 100_000
    prefixes: tuple[tuple[str, int], ...] = ()


TERMS = Terms()


def listen(node: Node, number: int = 0, host: str = "127.0.0.1", counts: int = 0) -> Address:
    """Give an import its sockets, one for each worker, and answer their address."""
    port = 0
    for worker in range(node.core.workers):
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        port = listener.getsockname()[1]
        listener.setblocking(False)
        node.core.listen_datagrams(worker, number, listener.detach(), counts)
    carried_out(node)
    return host, port


def export_rows(*targets: Address, terms: Terms | None = TERMS) -> list[tuple[Any, ...]]:
    row = None if terms is None else tuple(terms[:3])
    return [(0, b"echo", 1, 0, native.EXPORT_READY, 2000, list(targets), (), False, row)]


def import_rows(session: int, terms: Terms | None = TERMS) -> list[tuple[Any, ...]]:
    row = None if terms is None else tuple(terms)
    return [(0, b"echo", 1, 0, native.IMPORT_LIVE, [(session, 2, 100)], None, row)]


def publish(across: Across, *targets: Address, near: Terms | None = TERMS, far: Terms | None = TERMS) -> None:
    """Have the far edge export a service, and the near one import it; without terms, as one of streams."""
    across.far.core.publish(exports=export_rows(*targets, terms=far), imports=[], grants=[(across.session, [0])])
    carried_out(across.far)
    across.near.core.publish(exports=[], imports=import_rows(across.session, near), grants=[])
    carried_out(across.near)


def serve(across: Across, target: Address, near: Terms = TERMS, far: Terms | None = None) -> Address:
    """As `publish`, with the same terms at both edges if there are no others; answer the address to send to."""
    publish(across, target, near=near, far=near if far is None else far)
    return listen(across.near)


class Server:
    """A server that answers each datagram as a test says. `seen`: what came, and from where."""

    def __init__(self, answer: Answer, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.bind((host, 0))
        self.address: Address = self.socket.getsockname()[:2]
        self.seen: list[tuple[bytes, Address]] = []
        self._answer = answer
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self.socket, self._stopped], [], [])
            if self._stopped in ready:
                return
            with contextlib.suppress(ConnectionRefusedError):
                data, source = self.socket.recvfrom(65_536)
                self.seen.append((data, source))
                if (answer := self._answer(data, source)) is not None:
                    self.socket.sendto(answer, source)

    def close(self) -> None:
        self._stop.close()
        self._thread.join(PATIENCE)
        self._stopped.close()
        self.socket.close()


@contextlib.contextmanager
def server(answer: Answer = lambda data, _: data, host: str = "127.0.0.1") -> Iterator[Server]:
    running = Server(answer, host)
    try:
        yield running
    finally:
        running.close()


def client(address: Address | None = None, source: str = "127.0.0.1") -> socket.socket:
    """A socket of a client; connected, if there is an address to send to."""
    made = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(PATIENCE)
    made.bind((source, 0))
    if address is not None:
        made.connect(address)
    return made


def ask(made: socket.socket, data: bytes) -> bytes:
    made.send(data)
    return made.recv(65_536)


def dropped(node: Node) -> dict[str, int]:
    """Datagrams that a node has dropped, by cause; those of which there are none are left out."""
    counts = node.core.counters()
    prefix, suffix = "datagrams_dropped_", "_total"
    return {
        name.removeprefix(prefix).removesuffix(suffix): n
        for name, n in counts.items()
        if name.startswith(prefix) and n != 0
    }
