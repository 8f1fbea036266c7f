"""pcgrelay reload."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from pcgrelay import config
from pcgrelay.admin.answers import RELOAD_PATH, ReloadAnswer, ReloadEffect
from pcgrelay.admin.client import ask
from pcgrelay.cli.root import config_option, json_option
from pcgrelay.output import counted, print_json, say

EPILOG = """\b
Examples:
  pcgrelay reload -c kent-1.toml
  pcgrelay reload --dry-run -c kent-1.toml
  kill -HUP $PID            the same, without an answer

\b
Exit codes:
   0  the node has taken it
   3  the node does not answer
  77  refused: permissions are wrong
  78  refused: something else is wrong; the old configuration holds
"""
TIMEOUT_S = 30.0


@click.command(epilog=EPILOG)
@config_option
@json_option
@click.option(
    "--dry-run", "dry_run", is_flag=True, help="Say what would change and what that would end; change nothing."
)
def reload(path: Path, as_json: bool, dry_run: bool) -> int:
    """Make a running node apply its configuration and files again.

    The file is checked first, as by `pcgrelay check`. Then it is applied as a whole, or refused as a whole and the old
    configuration stays in force. Streams that are still allowed continue; what is no longer allowed ends within a
    second.
    """
    asked = f"{RELOAD_PATH}?dry_run=1" if dry_run else RELOAD_PATH
    answer = ask(config.admin_path(path), "POST", asked, ReloadAnswer, TIMEOUT_S)
    if as_json:
        print_json(answer)
    elif not answer.ok:
        say(f"pcgrelay: {answer.reason}", err=True)
    elif dry_run:
        _print_effects(answer.effects, answer.policy)
    elif not answer.changes:
        click.echo("Applied; nothing has changed.")
    else:
        click.echo("Applied:")
        for change in answer.changes:
            say(f"  {change}")
        _print_policy(answer.policy)
    return answer.exit_code


def _print_policy(policy: Sequence[str]) -> None:
    if policy:
        click.echo("For what is allowed that means:")
    for each in policy:
        say(f"  {each}")


def _print_effects(effects: Sequence[ReloadEffect], policy: Sequence[str]) -> None:
    if not effects:
        click.echo("Nothing would change.")
        return
    click.echo("This would change:")
    for effect in effects:
        ended = _ended(effect.streams, effect.sessions)
        say(f"  {effect.change}{f': ends {ended}' if ended else ''}")
    _print_policy(policy)
    streams, sessions = sum(each.streams for each in effects), sum(each.sessions for each in effects)
    ends = _ended(streams, sessions) or "nothing"
    click.echo(f"Nothing was changed. A reload now would end {ends}.")


def _ended(streams: int, sessions: int) -> str:
    ended = [counted(number, noun) for number, noun in ((sessions, "session"), (streams, "stream")) if number]
    return " and ".join(ended)
