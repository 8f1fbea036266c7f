"""Who a certificate names, and the reason when it names nobody, or when a handshake failed."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from pcgrelay.identity.certificates import (
    IdentityRefused,
    Refusal,
    explain_failure,
    identity_of,
    read_certificate,
    read_identity,
)
from pcgrelay.model import NodeId
from tests.support.pki import REALM, RealmPki, sign_odd

KENT = "kent.police.example"
URI = f"spiffe://{REALM}/org/{KENT}/node/kent-1"
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> RealmPki:
    return RealmPki(tmp_path_factory.mktemp("realm"))


def odd_leaf(realm: RealmPki, *names: x509.GeneralName, ca: bool = False) -> x509.Certificate:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    return sign_odd(realm.authority, public, names, NOW - timedelta(days=1), NOW + timedelta(days=1), ca=ca)


def refusal_of(leaf: x509.Certificate, realm_name: str = REALM) -> Refusal:
    with pytest.raises(IdentityRefused) as refused:
        identity_of(leaf, realm_name)
    assert str(refused.value).endswith(".")
    return refused.value.reason


def test_a_leaf_names_its_node(realm: RealmPki) -> None:
    assert identity_of(realm.issue(KENT, "kent-1").leaf, REALM) == NodeId(REALM, KENT, "kent-1")


def test_what_a_handshake_proved_is_read_once(realm: RealmPki) -> None:
    leaf = realm.issue(KENT, "kent-2").leaf
    der = leaf.public_bytes(Encoding.DER)
    assert read_identity(der, REALM) == identity_of(leaf, REALM)
    assert read_certificate(der) is read_certificate(bytes(bytearray(der)))
    with pytest.raises(IdentityRefused) as refused:
        read_identity(der, "fire.example")
    assert refused.value.reason is Refusal.WRONG_REALM
    with pytest.raises(IdentityRefused) as refused:
        read_identity(der[:-1], REALM)
    assert refused.value.reason is Refusal.MALFORMED


def test_other_kinds_of_names_count_for_nothing(realm: RealmPki) -> None:
    other = NodeId(REALM, "met.police.example", "met-1")
    leaf = odd_leaf(
        realm, x509.DNSName("evil.example"), x509.UniformResourceIdentifier(URI), x509.DNSName(other.dotted)
    )
    assert identity_of(leaf, REALM) == NodeId(REALM, KENT, "kent-1")


def test_no_name(realm: RealmPki) -> None:
    assert refusal_of(realm.issue(KENT, "no-san", no_san=True).leaf) is Refusal.NO_SPIFFE_SAN
    assert refusal_of(odd_leaf(realm, x509.DNSName("kent-1.kent.police.example"))) is Refusal.NO_SPIFFE_SAN
    assert refusal_of(odd_leaf(realm, x509.UniformResourceIdentifier("https://kent.example"))) is Refusal.NO_SPIFFE_SAN


def test_two_names(realm: RealmPki) -> None:
    assert refusal_of(realm.issue(KENT, "two-sans", two_sans=True).leaf) is Refusal.TWO_SANS
    twice = [x509.UniformResourceIdentifier(URI)] * 2
    assert refusal_of(odd_leaf(realm, *twice)) is Refusal.TWO_SANS
    foreign = [x509.UniformResourceIdentifier("https://x.example"), x509.UniformResourceIdentifier(URI)]
    assert refusal_of(odd_leaf(realm, *foreign)) is Refusal.TWO_SANS


@pytest.mark.parametrize("uri", [URI + "/", URI.replace("kent-1", "Kent-1"), URI + "?x", "spiffe://police.example"])
def test_a_malformed_name(realm: RealmPki, uri: str) -> None:
    assert refusal_of(odd_leaf(realm, x509.UniformResourceIdentifier(uri))) is Refusal.MALFORMED


def test_another_realm(realm: RealmPki) -> None:
    leaf = odd_leaf(realm, x509.UniformResourceIdentifier(URI))
    assert refusal_of(leaf, "fire.example") is Refusal.WRONG_REALM
    # Neither a part of our name nor one that ours is a part of is ours.
    assert refusal_of(leaf, "example") is Refusal.WRONG_REALM
    assert refusal_of(leaf, "x.police.example") is Refusal.WRONG_REALM


def test_a_ca_is_no_node(realm: RealmPki) -> None:
    assert refusal_of(odd_leaf(realm, x509.UniformResourceIdentifier(URI), ca=True)) is Refusal.CA_AS_LEAF
    assert refusal_of(realm.ca_certificate) is not None


# --- why a handshake failed ----------------------------------------------------------------------------------------


def reason(realm: RealmPki, leaf: x509.Certificate | None, *, crls: bool = True, at: datetime | None = None) -> Refusal:
    explanation = explain_failure(
        leaf, [leaf] if leaf else [], [realm.ca_certificate], realm.crls() if crls else [], at or datetime.now(UTC)
    )
    assert explanation.sentence.endswith(".")
    assert explanation.sentence[0].isupper()
    return explanation.reason


def test_why(realm: RealmPki) -> None:
    assert reason(realm, None) is Refusal.NO_CERTIFICATE
    assert reason(realm, realm.issue(KENT, "good").leaf) is Refusal.OTHER
    assert reason(realm, realm.issue(KENT, "expired", expired=True).leaf) is Refusal.EXPIRED
    assert reason(realm, realm.issue(KENT, "early", not_yet_valid=True).leaf) is Refusal.NOT_YET_VALID
    assert reason(realm, realm.issue(KENT, "wrong-ca", wrong_ca=True).leaf) is Refusal.UNKNOWN_ISSUER
    revoked = realm.issue(KENT, "revoked", revoked=True).leaf
    assert reason(realm, revoked) is Refusal.REVOKED
    assert reason(realm, revoked, crls=False) is Refusal.OTHER


def test_a_list_that_is_missing_or_out_of_date(realm: RealmPki) -> None:
    leaf = realm.issue(KENT, "listless").leaf
    other = RealmPki(realm.folder / "other", "fire.example")
    assert explain_failure(leaf, [], [realm.ca_certificate], other.crls(), datetime.now(UTC)).reason is Refusal.NO_CRL
    realm.authority.renew_crl(days=1)
    late = NOW + timedelta(days=2)
    assert reason(realm, leaf, at=late) is Refusal.CRL_NOT_CURRENT
    realm.authority.renew_crl(days=365)


def test_a_leaf_that_may_not_do_tls_both_ways(realm: RealmPki) -> None:
    leaf = sign_odd(
        realm.authority,
        ec.generate_private_key(ec.SECP256R1()).public_key(),
        [x509.UniformResourceIdentifier(URI)],
        NOW - timedelta(days=1),
        NOW + timedelta(days=1),
        usages=[ExtendedKeyUsageOID.SERVER_AUTH],
    )
    assert reason(realm, leaf) is Refusal.WRONG_USAGE


def test_a_changed_signature(realm: RealmPki) -> None:
    der = bytearray(realm.issue(KENT, "changed").leaf.public_bytes(Encoding.DER))
    der[-1] ^= 1
    assert reason(realm, x509.load_der_x509_certificate(bytes(der))) is Refusal.BAD_SIGNATURE


def test_a_leaf_cannot_sign_another(realm: RealmPki) -> None:
    """The chain of what a peer sends is searched for issuers, and a node's certificate is none."""
    good = realm.issue(KENT, "signer").leaf
    stranger = realm.issue(KENT, "stranger", wrong_ca=True).leaf
    assert (
        explain_failure(stranger, [good, stranger], [realm.ca_certificate], [], datetime.now(UTC)).reason
        is Refusal.UNKNOWN_ISSUER
    )
