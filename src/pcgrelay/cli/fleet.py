"""pcgrelay fleet: the nodes of a realm as the store has them, and what is done with them one by one."""

from __future__ import annotations

import time
from pathlib import Path

import click

from pcgrelay import config
from pcgrelay.admin.client import ask
from pcgrelay.admin.fleet_answers import FLEET_PATH, FleetAnswer
from pcgrelay.cli.root import CONTEXT, LazyGroup, json_option
from pcgrelay.errors import UsageProblem
from pcgrelay.fleet_table import print_fleet
from pcgrelay.output import print_json, say, terminal

EPILOG = """\b
Examples:
  pcgrelay fleet -c kent-1.toml
  pcgrelay fleet -c kent-1.toml --json
  pcgrelay fleet upgrade --one-by-one -c kent-1.toml

\b
Exit codes:
   0  the store answers, and each node takes new work
   1  the node has no [fleet], or it failed at run time
   2  wrong usage of the command line
   3  the node does not answer
   4  the store is silent, or a node does not take new work
  77  no permission
  78  bad configuration
"""
ATTENTION = 4
LOADED_S = 5.0
POLL_S = 0.2


# Command: its module and its line in the help, which is here so that the help loads no command.
COMMANDS = {
    "upgrade": (
        "pcgrelay.cli.fleet_upgrade:upgrade",
        "Have the nodes of this organisation replace themselves in turn.",
    ),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, invoke_without_command=True, epilog=EPILOG, context_settings=CONTEXT)
@click.option(
    "-c",
    "--config",
    "path",
    metavar="FILE",
    envvar="PCGRELAY_CONFIG",
    show_envvar=True,
    type=click.Path(path_type=Path, readable=False),
    help="The node's configuration.",
)
@json_option
@click.pass_context
def fleet(context: click.Context, path: Path | None, as_json: bool) -> int | None:
    """Show the nodes of a realm, as the store of [fleet] has them.

    Shows each node that has a lease: whether it takes new work, its version, what it carries, and when its certificate
    ends. A node that is gone is gone from here within 7 seconds. What a silent store had last stays, and is said to be
    old.
    """
    if context.invoked_subcommand is not None:
        return None
    if path is None:
        raise UsageProblem("Which node? Write: pcgrelay fleet -c FILE")
    admin = config.admin_path(path)
    answer = ask(admin, "GET", FLEET_PATH, FleetAnswer)
    deadline = time.monotonic() + LOADED_S
    # The node begins to follow when it is asked.
    while not answer.reason and not answer.complete and answer.status.live and time.monotonic() < deadline:
        time.sleep(POLL_S)
        answer = ask(admin, "GET", FLEET_PATH, FleetAnswer)
    if as_json:
        print_json(answer)
    elif answer.reason:
        say(f"pcgrelay: {answer.reason}", err=True)
    else:
        print_fleet(terminal(), answer)
    return code_of(answer)


def code_of(answer: FleetAnswer) -> int:
    """Return the exit code that says how a fleet is."""
    if answer.reason:
        return answer.exit_code or 1
    well = answer.complete and not answer.status.sentence and all(node.ready for node in answer.nodes)
    return 0 if well else ATTENTION
