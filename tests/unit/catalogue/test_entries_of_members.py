"""What a member writes into its catalogue entry harms nobody who passes it on: an entry is refused, a link is not."""

from __future__ import annotations

import io
import json
import random
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pcgrelay import config, messages
from pcgrelay.catalogue import entries as c
from pcgrelay.catalogue import proofs
from pcgrelay.catalogue.chains import chain_digest
from pcgrelay.catalogue.exchange import ENTRY_REASONS, CatalogueExchange
from pcgrelay.clock import SetClock
from pcgrelay.identity.certificates import IdentityRefused, identity_of, read_certificate, read_identity
from pcgrelay.identity.handshake import INTEREST
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.log.writer import Log
from pcgrelay.messages import Advert, AdvertGet, encode_message
from pcgrelay.model import URI_LIMIT, NodeId, Role
from pcgrelay.signing import sign
from tests.support.nodes_in_process import HUB, KENT, MET, Nodes, without_feature
from tests.support.pki import REALM
from tests.support.ports import free_port
from tests.support.waiting import until_async as until

EDGE = NodeId(REALM, MET, "met-1")
HUB_1 = NodeId(REALM, HUB, "relay-1")
LIMIT = messages.MESSAGE_LIMIT_BYTES


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


def padded(local: LocalIdentity, size: int) -> Advert:
    """A good entry of that edge, of exactly that size as a message without relays: what pads it means nothing."""
    chain = (*local.chain, *[junk_certificate(15_800)] * (8 - len(local.chain)))
    now_s = int(datetime.now(UTC).timestamp())
    key = local.credentials.key

    def made(padding: int) -> Advert:
        entry = msgspec.msgpack.encode([c.ENTRY_KIND, EDGE.uri, now_s * 2_000, now_s + 600, [], bytes(padding)])
        return Advert(entry, sign(key, c.SIGNED_BEFORE + entry), chain, ())

    padding = 100_000
    for _ in range(200):
        advert = made(padding)
        missing = size - len(msgspec.msgpack.encode(advert))
        if missing == 0:
            return advert
        padding += missing
    raise AssertionError("a signature of ECDSA is of this size now and then, but never was")


