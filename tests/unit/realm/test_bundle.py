"""Bundles of a realm: what is believed, and what is refused with which word."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import dsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.config.settings import RealmTerms
from pcgrelay.errors import PcgrelayError
from pcgrelay.identity.credentials import load_key
from pcgrelay.model import Marking
from pcgrelay.realm import bundle as bundles
from pcgrelay.realm.bundle import (
    EPOCH_MOST,
    JUMP_MOST,
    Bundle,
    BundleRefused,
    Content,
    Envelope,
    epoch_refusal,
    is_below,
    make_bundle,
    open_bundle,
    refuse_epoch,
    version_numbers,
)
from pcgrelay.signing import sign
from tests.support.bundles import Signer, credentials_of, span_of
from tests.support.pki import REALM, RealmPki

TERMS = RealmTerms(
    members=("*.police.example", "hub.example"),
    relays=("hub.example",),
    clearances=(("hub.example", Marking.OFFICIAL_SENSITIVE), ("kent.police.example", Marking.SECRET)),
)
DAY = timedelta(days=1)
REGRESSIONS = Path(__file__).resolve().parents[2] / "fuzz" / "regressions" / "bundle"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> RealmPki:
    return RealmPki(tmp_path_factory.mktemp("realm"))


@pytest.fixture(scope="module")
def signer(pki: RealmPki) -> Signer:
    return Signer(pki)


def now() -> datetime:
    return datetime.now(UTC)


def opened(data: bytes, pki: RealmPki, moment: datetime | None = None, *, realm: str = REALM) -> Bundle:
    return open_bundle(data, realm, credentials_of(pki), moment or now())


def refused(data: bytes, pki: RealmPki, moment: datetime | None = None, *, realm: str = REALM) -> str:
    with pytest.raises(BundleRefused) as caught:
        opened(data, pki, moment, realm=realm)
    assert caught.value.reason in bundles.REASONS
    assert str(caught.value).count(".") >= 1
    return caught.value.reason


def test_a_bundle_says_what_was_signed(pki: RealmPki, signer: Signer) -> None:
    crl = pki.crls()[0].public_bytes(Encoding.DER)
    span = span_of()
    found = opened(signer.bundle(7, terms=TERMS, lists=[crl], minimum="0.1", span=span), pki)
    assert (found.realm, found.epoch, found.terms, found.lists, found.minimum) == (REALM, 7, TERMS, (crl,), "0.1")
    assert found.span == span
    assert found.signer[0] == signer.chain[0]


def test_a_bundle_may_say_nothing(pki: RealmPki, signer: Signer) -> None:
    found = opened(signer.bundle(1), pki)
    assert found.terms == RealmTerms()
    assert (found.lists, found.minimum) == ((), "")


def test_who_signs_must_be_the_realms_signer(pki: RealmPki) -> None:
    files = pki.issue("kent.police.example", "kent-1", into="as-signer")
    node = Signer(pki, folder="by-a-node")
    node.chain, node.key = [files.leaf], load_key(files.key)
    assert refused(node.bundle(1), pki) == "bundle_signer"


def test_a_ca_outside_trust_cannot_make_a_signer(pki: RealmPki) -> None:
    assert refused(Signer(pki, wrong_ca=True, folder="strange").bundle(1), pki) == "bundle_untrusted"


def test_a_signer_whose_certificate_was_revoked_signs_nothing(tmp_path: Path) -> None:
    pki = RealmPki(tmp_path)
    signer = Signer(pki)
    data = signer.bundle(1)
    open_bundle(data, REALM, credentials_of(pki, lists=True), now())
    pki.authority.revoke("", "realm/bundle")
    with pytest.raises(BundleRefused) as caught:
        open_bundle(data, REALM, credentials_of(pki, lists=True), now())
    assert caught.value.reason == "bundle_untrusted"
    assert "revoked" in str(caught.value)


def test_the_certificate_of_another_realm_is_not_that_of_this_one(pki: RealmPki, signer: Signer) -> None:
    assert refused(signer.bundle(1, realm="army.example"), pki) == "bundle_of_another_realm"
    assert refused(signer.bundle(1), pki, realm="army.example") == "bundle_of_another_realm"
    # What is signed says the other realm, and the certificate this one.
    assert refused(signer.bundle(1, realm="army.example"), pki, realm="army.example") == "bundle_signer"


def test_dates_are_judged_unless_it_was_in_force_before(pki: RealmPki, signer: Signer) -> None:
    data = signer.bundle(3, span=span_of(after=DAY))
    assert refused(data, pki, now() + 2 * DAY) == "bundle_expired"
    assert refused(data, pki, now() - DAY) == "bundle_untrusted"  # its signer's certificate is not valid yet either
    early = signer.bundle(3, span=span_of(before=-DAY))
    assert refused(early, pki) == "bundle_not_yet_valid"
    assert open_bundle(data, REALM, credentials_of(pki), None).epoch == 3


def test_an_expired_signer_signs_nothing_new(pki: RealmPki) -> None:
    short = Signer(pki, folder="short", days=1)
    data = short.bundle(4)
    assert refused(data, pki, now() + 2 * DAY) == "bundle_untrusted"
    assert open_bundle(data, REALM, credentials_of(pki), None).epoch == 4


def test_each_changed_byte_of_what_is_signed_is_found(pki: RealmPki, signer: Signer) -> None:
    data = signer.bundle(5, terms=TERMS)
    credentials = credentials_of(pki)
    sound = open_bundle(data, REALM, credentials, now()).content
    for index in range(0, len(data), 3):
        spoilt = bytearray(data)
        spoilt[index] ^= 0x01
        with suppress(BundleRefused):
            found = open_bundle(bytes(spoilt), REALM, credentials, now())
            # Not of what is signed: an encoding that means the same.
            assert (found.epoch, found.terms) == (5, TERMS)
            assert found.content == sound


def signed(signer: Signer, content: object) -> bytes:
    """Sign whatever is given, as a signer would that is hostile or broken."""
    body = content if isinstance(content, bytes) else msgspec.msgpack.encode(content)
    chain = tuple(each.public_bytes(Encoding.DER) for each in signer.chain)
    return msgspec.msgpack.encode(Envelope(body, sign(signer.key, bundles.SIGNED_BEFORE + body), chain))


def content(**changed: object) -> list[object]:
    start = int(now().timestamp()) - 60
    fields: dict[str, object] = {
        "kind": bundles.KIND,
        "realm": REALM,
        "epoch": 1,
        "not_before": start,
        "not_after": start + 86_400,
        "members": ["hub.example"],
        "relays": None,
        "clearances": None,
        "lists": [],
        "minimum": "",
    }
    assert changed.keys() <= set(Content.__struct_fields__)
    return list((fields | changed).values())


def test_the_content_as_written_here_is_good(pki: RealmPki, signer: Signer) -> None:
    assert opened(signed(signer, content()), pki).terms.members == ("hub.example",)
    # A newer signer may say more.
    assert opened(signed(signer, [*content(), "more"]), pki).epoch == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "pcgrelay-bundle-2"},
        {"epoch": 0},
        {"epoch": -1},
        {"epoch": EPOCH_MOST + 1},
        {"epoch": 1 << 63},
        {"not_before": 10, "not_after": 10},
        {"not_after": 1 << 40},
        {"members": []},
        {"members": ["hub.example", "hub.example"]},
        {"members": ["Hub.example"]},
        {"members": ["*.*.example"]},
        {"members": "hub.example"},
        {"relays": []},
        {"clearances": []},
        {"clearances": [["hub.example", 4]]},
        {"clearances": [["hub.example", 0]]},
        {"clearances": [["*.example", 1]]},
        {"clearances": [["hub.example", 1], ["hub.example", 2]]},
        {"lists": [b""] * (bundles.LISTS_MOST + 1)},
        {"members": [f"o{number}.example" for number in range(bundles.NAMES_MOST + 1)]},
        {"minimum": "one"},
        {"minimum": "1.2.3.4.5"},
    ],
)
def test_a_signed_content_that_is_not_well_formed_is_refused(
    pki: RealmPki, signer: Signer, changed: dict[str, object]
) -> None:
    assert refused(signed(signer, content(**changed)), pki) == "bundle_malformed"


@pytest.mark.parametrize("data", [b"", b"\xc0", b"\x93\xc4\x00\xc4\x00\x90", b"\x93" * 4_000, b"\xff" * 100])
def test_what_is_no_bundle_is_refused(pki: RealmPki, data: bytes) -> None:
    assert refused(data, pki) == "bundle_malformed"


def test_trailing_bytes_and_too_many_are_refused(pki: RealmPki, signer: Signer) -> None:
    data = signer.bundle(1)
    assert refused(data + b"\0", pki) == "bundle_malformed"
    assert refused(data + bytes(bundles.BUNDLE_MOST_BYTES), pki) == "bundle_malformed"
    with pytest.raises(PcgrelayError, match="1,048,576 is the most"):
        signer.bundle(1, lists=[bytes(bundles.BUNDLE_MOST_BYTES)])


@given(st.binary(max_size=400))
def test_random_bytes_are_refused_and_nothing_else(data: bytes) -> None:
    with pytest.raises(BundleRefused) as caught:
        open_bundle(data, REALM, None, now())  # type: ignore[arg-type]  # nothing is verified of what is no bundle
    assert caught.value.reason == "bundle_malformed"


def test_epochs_only_rise(pki: RealmPki, signer: Signer) -> None:
    held = opened(signer.bundle(5, members=("hub.example",)), pki)
    for epoch, told, word in [
        (4, False, "bundle_older"),
        (5, False, "bundle_forked"),
        (5 + JUMP_MOST, True, ""),
        (6 + JUMP_MOST, True, "bundle_jump"),
        (6 + JUMP_MOST, False, ""),
        (EPOCH_MOST, True, "bundle_jump"),
        (EPOCH_MOST, False, ""),
    ]:
        assert epoch_refusal(epoch, held, is_same=False, told=told) == word
    assert epoch_refusal(JUMP_MOST + 1, None, is_same=False, told=True) == "bundle_jump"
    assert epoch_refusal(EPOCH_MOST + 1, held, is_same=False, told=False) == "bundle_jump"
    refuse_epoch(held, held, told=False)
    with pytest.raises(BundleRefused, match="epoch 5 is in force; sign one with a greater epoch"):
        refuse_epoch(opened(signer.bundle(5), pki), held, told=False)
    with pytest.raises(BundleRefused, match="The bundle has epoch 4, and epoch 5 is in force"):
        refuse_epoch(opened(signer.bundle(4), pki), held, told=False)


def test_one_content_with_two_signatures_is_one_bundle(pki: RealmPki, signer: Signer) -> None:
    span = span_of()
    first, second = (opened(signer.bundle(5, span=span), pki) for _ in range(2))
    assert first.data != second.data
    refuse_epoch(second, first, told=False)


@pytest.mark.parametrize(
    ("version", "minimum", "below"),
    [
        ("0.1.0", "0.1", False),
        ("0.1.0", "0.1.1", True),
        ("0.10.0", "0.9", False),
        ("1.2.0rc1", "1.2", False),
        ("1.2.0rc1", "1.2.1", True),
        ("1.2.0", "", False),
        ("what", "1", True),
    ],
)
def test_versions_compare_by_number(version: str, minimum: str, below: bool) -> None:
    assert is_below(version, minimum) is below
    assert (version_numbers(minimum) == ()) is (minimum == "")


def test_a_key_that_cannot_sign_makes_no_bundle(signer: Signer) -> None:
    key = dsa.generate_private_key(2048)
    with pytest.raises(PcgrelayError):
        make_bundle(REALM, 1, span_of(), TERMS, key=key, chain=signer.chain)


def test_a_certificate_that_openssl_alone_refuses_is_refused_and_raises_nothing_else(pki: RealmPki) -> None:
    """One library reads it, and the other raises an error of its own kind. Found by fuzzing."""
    data = (REGRESSIONS / "certificate_that_openssl_alone_refuses").read_bytes()
    assert refused(data, pki) == "bundle_untrusted"
