"""Signed entries, the path vector, and what is passed on."""

from __future__ import annotations

import msgspec
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.catalogue import entries as c
from pcgrelay.identity.certificates import IdentityRefused, identity_of
from pcgrelay.identity.credentials import Credentials
from pcgrelay.identity.tls import chain_refusal, leaf_der, make_store
from pcgrelay.model import NodeId
from pcgrelay.signing import hash_of, sign, verify
from tests.support.handshake_sides import HUB, KENT, credentials_of
from tests.support.pki import REALM, RealmPki

NOW = 1_800_000_000
EDGE = NodeId(REALM, KENT, "kent-1")
R1, R2, R3 = (NodeId(REALM, HUB, f"relay-{number}") for number in (1, 2, 3))
OFFERS = (c.Offer("custody", 2), c.Offer("mail", 1, 1, 50, 2))


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> RealmPki:
    return RealmPki(tmp_path_factory.mktemp("realm"))


@pytest.fixture(scope="module")
def edge(realm: RealmPki) -> Credentials:
    return credentials_of(realm.issue(KENT, "kent-1"))


def signed_by(credentials: Credentials, *, edge: NodeId = EDGE, not_after: int = NOW + 1800) -> c.SignedEntry:
    chain = tuple(leaf_der(certificate) for certificate in credentials.chain)
    return c.sign_entry(edge, OFFERS, sequence=7, not_after=not_after, key=credentials.key, chain=chain)


def proved(signed: c.SignedEntry, trust: Credentials) -> NodeId:
    store = make_store(trust)
    entry = c.decode_entry(signed, NOW)
    return c.verify_entry(
        signed, entry, lambda chain: chain_refusal(store, chain), lambda leaf: identity_of(leaf, REALM)
    )


def test_a_good_entry(edge: Credentials) -> None:
    signed = signed_by(edge)
    assert proved(signed, edge) == EDGE
    entry = c.decode_entry(signed, NOW)
    assert (entry.offers, entry.sequence) == (OFFERS, 7)


@pytest.mark.parametrize(
    ("said", "priority", "transport"),
    [
        (["custody", 1, 2, 100, 1], 0, 0),  # as it was said before there was a priority
        (["custody", 1, 2, 100, 1, 2], 2, 0),  # and before there was a transport
        (["custody", 1, 2, 100, 1, 1, 1], 1, 1),
        (["custody", 1, 2, 100, 1, 1, 200, "of a newer version"], 1, 200),
    ],
)
def test_elements_that_are_missing_or_unknown(said: list[object], priority: int, transport: int) -> None:
    entry = msgspec.msgpack.encode([c.ENTRY_KIND, EDGE.uri, 1, NOW + 9, [said], "more"])
    (offer,) = c.decode_entry(c.SignedEntry(entry, b"", ()), NOW).offers
    assert offer == c.Offer("custody", 1, priority=priority, transport=transport)


@pytest.mark.parametrize(("not_after", "reason"), [(NOW - 1, "expired"), (NOW + c.LIFE_MOST_S + 1, "lives_too_long")])
def test_dates(edge: Credentials, not_after: int, reason: str) -> None:
    with pytest.raises(c.EntryRefused) as caught:
        c.decode_entry(signed_by(edge, not_after=not_after), NOW)
    assert caught.value.reason == reason


def test_an_entry_for_another_edge(edge: Credentials) -> None:
    with pytest.raises(c.EntryRefused) as caught:
        proved(signed_by(edge, edge=NodeId(REALM, "met.police.example", "met-1")), edge)
    assert caught.value.reason == "wrong_edge"


def test_a_chain_that_is_not_trusted(realm: RealmPki, edge: Credentials) -> None:
    for changes, reason in [({"wrong_ca": True}, "unknown_issuer"), ({"revoked": True}, "revoked")]:
        odd = credentials_of(realm.issue(KENT, f"odd-{reason.replace('_', '-')}", **changes))  # type: ignore[arg-type]
        own = NodeId(REALM, KENT, f"odd-{reason.replace('_', '-')}")
        with pytest.raises(c.EntryRefused) as caught:
            proved(signed_by(odd, edge=own), odd)
        assert caught.value.reason == reason


def test_a_leaf_without_a_name(realm: RealmPki) -> None:
    odd = credentials_of(realm.issue(KENT, "nameless", no_san=True))
    with pytest.raises(IdentityRefused):
        proved(signed_by(odd), odd)


