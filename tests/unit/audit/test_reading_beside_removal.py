"""Whoever reads a log while its node removes old records gets a clear answer, and no error."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from pcgrelay.audit import exporting
from pcgrelay.audit import verify as verifying
from pcgrelay.audit.exporting import export_tiles
from pcgrelay.audit.heads import Heads
from pcgrelay.audit.history import HISTORY, SignedHead
from pcgrelay.audit.policy import parse_policy
from pcgrelay.audit.problems import Problems
from pcgrelay.audit.query import Wanted, query
from pcgrelay.audit.segments import SegmentGone, read_lines, segments_of
from pcgrelay.audit.verify import keys_of_policy, verify_log
from pcgrelay.audit.walk import Walk
from pcgrelay.cli.root import pcgrelay as command
from pcgrelay.errors import ProofProblem, RunError
from tests.support.audit_logs import AuditLog, make_log, time_text


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    """Twelve hundred records in twelve segments; a signed record says that the first six are removed."""
    made = make_log(tmp_path / "audit", 1_150, 100, segment_records=100)
    made.append([b'{"n":%d,"ts":"%s","event":"audit.pruned","first":0,"last":599,"segments":6}' % (
        made.size, time_text(made.size).encode())])  # fmt: skip
    made.sign(is_witnessed=True)
    return made


def remove(log: AuditLog, count: int) -> None:
    for segment in segments_of(log.folder)[:count]:
        segment.path.unlink()


def examine(log: AuditLog) -> tuple[str, int]:
    report = verify_log(log.folder, keys_of_policy(parse_policy(log.policy.encode(), "policy")))
    assert report.problems == ()
    return report.verdict, report.first


def test_a_query_goes_on_with_what_is_there(log: AuditLog) -> None:
    segments = segments_of(log.folder)
    remove(log, 3)
    found = query(segments, Wanted(service="custody"))
    assert (found.first, found.since, found.gone) == (300, time_text(300), 3)
    assert found.records == found.usages[0].streams == 850


def test_a_query_says_what_it_did_not_see(log: AuditLog) -> None:
    remove(log, 6)
    done = CliRunner().invoke(command, ["audit", "query", "--log", str(log.folder)])
    assert done.exit_code == 0
    words = " ".join(done.output.split())
    assert "The 600 records before 2026-11-03 are not there any more" in words
    shown = json.loads(CliRunner().invoke(command, ["audit", "query", "--log", str(log.folder), "--json"]).output)
    assert (shown["first"], shown["since"], shown["segments_gone"]) == (600, time_text(600), 0)


def test_a_query_of_a_whole_log_says_nothing_of_it(log: AuditLog) -> None:
    assert "any more" not in CliRunner().invoke(command, ["audit", "query", "--log", str(log.folder)]).output


def test_a_removed_segment_has_an_error_of_its_own(log: AuditLog) -> None:
    segment = segments_of(log.folder)[0]
    segment.path.unlink()
    with pytest.raises(SegmentGone, match="was removed while the audit log was read"):
        list(read_lines(segment))


def removing(log: AuditLog, times: int, act: Callable[[AuditLog], None]) -> type[Walk]:
    """A walk beside which something goes, so many times."""
    left = [times]

    class Beside(Walk):
        def __init__(self, folder: Path, problems: Problems, signed_size: int) -> None:
            super().__init__(folder, problems, signed_size)
            if left[0]:
                left[0] -= 1
                act(log)

    return Beside


def test_an_export_begins_its_records_again(log: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "Walk", removing(log, 2, lambda log: remove(log, 1)))
    done = export_tiles(log.folder, tmp_path / "out")
    assert (done.size, done.first) == (1_151, 200)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) == done.files
    # Bundles of 256 records, of which the first that is whole begins at 256.
    assert sorted(path.name for path in files if "entries" in path.parts) == ["001", "002", "003", "127"]


def test_an_export_that_is_never_done_says_so(log: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "Walk", removing(log, 9, lambda log: remove(log, 1)))
    with pytest.raises(ProofProblem, match="segments go faster than they are read"):
        export_tiles(log.folder, tmp_path / "out")


def test_an_examination_is_made_again(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "Walk", removing(log, 2, lambda log: remove(log, 2)))
    assert examine(log) == ("whole", 400)


def test_an_examination_that_is_never_done_says_so(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "Walk", removing(log, 9, lambda log: remove(log, 1)))
    with pytest.raises(RunError, match="old records go faster than the log is read"):
        examine(log)


def test_a_history_that_is_replaced_meanwhile_is_read_again(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node thins its history and signs on; of the new file, heads would be read whose records were not."""
    made = 0

    def slow(folder: Path, seen: Sequence[SignedHead], problems: Problems) -> Heads:
        nonlocal made
        made += 1
        heads = Heads(folder, seen, problems)
        if made == 1:
            lines = (folder / HISTORY).read_bytes().splitlines(keepends=True)
            shutil.copy(folder / HISTORY, folder / "draft")
            (folder / "draft").write_bytes(b"".join(lines[8:]))
            (folder / "draft").rename(folder / HISTORY)
            log.grow(5)
            log.sign(is_witnessed=True)
            log.grow(5)
            log.sign(is_witnessed=True)
        return heads

    monkeypatch.setattr(verifying, "Heads", slow)
    assert examine(log) == ("whole", 0)
    assert made == 2
