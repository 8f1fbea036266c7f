"""pcgrelay reload."""

from __future__ import annotations

from pathlib import Path

import click

from pcgrelay import config
from pcgrelay.admin.answers import RELOAD_PATH, ReloadAnswer
from pcgrelay.admin.client import ask
from pcgrelay.cli.root import config_option, json_option
from pcgrelay.output import print_json, say

EPILOG = """\b
Examples:
  pcgrelay reload -c kent-1.toml
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
def reload(path: Path, as_json: bool) -> int:
    """Make a running node apply its configuration and files again.

    The file is checked first, as by `pcgrelay check`. Then it is applied as a whole, or refused as a whole and the old
    configuration stays in force. Streams that are still allowed continue; what is no longer allowed ends within a
    second.
    """
    answer = ask(config.admin_path(path), "POST", RELOAD_PATH, ReloadAnswer, TIMEOUT_S)
    if as_json:
        print_json(answer)
    elif not answer.ok:
        say(f"pcgrelay: {answer.reason}", err=True)
    elif not answer.changes:
        click.echo("Applied; nothing has changed.")
    else:
        click.echo("Applied:")
        for change in answer.changes:
            say(f"  {change}")
    return answer.exit_code