def test_every_bit_is_signed(edge: Credentials) -> None:
    good = signed_by(edge)
    for at in range(len(good.entry) * 8):
        flipped = bytearray(good.entry)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(c.EntryRefused):
            proved(msgspec.structs.replace(good, entry=bytes(flipped)), edge)
    with pytest.raises(c.EntryRefused):
        proved(msgspec.structs.replace(good, signature=good.signature[:-1] + b"\0"), edge)


def test_a_signature_without_the_words_before_it(edge: Credentials) -> None:
    good = signed_by(edge)
    assert isinstance(edge.key, ec.EllipticCurvePrivateKey)
    bare = edge.key.sign(good.entry, ec.ECDSA(hash_of(edge.key.curve)))
    with pytest.raises(c.EntryRefused):
        proved(msgspec.structs.replace(good, signature=bare), edge)


@pytest.mark.parametrize("kind", ["p256", "p384", "ed25519", "rsa"])
def test_kinds_of_key(kind: str) -> None:
    keys = {
        "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
    }
    key = keys[kind]()
    signature = sign(key, b"data")  # type: ignore[arg-type]
    verify(key.public_key(), signature, b"data")
    with pytest.raises(InvalidSignature):
        verify(key.public_key(), signature, b"other")


@pytest.mark.parametrize(
    "value",
    [
        [],
        ["pcgrelay-entry-2", EDGE.uri, 1, NOW + 9, []],
        [c.ENTRY_KIND, EDGE.uri, -1, NOW + 9, []],
        [c.ENTRY_KIND, EDGE.uri, 1, NOW + 9, [["a", 0, 2, 100, 1]]],
        [c.ENTRY_KIND, EDGE.uri, 1, NOW + 9, [["a", 1, 2, 101, 1]]],
        [c.ENTRY_KIND, EDGE.uri, 1, NOW + 9, [["A", 1, 2, 100, 1]]],
        [c.ENTRY_KIND, EDGE.uri, 1, NOW + 9, [["a", 1], ["a", 2]]],
        [c.ENTRY_KIND, EDGE.uri, 1, NOW + 9, [[f"s{number}", 1] for number in range(1025)]],
    ],
)
def test_malformed_entries(value: object) -> None:
    with pytest.raises(c.EntryRefused) as caught:
        c.decode_entry(c.SignedEntry(msgspec.msgpack.encode(value), b"", (b"",)), NOW)
    assert caught.value.reason == "malformed"


@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(c.EntryRefused):
        c.decode_entry(c.SignedEntry(data, b"", (b"",)), NOW)


@pytest.mark.parametrize(
    ("path", "sender", "reason"),
    [
        ((), EDGE, None),
        ((R1.uri,), R1, None),
        ((R1.uri, R2.uri), R2, None),
        ((R1.uri, R2.uri), R1, "wrong_sender"),
        ((), R1, "wrong_sender"),
        ((R1.uri, R3.uri), R3, "loop"),
        ((R1.uri, R1.uri), R1, "malformed"),
        (tuple(f"spiffe://{number}" for number in range(9)), R1, "path_too_long"),
    ],
)
def test_paths(path: tuple[str, ...], sender: NodeId, reason: str | None) -> None:
    assert c.path_refusal(path, EDGE.uri, sender.uri, R3.uri) == reason


def known(
    sequence: int = 1, path: tuple[str, ...] = (), edge: NodeId = EDGE, lives_until_ms: int = 9
) -> c.ReceivedEntry:
    return c.ReceivedEntry(c.VerifiedEntry(c.SignedEntry(b"", b"", ()), edge, sequence, lives_until_ms, OFFERS), path)


def test_the_shortest_path_is_best_and_the_newest_content_holds() -> None:
    table = c.Catalogue()
    table.put(1, known(1, (R1.uri,)))
    table.put(2, known(2, (R1.uri, R2.uri)))
    table.put(3, known(1, (R2.uri,)))
    assert (table.best(EDGE) or (0, None))[0] == 1
    assert (table.best(EDGE, lambda link: link != 1) or (0, None))[0] == 3
    assert (table.newest(EDGE) or known(0)).sequence == 2
    assert table.put_refusal(EDGE, 1) == "old_sequence"
    assert table.put_refusal(EDGE, 2) is None


