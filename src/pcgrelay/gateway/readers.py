"""Listeners over TCP for those who read: metrics for a scraper, the page for a browser ([metrics], [page]).

On loopback everybody on this machine may read. Elsewhere they show a certificate of this realm, which is judged by the
trust and lists of links, and `allow` says who of them may read. What is answered is not decided here.

A hand-over takes the listening socket along. Before it, nothing more is accepted, and what was accepted is answered:
who connects meanwhile waits in the kernel's queue, and the next process answers.
"""

from __future__ import annotations

import asyncio
import errno
import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from functools import partial
from socket import socket

from cryptography import x509

from pcgrelay.admin.http import Answer, Answering, Asked, Events, HttpServer, text_answer
from pcgrelay.config import Address, Config, ReaderSettings
from pcgrelay.gateway.prepared import Held, Prepared
from pcgrelay.gateway.tasks import spawn
from pcgrelay.identity.certificates import IdentityRefused, Refusal, certificate_hosts, read_identity
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.identity.reader_tls import reader_refusal
from pcgrelay.log.events import Emit
from pcgrelay.model import NodeId
from pcgrelay.net.descriptors import is_for_members
from pcgrelay.net.halfopen import HalfOpen, Place, source_of

CONNECTIONS_MOST = 32  # of one listener, those in a handshake included
HANDSHAKES_MOST = 24  # of these; a stranger who connects and says nothing must not keep members away
HANDSHAKES_EACH = 8  # of one source
ACCEPT_AT_ONCE = 16
HANDSHAKE_S = 5.0
SETTLE_S = 0.5  # so long a hand-over waits for answers that are under way
SETTLE_STEP_S = 0.01
PAUSE_S = 0.2  # nothing is accepted for so long where there is no descriptor
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
LOOPBACK_NAMES = {"localhost", "127.0.0.1", "[::1]"}


class Reader:
    """One of these listeners."""

    def __init__(self, table: str, local: LocalIdentity, refused: Counter[str], emit: Emit) -> None:
        """table: of the configuration. refused: counts of refusals, by reason."""
        self.sock: socket | None = None
        self.settings = ReaderSettings()
        self.answering: Answering | None = None
        self._table = table
        self._local = local
        self._refused = refused
        self._emit = emit
        self._http: HttpServer | None = None
        self._handshakes: set[asyncio.Task[None]] = set()
        self._half_open = HalfOpen(HANDSHAKES_MOST, HANDSHAKES_EACH, random.random)
        self._paused: asyncio.TimerHandle | None = None

    def apply(self, settings: ReaderSettings, sock: socket | None) -> None:
        """Listen as these settings say. sock: bound to a new address, or nothing if the address is as before."""
        if settings.listen != self.settings.listen:
            self.shut()
            self.sock = sock
        is_same = settings.is_open == self.settings.is_open
        self.settings = settings
        self.begin()
        if self._http is not None:
            self._http.cut(lambda certificate: is_same and self._may_stay(certificate))

    def _may_stay(self, certificate: bytes) -> bool:
        return self.settings.is_open or self._refusal(certificate)[0] == ""

    def begin(self) -> None:
        """Accept."""
        if self.sock is None:
            return
        if self._http is None:
            self._http = HttpServer(self._answer)
        asyncio.get_running_loop().add_reader(self.sock.fileno(), self._accept)

    def cut_all(self) -> None:
        """End all connections: trust has changed, and who they are is to be proved anew.

        A handshake that is under way would end by the trust of before.
        """
        if self._http is not None and not self.settings.is_open:
            self._http.cut(lambda certificate: False)
            for task in self._handshakes:
                task.cancel()

    async def settle(self) -> None:
        """Accept nothing more, and wait a moment for the answers that are under way."""
        self._rest()
        if self._http is not None:
            self._http.end_events()
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                while self._handshakes or (self._http is not None and self._http.connections):  # noqa: ASYNC110
                    await asyncio.sleep(SETTLE_STEP_S)

    def shut(self) -> None:
        """Close the listener and its connections."""
        self._rest()
        for task in self._handshakes:
            task.cancel()
        if self._http is not None:
            self._http.cut(lambda certificate: False)
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def _rest(self) -> None:
        if self._paused is not None:
            self._paused.cancel()
            self._paused = None
        if self.sock is not None:
            asyncio.get_running_loop().remove_reader(self.sock.fileno())

    # -- connections -------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            if self.sock is None:
                return
            try:
                sock, where = self.sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._rest()
                    self._paused = asyncio.get_running_loop().call_later(PAUSE_S, self.begin)
                return
            sock.setblocking(False)
            http = self._http
            if http is None or self._is_full(http) or not is_for_members(sock.fileno()):
                self._refused["reader_too_many"] += 1
                sock.close()
                continue
            self._admit(sock, str(where[0]), http)

    def _is_full(self, http: HttpServer) -> bool:
        return len(self._handshakes) + len(http.connections) >= CONNECTIONS_MOST

    def _admit(self, sock: socket, host: str, http: HttpServer) -> None:
        """Begin the handshake of a connection, within the bounds of one source and of all."""

        def give_up() -> None:
            task.cancel()

        place = None if self.settings.is_open else self._half_open.enter(source_of(host), give_up)
        if isinstance(place, str):
            self._refused["reader_too_many"] += 1
            sock.close()
            return
        task = spawn(self._served(sock, http), self._table, self._emit)
        self._handshakes.add(task)
        task.add_done_callback(partial(self._begun, sock, place))

    def _begun(self, sock: socket, place: Place | None, task: asyncio.Task[None]) -> None:
        self._handshakes.discard(task)
        if task.cancelled():
            # Perhaps before it came to its first line, where it would close the socket itself.
            sock.close()
        if place is not None:
            self._half_open.leave(place)

    async def _served(self, sock: socket, http: HttpServer) -> None:
        """Give an accepted connection to the HTTP server, after TLS where there is any."""
        loop = asyncio.get_running_loop()
        try:
            if self.settings.is_open:
                await loop.connect_accepted_socket(http, sock)
            else:
                context = self._local.reader_context
                await loop.connect_accepted_socket(http, sock, ssl=context, ssl_handshake_timeout=HANDSHAKE_S)
        except (OSError, TimeoutError) as error:
            if not self.settings.is_open:
                self._refused[reader_refusal(error)] += 1
            sock.close()
        except asyncio.CancelledError:
            sock.close()
            raise

    async def _answer(self, asked: Asked) -> Answer | Events:
        if not self.settings.is_open:
            reason, sentence = self._refusal(asked.certificate, asked.above)
            if reason:
                self._refused[reason] += 1
                return text_answer(403, sentence)
        if not self._is_ours(asked):
            self._refused["reader_host"] += 1
            return text_answer(403, f"This is not shown under that name; ask for {self.settings.listen}.")
        if self.answering is None:
            return text_answer(503, "The node is not ready to answer.")
        return await self.answering(replace(asked, user=-1))

    def _refusal(self, certificate: bytes, above: tuple[bytes, ...] = ()) -> tuple[str, str]:
        """Return why the holder of a certificate, proved by TLS, may not read: a reason and a sentence.

        above: those it was verified by; nothing where trust is as it was when they were judged.
        """
        try:
            node: NodeId = read_identity(certificate, self._local.config.node.id.realm)
        except IdentityRefused as refused:
            return str(refused.reason), str(refused)
        if self._local.is_revoked([x509.load_der_x509_certificate(each) for each in (certificate, *above)]):
            return Refusal.REVOKED, f"The certificate of {node.uri}, or of a CA above it, was revoked."
        if self.settings.admits(node):
            return "", ""
        return "reader_not_allowed", f"{node.uri} may not read this; name it in [{self._table}] allow."

    def _is_ours(self, asked: Asked) -> bool:
        """Whether the name that was asked for is this node's, so that no other site can read here through a browser."""
        host = _host_of(asked.host)
        if self.settings.is_open:
            return host in LOOPBACK_NAMES
        listen = self.settings.listen
        names = {_bracketed(asked.local), _bracketed(listen.host) if listen else ""}
        return host in names or host in certificate_hosts(self._local.credentials.leaf)