def junk_certificate(size: int) -> bytes:
    """A certificate that proves nothing and is large."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "junk")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start + timedelta(days=3650))
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), bytes(size))
    return builder.add_extension(extension, False).sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


# -- sizes ------------------------------------------------------------------------------------------------------------


def test_the_bound_leaves_room_for_the_names_of_eight_relays() -> None:
    assert (c.MESSAGE_LIMIT_BYTES, c.RELAYS_MOST) == (LIMIT, messages.RELAYS_MOST)
    most = c.ENTRY_MOST_BYTES - 9
    chain = tuple(bytes(16_384) for _ in range(6)) + (b"",) * 2
    advert = Advert(bytes(most - 6 * 16_384), bytes(9), chain, ("x" * URI_LIMIT,) * messages.RELAYS_MOST)
    assert len(encode_message(advert)) <= LIMIT + 4


@pytest.mark.parametrize("passed_on", [0, 1, 2])
async def test_an_entry_that_fits_for_some_relays_only_costs_no_link(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, passed_on: int
) -> None:
    """Met, two relays in a row, Kent behind them: the entry fits for so many of those that pass it on."""
    without_feature(monkeypatch, INTEREST)
    first, second = free_port(), free_port()
    to_first = [{"peer": f"relay-1.{HUB}", "address": f"127.0.0.1:{first}"}]
    to_second = [{"peer": f"relay-2.{HUB}", "address": f"127.0.0.1:{second}"}]
    relays = [
        await nodes.start(HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{first}"]),
        await nodes.start(HUB, "relay-2", role="relay", listens=[f"127.0.0.1:{second}"], links=to_first),
    ]
    met = await nodes.start(MET, "met-1", links=to_first)
    kent = await nodes.start(KENT, "kent-1", links=to_second)
    await until(lambda: EDGE in set(kent.node.exchange.catalogue.edges()))
    (link,) = met.node.link_table.links.values()
    name = len(HUB_1.uri) + 2
    link.send(padded(met.node.local, LIMIT - passed_on * name - 1))
    await until(lambda: relays[0].node.refused.total().get("too_large") == 1)
    # Those behind it have said and heard more since: another edge comes, and is known everywhere.
    other = await nodes.start(MET, "met-2", links=to_first)
    await until(lambda: other.node.config.node.id in set(kent.node.exchange.catalogue.edges()))
    for running in (*relays, met, kent, other):
        assert not running.lines("link.control_lost")
        assert not running.lines("link.down")


async def test_the_largest_entry_reaches_everybody(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    without_feature(monkeypatch, INTEREST)
    first, second = free_port(), free_port()
    to_first = [{"peer": f"relay-1.{HUB}", "address": f"127.0.0.1:{first}"}]
    relay = await nodes.start(HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{first}"])
    await nodes.start(HUB, "relay-2", role="relay", listens=[f"127.0.0.1:{second}"], links=to_first)
    met = await nodes.start(MET, "met-1", links=to_first)
    to_second = [{"peer": f"relay-2.{HUB}", "address": f"127.0.0.1:{second}"}]
    kent = await nodes.start(KENT, "kent-1", links=to_second)
    await until(lambda: list(met.node.link_table.usable()))
    (link,) = met.node.link_table.links.values()
    link.send(padded(met.node.local, c.ENTRY_MOST_BYTES - 200))

    def sequence() -> int:
        known = kent.node.exchange.catalogue.newest(EDGE)
        return 0 if known is None else len(known.signed.entry)

    await until(lambda: sequence() > 100_000)
    assert "too_large" not in relay.node.refused.total()


# -- certificates -----------------------------------------------------------------------------------------------------

SAN, CONSTRAINTS, VERSION_3 = b"\x06\x03\x55\x1d\x11", b"\x06\x03\x55\x1d\x13", b"\xa0\x03\x02\x01\x02"


class Receiver:
    """A relay's catalogue with one neighbour, an honest relay, that passes on what others wrote."""

    def __init__(self, nodes: Nodes) -> None:
        path = nodes.write(HUB, "relay-2", role="relay", listens=[f"127.0.0.1:{free_port()}"])
        member = nodes.write(MET, "met-1", listens=[f"127.0.0.1:{free_port()}"])
        self.local = LocalIdentity(config.load(path))
        self.member = LocalIdentity(config.load(member))
        self.clock = SetClock(datetime.now(UTC))
        self.sink = io.StringIO()
        self.link = SimpleNamespace(
            number=1, peer=HUB_1, peer_role=Role.RELAY, controlled=True, lanes_up={0: 0}, features=frozenset[str]()
        )
        self.exchange = CatalogueExchange(
            self.local, {}, lambda link: 0, lambda: None, Log("debug", self.sink).emit, self.clock
        )
        self.sequence = 0

    def told(self, chain: tuple[bytes, ...], edge: str = EDGE.uri, **changes: Any) -> Advert:
        """An entry with this chain, signed by the member's key, whatever the chain says."""
        self.sequence += 1
        now_s = int(self.clock.wall().timestamp())
        value: list[object] = [c.ENTRY_KIND, edge, self.sequence, now_s + 600, [["mail", 1, 2, 100, 1]]]
        entry = changes.pop("entry", msgspec.msgpack.encode(value))
        signature = changes.pop("signature", sign(self.member.credentials.key, c.SIGNED_BEFORE + entry))
        return Advert(entry, signature, chain, changes.pop("path", (HUB_1.uri,)))

    def receive(self, advert: Advert) -> str:
        """The reason for which it was refused, or nothing. It must not raise."""
        before = dict(self.exchange.refused)
        self.exchange.receive(self.link, advert)  # type: ignore[arg-type]
        changed = [word for word, count in self.exchange.refused.items() if count != before.get(word, 0)]
        return changed[0] if changed else ""


@pytest.fixture
def receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    monkeypatch.setattr(proofs, "PROOFS_AT_ONCE", 1_000_000)
    return Receiver(Nodes(tmp_path))


