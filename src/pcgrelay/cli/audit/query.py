"""pcgrelay audit query."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode

import click
import msgspec
from msgspec import Struct

from pcgrelay import config
from pcgrelay.admin.audit_answers import AUDIT_QUERIED_PATH, QueriedAnswer
from pcgrelay.admin.client import ask
from pcgrelay.audit.query import Found, Usage, Wanted, checked_time
from pcgrelay.audit.query import query as query_log
from pcgrelay.audit.segments import SegmentGone, read_lines, segments_of
from pcgrelay.cli.audit.places import folder_of, log_options
from pcgrelay.cli.root import json_option
from pcgrelay.errors import PcgrelayError, UsageProblem
from pcgrelay.output import Layout, Row, count, counted, print_json, print_table, say, size, terminal

TELL_S = 10.0
FIND_S = 5.0
FIND_INTERVAL_S = 0.1
NAME_MOST = 320

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
@click.option("--by", metavar="NAME", default="", help="Who you are, beside the user that the system names.")
@click.option("--reason", metavar="TEXT", default="", help="Why you ask; it goes on record with the query.")
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
    if any(len(text) > NAME_MOST for text in (service, organisation, by, reason)):
        raise UsageProblem(f"A name or a reason has at most {NAME_MOST} characters.")
    place = folder_of(folder, path)
    told = _told(wanted, path, place, by, reason)
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
                "on_record": told.number,
            }
        )
        return
    _print(found)
    say(told.sentence)


class Told(Struct, frozen=True):
    """Whether the query is on record."""

    sentence: str
    number: int | None = None


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
    if not found.usages:
        say("No stream of the log is one that was asked for.")
        return
    has_outlets = any(each.outlet for each in found.usages)
    has_services = len({each.service for each in found.usages}) > 1
    columns = ["from", *(["service"] if has_services else []), ">streams", ">refused", ">bytes"]
    columns += [*(["outlet"] if has_outlets else []), "rule", "allowed by", "suite"]
    rows = [_row(each, has_services=has_services, has_outlets=has_outlets) for each in found.usages]
    print_table(terminal(), "", Layout(columns, rows))
    if found.left_out:
        say(f"{count(found.left_out)} more records are of other kinds; ask for a service or a shorter time.")


def _row(usage: Usage, *, has_services: bool, has_outlets: bool) -> Row:
    protection = ", ".join(each for each in (usage.suite, usage.group) if each)
    cells = [usage.organisation or "-", *([usage.service] if has_services else [])]
    cells += [
        count(usage.streams),
        count(usage.refused),
        size(usage.transferred_bytes) if usage.transferred_bytes else "0",
    ]
    cells += [*([usage.outlet or "-"] if has_outlets else []), usage.rule or "-", _allowed(usage), protection or "-"]
    return Row(cells)


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


def _told(wanted: Wanted, path: Path | None, place: Path, by: str, reason: str) -> Told:
    """Have the node put the query on record, before anything is shown."""
    if path is None:
        return Told("This query is not on record: no node was named (-c).")
    said = {
        "service": wanted.service,
        "organisation": wanted.organisation,
        "since": wanted.since,
        "until": wanted.until,
        "by": by,
        "reason": reason,
    }
    try:
        answer = ask(
            config.admin_path(path), "POST", f"{AUDIT_QUERIED_PATH}?{urlencode(said)}", QueriedAnswer, TELL_S, body=b""
        )
    except PcgrelayError as error:
        return Told(f"This query is not on record: {error}")
    if not answer.is_kept:
        return Told(f"This query is not on record: {answer.reason}")
    number = _number_of(place, answer.id)
    if number is None:
        return Told("This query is on record at the node, and not in the log that was read.")
    return Told(f"This query is record {count(number)}.", number)


class _Queried(Struct, frozen=True):
    n: int
    id: str = ""


def _number_of(place: Path, identity: str) -> int | None:
    """The number of the record with that id, which is among the last of the log."""
    until = time.monotonic() + FIND_S
    while True:
        with suppress(SegmentGone):
            for segment in reversed(segments_of(place)[-2:]):
                for line in read_lines(segment):
                    if identity.encode() in line.data and not line.is_torn:
                        return msgspec.json.decode(line.data, type=_Queried).n
        if time.monotonic() > until:
            return None
        time.sleep(FIND_INTERVAL_S)
