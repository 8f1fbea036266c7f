"""The text form of metrics, read as strictly as anybody reads it."""

from __future__ import annotations

import re

Sample = tuple[str, frozenset[tuple[str, str]]]
PARTS = ("_bucket", "_sum", "_count")  # of a histogram
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,(?=.)|$)')
_SAMPLE = re.compile(rf"({_NAME})(?:\{{(.+)\}})? (-?[0-9.e+-]+|NaN|[+-]Inf)")


def samples(text: str) -> dict[Sample, float]:
    """The text form as its definition has it; AssertionError for what breaks it."""
    assert text.endswith("\n")
    found: dict[Sample, float] = {}
    helped: set[str] = set()
    kinds: dict[str, str] = {}
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name = line.split(" ")[2]
            assert name not in helped
            helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in kinds
            assert kind in ("gauge", "counter", "histogram")
            kinds[name] = kind
        else:
            match = _SAMPLE.fullmatch(line)
            assert match is not None, line
            name, labels = match[1], match[2] or ""
            family = next((name.removesuffix(end) for end in PARTS if name.endswith(end)), name)
            assert name in kinds or kinds[family] == "histogram"
            matches = list(_LABEL.finditer(labels))
            assert sum(len(each[0]) for each in matches) == len(labels), line
            pairs = [(each[1], each[2]) for each in matches]
            assert len({key for key, _ in pairs}) == len(pairs)
            sample = (name, frozenset(pairs))
            assert sample not in found, line
            found[sample] = float(match[3])
    return found