def mutants(der: bytes, count: int) -> Iterator[bytes]:
    """Certificates that are nearly one: what libraries trip over first, then bytes at random."""
    yield der.replace(VERSION_3, b"\xa0\x03\x02\x01\x05")
    yield der.replace(VERSION_3, b"\xa0\x03\x02\x01\x00")
    yield der.replace(CONSTRAINTS, SAN)
    yield der.replace(SAN, CONSTRAINTS)
    yield b""
    yield der[:-1]
    yield der + b"\0"
    chance = random.Random(1)
    for _ in range(count):
        mutant = bytearray(der)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(mutant))
            kind = chance.randrange(4)
            if kind == 0:
                mutant[at] ^= 1 << chance.randrange(8)
            elif kind == 1:
                mutant[at] = chance.randrange(256)
            elif kind == 2:
                del mutant[at : at + chance.randint(1, 8)]
            else:
                mutant[at:at] = mutant[at : at + chance.randint(1, 16)]
        yield bytes(mutant)


async def test_no_certificate_of_a_member_raises_at_those_that_read_it(receiver: Receiver) -> None:
    good = receiver.member.chain
    assert receiver.receive(receiver.told(good)) == ""
    reasons = set()
    for mutant in mutants(good[0], 3_000):
        for chain in ((mutant,), (good[0], mutant)):
            if chain[0] == good[0] or mutant == good[0]:
                receiver.receive(receiver.told(chain))
                continue
            reason = receiver.receive(receiver.told(chain))
            assert reason in ENTRY_REASONS, (reason, mutant.hex())
            reasons.add(reason)
    assert {"malformed", "bad_signature"} <= reasons
    assert {json.loads(line)["reason"] for line in receiver.sink.getvalue().splitlines()} <= ENTRY_REASONS


async def test_no_entry_of_a_member_raises_at_those_that_read_it(receiver: Receiver) -> None:
    good = receiver.told(receiver.member.chain)
    chance = random.Random(2)
    for _ in range(3_000):
        entry = bytearray(good.entry)
        entry[chance.randrange(len(entry))] = chance.randrange(256)
        advert = receiver.told(receiver.member.chain, entry=bytes(entry))
        assert receiver.receive(advert) in {"", *ENTRY_REASONS}
    for signature in (b"", b"\0", bytes(1_024), good.signature[:-1]):
        assert receiver.receive(receiver.told(receiver.member.chain, signature=signature)) == "bad_signature"
    for edge in ("", "x", "spiffe://", EDGE.uri + "/x", EDGE.uri.upper(), "\u0661" * 300):
        assert receiver.receive(receiver.told(receiver.member.chain, edge=edge)) in ENTRY_REASONS
    for name in ("", "\x1b[2J", "x" * URI_LIMIT, "\U0001f600" * URI_LIMIT):
        assert receiver.receive(receiver.told(receiver.member.chain, path=(name, HUB_1.uri))) == "malformed"


async def test_bytes_that_are_no_entry_are_refused_before_their_chain_is_asked_for(receiver: Receiver) -> None:
    sent: list[object] = []
    receiver.link.features, receiver.link.send = frozenset({"chain-hash"}), sent.append
    for entry in (b"\xc1", msgspec.msgpack.encode([c.ENTRY_KIND, "no edge", 1, int(4e9), []])):
        assert receiver.receive(receiver.told((bytes(32),), entry=entry)) in {"malformed", "lives_too_long"}
    assert receiver.receive(receiver.told((bytes(32),), edge="no edge")) == "malformed"
    assert sent == []
    assert receiver.receive(receiver.told((bytes(32),))) == "chain_unknown"
    assert sent == [AdvertGet(EDGE.uri)]


async def test_a_known_chain_counts_for_the_length_of_an_entry(receiver: Receiver) -> None:
    """Named by its digest it is short, and whole the entry would be too long to pass on."""
    receiver.link.features = frozenset({"chain-hash"})
    assert receiver.receive(receiver.told(receiver.member.chain)) == ""
    now_s = int(receiver.clock.wall().timestamp())
    made = lambda size: msgspec.msgpack.encode([c.ENTRY_KIND, EDGE.uri, 9, now_s + 600, [], bytes(size)])
    named = (chain_digest(receiver.member.chain),)
    room = c.ENTRY_MOST_BYTES - sum(map(len, receiver.member.chain)) - 9
    size = 100_000 + room - len(made(100_000))
    for longer, reason in ((0, "bad_signature"), (1, "too_large")):
        assert receiver.receive(receiver.told(named, entry=made(size + longer), signature=bytes(9))) == reason


