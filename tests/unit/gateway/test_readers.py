"""Who may read over TCP: everybody on loopback, elsewhere those who prove a name of this realm that `allow` has."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec.structs import replace

from pcgrelay import config as configuration
from pcgrelay.admin.http import Answer, Asked, text_answer
from pcgrelay.config import Address, ReaderSettings
from pcgrelay.gateway import readers
from pcgrelay.gateway.prepared import Prepared
from pcgrelay.gateway.readers import CONNECTIONS_MOST, HANDSHAKES_EACH, HANDSHAKES_MOST, Reader, Readers
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.net.sockets import bind_listener
from tests.support.pki import Files, RealmPki, write_config
from tests.support.ports import free_port
from tests.support.waiting import until_async as until

KENT, MET = "kent.police.example", "met.police.example"


class Place:
    """A reader of kent-1, and the realm around it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pki = RealmPki(folder)
        self.files = self.pki.issue(KENT, "kent-1")
        self.refused: Counter[str] = Counter()
        self.local = self.read()
        self.reader = Reader("metrics", self.local, self.refused, lambda record: None)
        self.reader.answering = self._answer
        self.port = free_port()
        self.asked: list[Asked] = []
        self.waits: asyncio.Event | None = None

    def read(self) -> LocalIdentity:
        config = write_config(self.folder / "kent-1.toml", self.files, KENT, "kent-1", listens=["127.0.0.1:7400"])
        return LocalIdentity(configuration.load(config))

    async def _answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        if self.waits is not None:
            await self.waits.wait()
        return text_answer(200, "read")

    def listen(self, host: str = "0.0.0.0", *allow: str) -> None:
        settings = ReaderSettings(listen=Address(host, self.port), allow=allow)
        fresh = settings.listen != self.reader.settings.listen
        self.reader.apply(settings, bind_listener(Address(host, self.port)) if fresh else None)

    def client(self, files: Files | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.files.trust)
        context.check_hostname = False  # a node's name is no host's
        if files is not None:
            context.load_cert_chain(files.certificate, files.key)
        return context

    async def get(
        self, files: Files | None = None, host: str = "127.0.0.1", tls: bool = True, words: bytes = b"GET /metrics"
    ) -> str:
        """What is answered, or the kind of error with which it ends."""
        try:
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", self.port, ssl=self.client(files) if tls else None
                )
                writer.write(words + f" HTTP/1.1\r\nHost: {host}:{self.port}\r\n\r\n".encode())
                answer = await reader.read()
                writer.close()
        except (OSError, ssl.SSLError) as error:
            return type(error).__name__
        return answer.decode().partition(" ")[2].partition("\r\n")[0] if answer else "cut"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(tmp_path)
    yield place
    place.reader.shut()


async def test_on_loopback_everybody_reads(place: Place) -> None:
    place.listen("127.0.0.1")
    assert await place.get(tls=False) == "200 OK"
    assert await place.get(tls=False, host="localhost") == "200 OK"
    assert [asked.certificate for asked in place.asked] == [b"", b""]


async def test_another_name_for_loopback_is_another_site(place: Place) -> None:
    place.listen("127.0.0.1")
    assert await place.get(tls=False, host="rebound.example") == "403 Forbidden"
    assert place.refused == {"reader_host": 1}
    assert not place.asked


async def test_off_loopback_a_certificate_of_the_realm_is_asked_for(place: Place) -> None:
    place.listen("0.0.0.0", KENT)
    assert await place.get(place.pki.issue(KENT, "watch-1")) == "200 OK"
    assert place.asked[0].certificate
    assert await place.get(None) in ("SSLError", "ConnectionResetError", "cut")
    assert place.refused == {"no_certificate": 1}
    assert await place.get(tls=False) in ("ConnectionResetError", "cut", "400 Bad Request", "\ufffd")
    await until(lambda: place.refused["tls_error"] == 1)
    assert len(place.asked) == 1


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda pki: pki.issue(KENT, "watch-1", expired=True), "expired"),
        (lambda pki: pki.issue(KENT, "watch-1", not_yet_valid=True), "not_yet_valid"),
        (lambda pki: pki.issue(KENT, "watch-1", wrong_ca=True), "unknown_issuer"),
    ],
)
async def test_a_certificate_that_no_link_would_take_reads_nothing(
    place: Place, made: Callable[[RealmPki], Files], reason: str
) -> None:
    place.listen("0.0.0.0", KENT)
    assert await place.get(made(place.pki)) in ("SSLError", "ConnectionResetError", "cut")
    # OpenSSL may find another CA of the same name, whose signature it is not.
    assert place.refused.keys() <= {reason, "bad_signature"}
    assert place.refused.total() == 1
    assert not place.asked


