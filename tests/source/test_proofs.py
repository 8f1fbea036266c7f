"""A model has the result that was found for it, and each query that a page names has one.

Who changes a model, or what it includes, runs the prover again.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROOFS = ROOT / "docs" / "proofs"
FOLDER = PROOFS / "proverif"
RESULTS = (FOLDER / "results.md").read_text()
README = (PROOFS / "README.md").read_text()
PAGE = (ROOT / "docs" / "protocol.md").read_text()
ARGUMENT = PAGE[PAGE.index("## 12. The argument") : PAGE.index("## 13. ")]
COMMENTS = {
    number: text
    for path in FOLDER.glob("*.pv")
    for number, text in re.findall(r"\(\* (\d+\.\d+) (.*?)\*\)", path.read_text(), re.DOTALL)
}
OF_THE_PAGE = {"std", "leaky"}  # variants in which nothing is broken on purpose


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that runs the prover."""
    monkeypatch.syspath_prepend(str(PROOFS))
    import proverif

    return proverif


def results() -> dict[tuple[str, str], dict[str, tuple[str, str]]]:
    """What was expected of each query of each run, and what was found."""
    runs: dict[tuple[str, str], dict[str, tuple[str, str]]] = {}
    table = RESULTS[RESULTS.index("| model | variant |") :]
    for line in table.splitlines()[2:]:
        model, variant, query, expected, found, *_ = (*(cell.strip() for cell in line.split("|")[1:]), *5 * [""])
        if model:
            rows = runs.setdefault((model, variant), {})
        elif query:
            rows[query] = (expected, found)
    return runs


def of_the_page() -> dict[str, set[str]]:
    """What was found of each query where nothing is broken on purpose."""
    found: dict[str, set[str]] = {}
    for (_, variant), rows in results().items():
        for query, (_, result) in rows.items() if variant in OF_THE_PAGE else ():
            found.setdefault(query, set()).add(result)
    return found


def test_each_model_is_the_one_that_was_proved() -> None:
    models = [*FOLDER.glob("*.pv"), *FOLDER.glob("*.pvl"), *FOLDER.glob("variants/*.pvl")]
    hashes = {str(path.relative_to(FOLDER)): hashlib.sha256(path.read_bytes()).hexdigest() for path in models}
    kept = dict(re.findall(r"^\| `([\w/]+\.pvl?)` \| `([0-9a-f]{64})` \|$", RESULTS, re.MULTILINE))
    assert hashes == kept, "run docs/proofs/run.py with ProVerif, which writes results.md"


def test_all_results_are_as_expected() -> None:
    assert RESULTS.rstrip().endswith("\n0 results differ from what is expected.")
    pairs = [pair for rows in results().values() for pair in rows.values()]
    assert len(pairs) > 150
    assert {expected for expected, _ in pairs} == {"proved", "refuted"}
    assert all(expected == found for expected, found in pairs)


def test_each_run_is_there_with_all_its_queries(runner: ModuleType) -> None:
    found = results()
    assert set(found) == {(model, variant) for model, variant, _ in runner.PLAN}
    for model, variant, refuted in runner.PLAN:
        rows = found[model, variant]
        assert list(rows) == runner.labels(model)
        assert {query for query, (expected, _) in rows.items() if expected == "refuted"} == set(refuted.split())


def test_each_model_and_each_variant_is_run(runner: ModuleType) -> None:
    assert {path.stem for path in FOLDER.glob("*.pv")} == {model for model, _, _ in runner.PLAN}
    assert {path.stem for path in FOLDER.glob("variants/*.pvl")} == {variant for _, variant, _ in runner.PLAN}


def test_each_query_has_its_row_in_the_readme() -> None:
    rows: dict[str, str] = {}
    table = README[README.index("| query | file |") :]
    for line in table[: table.index("\n\n")].splitlines()[2:]:
        queries, file, _, result, control, _ = (cell.strip() for cell in line.strip("|").split("|"))
        model = file.strip("`").removesuffix(".pv")
        for query in queries.split():
            assert query in results()[model, "leaky" if (model, "leaky") in results() else "std"], query
            rows[query] = result
        for query in queries.split() if result == "proved" else ():
            assert query == "8.7" or is_controlled(query, control), query  # that one is a control itself
        for variant in re.findall(r"`(\w+)`", control):
            assert any(is_refuted_in(variant, query) for query in queries.split()), queries
    assert {query: {result} for query, result in rows.items()} == of_the_page()


def is_controlled(query: str, control: str) -> bool:
    """Whether a proved query has a twin that is broken on purpose: a variant in which it is refuted, or a query."""
    others = re.findall(r"(?<!`)\b\d+\.\d+\w?\b", control)
    return any(is_refuted_in(variant, query) for variant in re.findall(r"`(\w+)`", control)) or any(
        of_the_page()[other] == {"refuted"}
        and COMMENTS.get(other.rstrip("bcdef"), "").startswith(("control", "not claimed"))
        for other in others
    )


def is_refuted_in(variant: str, query: str) -> bool:
    return any(rows.get(query, ("", ""))[1] == "refuted" for (_, name), rows in results().items() if name == variant)


def test_the_page_names_queries_that_are_proved_and_says_so_of_others() -> None:
    found = of_the_page()
    named = re.findall(r"(not )?\bQ(\d+\.\d+\w?)", ARGUMENT.replace("`Q5.3`", ""))
    assert len(named) > 50
    for not_claimed, query in named:
        assert found[query] == {"refuted" if not_claimed else "proved"}, query
    for query in re.findall(r"\| Q(\d+\.\d+\w?) \|$", README, re.MULTILINE):
        assert query == "7.5" or found[query] == {"proved"}


def test_each_claim_of_the_page_has_its_queries_or_none_for_a_reason() -> None:
    table = ARGUMENT[ARGUMENT.index("| against | claim |") : ARGUMENT.index("### 12.4")]
    rows = [row.strip("|").split("|") for row in table.strip().splitlines()[2:]]
    assert len(rows) >= 25
    for row in rows:
        assert len(row) == 4, row
        assert re.fullmatch(r"no model: [\w ]+|(?:(?:not )?Q[\d.]+[,;]? ?)+", row[3].strip()), row


@pytest.mark.parametrize("named", [("hops.pv",), ()], ids=["one", "all"])
def test_without_the_prover_one_sentence_says_what_to_install(named: tuple[str, ...]) -> None:
    """It says so at once, before anything else has run for minutes."""
    command = [sys.executable, str(PROOFS / "run.py"), *named]
    done = subprocess.run(
        command,
        env={"PROVERIF": "/nonexistent/proverif", "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 69
    assert re.fullmatch(r"/nonexistent/proverif: not found; install ProVerif 2\.05 .*\.\n", done.stderr)
    assert done.stdout == ""


def test_a_name_that_no_model_has_is_refused() -> None:
    command = [sys.executable, str(PROOFS / "run.py"), "no_such.pv"]
    done = subprocess.run(command, env={"PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("No model is named no_such.pv; ")
