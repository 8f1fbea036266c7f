"""An examination of the whole log: by the post-quantum key alone, and of a log that was begun again."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import structs

from pcgrelay.audit.policy import parse_policy
from pcgrelay.audit.report import Report
from pcgrelay.audit.verify import keys_of_policy, verify_log
from pcgrelay.log.audit_events import AuditRestarted
from tests.support.audit_logs import AuditLog, make_log

SEGMENT = 1_000


def examine(log: AuditLog, folder: Path) -> Report:
    return verify_log(folder, keys_of_policy(parse_policy(log.policy.encode(), "policy")))


def kinds(report: Report) -> set[str]:
    return {problem.kind for problem in report.problems}


def test_whoever_believes_ml_dsa_alone_goes_by_the_heads_that_have_it(tmp_path: Path) -> None:
    """As it may be in 2040: the history has that signature now and then, the newest head always."""
    log = AuditLog(tmp_path / "audit", SEGMENT)
    for number in range(6):
        log.grow(50)
        log.sign(is_whole=number in (2, 5))
    ml_dsa = f"log {log.vkeys[1].vkey}\nquorum none\n".encode()
    keys_of = keys_of_policy(parse_policy(ml_dsa, "policy"))
    report = verify_log(log.folder, keys_of)
    assert (report.verdict, report.problems, report.other_heads) == ("whole", (), 4)
    assert [signer.types for signer in report.signers] == [("ML-DSA-44",)]
    # A head behind the last that is known is nobody's word.
    log.grow(50)
    log.sign(is_whole=False)
    report = verify_log(log.folder, keys_of)
    assert (report.verdict, kinds(report)) == ("changed", {"signature"})
    # Whoever believes Ed25519 misses nothing: a signature that was changed is found on each head.
    assert examine(log, log.folder).other_heads == 0


def test_a_log_that_was_begun_again_says_what_was_before_it(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    said = AuditRestarted(
        old_size=8_841, old_root="CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=", folder="/state/audit/old-2026-11-03",
        problem="It was cut.", uid=0, by="j.smith", reason="disk restored, CR-1042",
    )  # fmt: skip
    log.grow(1)
    head = {"n": 1, "ts": "2026-11-03T02:14:07.113Z", "event": "audit.restarted"}
    log.append([msgspec.json.encode(head | structs.asdict(said))])
    log.sign(is_witnessed=True)
    report = examine(log, log.folder)
    assert report.verdict == "whole"
    assert report.begun_again is not None
    assert (report.begun_again.number, report.begun_again.ts) == (1, head["ts"])
    assert (report.begun_again.old_size, report.begun_again.old_root) == (said.old_size, said.old_root)
    other = make_log(tmp_path / "other" / "audit", 100, 50)
    assert examine(other, other.folder).begun_again is None
