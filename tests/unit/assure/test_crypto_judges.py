"""Judges of handshakes, certificates and keys: each good set of facts passes, and each fault is found by its name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from msgspec.structs import replace

from pcgrelay.assure.facts import (
    Attempt,
    Attempts,
    Certificate,
    CertificateBank,
    CertificateTry,
    Channel,
    Channels,
    KnownAnswer,
    OwnChain,
    RevocationListFact,
    RevocationLists,
    RevokedIdentity,
    SelfTests,
)
from pcgrelay.assure.judgement import FAILED, PASSED, TOLD, Judgement
from pcgrelay.assure.judges import crypto
from pcgrelay.assure.parameters import Parameters

NOW = datetime(2026, 11, 30, tzinfo=UTC)
P = Parameters()
OLD = Attempt(listener="listen[1]", offered="TLS 1.2", wanted=False, answer="refused", detail="alert 70")
GROUP = Attempt(listener="listen[1]", offered="group X25519MLKEM768", wanted=True, answer="taken")
LINK = Channel(kind="link", peer="relay-1.hub.example", suite="AES-256-GCM", group="X25519MLKEM768", proved_s=12.0)
LEAF = Certificate(
    subject="kent-1.kent.police.example",
    key="P-256",
    key_bits=256,
    signature_hash="sha256",
    names=("spiffe://police.example/org/kent.police.example/node/kent-1",),
    not_after=NOW + timedelta(days=90),
)
ROOT = Certificate(
    subject="CN=police.example CA",
    key="P-256",
    key_bits=256,
    signature_hash="sha256",
    not_after=NOW + timedelta(days=900),
)
CHAIN = OwnChain(now=NOW, certificates=(LEAF,), trust=(ROOT,))
LIST = RevocationListFact(issuer="CN=police.example CA", made=NOW - timedelta(days=1), next=NOW + timedelta(days=20))
SHOWN = RevokedIdentity(
    until=NOW + timedelta(days=9), reason="revoked", live="refused", detail="ssl/tls alert certificate revoked"
)
LISTS = RevocationLists(now=NOW, configured=True, lists=(LIST,), revoked=SHOWN)
TRY = CertificateTry(kind="expired", due="expired", reason="expired", live="refused")


def is_found(judgement: Judgement, said: str) -> None:
    assert judgement.outcome == (FAILED if said else PASSED), judgement
    assert said in judgement.observed
    assert judgement.expected


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"answer": "taken"}, "listen[1] takes TLS 1.2"),
        ({"answer": "unreachable", "detail": "connection refused"}, "listen[1] does not answer (connection refused)"),
    ],
)
def test_old_tls(change: dict[str, str], said: str) -> None:
    is_found(crypto.old_tls_is_refused(Attempts(attempts=(OLD, replace(OLD, **change))), P), said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"answer": "refused"}, "refuses group X25519MLKEM768, which the profile names"),
        ({"offered": "group X25519", "wanted": False}, "takes group X25519"),
    ],
)
def test_other_cryptography(change: dict[str, object], said: str) -> None:
    is_found(crypto.other_cryptography_is_refused(Attempts(attempts=(replace(GROUP, **change),)), P), said)


@pytest.mark.parametrize(
    ("change", "said"),
    [({}, ""), ({"group": "X25519"}, "the link with relay-1.hub.example has X25519"), ({"group": ""}, "no group")],
)
def test_groups_of_what_is_up(change: dict[str, str], said: str) -> None:
    is_found(crypto.groups_are_of_the_profile(Channels(channels=(replace(LINK, **change),)), P), said)


def test_a_classical_group_that_is_taken_is_found_though_no_link_has_it() -> None:
    taken = Attempt(listener="listen[1]", offered="group X25519", wanted=False, answer="taken")
    is_found(crypto.groups_are_of_the_profile(Channels(channels=(LINK,), attempts=(taken,)), P), "takes group X25519")


@pytest.mark.parametrize(
    ("change", "said"),
    [({}, ""), ({"suite": ""}, "no suite"), ({"group": ""}, "no group"), ({"suite": "RC4"}, "has RC4")],
)
def test_the_inventory(change: dict[str, str], said: str) -> None:
    is_found(crypto.crypto_inventory_is_complete(Channels(channels=(replace(LINK, **change),)), P), said)


@pytest.mark.parametrize(
    ("age", "said"), [(86_400.0, ""), (86_401.0, "did so 86,401 s ago"), (None, "does not say when")]
)
def test_the_age_of_proofs(age: float | None, said: str) -> None:
    is_found(crypto.proofs_are_recent(Channels(channels=(replace(LINK, proved_s=age),)), P), said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"not_after": NOW + timedelta(days=5)}, "ends in 5 days"),
        ({"not_after": NOW + timedelta(days=14)}, "ends in 14 days"),
        ({"key": "RSA", "key_bits": 1024}, "has an RSA key of 1024 bits"),
        ({"key": "RSA", "key_bits": 3072}, ""),
        ({"key": "secp256k1"}, "has a key of the kind secp256k1"),
        ({"signature_hash": "sha1"}, "is signed with sha1"),
        ({"key": "Ed25519", "signature_hash": ""}, ""),
        ({"names": ()}, "has 0 URI names"),
        ({"names": ("spiffe://a/b", "spiffe://a/c")}, "has 2 URI names, 2 of them SPIFFE"),
        ({"names": ("https://a.example",)}, "0 of them SPIFFE"),
    ],
)
def test_the_own_chain(change: dict[str, object], said: str) -> None:
    is_found(crypto.own_chain_is_good(replace(CHAIN, certificates=(replace(LEAF, **change),)), P), said)


def test_a_public_ca_is_no_trust() -> None:
    facts = replace(CHAIN, trust=(ROOT, replace(ROOT, is_public=True, subject="CN=Everybody's CA")))
    is_found(crypto.own_chain_is_good(facts, P), "CN=Everybody's CA is a public CA")
    is_found(crypto.own_chain_is_good(replace(CHAIN, trust=(replace(ROOT, key="RSA", key_bits=2048),)), P), "2048 bits")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"made": NOW - timedelta(days=7)}, ""),
        ({"made": NOW - timedelta(days=7, hours=1)}, "was made 7 days ago"),
        ({"next": NOW - timedelta(hours=1)}, "was over on 2026-11-29"),
        ({"made": NOW + timedelta(days=1)}, "of the future"),
        ({"next": None}, ""),
    ],
)
def test_the_revocation_list(change: dict[str, object], said: str) -> None:
    is_found(crypto.revocation_list_is_current(replace(LISTS, lists=(replace(LIST, **change),)), P), said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"live": "taken", "detail": ""}, "the listener takes a revoked identity"),
        ({"live": "unreachable", "detail": "no answer"}, "the listener does not answer (no answer)"),
        ({"detail": "tlsv1 alert unknown ca"}, "for another reason (tlsv1 alert unknown ca)"),
        ({"until": NOW - timedelta(days=1)}, "ended on 2026-11-29, so its refusal shows nothing"),
        # Its list came from a neighbour, and is not in the file.
        ({"reason": ""}, ""),
        ({"live": "not tried", "detail": ""}, ""),
        ({"live": "not tried", "reason": ""}, "by the node's own lists the revoked identity is good"),
        ({"live": "not tried", "reason": "unknown_issuer"}, "the revoked identity is unknown_issuer"),
    ],
)
def test_a_revoked_identity(change: dict[str, object], said: str) -> None:
    is_found(crypto.revocation_list_is_current(replace(LISTS, revoked=replace(SHOWN, **change)), P), said)


def test_without_a_revoked_identity_a_person_is_asked_unless_the_list_is_bad() -> None:
    found = crypto.revocation_list_is_current(replace(LISTS, revoked=None), P)
    assert found.outcome == TOLD
    assert "1 in force, the oldest made 1 days ago; no revoked identity was shown" in found.observed
    old = replace(LISTS, revoked=None, lists=(replace(LIST, made=NOW - timedelta(days=9)),))
    is_found(crypto.revocation_list_is_current(old, P), "was made 9 days ago")


def test_no_revocation_list() -> None:
    for facts in (replace(LISTS, lists=()), replace(LISTS, configured=False)):
        is_found(crypto.revocation_list_is_current(facts, P), "there is no revocation list")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"live": "not tried"}, ""),
        ({"reason": ""}, "expired: taken instead of expired"),
        ({"reason": "other"}, "expired: other instead of expired"),
        ({"live": "taken"}, "expired: the listener's answer is: taken"),
    ],
)
def test_the_bank_of_certificates(change: dict[str, str], said: str) -> None:
    is_found(crypto.bad_certificates_are_refused(CertificateBank(tries=(replace(TRY, **change),)), P), said)


def test_known_answers() -> None:
    here, node = (KnownAnswer(where=where, algorithm="AES-256-GCM", right=True) for where in ("here", "node"))
    is_found(crypto.known_answers_are_right(SelfTests(answers=(here, node)), P), "")
    is_found(crypto.known_answers_are_right(SelfTests(answers=(here,)), P), "nothing was tested: node")
    wrong = SelfTests(answers=(here, replace(node, right=False)))
    is_found(crypto.known_answers_are_right(wrong, P), "AES-256-GCM is wrong (node)")


def test_facts_survive_json() -> None:
    for facts in (CHAIN, LISTS, Channels(channels=(LINK,)), CertificateBank(tries=(TRY,)), Attempts(attempts=(OLD,))):
        assert msgspec.json.decode(msgspec.json.encode(facts), type=type(facts)) == facts
