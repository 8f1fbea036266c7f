"""`pcgrelay audit`: what people see of a log that was begun again, of what is not on record, and on a small screen."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from pcgrelay.audit.note import COSIGNATURE_ED25519, NoteSigner
from pcgrelay.audit.policy import parse_policy
from pcgrelay.cli.audit import query as query_command
from pcgrelay.output import Screen
from tests.support.audit_logs import ORIGIN, AuditLog
from tests.support.command_line import Invoke, invoker


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Invoke:
    monkeypatch.setenv("COLUMNS", "80")
    return invoker(capsys, monkeypatch)


def test_a_log_that_was_begun_again_says_so(invoke: Invoke, tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    said = {
        "n": 0, "ts": "2026-11-03T02:14:07.113Z", "event": "audit.restarted", "old_size": 8_841,
        "old_root": "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=", "folder": "/state/audit/old-2026-11-03",
        "problem": "It was cut.", "uid": 0, "by": "j.smith", "reason": "disk restored, CR-1042",
    }  # fmt: skip
    log.append([msgspec.json.encode(said)])
    log.sign()
    lines = invoke("audit", "verify", log.folder).out.splitlines()
    at = next(at for at, line in enumerate(lines) if line.startswith("  begun again"))
    assert " ".join(" ".join(lines[at:]).split()).startswith(
        "begun again on 2026-11-03 02:14 by j.smith, user 0: disk restored, CR-1042. The log before it (8,841 records "
        "signed, root CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=) is in /state/audit/old-2026-11-03; it was not "
        "signed any more, because: It was cut."
    )


def test_what_is_not_on_record_one_by_one_is_said(invoke: Invoke, tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    refused = {
        "event": "stream.refused", "service": "custody@kent.police.example", "direction": "export", "suppressed": 9_940,
        "from_organisation": "essex.police.example", "to_organisation": "kent.police.example",
    }  # fmt: skip
    lost = {"event": "audit.lost", "count": 1, "since": "2026-11-03T02:10:00.000Z", "until": "2026-11-03T02:20:00.000Z"}
    for number, record in enumerate((refused, lost)):
        log.append([msgspec.json.encode({"n": number, "ts": "2026-11-03T02:00:00.000Z", **record})])
    answer = invoke("audit", "query", "--log", log.folder)
    assert answer.out.splitlines()[1].split()[:3] == ["essex.police.example", "0", "9,941"]
    assert answer.out.splitlines()[2:] == [
        'No stream that was let in is among these; a log with [audit] streams = "refused" has none.',
        "9,940 refused streams are not on record one by one: of one organisation and cause 60 at once are, and then "
        "one a second. They are counted with the last of these, whatever its service.",
        "1 record of that time is not in the log, lost or left out: there may have been more streams.",
        "This query is not on record: no node was named (-c).",
    ]
    got = json.loads(invoke("audit", "query", "--log", log.folder, "--json").out)
    assert (got["bounded"], got["lost"], got["on_record"]) == (9_940, 1, None)


def test_a_query_fits_a_terminal_of_80_columns(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(tmp_path / "audit")
    ts, digest = "2026-10-01T09:00:00.000Z", "7f3ac1aa0912" + "0" * 52
    signers = ["a.jones@kent.police.example", "b.khan@kent.police.example"]
    stream = {
        "event": "stream.end", "service": "custody@kent.police.example", "from_organisation": "met.police.example",
        "to_organisation": "kent.police.example", "suite": "AES-256-GCM", "group": "X25519MLKEM768",
        "rule_text": "export[3], until 2027-03-31", "rule": 2, "policy": digest[:12], "sent_bytes": 2 << 30,
    }  # fmt: skip
    for number, record in enumerate(({"event": "policy.taken", "after": digest, "approved": signers}, stream)):
        log.append([msgspec.json.encode({"n": number, "ts": ts, **record})])
    screen = Screen(width=80, highlight=False, markup=False, emoji=False)
    monkeypatch.setattr(query_command, "terminal", lambda: screen)
    assert invoke("audit", "query", "--log", log.folder).out.splitlines() == [
        "from                streams  refused    bytes",
        "met.police.example        1        0  2.0 GiB",
        "  rule        export[3], until 2027-03-31",
        "  allowed by  a.jones@kent.police.example, b.khan@kent.police.example on",
        "              2026-10-01",
        "  suite       AES-256-GCM, X25519MLKEM768",
        "This query is not on record: no node was named (-c).",
    ]


def test_what_a_log_calls_its_witnesses_is_no_name_of_the_policy(invoke: Invoke, tmp_path: Path) -> None:
    """A log that nobody vouches for names a key as it likes; a terminal gets nothing of that."""
    log = AuditLog(tmp_path / "audit")
    keys = {"origin": ORIGIN, "ed25519": log.vkeys[0].vkey, "ml_dsa_44": log.vkeys[1].vkey}
    rest = {"ts": "2026-11-03T00:00:00.000Z", "certificates": [], "signature": ""}
    own = NoteSigner.generate("kent.police.example/kent-1", COSIGNATURE_ED25519).verifier.vkey
    log.append([msgspec.json.encode({"n": 0, "event": "audit.keys", **keys, "cosigner": own, **rest})])
    for name in ("none", "witnesses", "\x9b2Jx/y"):
        cosigner = NoteSigner.generate(name, COSIGNATURE_ED25519).verifier.vkey
        told = {**keys, "origin": f"pcgrelay.{name}", "cosigner": cosigner, "peer": "x"}
        log.append([msgspec.json.encode({"n": log.size, "event": "witness.keys", **told, **rest})])
    log.sign()
    answer = invoke("audit", "policy", log.folder)
    assert answer.code == 0
    assert "\x9b" not in answer.out
    assert answer.out.count("# A key was left out: its name is not that of a node.\n") == 3
    assert not parse_policy(answer.out.encode(), "policy").witnesses
