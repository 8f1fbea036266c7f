"""pcgrelay cutover report, and pcgrelay cutover replay."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import click
from msgspec import structs

from pcgrelay import config
from pcgrelay.admin.client import ask
from pcgrelay.admin.report_answers import REPORT_PATH, ReportAnswer
from pcgrelay.cli.cutover.nodes import refusal_code, refused
from pcgrelay.cli.root import config_option, json_option
from pcgrelay.cutover.plan import TEXT_MOST
from pcgrelay.cutover.report import SUMS, read_facts, replay_facts, report_files, write_report
from pcgrelay.cutover.report_words import counted
from pcgrelay.errors import UsageProblem
from pcgrelay.output import print_json, say

# Evidence that does not hold.
CHANGED = 8
TIMEOUT_S = 20.0

REPORT_EPILOG = """\b
Examples:
  pcgrelay cutover report custody --out custody-report -c met-1.toml
  pcgrelay cutover report custody --out custody-report \\
      --title "Custody records: transition" -c met-1.toml

\b
In the folder:
  part1.md, part1.html  to publish: no name, address or host is in it
  part2.md, part2.html  restricted: outlets, addresses, decisions, evidence
  facts.json            all figures, restricted; replay reads it
  plan.toml             the plan, as it was started
  SHA256SUMS            for sha256sum -c

\b
Exit codes:
   0  the report is written
   1  the folder is there already, or cannot be written; nothing was
   3  the node does not answer
  77  no permission
  78  a text of the plan must not be published; nothing was written
"""

REPLAY_EPILOG = """\b
Examples:
  pcgrelay cutover replay custody-report
  pcgrelay cutover replay custody-report/facts.json --json

\b
Exit codes:
   0  every verdict comes out the same
   8  one does not: the facts were changed, or this pcgrelay judges otherwise
  78  these are no facts of a report, or not those of its SHA256SUMS
"""


@click.command(epilog=REPORT_EPILOG)
@click.argument("service", metavar="SERVICE")
@click.option("--out", metavar="FOLDER", required=True, type=click.Path(path_type=Path), help="A folder to be made.")
@click.option("--title", metavar="TEXT", default="", help="Title, in the place of the plan's.")
@config_option
@json_option
def report(service: str, out: Path, title: str, path: Path, as_json: bool) -> int:
    """Write the report of a cut-over into a new folder.

    Part 1 may be published, Part 2 is restricted; print the HTML files for paper. This may be done at any time.
    """
    check_title(title)
    query = urlencode({"service": service})
    answer = ask(config.admin_path(path), "GET", f"{REPORT_PATH}?{query}", ReportAnswer, TIMEOUT_S)
    if answer.facts is None:
        refused(answer.reason)
        return refusal_code(answer.exit_code)
    files = report_files(structs.replace(answer.facts, title=title))
    write_report(out, files)
    if as_json:
        print_json({"service": answer.service, "folder": str(out), "files": sorted(files)})
    else:
        say(f"{out}: {', '.join(sorted(set(files) - {SUMS}))} and {SUMS}.")
        say("Two people read part1.html before it is published: no program finds the name of a person in a title.")
    return 0


def check_title(title: str) -> None:
    """UsageProblem: a title is too long, or has more than one line."""
    if len(title) > TEXT_MOST or not title.isprintable():
        raise UsageProblem(f"--title is at most {TEXT_MOST} characters on one line.")


@click.command(epilog=REPLAY_EPILOG)
@click.argument("path", metavar="REPORT", type=click.Path(path_type=Path))
@json_option
def replay(path: Path, as_json: bool) -> int:
    """Compute every verdict of a report again.

    REPORT is its folder, or its facts.json. Each decision of the judge is computed from the facts that it rests on, and
    compared with what was decided then. No node is asked.
    """
    replayed = tuple(replay_facts(read_facts(path)))
    wrong = [each for each in replayed if not each.same]
    if as_json:
        print_json({"verdicts": replayed, "same": not wrong})
        return CHANGED if wrong else 0
    for each in replayed:
        what = each.what.replace("_", " ")
        say(f"{each.at}  {what:<10}  {'the same' if each.same else 'NOT THE SAME'}  {each.then}")
        if not each.same:
            say(f"{'':26}now: {each.now}")
    if wrong:
        say(
            f"pcgrelay: {path}: {len(wrong)} of {counted(len(replayed), 'verdict')} do not come out the same.", err=True
        )
        return CHANGED
    say(
        f"{counted(len(replayed), 'verdict')}: each comes out the same."
        if replayed
        else "There is no verdict in it yet."
    )
    return 0
