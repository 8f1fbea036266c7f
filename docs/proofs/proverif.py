"""Run the models of the folder proverif with ProVerif 2.05, and write results.md there.

A run is a model with a variant, which is one set of definitions: `std` and `leaky` are the page, the others are broken
on purpose. A query is proved or refuted. What has to be refuted is said in PLAN: that the good end is never reached,
what holds only where nothing is broken on purpose, and what the page does not claim.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path

from provers import HERE, Missing, digest_row, digest_rows

FOLDER = HERE / "proverif"
VERSION = "2.05"
LIMIT_S = 1800
# Model, variant, and the queries that must be refuted. All others must be proved.
PLAN = (
    ("link", "leaky", "1.0"),
    ("link", "exporter_alone_leaky", "1.0 1.1 1.1b 1.3"),
    ("link", "no_leaves_leaky", "1.0 1.1b 1.3"),
    ("link", "no_transcript_leaky", "1.0 1.1 1.1b 1.3"),
    ("link", "unsigned_leaky", "1.0 1.1 1.1b 1.2 1.2b"),
    ("session", "leaky", "2.0 2.0b 2.0c 2.0d 2.7"),
    ("session", "unnamed_leaky", "2.0 2.0b 2.0c 2.0d 2.5 2.7"),
    ("session", "exporter_alone_leaky", "2.0 2.0b 2.0c 2.0d 2.1b 2.2 2.3b 2.5 2.6 2.7"),
    ("session", "unsigned_leaky", "2.0 2.0b 2.0c 2.0d 2.1 2.1b 2.3 2.3b 2.4 2.4b 2.5 2.6 2.7 2.8"),
    ("glare", "leaky", "2.10 2.10b"),
    ("glare", "exporter_alone_leaky", "2.10 2.10b 2.11 2.11b 2.12"),
    ("glare", "unnamed_leaky", "2.10 2.10b 2.11 2.11b 2.12"),
    ("forward", "leaky", "3.0 3.2 3.4 3.4b"),
    ("forward", "unwiped_leaky", "3.0 3.1 3.1b 3.2 3.3 3.3b 3.4 3.4b"),
    ("heal", "leaky", "3.10 3.12 3.13 3.16"),
    ("heal", "unnamed_leaky", "3.10 3.12 3.13 3.15 3.16"),
    ("heal", "unsigned_leaky", "3.10 3.11 3.12 3.13 3.14 3.16"),
    ("heal_passive", "std", "3.20 3.23 3.24"),
    ("heal_lanes", "std", "3.30 3.32 3.34 3.35 3.37 3.37b"),
    ("heal_volatile", "std", "3.50 3.50b 3.52 3.52b 3.54"),
    ("renew_links", "leaky", "3.40"),
    ("renew_links", "unnamed_leaky", "3.40 3.41"),
    ("pq", "std", "4.0 4.2 4.3 4.6 4.7"),
    ("frames", "std", "5.0 5.0b 5.0c 5.0d 5.2 5.6 5.6b 5.8 5.9 5.10"),
    ("hops", "std", "5.20 5.22"),
    ("purposes", "leaky", "6.0"),
    ("purposes", "no_purpose_leaky", "6.0 6.1"),
    ("paths", "std", "7.0 7.0b 7.0c 7.0d 7.0e 7.2 7.5 7.7 7.8 7.9"),
    ("datagrams", "std", "8.0 8.0b 8.2 8.3 8.5 8.6 8.9"),
    ("link_ids", "std", "9.0 9.3 9.4"),
    ("catalogue", "std", "10.0 10.0b 10.4 10.5 10.6 10.7"),
    ("realm", "std", "11.0 11.0b 11.3 11.4 11.4b 11.5 11.8 11.9 11.9b"),
    ("witness", "std", "12.0 12.0b 12.0c 12.2 12.2b 12.4 12.6"),
    ("udp_lanes", "std", "13.0 13.0b 13.0c 13.0d 13.2 13.3 13.6 13.8 13.10 13.10b"),
)


def models() -> list[Path]:
    """Return all files that a result depends on."""
    return sorted([*FOLDER.glob("*.pv"), *FOLDER.glob("*.pvl"), *FOLDER.glob("variants/*.pvl")])


def prove(wanted: set[str]) -> int:
    """Run what depends on the files of these names, all if there are none; return how many results differ.

    Missing: ProVerif is not there, or is another version.
    """
    program = check()

    def rows_of(run: tuple[str, str, str]) -> Iterable[str]:
        model, variant, refuted = run
        if not wanted or wanted & {path.name for path in _paths(model, variant)}:
            return _run(program, model, variant, set(refuted.split()))
        return _kept(model, variant)

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:  # each run is a process with one thread
        rows = [row for rows in pool.map(rows_of, PLAN) for row in rows]
    differ = sum("**DIFFERS**" in row for row in rows)
    (FOLDER / "results.md").write_text("\n".join(_page(rows, differ)))
    return differ


def labels(model: str) -> list[str]:
    """Return the number of each query, from the comment above it; those without one go with the one before, as b, c."""
    text = (FOLDER / f"{model}.pv").read_text()
    queries = text[text.index("\nquery ") : text.index("\nprocess")]
    bare = re.sub(r"\(\* (\d+\.\d+) .*?\*\)|\(\*.*?\*\)", lambda comment: comment[1] or "", queries, flags=re.DOTALL)
    found: list[str] = []
    label, n = "", 0
    for part in re.finditer(r"^\s*(\d+\.\d+)$|[;.]\s*$", bare, re.MULTILINE):
        if part[1]:
            label, n = part[1], 0
        elif label:
            found.append(label + " bcdef"[n].strip())
            n += 1
    return found


def check() -> str:
    """Return the prover's path. Missing: it is not there, or is another version."""
    program = os.environ.get("PROVERIF", "proverif")
    found = shutil.which(program)
    how = f"install ProVerif {VERSION} and put it on the PATH, or name it in PROVERIF"
    if found is None:
        raise Missing(
            f"{program}: not found; {how} (Debian has no package; docs/proofs/README.md says how to build it)."
        )
    says = subprocess.run([found, "--help"], capture_output=True, text=True, check=False)
    if f"Proverif {VERSION}." not in says.stdout + says.stderr:
        raise Missing(f"{found} is not ProVerif {VERSION}, by which the results were found; {how}.")
    return found


