"""A model has the result that was found for it: who changes a model, or what it includes, runs the prover again."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

PROOFS = Path(__file__).resolve().parents[2] / "docs" / "proofs"
RESULTS = (PROOFS / "results.md").read_text()


def test_each_model_is_the_one_that_was_proved() -> None:
    models = [*PROOFS.glob("*.pv"), *PROOFS.glob("*.pvl"), *PROOFS.glob("variants/*.pvl")]
    hashes = {str(path.relative_to(PROOFS)): hashlib.sha256(path.read_bytes()).hexdigest() for path in models}
    kept = dict(re.findall(r"^\| `([\w/]+\.pvl?)` \| `([0-9a-f]{64})` \|$", RESULTS, re.MULTILINE))
    assert hashes == kept, "run docs/proofs/run.py with ProVerif, which writes results.md"


def test_all_results_are_as_expected() -> None:
    assert RESULTS.rstrip().endswith("\n0 results differ from what was expected.")
    assert not re.search(r"DIFFERS|\| (undecided|no result) \|", RESULTS)
    rows = re.findall(r"^\| \| \| (\S+) \| (proved|refuted) \| (proved|refuted) \| *\|$", RESULTS, re.MULTILINE)
    assert len(rows) > 70
    assert all(expected == found for _, expected, found in rows)


def test_the_rule_of_renewals_is_among_them() -> None:
    """What a receiver takes after a renewal comes from its peer; without the rule it does not."""
    of_heal = RESULTS[RESULTS.index("| heal | std |") : RESULTS.index("| heal_passive |")]
    assert "| | | 3.14 | proved | proved |" in of_heal
    assert "| | | 3.13 | refuted | refuted |" in of_heal
