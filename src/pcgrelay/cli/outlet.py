"""pcgrelay outlet."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

import click
from rich.console import Console
from rich.text import Text

from pcgrelay import config
from pcgrelay.admin.answers import OUTLET_PATH, OutletAnswer, OutletList
from pcgrelay.admin.client import ask
from pcgrelay.admin.status import OutletStatus
from pcgrelay.cli.root import config_option, json_option
from pcgrelay.errors import StatusProblem, UsageProblem
from pcgrelay.output import Layout, Row, count, milliseconds, percent_exact, print_json, print_table, say, terminal

EPILOG = """\b
Examples:
  pcgrelay outlet -c met-1.toml                   all imports with outlets
  pcgrelay outlet custody -c met-1.toml           one of them
  pcgrelay outlet custody cjx=90 gateway=10 -c met-1.toml
  pcgrelay outlet custody gateway=0 -c met-1.toml --reason INC-77

\b
Shares are percent, in steps of 0.5, and 100 together. All outlets are named;
of two, one may be left out. They hold at once, and through restart, reload
and upgrade. Streams that are open stay where they are.

\b
Exit codes:
   0  shown, or moved
   1  refused at run time, and nothing has changed
   2  these are no shares, and nothing has changed
   3  no outlet takes a stream, or the node does not answer
   6  a rule, a cut-over or a drill does not allow it, and nothing has changed
  77  no permission
  78  the node has no folder for state ([node] state)
"""
# A disk may take its time.
TIMEOUT_S = 20.0
# Who decides shares where nothing is under way.
PLAIN = ("configuration", "hand")
FAILED = ("refused", "silent", "away", "denied", "lost")


@click.command(epilog=EPILOG)
@click.argument("service", metavar="[SERVICE]", required=False)
@click.argument("shares", metavar="[OUTLET=PERCENT]...", nargs=-1)
@config_option
@click.option("--reason", metavar="TEXT", default="", help="Why, for whoever asks later; kept with the shares.")
@click.option("--by", metavar="NAME", default="", help="Who you are, beside the user that the system names.")
@json_option
def outlet(service: str | None, shares: tuple[str, ...], path: Path, reason: str, by: str, as_json: bool) -> int:
    """Show the outlets of imports, or move new streams between them.

    An outlet is a way out of an edge: the gateway, or a [[direct]] address of another network. SERVICE is an import;
    its organisation may be left out where nothing else is meant.
    """
    admin = config.admin_path(path)
    if service is None:
        return _list(admin, as_json)
    if "=" in service:
        raise UsageProblem(f"{service} is no service; write: pcgrelay outlet SERVICE {service} -c FILE")
    if shares:
        query = {"service": service, "shares": ",".join(shares), "reason": reason, "by": by}
        answer = ask(admin, "POST", f"{OUTLET_PATH}?{urlencode(query)}", OutletAnswer, TIMEOUT_S)
    else:
        answer = ask(admin, "GET", f"{OUTLET_PATH}?{urlencode({'service': service})}", OutletAnswer)
    if as_json:
        print_json(answer)
    elif answer.reason:
        say(f"pcgrelay: {answer.reason}", err=True)
    elif shares:
        _print_moved(answer)
    else:
        _print(terminal(), answer)
    if answer.reason:
        return answer.exit_code
    return 0 if answer.serving or shares else StatusProblem.exit_code


def _list(admin: Path, as_json: bool) -> int:
    answer = ask(admin, "GET", OUTLET_PATH, OutletList)
    if as_json:
        print_json(answer)
    elif not answer.services:
        click.echo("No import has an outlet beside the gateway; [[direct]] adds one.")
    console = terminal()
    for number, each in enumerate(() if as_json else answer.services):
        if number:
            console.print()
        _print(console, each)
    return 0 if all(each.serving for each in answer.services) else StatusProblem.exit_code


def _print_moved(answer: OutletAnswer) -> None:
    now = _shares({each.name: 100 * each.share for each in answer.outlets})
    if answer.changed:
        say(f"New streams of {answer.service} take {now} since {answer.set_at} (before: {_shares(answer.before)}).")
    else:
        say(f"New streams of {answer.service} take {now} already, since {answer.set_at}; nothing has changed.")
    staying = [f"{count(each.streams_active)} on {each.name}" for each in answer.outlets if each.streams_active]
    if staying:
        say(f"Streams that are open stay where they are: {', '.join(staying)}.")
    for warning in answer.warnings:
        say(f"Note: {warning}")


def _print(console: Console, answer: OutletAnswer) -> None:
    console.print(Text(answer.service, style="bold"))
    if not answer.outlets:
        console.print("It has one outlet, the gateway; [[direct]] adds others.")
        return
    if answer.decided_by not in ("", *PLAIN):
        console.print(f"Shares are decided by a {answer.decided_by}. {answer.why_not_by_hand}".rstrip())
    elif answer.set:
        reason = f": {answer.set_reason}" if answer.set_reason else ""
        console.print(f"Shares were set {answer.set_at} by {answer.set_by}{reason}")
    else:
        console.print(f"Nobody has set shares: new streams take {answer.configured}, as [[import]] says")
    if answer.exercise and not any(each.exercised for each in answer.outlets):
        console.print(f"No back-up is well and in support, so nothing is exercised ({percent_exact(answer.exercise)})")
    if not answer.serving:
        console.print(Text("No outlet takes a stream: applications are refused.", style="bold red"))
    rows = [_row(each) for each in answer.outlets]
    columns = ["outlet", ">share", "state", ">next", ">open", ">up", ">failed", ">led on", ">set-up", ">95 of 100"]
    print_table(console, "", Layout(columns, rows))


def _row(outlet: OutletStatus) -> Row:
    failed = sum(outlet.outcomes.get(name, 0) for name in FAILED)
    cells = [
        outlet.name,
        percent_exact(100 * outlet.share),
        outlet.state,
        str(outlet.next) if outlet.next else "-",
        count(outlet.streams_active),
        count(outlet.outcomes.get("up", 0)),
        count(failed),
        count(outlet.moved_total),
        milliseconds(outlet.setup.median_ms),
        milliseconds(outlet.setup.p95_ms),
    ]
    return Row(cells, _notes(outlet))


def _notes(outlet: OutletStatus) -> list[str]:
    notes = []
    if outlet.reason:
        since = f", since {outlet.away_since}" if outlet.away_since else ""
        notes.append(f"{outlet.reason}{since}")
    if outlet.exercised:
        notes.append(f"exercised: {_exercise(outlet.exercise_success_s)}")
    failed = {name: outlet.outcomes.get(name, 0) for name in FAILED}
    if any(failed.values()):
        notes.append("failed: " + ", ".join(f"{count(number)} {name}" for name, number in failed.items() if number))
    if outlet.bearer:
        until = f", supported until {outlet.supported_until}" if outlet.supported_until else ""
        over = "" if outlet.supported else ", which is over: no back-up any more"
        notes.append(f"over {outlet.bearer}, for {outlet.marking}{until}{over}")
    return notes


def _exercise(succeeded_s: float) -> str:
    if not succeeded_s:
        return "no stream has got through yet"
    return f"the last stream got through at {datetime.fromtimestamp(succeeded_s, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _shares(shares: dict[str, float]) -> str:
    found = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {percent_exact(share)}" for name, share in found if share)
