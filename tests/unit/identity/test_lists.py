"""Revocation lists of neighbours: which are taken, which is in force, and whom it refuses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from pcgrelay.identity.credentials import Credentials
from pcgrelay.identity.dates import Kind, dated_of
from pcgrelay.identity.lists import (
    EPOCH_MOST,
    ListRefused,
    RevocationList,
    anchors_of,
    is_revoked,
    issuer_of,
    lists_in_force,
    read_list,
    with_received,
)
from pcgrelay.identity.tls import chain_refusal, make_store
from tests.support.odd_pki import DAY, Issuer, ca, crl, leaf

ROOT, OTHER, STRANGER = ca("root"), ca("other"), ca("stranger")
IMPOSTOR = ca("root")  # the name of the root, and another key
NODE = leaf(ROOT, "spiffe://police.example/org/kent.example/node/kent-1")
NODE_OF_OTHER = leaf(OTHER, "spiffe://police.example/org/met.example/node/met-1")
HOUR = timedelta(hours=1)
ANCHORS = anchors_of([ROOT.certificate, OTHER.certificate])


def der(of: x509.CertificateRevocationList) -> bytes:
    return of.public_bytes(Encoding.DER)


def brought(
    issuer: Issuer = ROOT, number: int = 5, *, revoked: tuple[int, ...] = (), start: timedelta = -HOUR
) -> RevocationList:
    made = crl(issuer, number=number, revoked=revoked, start=start)
    return RevocationList(issuer_of(issuer.certificate), number, made, "relay-1.hub")


def credentials(*crls: x509.CertificateRevocationList) -> Credentials:
    return Credentials((NODE[0],), NODE[1], (ROOT.certificate, OTHER.certificate), crls)


def read(data: bytes) -> RevocationList:
    return read_list(data, "relay-1.hub", ANCHORS, datetime.now(UTC))


def test_a_list_of_a_trusted_ca_is_read() -> None:
    whole = crl(ROOT, number=7, revoked=[1, 2, 3])
    found = read(der(whole))
    assert (found.issuer, found.number, found.source) == (issuer_of(ROOT.certificate), 7, "relay-1.hub")
    assert found.der == der(whole)
    assert found.entries == 3
    assert read(der(crl(ROOT, number=EPOCH_MOST))).number == EPOCH_MOST


YEAR = timedelta(days=366)


def in_year_0(made: x509.CertificateRevocationList) -> bytes:
    """The same list, which ends in the year 0, signed by the root. made: one that ends after 2049."""
    whole, body = der(made), made.tbs_certlist_bytes
    at = body.index(b"\x18\x0f20") + 2
    altered = body[:at] + b"0000" + body[at + 4 :]
    rest = whole[whole.index(body) + len(body) : -len(made.signature)]  # the algorithm, and the head of the signature
    while True:
        signature = ROOT.key.sign(altered, ec.ECDSA(hashes.SHA256()))
        if len(signature) == len(made.signature):  # not always: its two numbers are as long as they are
            return whole[: whole.index(body)] + altered + rest + signature


IDP = x509.IssuingDistributionPoint(None, None, True, False, None, False, False)
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "a CA that is not trusted": (lambda: der(crl(STRANGER)), "list_of_unknown_ca"),
    "the name of a trusted CA": (lambda: der(crl(IMPOSTOR)), "list_signature"),
    "the key of another": (lambda: der(crl(ROOT, key=OTHER.key)), "list_signature"),
    "no number": (lambda: der(crl(ROOT, number=None)), "list_without_number"),
    "a number that is too large": (lambda: der(crl(ROOT, number=EPOCH_MOST + 1)), "list_without_number"),
    "for a part of the certificates": (lambda: der(crl(ROOT, idp=IDP)), "list_of_a_part"),
    "changes alone": (lambda: der(crl(ROOT, delta=True)), "list_of_a_part"),
    "a critical extension": (lambda: der(crl(ROOT, critical_oid=True)), "list_of_a_part"),
    "expired": (lambda: der(crl(ROOT, end=-HOUR)), "list_not_current"),
    "not begun": (lambda: der(crl(ROOT, start=HOUR)), "list_not_current"),
    "nothing": (lambda: b"", "bad_list"),
    "PEM": (lambda: crl(ROOT).public_bytes(Encoding.PEM), "bad_list"),
    "a certificate": (lambda: ROOT.certificate.public_bytes(Encoding.DER), "bad_list"),
    "a date that no calendar has": (lambda: in_year_0(crl(ROOT, end=40 * YEAR)), "bad_list"),
    "more behind it": (lambda: der(crl(ROOT)) + b"\0", "bad_list"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_the_whole_list_of_a_trusted_ca_is_refused(case: str) -> None:
    make, reason = REFUSED[case]
    with pytest.raises(ListRefused) as refused:
        read(make())
    assert refused.value.reason == reason


WHOLE = der(crl(ROOT, revoked=[1, 2]))


@settings(max_examples=400)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_list_that_was_altered_is_refused(changes: list[tuple[int, int]]) -> None:
    data = bytearray(WHOLE)
    for at, value in changes:
        data[at] = value
    if bytes(data) == WHOLE:
        return
    with pytest.raises(ListRefused):
        read(bytes(data))


# --- which is in force ---------------------------------------------------------------------------------------------


def test_a_newer_list_takes_the_place_of_the_one_in_the_file() -> None:
    files = credentials(crl(ROOT, number=4), crl(OTHER, number=9))
    now = with_received(files, [brought(number=5, revoked=(NODE[0].serial_number,))])
    numbers = {each.number for each in lists_in_force(now).values()}
    assert numbers == {5, 9}
    assert len(now.crls) == 2
    assert now.replaced == files.crls[:1]
    assert files.differ(now)
    assert chain_refusal(make_store(files), [NODE[0]]) is None
    assert chain_refusal(make_store(now), [NODE[0]]) == "revoked"
    assert chain_refusal(make_store(now), [NODE_OF_OTHER[0]]) is None
    # The list of the file is still looked after, for a restart falls back to it.
    assert [each.kind for each in dated_of(now)].count(Kind.CRL_FILE) == 1


@pytest.mark.parametrize(
    ("number", "start"), [(3, -HOUR), (4, -HOUR), (5, -2 * DAY)], ids=["older", "equal", "newer, but begins before"]
)
def test_an_older_list_never_takes_the_place_of_a_newer(number: int, start: timedelta) -> None:
    files = credentials(crl(ROOT, number=4), crl(OTHER, number=4))
    assert with_received(files, [brought(number=number, start=start)]) is files


def test_a_list_whose_ca_is_no_longer_trusted_is_dropped() -> None:
    files = credentials(crl(ROOT, number=4))
    assert with_received(files, [brought(STRANGER, 9)]) is files


def test_the_file_counts_again_once_it_has_the_newer_list() -> None:
    received = brought(number=5)
    files = credentials(received.crl)
    assert with_received(files, [received]) is files


def test_a_list_for_a_ca_of_which_the_file_has_none_lets_its_members_in() -> None:
    files = credentials(crl(ROOT, number=4))
    assert chain_refusal(make_store(files), [NODE_OF_OTHER[0]]) == "no_crl"
    now = with_received(files, [brought(OTHER, 1)])
    assert chain_refusal(make_store(now), [NODE_OF_OTHER[0]]) is None


def test_without_lists_in_the_file_one_that_came_refuses_whom_it_names_alone() -> None:
    """A CA that signs a list must not shut out the members of another, nor its own when the list runs out."""
    files = credentials()
    now = with_received(files, [brought(revoked=(NODE[0].serial_number,))])
    assert now.crls == ()
    assert files.differ(now)
    store = make_store(now)
    for chain in ([NODE[0]], [NODE_OF_OTHER[0]]):
        assert chain_refusal(store, chain) is None
    assert is_revoked(now.received, [NODE[0], ROOT.certificate])
    assert not is_revoked(now.received, [NODE_OF_OTHER[0], OTHER.certificate])
    assert not is_revoked(now.received, [leaf(ROOT, "spiffe://x")[0]])


def test_a_serial_number_of_another_ca_is_not_meant() -> None:
    now = with_received(credentials(), [brought(OTHER, revoked=(NODE[0].serial_number,))])
    assert not is_revoked(now.received, [NODE[0]])


def test_a_serial_number_of_another_key_of_that_name_is_not_meant() -> None:
    theirs, _ = leaf(IMPOSTOR, "spiffe://police.example/org/met.example/node/met-1")
    both = Credentials((NODE[0],), NODE[1], (ROOT.certificate, IMPOSTOR.certificate), ())
    now = with_received(both, [brought(revoked=(NODE[0].serial_number, theirs.serial_number))])
    assert is_revoked(now.received, [NODE[0]])
    assert not is_revoked(now.received, [theirs])


AS_THE_ROOT = Issuer(ROOT.certificate, IMPOSTOR.key)  # says in its list that the root's key is the other's


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: crl(ROOT), ""),
        (lambda: crl(ROOT, aki=False), "list_ambiguous"),
        (lambda: crl(AS_THE_ROOT, key=ROOT.key), "list_ambiguous"),
    ],
    ids=["its own key", "no key", "the key of the other"],
)
def test_a_list_of_one_of_two_cas_of_one_name_shuts_out_no_member_of_the_other(
    made: Callable[[], x509.CertificateRevocationList], reason: str
) -> None:
    theirs = leaf(IMPOSTOR, "spiffe://police.example/org/met.example/node/met-1")
    trust = (ROOT.certificate, IMPOSTOR.certificate)
    files = Credentials((NODE[0],), NODE[1], trust, (crl(IMPOSTOR, start=-DAY),))
    taken, refused = [], []
    try:
        taken.append(read_list(der(made()), "relay-1.hub", anchors_of(trust), datetime.now(UTC)))
    except ListRefused as error:
        refused.append(error.reason)
    assert refused == ([reason] if reason else [])
    assert chain_refusal(make_store(with_received(files, taken)), [theirs[0]]) is None


@given(st.permutations(range(1, 9)))
@settings(max_examples=50)
def test_the_order_in_which_lists_come_does_not_matter(order: list[int]) -> None:
    known = {number: brought(number=number, start=number * timedelta(seconds=1) - HOUR) for number in order}
    present: list[RevocationList] = []
    most = 0
    for number in order:
        if known[number].replaces(present[-1] if present else None):
            present.append(known[number])
        most = max(most, number)
        assert present[-1].number == most
