"""The alerts that are shipped, read from their file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "contrib" / "prometheus" / "rules.yml"


@dataclass(frozen=True)
class Rule:
    """One alert."""

    expression: str
    severity: str
    annotations: dict[str, str]


@cache
def rules() -> dict[str, Rule]:
    """Each alert by its name. AssertionError: one is not written like the others."""
    found = {}
    for text in re.split(r"^ *- alert: ", RULES.read_text(), flags=re.MULTILINE)[1:]:
        name, rest = text.split("\n", 1)
        expression = re.search(r"expr: (?:>-\n)?(.*?)\n *(?:for|labels):", rest, re.DOTALL)
        severity = re.search(r"labels: \{severity: (warning|critical)\}", rest)
        assert expression, name
        assert severity, name
        told = dict(re.findall(r'^ +(summary|runbook_url): "(.+)"$', rest, re.MULTILINE))
        assert told.keys() == {"summary", "runbook_url"}, name
        found[name] = Rule(" ".join(expression[1].split()), severity[1], told)
    return found
