"""The nodes of a fleet as people see them: of `pcgrelay fleet`, and of the demonstration."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Console

from pcgrelay.admin.fleet_answers import FleetAnswer, FleetNode
from pcgrelay.output import Layout, Row, counted, print_table, say

COLUMNS = ("NODE", "ROLE", "STATE", "VERSION", ">STREAMS", ">LOAD", "VALID UNTIL")
FEWER = ("NODE", "STATE", "VERSION", ">STREAMS", ">LOAD")


def print_fleet(console: Console, answer: FleetAnswer) -> None:
    """Print what the store has of each node, as wide as the console is, and what is wrong with the store."""
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
