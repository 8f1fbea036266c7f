"""pcgrelay audit query."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import click

from pcgrelay.admin.audit_answers import AUDIT_QUERIED_PATH
from pcgrelay.audit.query import Found, Usage, Wanted, checked_time
from pcgrelay.audit.query import query as query_log
from pcgrelay.audit.segments import segments_of
from pcgrelay.cli.audit.on_record import check_texts, put_on_record
from pcgrelay.cli.audit.places import by_options, folder_of, log_options
from pcgrelay.cli.root import json_option
from pcgrelay.errors import UsageProblem
from pcgrelay.output import Layout, Row, count, counted, print_json, print_table, say, size, terminal

LABEL_WIDTH = 12
EPILOG = """\b
Examples:
  pcgrelay audit query --service custody@kent.police.example \\
      --from 2026-11-03T02:00Z --to 2026-11-03T04:00Z -c kent-1.toml
  pcgrelay audit query --organisation met.police.example \\
      --log /media/kent-1/audit --json

\b
Exit codes:
   0  shown
   2  wrong usage of the command line
  77  no permission
  78  no log is there
"""


@click.command(epilog=EPILOG)
@click.option("--service", metavar="NAME", default="", help="custody@kent.police.example, or custody alone.")
@click.option("--organisation", metavar="NAME", default="", help="On either side of a stream.")
@click.option(
    "--from", "since", metavar="TIME", default="", help="As 2026-11-03T02:00Z, or a day; UTC if it has no zone."
)
@click.option("--to", "until", metavar="TIME", default="", help="Up to this time, which is not included.")
@log_options
@by_options
@json_option
def query(
    service: str,
    organisation: str,
    since: str,
    until: str,
    folder: Path | None,
    path: Path | None,
    by: str,
    reason: str,
    as_json: bool,
) -> None:
    """Show who used a service, and who had allowed it.

    The streams of the log are summed by the organisation that they came from, the rule that allowed or refused them,
    and how they were protected. "allowed by" names who had signed the policy that held then.

    A query of the log is itself put on record by the node, if it runs and -c names it.
    """
    wanted = Wanted(
        service=service, organisation=organisation, since=_time("--from", since), until=_time("--to", until)
    )
    said = {
        "service": wanted.service,
        "organisation": wanted.organisation,
        "since": wanted.since,
        "until": wanted.until,
        "by": by,
        "reason": reason,
    }
    check_texts(*said.values())
    place = folder_of(folder, path)
    told = put_on_record("query", AUDIT_QUERIED_PATH, said, path, place)
    found = query_log(segments_of(place), wanted)
    if as_json:
        print_json(
            {
                "usages": found.usages,
                "records": found.records,
                "left_out": found.left_out,
                "first": found.first,
                "since": found.since,
                "segments_gone": found.gone,
                "bounded": found.bounded,
                "lost": found.lost,
                "on_record": told.number,
            }
        )
        return
    _print(found)
    say(told.sentence)


def _print(found: Found) -> None:
    _print_streams(found)
    if found.first:
        say(
            f"The {count(found.first)} records before {found.since[:10] or 'the first'} are not there any more; the "
            "node removes what is older than it must be kept."
        )
    if found.gone:
        say(f"{counted(found.gone, 'segment')} of the log went while it was read, and may be missing above.")


def _print_streams(found: Found) -> None:
    if found.usages:
        _print_usages(found.usages)
    else:
        say("No stream of the log is one that was asked for.")
    if found.usages and not any(each.streams for each in found.usages):
        say('No stream that was let in is among these; a log with [audit] streams = "refused" has none.')
    if found.left_out:
        say(f"{count(found.left_out)} more records are of other kinds; ask for a service or a shorter time.")
    if found.bounded:
        _say(
            f"{counted(found.bounded, 'refused stream')} {_are(found.bounded)} not on record one by one: of one "
            "organisation and cause 60 at once are, and then one a second. They are counted with the last of these, "
            "whatever its service."
        )
    if found.lost:
        _say(
            f"{counted(found.lost, 'record')} of that time {_are(found.lost)} not in the log, lost or left out: there "
            "may have been more streams."
        )


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _say(sentence: str) -> None:
    for line in textwrap.wrap(sentence, terminal().width, break_long_words=False, break_on_hyphens=False):
        say(line)


def _print_usages(usages: Sequence[Usage]) -> None:
    has_outlets = any(each.outlet for each in usages)
    has_services = len({each.service for each in usages}) > 1
    counts = ["from", *(["service"] if has_services else []), ">streams", ">refused", ">bytes"]
    words = [*(["outlet"] if has_outlets else []), "rule", "allowed by", "suite"]
    screen, wide, narrow = terminal(), list[Row](), list[Row]()
    for each in usages:
        cells = [each.organisation or "-", *([each.service] if has_services else [])]
        cells += [count(each.streams), count(each.refused)]
        cells += [size(each.transferred_bytes) if each.transferred_bytes else "0"]
        said = dict(zip(words, _words(each, has_outlets=has_outlets), strict=True))
        wide.append(Row([*cells, *said.values()]))
        notes = (_note(name, text, screen.width) for name, text in said.items() if text != "-")
        narrow.append(Row(cells, [line for note in notes for line in note]))
    print_table(screen, "", Layout([*counts, *words], wide), Layout(counts, narrow))


def _note(name: str, text: str, width: int) -> list[str]:
    """Lines below a row, with what is too long under its beginning."""
    # A note is indented by two.
    return textwrap.wrap(f"{name:<{LABEL_WIDTH}}{text}", width - 2, subsequent_indent=" " * LABEL_WIDTH)


def _words(usage: Usage, *, has_outlets: bool) -> list[str]:
    """What is said of streams beside their numbers."""
    protection = ", ".join(each for each in (usage.suite, usage.group) if each)
    words = [usage.outlet or "-"] if has_outlets else []
    return [*words, usage.rule or "-", _allowed(usage), protection or "-"]


def _allowed(usage: Usage) -> str:
    if usage.allowed is None:
        return f"policy {usage.policy}" if usage.policy else "-"
    return f"{', '.join(usage.allowed.by) or 'nobody needed to'} on {usage.allowed.at[:10]}"


def _time(option: str, text: str) -> str:
    if not text:
        return ""
    try:
        return checked_time(text)
    except ValueError:
        raise UsageProblem(f"{option} is a time as 2026-11-03T02:00Z, or a day as 2026-11-03.") from None