async def test_a_revoked_one_reads_nothing(place: Place) -> None:
    files = place.pki.issue(KENT, "watch-1", revoked=True)
    place.local.take(place.read())
    place.listen("0.0.0.0", KENT)
    assert await place.get(files) in ("SSLError", "ConnectionResetError", "cut")
    assert place.refused == {"revoked": 1}


@pytest.mark.parametrize("uris", [[], ["spiffe://police.example/org/kent.police.example"], ["https://kent-1"]])
async def test_a_certificate_without_a_node_reads_nothing(place: Place, uris: list[str]) -> None:
    place.listen("0.0.0.0", KENT)
    assert await place.get(place.pki.issue(KENT, "odd-1", uris=uris)) == "403 Forbidden"
    assert place.refused.total() == 1
    assert not place.asked


async def test_who_is_not_named_is_told_what_to_write(place: Place) -> None:
    place.listen("0.0.0.0", KENT, f"spiffe://police.example/org/{MET}/node/watch-1")
    assert await place.get(place.pki.issue(MET, "watch-1")) == "200 OK"
    assert await place.get(place.pki.issue(MET, "watch-2")) == "403 Forbidden"
    assert place.refused == {"reader_not_allowed": 1}


async def test_tls_is_1_3(place: Place) -> None:
    place.listen("0.0.0.0", KENT)
    context = place.client(place.pki.issue(KENT, "watch-1"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", place.port, ssl=context)
    await until(lambda: place.refused["tls_error"] == 1)


def test_nothing_of_the_key_is_left_where_it_was_read(tmp_path: Path) -> None:
    assert Place(tmp_path).local.reader_context.verify_mode is ssl.CERT_REQUIRED
    opened = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert not [path for path in opened if path.exists() and "pcgrelay-reader" in str(path.readlink())]


# -- a reload ---------------------------------------------------------------------------------------------------------


async def begun(place: Place, files: Files | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection whose answer is awaited."""
    place.waits = place.waits or asyncio.Event()
    count = len(place.asked)
    context = place.client(files) if files else None
    reader, writer = await asyncio.open_connection("127.0.0.1", place.port, ssl=context)
    writer.write(f"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{place.port}\r\n\r\n".encode())
    await until(lambda: len(place.asked) > count)
    return reader, writer


async def ended(reader: asyncio.StreamReader) -> bytes:
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    except (ConnectionError, ssl.SSLError):
        return b""


async def test_a_reload_ends_those_who_may_no_longer_read_and_no_others(place: Place) -> None:
    place.listen("0.0.0.0", KENT, MET)
    stays, goes = place.pki.issue(KENT, "watch-1"), place.pki.issue(MET, "watch-1")
    (kent, _), (met, writer) = await begun(place, stays), await begun(place, goes)
    place.listen("0.0.0.0", KENT)
    assert await ended(met) == b""
    assert place.waits is not None
    place.waits.set()
    assert b"200 OK" in await ended(kent)
    writer.close()


async def test_new_trust_asks_everybody_again(place: Place) -> None:
    place.listen("0.0.0.0", KENT)
    reader, writer = await begun(place, place.pki.issue(KENT, "watch-1"))
    place.reader.cut_all()
    assert await ended(reader) == b""
    writer.close()


async def test_an_address_that_is_given_up_is_shut(place: Place) -> None:
    place.listen("127.0.0.1")
    reader, writer = await begun(place, None)
    place.reader.apply(ReaderSettings(), None)
    assert await ended(reader) == b""
    assert await place.get(tls=False) == "ConnectionRefusedError"
    writer.close()


# -- a hand-over ------------------------------------------------------------------------------------------------------


async def test_what_was_asked_is_answered_and_who_comes_then_waits(place: Place) -> None:
    place.listen("127.0.0.1")
    reader, writer = await begun(place, None)
    settling = asyncio.create_task(place.reader.settle())
    await asyncio.sleep(0)
    late = asyncio.create_task(place.get(tls=False))
    assert place.waits is not None
    place.waits.set()
    assert b"200 OK" in await ended(reader)
    writer.close()
    await settling
    assert len(place.asked) == 1
    # The next process accepts at the same socket; here it is this one again.
    place.reader.begin()
    assert await late == "200 OK"


async def test_it_does_not_wait_for_ever(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "SETTLE_S", 0.05)
    place.listen("127.0.0.1")
    _, writer = await begun(place, None)
    async with asyncio.timeout(5):
        await place.reader.settle()
    writer.close()


# -- bounds -----------------------------------------------------------------------------------------------------------


async def test_connections_are_bounded_also_before_they_have_said_anything(place: Place) -> None:
    place.listen("127.0.0.1")
    held = [socket.create_connection(("127.0.0.1", place.port)) for _ in range(CONNECTIONS_MOST + 3)]
    await until(lambda: place.refused["reader_too_many"] == 3)
    for sock in held:
        sock.close()
    assert place.reader._http is not None
    await until(lambda: not place.reader._handshakes and not place.reader._http.connections)
    assert await place.get(tls=False) == "200 OK"


async def test_strangers_who_say_nothing_keep_no_member_away(place: Place) -> None:
    """Neither one that connects often, nor many, each from an address of its own."""
    place.listen("0.0.0.0", KENT)
    watch = place.pki.issue(KENT, "watch-1")
    held = [socket.create_connection(("127.0.0.7", place.port), source_address=("127.0.0.7", 0)) for _ in range(40)]
    await until(lambda: place.refused["reader_too_many"] == 40 - HANDSHAKES_EACH)
    assert await place.get(watch) == "200 OK"
    for number in range(8, 12):
        source = (f"127.0.0.{number}", 0)
        held += [socket.create_connection((source[0], place.port), source_address=source) for _ in range(40)]
    await until(lambda: len(place.reader._handshakes) == HANDSHAKES_MOST)
    assert await place.get(watch) == "200 OK"
    for sock in held:
        sock.close()
    await until(lambda: not place.reader._handshakes)
    assert place.reader._half_open.total == 0


async def test_a_handshake_that_is_under_way_ends_with_the_trust_that_it_began_with(place: Place) -> None:
    place.listen("0.0.0.0", KENT)
    reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
    await until(lambda: len(place.reader._handshakes) == 1)
    place.reader.cut_all()
    assert await ended(reader) == b""
    writer.close()
    await until(lambda: not place.reader._handshakes)


async def test_who_was_signed_by_a_revoked_ca_reads_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the chain is looked up in the lists that neighbours brought, as for a link."""
    place.listen("0.0.0.0", KENT)
    watch = place.pki.issue(KENT, "watch-1")
    assert await place.get(watch) == "200 OK"
    above = place.pki.ca_certificate
    assert place.asked[0].above == (above.public_bytes(Encoding.DER),)
    monkeypatch.setattr(place.local, "is_revoked", lambda chain: above in chain)
    assert await place.get(watch) == "403 Forbidden"
    assert place.refused == {"revoked": 1}


async def test_a_handshake_has_a_deadline(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "HANDSHAKE_S", 0.1)
    place.listen("0.0.0.0", KENT)
    reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
    try:
        assert await ended(reader) == b""
        await until(lambda: place.refused == {"deadline": 1})
    finally:
        writer.close()


async def test_curl_reads_with_its_certificate(place: Place) -> None:
    place.listen("0.0.0.0", KENT)
    files = place.pki.issue(KENT, "watch-1")
    command = [
        "curl",
        "-sSk",
        "--cert",
        str(files.certificate),
        "--key",
        str(files.key),
        f"https://127.0.0.1:{place.port}/",
    ]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "read\n"), done.stderr


# -- the two of a node ------------------------------------------------------------------------------------------------


async def test_an_address_that_is_taken_changes_nothing(place: Place) -> None:
    both = Readers(place.local, lambda record: None)
    first, second = Address("127.0.0.1", free_port()), Address("127.0.0.1", free_port())
    config = replace(place.local.config, metrics=ReaderSettings(listen=first))
    prepared = Prepared()
    await both.open(config, prepared)
    both.apply(config, prepared)
    assert list(both.sockets()) == [first]
    with socket.socket() as other:
        other.bind((second.host, second.port))
        other.listen()
        prepared = Prepared(both.held())
        with pytest.raises(Exception, match="nothing can listen there"):
            await both.open(replace(config, page=ReaderSettings(listen=second)), prepared)
        prepared.close()
    assert list(both.sockets()) == [first]
    both.stop()
    assert both.sockets() == {}


async def test_what_another_process_hands_over_is_not_opened(place: Place) -> None:
    both = Readers(place.local, lambda record: None)
    address = Address("127.0.0.1", free_port())
    config = replace(place.local.config, page=ReaderSettings(listen=address))
    prepared = Prepared(kept={address})
    await both.open(config, prepared)
    assert prepared.listeners == {}
    handed = bind_listener(address)
    prepared.listeners[address] = handed
    both.apply(config, prepared)
    assert both.sockets() == {address: handed}
    both.stop()