def _paths(model: str, variant: str) -> tuple[Path, ...]:
    """Return the files of a run in the order in which the prover reads them."""
    return FOLDER / "crypto.pvl", FOLDER / "variants" / f"{variant}.pvl", FOLDER / "tls.pvl", FOLDER / f"{model}.pv"


def _run(program: str, model: str, variant: str, refuted: set[str]) -> list[str]:
    """Return the rows of one run, with how long it took."""
    began = time.monotonic()
    found = _results(program, model, variant)
    took = time.monotonic() - began
    named = labels(model)
    if not refuted <= set(named):
        raise SystemExit(f"PLAN names queries that {model}.pv does not have: {sorted(refuted - set(named))}")
    rows = [f"| {model} | {variant} | | | | {took:.1f} s |"]
    for label, got in zip_longest(named, found, fillvalue="no result"):
        want = "refuted" if label in refuted else "proved"
        rows.append(f"| | | {label} | {want} | {got} | {'' if want == got else '**DIFFERS**'} |")
    differ = sum("**DIFFERS**" in row for row in rows)
    print(
        f"{model} {variant}: {len(rows) - 1} queries in {took:.1f} s" + (f", {differ} differ" if differ else ""),
        flush=True,
    )
    return rows


def _results(program: str, model: str, variant: str) -> list[str]:
    """Return what the prover says of each query of a run; an error of it is printed, and is no result."""
    *libraries, main = _paths(model, variant)
    command = [program, *(word for path in libraries for word in ("-lib", str(path))), str(main)]
    try:
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        print(f"{model} {variant}: not done after {LIMIT_S} s")
        return []
    if done.returncode != 0:
        print(f"{model} {variant}: {(done.stdout + done.stderr).strip()[-400:]}")
    lines = [line for line in done.stdout.splitlines() if re.match(r"RESULT (?!\()", line)]
    return [
        "proved" if line.endswith("is true.") else "refuted" if line.endswith("is false.") else "undecided"
        for line in lines
    ]


def _kept(model: str, variant: str) -> Iterable[str]:
    """Return the rows of a run that stand in results.md, if its files are still those that were proved."""
    text = (FOLDER / "results.md").read_text()
    for path in _paths(model, variant):
        if digest_row(FOLDER, path) not in text:
            raise SystemExit(f"{path.name} has changed since its results were found; name it too.")
    lines = text.splitlines()
    start = next((at for at, line in enumerate(lines) if line.startswith(f"| {model} | {variant} |")), None)
    if start is None:
        raise SystemExit(f"{model} with {variant} has no result yet; name {model}.pv too.")
    end = next(at for at in range(start + 1, len(lines)) if not lines[at].startswith("| | |"))
    return lines[start:end]


def _page(rows: list[str], differ: int) -> list[str]:
    return [
        "# Results of ProVerif",
        "",
        f"Written by `docs/proofs/run.py` with ProVerif {VERSION}; a model that has changed since has no result, and",
        "`tests/source` says so. Refuted is right for: the good end is never reached; a control, which is broken on",
        "purpose; what the page does not claim.",
        "",
        *digest_rows(FOLDER, models()),
        "",
        "| model | variant | query | expected | result | |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        f"{differ} results differ from what is expected.",
        "",
    ]
