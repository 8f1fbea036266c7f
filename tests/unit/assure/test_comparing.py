"""Two packs: what got better and worse."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from pcgrelay.assure.comparing import compare, read_results
from pcgrelay.assure.pack import results_of, write_pack
from pcgrelay.errors import ConfigError
from tests.support.evidence_examples import evidence, result


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("passed", "failed", "worse"),
        ("passed", "broken", "worse"),
        ("failed", "passed", "better"),
        ("told", "passed", "better"),
        ("failed", "broken", "other"),
        ("broken", "failed", "other"),
        ("failed", "not here", "better"),
        ("passed", "told", "worse"),
        ("told", "not here", "other"),
        ("not here", "failed", "worse"),
    ],
)
def test_better_and_worse(tmp_path: Path, before: str, after: str, kind: str) -> None:
    base = results_of(evidence(tmp_path))
    old, new = (replace(base, results=(result("K1", each), result("K2"))) for each in (before, after))
    assert [(each.id, each.kind) for each in compare(old, new)] == [("K1", kind)]


def test_controls_that_are_new_or_gone(tmp_path: Path) -> None:
    base = results_of(evidence(tmp_path))
    old = replace(base, results=(result("K1"), result("K2", "failed")))
    new = replace(base, results=(result("K1"), result("K3", "failed")))
    assert [(each.id, each.before, each.after, each.kind) for each in compare(old, new)] == [
        ("K3", "not in the profile", "failed", "worse"),
        ("K2", "failed", "not in the profile", "better"),
    ]


def test_two_runs_that_differ_only_in_times_are_the_same(tmp_path: Path) -> None:
    base = results_of(evidence(tmp_path))
    later = replace(base, seconds=9.0, results=tuple(replace(each, seconds=3.0) for each in base.results))
    assert list(compare(base, later)) == []


def test_what_is_no_pack_is_refused(tmp_path: Path) -> None:
    write_pack(tmp_path / "evidence", {"results.json": b'{"node": 1}'})
    with pytest.raises(ConfigError, match="no results of a pack"):
        read_results(tmp_path / "evidence")


@pytest.mark.parametrize("data", [b'{"x":' + b"[" * 100_000, b'{"node":"\xff"}', b'{"node":"\\ud800"}', b"[]"])
def test_results_that_somebody_made_up_are_refused_in_a_sentence(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "results.json").write_bytes(data)
    with pytest.raises(ConfigError, match="no results of a pack"):
        read_results(tmp_path)
