"""pcgrelay fleet: the nodes of a realm as the store has them, and what is done with them one by one."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import click

from pcgrelay import config
from pcgrelay.admin.client import ask
from pcgrelay.admin.fleet_answers import FLEET_PATH, FleetAnswer, FleetNode
from pcgrelay.cli.root import CONTEXT, LazyGroup, json_option
from pcgrelay.errors import UsageProblem
from pcgrelay.output import Layout, Row, counted, print_json, print_table, say, terminal

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
COLUMNS = ("NODE", "ROLE", "STATE", "VERSION", ">STREAMS", ">LOAD", "VALID UNTIL")
FEWER = ("NODE", "STATE", "VERSION", ">STREAMS", ">LOAD")


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
        _print(answer)
    return code_of(answer)


def code_of(answer: FleetAnswer) -> int:
    """Return the exit code that says how a fleet is."""
    if answer.reason:
        return answer.exit_code or 1
    well = answer.complete and not answer.status.sentence and all(node.ready for node in answer.nodes)
    return 0 if well else ATTENTION


def _print(answer: FleetAnswer) -> None:
    console = terminal()
    if answer.status.sentence:
        say(answer.status.sentence)
    elif not answer.complete:
        say("The store has not told all of it yet.")
    if answer.nodes:
        print_table(
            console,
            "",
            Layout(COLUMNS, [Row(_cells(node)) for node in answer.nodes]),
            Layout(FEWER, [Row(_fewer(node)) for node in answer.nodes]),
        )
    ready = sum(node.ready for node in answer.nodes)
    say(f"{counted(len(answer.nodes), 'node')}, {ready} of them ready.")
    if answer.lock:
        say(f"Nodes of this organisation are being changed by {answer.lock}.")


def _cells(node: FleetNode) -> tuple[str, ...]:
    end = datetime.fromtimestamp(node.certificate_end_s, UTC).strftime("%Y-%m-%d")
    return (node.node, node.role, node.condition, node.version, f"{node.streams:,}", f"{node.load_percent} %", end)


def _fewer(node: FleetNode) -> tuple[str, ...]:
    return (node.node, node.condition, node.version, f"{node.streams:,}", f"{node.load_percent} %")
