"""pcgrelay apply."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import click

from pcgrelay import config
from pcgrelay.admin.answers import RELOAD_PATH, ApprovalTaken, ReloadAnswer
from pcgrelay.admin.client import ask
from pcgrelay.cli.approvals.common import TIMEOUT_S, VERBS, shown_names
from pcgrelay.cli.root import config_option, json_option
from pcgrelay.output import print_json, say

EPILOG = """\b
Examples:
  pcgrelay apply kent-1.change -c kent-1.toml

\b
Exit codes:
   0  the node has taken it
   1  ssh-keygen (package openssh-client) is missing at the node
   3  the node does not answer
   6  a rule of approval does not allow it; who is missing is said
  77  refused: permissions are wrong
  78  refused: the configuration is wrong; the old one holds
"""


@click.command(epilog=EPILOG)
@click.argument("change", metavar="CHANGE", type=click.Path(path_type=Path))
@config_option
@json_option
def apply(change: Path, path: Path, as_json: bool) -> int:
    """Have a running node take its files, with what approves them.

    The same as `pcgrelay reload`, which looks for the text beside the configuration. The node itself reads the files,
    compares them with what was approved last, and verifies the signatures; this command only asks it to.
    """
    answer = ask_to_take(path, change)
    if as_json:
        print_json(answer)
    else:
        print_taken(answer, path)
    return answer.exit_code


def ask_to_take(path: Path, change: Path | None) -> ReloadAnswer:
    """Ask the node to take its files."""
    query = "" if change is None else f"?{urlencode({'change': str(change.absolute())})}"
    return ask(config.admin_path(path), "POST", f"{RELOAD_PATH}{query}", ReloadAnswer, TIMEOUT_S)


def print_taken(answer: ReloadAnswer, path: Path) -> None:
    """Print what came of it."""
    if not answer.ok:
        say(f"pcgrelay: {answer.reason}", err=True)
        return
    if answer.approval is None:
        click.echo("Applied. This node has no [approvals], so nobody had to approve it.")
        return
    taken = answer.approval
    counts = counted(taken)
    if not counts:
        say(f"Taken: nothing differs from what was approved last. Policy {taken.policy[:8]}.")
        return
    approved = f" Approved by {shown_names(taken.approved)}." if taken.approved else ""
    say(f"Taken: {counts}.{approved} Policy {taken.policy[:8]}. Undo: pcgrelay undo -c {path}")


def counted(taken: ApprovalTaken) -> str:
    """How many changes of each kind there are."""
    numbers = zip(VERBS.values(), (taken.widens, taken.narrows, taken.neutral), strict=True)
    return ", ".join(f"{number:,} {verbs[number > 1]}" for verbs, number in numbers if number)
