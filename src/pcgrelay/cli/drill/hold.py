"""pcgrelay drill backup, relay-loss, bearer-loss, stop: a drill from its question to its end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import click

from pcgrelay import config
from pcgrelay.admin.client import ask
from pcgrelay.admin.drill_answers import DRILL_PATH, DrillAnswer
from pcgrelay.cli.drill.shown import record_lines
from pcgrelay.cli.root import config_option, json_option
from pcgrelay.config.drills import LASTS_MOST_S
from pcgrelay.config.values import time_s
from pcgrelay.drills.record import BACKUP, BEARER_LOSS, PASSED, RELAY_LOSS, DrillRecord
from pcgrelay.errors import RuleProblem, RunError, UsageProblem
from pcgrelay.output import print_json, say

F = TypeVar("F", bound=Callable[..., Any])
POLL_S = 0.2
# A disk may take its time.
BEGIN_S = 20.0
INTERRUPTED = 130


def hold_options(lasts: str) -> Callable[[F], F]:
    """Add the options that each drill has. lasts: how long it lasts by default."""

    def decorate(command: F) -> F:
        for option in (
            json_option,
            click.option(
                "--by", metavar="NAME", default="", help="Who you are, beside the user that the system names."
            ),
            click.option("--reason", metavar="TEXT", default="", help="Why, for whoever asks later."),
            click.option("--yes", is_flag=True, help="Do not ask whether to go on."),
            click.option("--even-so", is_flag=True, help="Go on although something would be lost."),
            click.option("--without-lock", is_flag=True, help="Do not ask whether another node is being changed."),
            click.option(
                "--for",
                "lasts",
                metavar="TIME",
                default=lasts,
                show_default=True,
                help="How long it lasts: 60s, 10m, 1h.",
            ),
            config_option,
        ):
            command = option(command)
        return command

    return decorate


@click.command(epilog="\b\nExample:\n  pcgrelay drill backup custody --for 10m -c met-1.toml")
@click.argument("service")
@hold_options("10m")
@click.option("--share", metavar="PERCENT", default="100", show_default=True, help="How much of new streams takes it.")
def backup(service: str, path: Path, share: str, **options: Any) -> int:
    """Have new streams take the back-up of SERVICE for a while.

    What fails there is led on, and no application notices. The drill stops itself if the back-up is worse than the
    usual outlet, by the same odds as a cut-over.
    """
    return hold(path, {"kind": BACKUP, "subject": service, "share": share}, **options)


@click.command(epilog="\b\nExample:\n  pcgrelay drill relay-loss relay-1.hub.example --for 60s -c met-1.toml")
@click.argument("relay")
@hold_options("60s")
def relay_loss(relay: str, path: Path, **options: Any) -> int:
    """Lose a relay on purpose.

    The node ends its links with RELAY as if its network were gone, lets none up for the time, measures how long each
    session paused, and waits until the links are back. Refused if streams have no other way.
    """
    return hold(path, {"kind": RELAY_LOSS, "subject": relay}, **options)


@click.command(epilog="\b\nExample:\n  pcgrelay drill bearer-loss psn --yes -c met-1.toml")
@click.argument("bearer")
@hold_options("60s")
def bearer_loss(bearer: str, path: Path, **options: Any) -> int:
    """Lose a network on purpose.

    As relay-loss, for all links over BEARER. Direct outlets over it are not touched.
    """
    return hold(path, {"kind": BEARER_LOSS, "subject": bearer}, **options)


@click.command(epilog="\b\nExample:\n  pcgrelay drill stop -c met-1.toml")
@config_option
@click.option("--by", metavar="NAME", default="", help="Who you are, beside the user that the system names.")
@json_option
def stop(path: Path, by: str, as_json: bool) -> int:
    """Stop the drill that runs. All is as it was before at once."""
    admin = config.admin_path(path)
    answer = ask(admin, "POST", f"{DRILL_PATH}?{urlencode({'act': 'stop', 'by': by})}", DrillAnswer, BEGIN_S)
    if answer.record is None or answer.reason:
        return _refused(answer, as_json)
    record = _followed(admin, answer.record)
    _print(record, as_json)
    return 0


def hold(
    path: Path,
    query: Mapping[str, str],
    *,
    lasts: str,
    even_so: bool,
    without_lock: bool,
    yes: bool,
    reason: str,
    by: str,
    as_json: bool,
) -> int:
    """Ask what a drill would touch, ask the user, begin it, and wait for its end."""
    try:
        seconds = time_s(lasts, LASTS_MOST_S)
    except ValueError as problem:
        raise UsageProblem(f"--for: {problem}.") from None
    admin = config.admin_path(path)
    asked = {**query, "for_s": str(seconds), "even_so": "1" if even_so else "", "by": by, "reason": reason}
    asked["without_lock"] = "1" if without_lock else ""
    plan = ask(admin, "GET", f"{DRILL_PATH}?{urlencode({**asked, 'act': 'plan'})}", DrillAnswer)
    if plan.reason:
        return _refused(plan, as_json)
    if plan.losses and not even_so:
        sentence = f"{'; '.join(plan.losses)}. Nothing was done; add --even-so if that is what you want."
        return _refused(DrillAnswer(reason=sentence, exit_code=RuleProblem.exit_code, losses=plan.losses), as_json)
    if not yes:
        _confirm(plan)
    elif not as_json:
        say(plan.sentence)
    answer = ask(admin, "POST", f"{DRILL_PATH}?{urlencode({**asked, 'act': 'begin'})}", DrillAnswer, BEGIN_S)
    if answer.record is None or answer.reason:
        return _refused(answer, as_json)
    interrupted = False
    try:
        record = _followed(admin, answer.record)
    except KeyboardInterrupt:
        interrupted = True
        words = urlencode({"act": "stop", "by": by})
        ask(admin, "POST", f"{DRILL_PATH}?{words}", DrillAnswer, BEGIN_S)
        record = _followed(admin, answer.record)
    _print(record, as_json)
    if interrupted:
        return INTERRUPTED
    return 0 if record.result == PASSED else RunError.exit_code


def _confirm(plan: DrillAnswer) -> None:
    if not sys.stdin.isatty():
        raise UsageProblem(f"{plan.sentence} Nobody is here to ask; add --yes to go on.")
    for loss in plan.losses:
        say(f"{loss}.", err=True)
    click.confirm(f"{plan.sentence} Go on?", default=False, abort=True, err=True)


def _followed(admin: Path, record: DrillRecord) -> DrillRecord:
    """Wait until a drill is over. Whoever looks is not needed for it."""
    while not record.is_over:
        time.sleep(POLL_S)
        answer = ask(admin, "GET", f"{DRILL_PATH}?{urlencode({'id': record.id})}", DrillAnswer)
        if answer.record is None:
            raise RunError(answer.reason or "The node does not know of the drill any more.")
        record = answer.record
    return record


def _print(record: DrillRecord, as_json: bool) -> None:
    if as_json:
        print_json(record)
        return
    for line in record_lines(record):
        say(line)
    say(f"Record: {record.id}")


def _refused(answer: DrillAnswer, as_json: bool) -> int:
    if as_json:
        print_json(answer)
    else:
        say(f"pcgrelay: {answer.reason}", err=True)
    return answer.exit_code or RunError.exit_code