async def test_an_entry_that_comes_over_many_links_is_held_once(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay of a large realm has 50 ways to each of its edges; each took 3.6 kB."""
    monkeypatch.setattr(proofs, "verify_entry", lambda *given: None)
    relays = [NodeId(REALM, HUB, f"relay-{number + 10}") for number in range(30)]
    links = [
        SimpleNamespace(number=n, peer=each, peer_role=Role.RELAY, features=()) for n, each in enumerate(relays, 1)
    ]
    read = msgspec.msgpack.Decoder(Advert).decode
    told = []
    for number in range(30):
        edge = NodeId(REALM, MET, f"met-{number + 2}").uri
        advert = receiver.told(receiver.member.chain, edge)
        for link in links:
            path = (link.peer.uri,) if link is links[0] else (links[0].peer.uri, link.peer.uri)
            told.append((link, msgspec.msgpack.encode(msgspec.structs.replace(advert, path=path))))
    tracemalloc.start()
    try:
        for link, message in told:
            receiver.exchange.receive(link, read(message))  # type: ignore[arg-type]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    catalogue = receiver.exchange.catalogue
    ways = [list(catalogue.ways(edge).values()) for edge in catalogue.edges()]
    assert [len(each) for each in ways] == [30] * 30
    assert all(way.verified is each[0].verified for each in ways for way in each)
    assert all(way.path is first.path for each in ways for way, first in zip(each, ways[0], strict=True))
    assert held / len(told) < 400
    assert receiver.exchange.refused == {}


async def test_a_link_that_tells_of_paths_without_end_has_few_of_them_held(receiver: Receiver) -> None:
    for number in range(c.PATHS_HELD + 10):
        path = (NodeId(REALM, HUB, f"relay-{number + 10}").uri, HUB_1.uri)
        assert receiver.receive(receiver.told(receiver.member.chain, path=path)) == ""
    assert sum(map(len, receiver.exchange._paths._held.values())) <= 10
    receiver.exchange.link_down(receiver.link)  # type: ignore[arg-type]
    assert receiver.exchange._paths._held == {}


async def test_what_nobody_expects_is_a_refusal_of_the_entry(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("a library that fails in a new way")

    with monkeypatch.context() as patched:
        patched.setattr(proofs, "verify_entry", broken)
        assert receiver.receive(receiver.told(receiver.member.chain)) == "other"
    # What this node makes of a change is no fault of the neighbour either.
    receiver.clock.advance(1_000)
    monkeypatch.setattr(receiver.exchange, "_changed", broken)
    assert receiver.receive(receiver.told(receiver.member.chain)) == ""
    (line,) = [json.loads(line) for line in receiver.sink.getvalue().splitlines() if "node.failure" in line]
    assert (line["where"], line["error"]) == ("catalogue", "RuntimeError")


async def test_trust_that_changes_meets_a_chain_that_cannot_be_read(receiver: Receiver) -> None:
    assert receiver.receive(receiver.told(receiver.member.chain)) == ""
    (known,) = receiver.exchange.catalogue.ways(EDGE).values()
    signed = c.SignedEntry(known.signed.entry, known.signed.signature, (b"\x30\x00",))
    receiver.exchange.catalogue.put(
        1, c.ReceivedEntry(c.VerifiedEntry(signed, EDGE, known.sequence, known.lives_until_ms, known.offers), ())
    )
    receiver.exchange.reload()
    assert not list(receiver.exchange.catalogue.edges())
    assert receiver.exchange.refused["malformed"] == 1


@pytest.mark.parametrize(
    "spoilt", [(VERSION_3, b"\xa0\x03\x02\x01\x05"), (CONSTRAINTS, SAN)], ids=["version", "twice the same extension"]
)
def test_a_handshake_refuses_such_a_certificate_in_words(receiver: Receiver, spoilt: tuple[bytes, bytes]) -> None:
    der = receiver.member.chain[0].replace(*spoilt)
    with pytest.raises(IdentityRefused) as caught:
        read_identity(der, REALM)
    assert caught.value.reason == "malformed"
    with pytest.raises((ValueError, IdentityRefused)):
        identity_of(read_certificate(der), REALM)