class Readers:
    """The readers' listeners of a node."""

    def __init__(self, local: LocalIdentity, emit: Emit) -> None:
        self.refused: Counter[str] = Counter()
        self._local = local
        self.metrics = Reader("metrics", local, self.refused, emit)
        self.page = Reader("page", local, self.refused, emit)

    def _all(self) -> dict[str, Reader]:
        return {"metrics": self.metrics, "page": self.page}

    def held(self) -> Held:
        """The ports that are open now."""
        return dict(self.sockets())

    def sockets(self) -> dict[Address, socket]:
        """The listening sockets by address, for a hand-over."""
        return {
            each.settings.listen: each.sock
            for each in self._all().values()
            if each.settings.listen is not None and each.sock is not None
        }

    async def open(self, config: Config, prepared: Prepared) -> None:
        """Open what is not open yet and no other process hands over. RunError: an address is not available."""
        there = {name: each.settings.listen for name, each in self._all().items() if each.sock is not None}
        for name, settings in config.readers.items():
            address = settings.listen
            if address is not None and there.get(name) != address and address not in prepared.kept:
                await prepared.open_links(address)

    def apply(self, config: Config, prepared: Prepared, *, trust_changed: bool = False) -> None:
        """Listen as a configuration says, with what was opened or handed over. Who may no longer read is cut off."""
        if trust_changed:
            self.trust_changed()
        for name, reader in self._all().items():
            settings = config.readers.get(name, ReaderSettings())
            sock = None if settings.listen is None else prepared.listeners.pop(settings.listen, None)
            reader.apply(settings, sock)

    def trust_changed(self) -> None:
        """End all connections: who may still read comes again, and is judged then."""
        for each in self._all().values():
            each.cut_all()

    async def settle(self) -> None:
        """Accept nothing more, and wait a moment for answers that are under way, before a hand-over."""
        await asyncio.gather(*(each.settle() for each in self._all().values()))

    def resume(self) -> None:
        """Accept again, after a hand-over that came to nothing."""
        for each in self._all().values():
            each.begin()

    def stop(self) -> None:
        """Close all."""
        for each in self._all().values():
            each.shut()


def _host_of(text: str) -> str:
    """Return the host of a Host header, without its port, in lower case."""
    host, colon, port = text.lower().rpartition(":")
    return host if colon and port.isdigit() and (not host.startswith("[") or host.endswith("]")) else text.lower()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
