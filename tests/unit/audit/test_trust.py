"""The keys of a log are believed because a node of the realm has signed for them, and for no other reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from msgspec import structs

from pcgrelay.audit.report import Report
from pcgrelay.audit.trust import keys_of_trust
from pcgrelay.audit.verify import verify_log
from tests.support.audit_logs import AuditLog
from tests.support.pki import Files, RealmPki

KENT, HUB = "kent.police.example", "hub.example"


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> RealmPki:
    return RealmPki(tmp_path_factory.mktemp("realm"))


@pytest.fixture(scope="module")
def kent(realm: RealmPki) -> Files:
    return realm.issue(KENT, "kent-1")


def now(realm: RealmPki) -> str:
    return f"{realm.ca_certificate.not_valid_before_utc:%Y-%m-%d}T23:59:59.000Z"


def examine(log: AuditLog, *anchors: x509.Certificate) -> Report:
    return verify_log(log.folder, keys_of_trust(anchors))


def test_the_ca_is_enough_to_know_the_log_and_its_witness(realm: RealmPki, kent: Files, tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    log.tell_keys(kent, now(realm))
    log.tell_witness(realm.issue(HUB, "relay-1"), now(realm))
    log.grow(50)
    log.sign(is_witnessed=True)
    report = examine(log, realm.ca_certificate)
    assert (report.problems, report.verdict, report.trust) == ((), "whole", "certificate")
    assert report.identity == "spiffe://police.example/org/kent.police.example/node/kent-1"
    assert [(each.name, each.size) for each in report.witnesses] == [("hub.example/relay-1", 52)]
    # Without the CA it is of one piece, and whoever wrote it may be anybody.
    assert [verify_log(log.folder).verdict, verify_log(log.folder).trust] == ["unproved", "itself"]


def test_keys_that_nobody_vouches_for_are_not_believed(realm: RealmPki, kent: Files, tmp_path: Path) -> None:
    stranger = RealmPki(tmp_path / "stranger")
    log = AuditLog(tmp_path / "audit")
    log.tell_keys(kent, now(realm))
    log.sign()
    report = examine(log, stranger.ca_certificate)
    assert (report.verdict, report.signatures) == ("changed", 0)
    assert "the CA does not vouch" in report.problems[0].sentence


def test_a_witness_that_nobody_vouches_for_does_not_count_and_is_no_change(
    realm: RealmPki, kent: Files, tmp_path: Path
) -> None:
    stranger = RealmPki(tmp_path / "stranger")
    log = AuditLog(tmp_path / "audit")
    log.tell_keys(kent, now(realm))
    log.tell_witness(stranger.issue(HUB, "relay-1"), now(realm))
    log.sign(is_witnessed=True)
    report = examine(log, realm.ca_certificate)
    assert (report.problems, report.verdict, report.witnesses) == ((), "whole", ())
    assert "hub.example/relay-1" in report.not_believed[0]


def test_a_certificate_of_another_node_vouches_for_nothing(realm: RealmPki, tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    log.tell_keys(realm.issue(KENT, "kent-2"), now(realm))
    log.sign()
    report = examine(log, realm.ca_certificate)
    assert "kent-2" in report.problems[0].sentence
    assert report.signatures == 0


@pytest.mark.parametrize("ts", ["2019-01-01T00:00:00.000Z", "2999-01-01T00:00:00.000Z", "yesterday", ""])
def test_a_certificate_vouches_within_its_dates_alone(realm: RealmPki, kent: Files, tmp_path: Path, ts: str) -> None:
    log = AuditLog(tmp_path / "audit")
    log.tell_keys(kent, ts)
    log.sign()
    assert examine(log, realm.ca_certificate).signatures == 0


def test_a_log_without_keys_is_not_known(realm: RealmPki, tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    log.grow(5)
    log.sign()
    report = examine(log, realm.ca_certificate)
    assert report.verdict == "changed"
    assert "None of the keys" in report.problems[0].sentence


def test_changed_keys_are_not_believed(realm: RealmPki, kent: Files, tmp_path: Path) -> None:
    log, other = AuditLog(tmp_path / "audit"), AuditLog(tmp_path / "other")
    log.tell_keys(kent, now(realm))
    line = (log.folder / "log" / "000000000000.jsonl").read_bytes()[:-1]
    forged = line.replace(log.vkeys[0].vkey.encode(), other.vkeys[0].vkey.encode())
    again = AuditLog(tmp_path / "again")
    again.signers = [other.signers[0], log.signers[1]]
    again.append([forged])
    again.sign()
    report = examine(again, realm.ca_certificate)
    assert report.signatures == 0
    assert "not signed by the certificate" in report.problems[0].sentence


def test_junk_in_the_place_of_certificates_is_a_sentence(realm: RealmPki, kent: Files, tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    log.tell_keys(kent, now(realm))
    line = (log.folder / "log" / "000000000000.jsonl").read_bytes()[:-1]
    for number, (old, new) in enumerate(
        ((b'"certificates":["', b'"certificates":["AAAA'), (b'"signature":"', b'"signature":"!'))
    ):
        spoilt = AuditLog(tmp_path / f"spoilt-{number}")
        spoilt.append([line.replace(old, new)])
        spoilt.sign()
        assert examine(spoilt, realm.ca_certificate).signatures == 0
    assert structs.asdict(examine(log, realm.ca_certificate))["trust"] == "certificate"


def test_a_time_beyond_the_calendar_is_a_sentence(realm: RealmPki, kent: Files, tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    log.tell_keys(kent, "0001-01-01T00:00:00+14:00")
    log.sign()
    report = examine(log, realm.ca_certificate)
    assert report.verdict == "changed"
    assert "beyond the calendar" in report.problems[0].sentence
