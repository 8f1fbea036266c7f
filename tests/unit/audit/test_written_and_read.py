"""What a node writes is what its readers call whole: the writer beside the examination, the proof and the query."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from pcgrelay.audit.audit_log import AuditLog
from pcgrelay.audit.history import HISTORY, read_history
from pcgrelay.audit.policy import parse_policy
from pcgrelay.audit.proof import Proof, check, prove
from pcgrelay.audit.query import Wanted, query
from pcgrelay.audit.report import Report
from pcgrelay.audit.segments import read_lines, segments_of
from pcgrelay.audit.told import KeysAt, Told
from pcgrelay.audit.trust import keys_of_trust
from pcgrelay.audit.verify import keys_of_policy, verify_log
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.config import AuditSettings
from pcgrelay.log.stream_events import StreamEnd
from pcgrelay.signing import sign
from tests.support.pki import Files, RealmPki
from tests.support.written_logs import NODE, ORIGIN, records_of

SETTINGS = AuditSettings(keep_days=400, kept_streams="all")
END = StreamEnd(
    id="0011", started="2026-11-03T02:14:07.113Z", from_organisation="met.police.example",
    to_organisation="kent.police.example", service="custody@kent.police.example", direction="export", session=1,
    sent_bytes=10, received_bytes=5, duration_ms=1.5, suite="AES-256-GCM", group="X25519MLKEM768", code="closed",
    cause="",
)  # fmt: skip


@pytest.fixture
def realm(tmp_path: Path) -> RealmPki:
    return RealmPki(tmp_path / "realm")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "audit"


def begun(folder: Path, files: Files) -> AuditLog:
    chain = x509.load_pem_x509_certificates(files.certificate.read_bytes())
    key = load_pem_private_key(files.key.read_bytes(), None)

    def endorse(data: bytes) -> tuple[list[bytes], bytes]:
        return [each.public_bytes(Encoding.DER) for each in chain], sign(key, data)

    log = AuditLog(folder, NODE, SETTINGS, endorse, lambda record: None, SYSTEM_CLOCK)
    log.start()
    return log


async def write(folder: Path, files: Files, count: int) -> None:
    log = begun(folder, files)
    for _ in range(count):
        assert log.emit(END, "7f3ac1aa0912")
    await log.stop()


def examine(folder: Path, realm: RealmPki) -> Report:
    return verify_log(folder, keys_of_trust([realm.ca_certificate]))


async def test_it_is_whole_and_known_by_the_ca(realm: RealmPki, folder: Path) -> None:
    files = realm.issue("kent.police.example", "kent-1")
    await write(folder, files, 700)
    report = examine(folder, realm)
    assert (report.problems, report.verdict, report.trust) == ((), "whole", "certificate")
    assert (report.origin, report.size, report.unsigned) == (ORIGIN, len(records_of(folder)), 0)
    assert report.size >= 701
    assert report.short_tiles == 0
    # A second start goes on with the same log.
    await write(folder, files, 300)
    again = examine(folder, realm)
    assert (again.problems, again.verdict) == ((), "whole")
    assert again.size >= report.size + 300
    assert again.checkpoints > report.checkpoints


async def test_a_record_of_it_is_proved(realm: RealmPki, folder: Path) -> None:
    await write(folder, realm.issue("kent.police.example", "kent-1"), 300)
    keys = keys_of_trust([realm.ca_certificate])
    logs = "".join(f"log {key.vkey}\n" for key in keys(told_keys(folder), ORIGIN).logs)
    policy = parse_policy(f"{logs}quorum none\n".encode(), "policy")
    checked = check(Proof.parse(prove(folder, 200).encoded), policy)
    assert checked.record.startswith(b'{"n":200,"ts":"')
    assert verify_log(folder, keys_of_policy(policy)).verdict == "whole"


def told_keys(folder: Path) -> list[KeysAt]:
    told = Told()
    for segment in segments_of(folder):
        told.add([line.data for line in read_lines(segment)])
    return told.keys


async def test_it_is_asked_who_used_a_service(realm: RealmPki, folder: Path) -> None:
    await write(folder, realm.issue("kent.police.example", "kent-1"), 40)
    (usage,) = query(segments_of(folder), Wanted(service="custody")).usages
    assert (usage.organisation, usage.streams, usage.transferred_bytes) == ("met.police.example", 40, 600)
    assert (usage.policy, usage.suite) == ("7f3ac1aa0912", "AES-256-GCM")


async def test_what_was_changed_in_it_is_named(realm: RealmPki, folder: Path) -> None:
    await write(folder, realm.issue("kent.police.example", "kent-1"), 300)
    path = segments_of(folder)[0].path
    lines = path.read_bytes().split(b"\n")
    lines[123] = lines[123].replace(b"met", b"kex")
    path.write_bytes(b"\n".join(lines))
    report = examine(folder, realm)
    assert [(each.kind, each.number) for each in report.problems] == [("record", 123)]


async def test_its_history_has_each_head(realm: RealmPki, folder: Path) -> None:
    await write(folder, realm.issue("kent.police.example", "kent-1"), 10)
    assert (folder / HISTORY).exists()
    assert len(list(read_history(folder))) >= 1
