"""pcgrelay cutover nudge."""

from __future__ import annotations

import re
from pathlib import Path

import click

from pcgrelay import config
from pcgrelay.admin.client import ask
from pcgrelay.admin.cutover_answers import CutoverStatus
from pcgrelay.cli.cutover.acts import CODES, check_text, code_of_act, query_of, who_options
from pcgrelay.cli.cutover.nodes import ACT_TIMEOUT_S, refused, shown
from pcgrelay.cli.cutover.times import long_text
from pcgrelay.cli.root import config_option, json_option
from pcgrelay.errors import UsageProblem
from pcgrelay.output import count, print_json, say

EPILOG = """\b
Examples:
  pcgrelay cutover nudge custody --from cjx -c met-1.toml
  pcgrelay cutover nudge custody --from cjx --idle 5min --rate 2/min \\
      --reason CR-1042 -c met-1.toml

"""
_IDLE = re.compile(r"(\d{1,5}) ?(s|min|m|h|d)?", re.ASCII)
_SECONDS = {"s": 1, "min": 60, "m": 60, "h": 3_600, "d": 86_400}
IDLE_MOST_S = 86_400
_RATE = re.compile(r"(\d{1,4}) ?/ ?(s|min)", re.ASCII)
_PER_MINUTE = {"s": 60, "min": 1}
RATE_MOST_PER_MINUTE = 6_000


@click.command(epilog=EPILOG + CODES)
@click.argument("service", metavar="SERVICE")
@click.option("--from", "outlet", metavar="OUTLET", required=True, help="The outlet on which streams are left.")
@click.option("--idle", metavar="TIME", default="60s", show_default=True, help="Nothing has moved for so long.")
@click.option("--rate", metavar="RATE", default="10/min", show_default=True, help="So many are closed; 0/min: no more.")
@click.option("--hard", is_flag=True, help="Reset streams, idle or not: the last resort before a deadline.")
@config_option
@who_options(needs_reason=False)
@json_option
def nudge(
    service: str, outlet: str, idle: str, rate: str, hard: bool, path: Path, reason: str, by: str, as_json: bool
) -> int:
    """Close idle streams that are left on the old outlet, or after a return on the new one.

    Pools that keep connections for weeks never move by themselves. Each is closed in order, as a server does that
    tidies up, a few a minute, and only while a step forward may be made. The application connects again and takes the
    outlet to which new streams are led; streams that are on that one already would come back, so it is refused there.
    """
    check_text("--from", outlet)
    idle_s, per_minute = idle_seconds(idle), rate_per_minute(rate)
    more = {"outlet": outlet, "idle_s": f"{idle_s}", "per_minute": f"{per_minute}", **({"hard": "1"} if hard else {})}
    target = query_of(service, "nudge", reason, by, **more)
    answer = ask(config.admin_path(path), "POST", target, CutoverStatus, ACT_TIMEOUT_S)
    if as_json:
        print_json(answer)
    elif answer.reason:
        refused(answer.reason)
    else:
        _say(shown(answer), outlet, idle_s, per_minute, hard)
    return code_of_act(answer)


def _say(answer: CutoverStatus, outlet: str, idle_s: int, per_minute: int, hard: bool) -> None:
    left = next((each for each in answer.outlets if each.name == outlet), None)
    open_now = f"{count(left.streams_active)} are open there" if left else "none is open there"
    done = f", and {count(left.nudged)} were closed so far" if left and left.nudged else ""
    if not per_minute:
        say(f"No more streams on {outlet} are closed; {open_now}{done}.")
        return
    which = "Streams" if hard else "Idle streams"
    idle = "" if hard else f", once nothing has moved on them for {long_text(idle_s)}"
    verb = "reset" if hard else "closed"
    say(f"{which} of {answer.service} on {outlet} are {verb} from now on, {per_minute:,} a minute{idle}.")
    say(f"{open_now[:1].upper()}{open_now[1:]}{done}. No more: pcgrelay cutover nudge with --rate 0/min")
    for warning in answer.warnings:
        say(f"Note: {warning}")


def idle_seconds(text: str) -> int:
    """Read 60s, 5min, 2h. UsageProblem: it is none."""
    match = _IDLE.fullmatch(text)
    seconds = int(match[1]) * _SECONDS[match[2] or "s"] if match else 0
    if not 1 <= seconds <= IDLE_MOST_S:
        raise UsageProblem(f"--idle: {text!r} is no time from 1s to 1d; write for example 60s or 5min.")
    return seconds


def rate_per_minute(text: str) -> int:
    """Read 10/min, 1/s; 0/min stops. UsageProblem: it is none."""
    match = _RATE.fullmatch(text)
    rate = int(match[1]) * _PER_MINUTE[match[2]] if match else -1
    if not 0 <= rate <= RATE_MOST_PER_MINUTE:
        raise UsageProblem(f"--rate: {text!r} is no rate up to {RATE_MOST_PER_MINUTE:,}/min; write for example 10/min.")
    return rate
