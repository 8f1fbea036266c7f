"""The runner of the acceptance: what was run at this commit is not run again, and what is missing or failed is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance import __main__ as acceptance
from tests.acceptance import results, running
from tests.acceptance.cases import LISTS, Case
from tests.acceptance.results import Result

ENDS_WELL = "import json, sys; json.dump({'failed': 0}, open(sys.argv[1], 'w'))"


def case(name: str, program: str, seconds: float = 20.0) -> Case:
    return Case(name, lambda seed, figures: [sys.executable, "-c", program, str(figures), str(seed)], seconds)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run with these cases, in a folder of the test's own, at a commit of this name."""
    file = tmp_path / "results.jsonl"
    monkeypatch.setattr(running, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(running, "ROOT", tmp_path)
    monkeypatch.setattr(acceptance, "read", lambda: results.read(file))
    monkeypatch.setattr(acceptance, "keep", lambda result: results.keep(result, file))

    def go(cases: list[Case], *words: str, at: str = "c0ffee") -> int:
        monkeypatch.setattr(acceptance, "LISTS", {"some": lambda: cases, "none": list})
        monkeypatch.setattr(acceptance, "commit", lambda: at)
        return acceptance.main(words)

    return go


def kept(tmp_path: Path) -> list[Result]:
    return results.read(tmp_path / "results.jsonl")


def test_each_case_is_kept_with_its_figures_and_run_once(tmp_path: Path, run: Callable[..., int]) -> None:
    cases = [case("one", ENDS_WELL), case("two", ENDS_WELL)]
    assert run(cases) == 0
    assert [(each.case, each.verdict, each.figures, each.commit) for each in kept(tmp_path)] == [
        ("one", "passed", {"failed": 0}, "c0ffee"),
        ("two", "passed", {"failed": 0}, "c0ffee"),
    ]
    assert run(cases) == 0
    assert len(kept(tmp_path)) == 2
    # Another commit, another seed, and anew.
    assert run(cases, at="beef") == run(cases, "--seed=2") == run(cases, "--anew") == 0
    assert [(each.commit, each.seed) for each in kept(tmp_path)[2:]] == [
        *[("beef", 1)] * 2, *[("c0ffee", 2)] * 2, *[("c0ffee", 1)] * 2,
    ]  # fmt: skip


def test_what_failed_or_was_late_is_told_and_nothing_of_it_is_left(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"
    monkeypatch.setattr(running, "CLEAN_UP_S", 0.2)
    assert run([case("one", "raise SystemExit(3)"), case("two", deaf, 0.5), case("three", ENDS_WELL)]) == 1
    assert [each.verdict for each in kept(tmp_path)] == ["failed", "late", "passed"]
    said = capsys.readouterr().out
    assert "some               3       1       1       1        0" in said
    assert "FAIL  one: logs/one.log" in said
    assert "LATE  two: logs/two.log" in said


def test_a_case_that_was_not_run_is_no_success(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    slow = "import time; time.sleep(0.3)"
    assert run([case("one", slow), case("two", ENDS_WELL)], "--minutes=0.002") == 1
    assert "some               2       1       0       0        1" in capsys.readouterr().out


def test_a_torn_line_takes_no_other_with_it(tmp_path: Path, run: Callable[..., int]) -> None:
    file = tmp_path / "results.jsonl"
    whole = json.dumps({"case": "one", "seed": 1, "commit": "c0ffee", "verdict": "passed", "seconds": 1, "began": ""})
    file.write_text(whole + "\n" + whole[:30])
    assert run([case("one", "raise SystemExit(3)"), case("two", ENDS_WELL)]) == 0
    assert [each.case for each in kept(tmp_path)] == ["one", "two"]


def test_a_list_that_is_unknown_is_named(run: Callable[..., int]) -> None:
    with pytest.raises(SystemExit, match="there is no list moon; there are: some, none"):
        run([], "--only=some,moon")


def test_every_case_has_a_name_of_its_own_and_a_test_that_is_there() -> None:
    cases = [each for cases in LISTS.values() for each in cases()]
    assert len({each.name for each in cases}) == len(cases)
    for each in cases:
        words = each.command(1, Path("figures.json"))
        if words[-1].startswith("tests/"):
            file, _, test = words[-1].partition("::")
            assert f"def {test.partition('[')[0]}(" in (results.ROOT / file).read_text()
