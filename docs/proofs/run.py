"""Run the models, hold their results to what is expected, and write results.md with the SHA-256 of each model.

usage: docs/proofs/run.py [MODEL ...]        PROVERIF=path of ProVerif 2.05

With names, the results of other models are kept as they stand, if what they depend on is what it was.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
from itertools import zip_longest
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROVERIF = os.environ.get("PROVERIF", "proverif")
# Model, variant, and the expected result of each query in the order of the file: y proved, n refuted.
# "It works" is a query that is refuted when the good end is reached.
PLAN = [
    ("link", "std", "n y y y y y"),
    ("link", "exporter_alone", "n y y y y y"),
    ("link", "leaky", "n y y y y y"),
    ("link", "exporter_alone_leaky", "n n n y y n"),
    ("link", "no_leaves_leaky", "n y n y y n"),
    ("link", "no_transcript_leaky", "n n n y y n"),
    ("session", "leaky", "n y y y y y y y n"),
    ("session", "named_leaky", "n y y y y y y y y"),
    ("session", "exporter_alone_leaky", "n y n n y n y y n"),
    ("forward", "leaky", "n y y n"),
    ("forward", "unwiped_leaky", "n n n n"),
    ("heal", "std", "n y n n y n n"),
    ("heal", "named", "n y n n y y n"),
    ("heal_passive", "std", "n y y"),
    ("pq", "std", "n y n n y y"),
    ("purposes", "leaky", "n y"),
    ("purposes", "no_purpose_leaky", "n n"),
    ("frames", "std", "n n n y n y y y n"),
]
SAY = {"y": "proved", "n": "refuted", "?": "undecided", "-": "no result"}


def models() -> list[Path]:
    """All that a result depends on."""
    return sorted([*HERE.glob("*.pv"), *HERE.glob("*.pvl"), *HERE.glob("variants/*.pvl")])


def labels(model: str) -> list[str]:
    """The number of each query, from the comment above it; queries without one go with the one before."""
    text = (HERE / f"{model}.pv").read_text()
    found: list[str] = []
    label, n = "", 0
    for line in text[text.index("query ") :].splitlines():
        if line.startswith("process"):
            break
        bare = line
        if match := re.search(r"\(\* (\d\.\d+)", line):
            label, n = match[1], 0
            bare = line[: match.start()]
        bare = re.sub(r"\(\*.*?\*\)", "", bare).strip()
        if label and re.search(r"[;.]$", bare) and not bare.startswith("query"):
            found.append(label + ("" if n == 0 else "abcdef"[n]))
            n += 1
    return found


def proved(model: str, variant: str) -> list[str]:
    """What the prover says of each query."""
    libraries = ["crypto.pvl", f"variants/{variant}.pvl", "tls.pvl"]
    command = [PROVERIF, *[word for name in libraries for word in ("-lib", name)], f"{model}.pv"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if re.match(r"RESULT (?!\()", line)]
    return ["y" if line.endswith("is true.") else "n" if line.endswith("is false.") else "?" for line in lines]


def rows_of(model: str, variant: str, expected: str) -> list[str]:
    """The rows of one run, with how long it took."""
    began = time.monotonic()
    found = proved(model, variant)
    rows = [f"| {model} | {variant} | | | | {time.monotonic() - began:.1f} s |"]
    for label, want, got in zip_longest(labels(model), expected.split(), found, fillvalue="-"):
        rows.append(f"| | | {label} | {SAY[want]} | {SAY[got]} | {'' if want == got else '**DIFFERS**'} |")
    return rows


def kept_rows(model: str, variant: str) -> list[str]:
    """The rows of a run that stand in results.md, if its files are still those that were proved."""
    text = (HERE / "results.md").read_text()
    for path in ("crypto.pvl", "tls.pvl", f"variants/{variant}.pvl", f"{model}.pv"):
        if f"| `{path}` | `{digest(HERE / path)}` |" not in text:
            sys.exit(f"{path} has changed since; run {model} too")
    lines = text.splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith(f"| {model} | {variant} |"))
    end = next(at for at in range(start + 1, len(lines)) if not lines[at].startswith("| | |"))
    return lines[start:end]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> int:
    wanted = set(sys.argv[1:])
    rows = [
        row
        for model, variant, expected in PLAN
        for row in (rows_of(model, variant, expected) if not wanted or model in wanted else kept_rows(model, variant))
    ]
    differ = sum("**DIFFERS**" in row for row in rows)
    (HERE / "results.md").write_text(
        "\n".join(
            [
                "# Results",
                "",
                "Written by `run.py`; a model that has changed since has no result, and `tests/source` says so.",
                "",
                "| model | SHA-256 |",
                "|---|---|",
                *[f"| `{path.relative_to(HERE)}` | `{digest(path)}` |" for path in models()],
                "",
                "| model | variant | query | expected | result | |",
                "|---|---|---|---|---|---|",
                *rows,
                "",
                f"{differ} results differ from what was expected.",
                "",
            ]
        )
    )
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main())
