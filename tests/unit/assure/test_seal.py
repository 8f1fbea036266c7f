"""The seal of a pack: a record of a log, proved without the log; what is of another pack or log does not hold."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from pcgrelay.assure.comparing import read_results
from pcgrelay.assure.pack import RESULTS, pack_files, write_pack
from pcgrelay.assure.seal import digest_of_sums, find_record, read_seal, was_witnessed, witnesses_of
from pcgrelay.assure.sums import PROOF, SUMS, read_sums, sums_text
from pcgrelay.audit.note import Note, Signature
from pcgrelay.audit.policy import parse_policy
from pcgrelay.audit.proof import prove
from pcgrelay.errors import PcgrelayError, ProofProblem
from tests.support.audit_logs import AuditLog, make_log
from tests.support.command_line import Invoke, invoker
from tests.support.evidence_examples import STARTED, evidence, result


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Invoke:
    return invoker(capsys, monkeypatch)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    write_pack(tmp_path / "evidence", pack_files(evidence(tmp_path)))
    return tmp_path / "evidence"


def sealed(folder: Path, pack: Path, event: str = "assure.sealed") -> AuditLog:
    """A log with a record that seals a pack, and the proof in the pack."""
    log = make_log(folder, 40, 20)
    line = {"n": log.size, "ts": "2026-11-03T10:12:44.000Z", "event": event, "sha256": digest_of_sums(pack)}
    log.append([json.dumps(line, separators=(",", ":")).encode()])
    log.grow(5)
    log.sign(is_witnessed=True)
    (pack / PROOF).write_bytes(prove(folder, 40).encoded)
    return log


def test_a_seal_holds(tmp_path: Path, pack: Path, invoke: Invoke) -> None:
    log = sealed(tmp_path / "audit", pack)
    assert find_record(tmp_path / "audit", digest_of_sums(pack)) == 40
    found = read_seal(pack, parse_policy(log.policy.encode(), "policy"))
    assert (found.number, found.origin, len(found.witnesses)) == (40, log.origin, 1)
    policy = tmp_path / "realm.policy"
    policy.write_text(log.policy)
    answer = invoke("assure", "verify", pack, "--policy", policy)
    assert answer.code == 0, answer.err
    assert "sealed on 2026-11-03T10:12:44.000Z by" in answer.out
    assert "witnessed by 1" in answer.out


def test_witnesses_of_a_seal_have_short_names() -> None:
    origin = "pcgrelay.police.example/kent.police.example/kent-1"
    names = (origin, "pcgrelay.police.example/hub.example/relay-1", "witness.example/w1", origin, "witness.example/w1")
    note = Note(text=f"{origin}\n1\n", signatures=tuple(Signature(name, b"1234", b"") for name in names))
    assert witnesses_of(note) == ("relay-1.hub.example", "witness.example/w1")


def test_a_seal_that_nobody_checks_says_so(tmp_path: Path, pack: Path, invoke: Invoke) -> None:
    sealed(tmp_path / "audit", pack)
    answer = invoke("assure", "verify", pack)
    assert answer.code == 0
    assert "has a seal that was not checked" in answer.out


def test_the_seal_of_another_pack_does_not_hold(tmp_path: Path, pack: Path, invoke: Invoke) -> None:
    log = sealed(tmp_path / "audit", pack)
    write_pack(tmp_path / "other", pack_files(evidence(tmp_path, (result(),))))
    (tmp_path / "other" / PROOF).write_bytes((pack / PROOF).read_bytes())
    policy = tmp_path / "realm.policy"
    policy.write_text(log.policy)
    answer = invoke("assure", "verify", tmp_path / "other", "--policy", policy)
    assert answer.code == 8
    assert "the seal of another pack" in answer.err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"node": "met-1.met.police.example"}, "says that it is of met-1.met.police.example, and the log of kent-1"),
        ({"started": STARTED - timedelta(days=90)}, "its tests began on"),
        ({"started": STARTED + timedelta(days=2)}, "its tests began on"),
        ({"part": 1, "node": "met.police.example"}, "says that it is of met.police.example"),
        ({"part": 1, "node": "kent.police.example"}, ""),
    ],
)
def test_a_node_seals_its_own_pack_of_that_day(
    tmp_path: Path, pack: Path, invoke: Invoke, changes: dict[str, object], said: str
) -> None:
    """Any node of the realm can seal any folder in its own log, so what the results say is held against that."""
    results = structs.replace(read_results(pack), **changes)
    (pack / RESULTS).write_bytes(msgspec.json.encode(results))
    files = {name: (pack / name).read_bytes() for name in read_sums(pack)}
    (pack / SUMS).write_bytes(sums_text(files))
    policy = tmp_path / "realm.policy"
    policy.write_text(sealed(tmp_path / "audit", pack).policy)
    answer = invoke("assure", "verify", pack, "--policy", policy)
    assert answer.code == (8 if said else 0), answer.err
    assert said in answer.err


def test_a_proof_of_another_record_or_log_does_not_hold(tmp_path: Path, pack: Path) -> None:
    log = sealed(tmp_path / "audit", pack, event="audit.keys")
    with pytest.raises(ProofProblem, match="not of a seal"):
        read_seal(pack, parse_policy(log.policy.encode(), "policy"))
    with pytest.raises(ProofProblem, match="no record that seals"):
        find_record(tmp_path / "audit", digest_of_sums(pack))
    other = make_log(tmp_path / "another", 20, 10)
    with pytest.raises(PcgrelayError, match=r"(?i)sign|key"):
        read_seal(pack, parse_policy(other.policy.encode(), "policy"))


def test_a_proof_that_was_changed_does_not_hold(tmp_path: Path, pack: Path, invoke: Invoke) -> None:
    log = sealed(tmp_path / "audit", pack)
    policy = tmp_path / "realm.policy"
    policy.write_text(log.policy)
    data = (pack / PROOF).read_bytes()
    # Behind these, a line by a key that the policy does not name is no part of what is checked.
    for at in range(30, data.index("\u2014".encode()), 17):
        (pack / PROOF).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        answer = invoke("assure", "verify", pack, "--policy", policy)
        assert answer.code == 8, at
        assert "The seal does not hold" in answer.err
        assert "as they were" not in answer.out


def test_whether_a_log_was_ever_witnessed(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    log.grow(10)
    log.sign()
    assert not was_witnessed(tmp_path / "audit")
    log.grow(10)
    log.sign(is_witnessed=True)
    assert was_witnessed(tmp_path / "audit")