def test_what_a_link_said_goes_with_it() -> None:
    table = c.Catalogue()
    table.put(1, known(1))
    table.put(2, known(1, (R1.uri,)))
    assert table.link_gone(1) == [EDGE]
    assert (table.best(EDGE) or (0, None))[0] == 2
    assert table.withdraw(2, EDGE)
    assert not table.withdraw(2, EDGE)
    assert table.best(EDGE) is None
    assert list(table.edges()) == []


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.integers(0, 4), st.sampled_from("ab"))))
def test_what_is_kept_of_the_ways_is_what_they_say(steps: list[tuple[int, int, int, str]]) -> None:
    """The newest entry, the first that expires, and the edges of an organisation are not looked for each time."""
    table = c.Catalogue()
    ways: dict[NodeId, dict[int, c.ReceivedEntry]] = {}
    for link, sequence, lives_ms, name in steps:
        edge = NodeId(REALM, f"{name}.example", name)
        if sequence:
            ways.setdefault(edge, {})[link] = known(sequence, (), edge, lives_ms)
            table.put(link, ways[edge][link])
        elif lives_ms:
            assert table.withdraw(link, edge) == (ways.get(edge, {}).pop(link, None) is not None)
        else:
            expired = [each for each, held in ways.items() for way in held.values() if way.lives_until_ms < link]
            ways = {each: {n: w for n, w in held.items() if w.lives_until_ms >= link} for each, held in ways.items()}
            assert sorted(table.expire(link)) == sorted(expired)
        ways = {each: held for each, held in ways.items() if held}
        assert {each: table.ways(each) for each in table.edges()} == ways
        for each, held in ways.items():
            newest = table.newest(each)
            assert newest in held.values()
            assert newest.sequence == max(way.sequence for way in held.values())
        for organisation in ("a.example", "b.example"):
            assert set(table.edges_of(organisation)) == {each for each in ways if each.organisation == organisation}


def test_entries_run_out() -> None:
    table = c.Catalogue()
    table.put(1, known(lives_until_ms=5))
    assert table.expire(5) == []
    assert table.expire(6) == [EDGE]
    assert list(table.edges()) == []


def test_the_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c, "EDGES_MOST", 2)
    table = c.Catalogue()
    for name in ("a", "b"):
        table.put(1, known(edge=NodeId(REALM, KENT, name)))
    assert table.put_refusal(EDGE, 1) == "too_many_edges"


def test_a_der_chain_that_is_none(edge: Credentials) -> None:
    with pytest.raises(c.EntryRefused) as caught:
        proved(msgspec.structs.replace(signed_by(edge), chain=(b"no certificate",)), edge)
    assert caught.value.reason == "malformed"
    assert isinstance(edge.leaf, x509.Certificate)


def test_an_entry_names_the_relays_of_its_edge(edge: Credentials) -> None:
    chain = tuple(leaf_der(certificate) for certificate in edge.chain)

    def signed_with(relays: tuple[str, ...]) -> c.SignedEntry:
        return c.sign_entry(EDGE, OFFERS, sequence=7, not_after=NOW + 1800, key=edge.key, chain=chain, relays=relays)

    signed = signed_with((R1.uri, R2.uri))
    assert proved(signed, edge) == EDGE
    assert c.entry_relays(signed) == (R1.uri, R2.uri)
    # Whatever it names harms nobody: it is shown to people and decides nothing.
    assert proved(signed_with((R1.uri, "a relay", "")), edge) == EDGE
    for relays in (tuple(R1.uri for _ in range(9)), ("x" * (c.URI_LIMIT + 1),)):
        signed = signed_with(relays)
        assert proved(signed, edge) == EDGE
        assert c.entry_relays(signed) == ()


def test_a_version_before_and_after_reads_the_entry_of_this_one(edge: Credentials) -> None:
    class Before(msgspec.Struct, array_like=True, frozen=True):
        kind: str
        edge: str
        sequence: int
        not_after: int
        offers: tuple[c.Offer, ...]

    chain = tuple(leaf_der(certificate) for certificate in edge.chain)
    signed = c.sign_entry(EDGE, OFFERS, sequence=7, not_after=NOW + 1800, key=edge.key, chain=chain, relays=(R1.uri,))
    assert msgspec.msgpack.decode(signed.entry, type=Before).offers == OFFERS
    old = msgspec.msgpack.encode(Before(c.ENTRY_KIND, EDGE.uri, 7, NOW + 1800, OFFERS))
    without = msgspec.structs.replace(signed, entry=old)
    assert (c.decode_entry(without, NOW).offers, c.entry_relays(without)) == (OFFERS, ())
    newer = msgspec.msgpack.encode([*msgspec.msgpack.decode(signed.entry), {"what": "comes"}])
    assert c.entry_relays(msgspec.structs.replace(signed, entry=newer)) == (R1.uri,)
    assert c.entry_relays(msgspec.structs.replace(signed, entry=b"\xc1")) == ()
