"""pcgrelay cutover watch and status."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlencode

import click
from rich.console import Group
from rich.text import Text

from pcgrelay.admin.cutover_answers import CUTOVER_PATH, CutoverStatus
from pcgrelay.cli.cutover.condition import EXIT_CODES, code_of
from pcgrelay.cli.cutover.nodes import (
    AskedNode,
    Got,
    answered,
    ask_each,
    code_of_all,
    nodes_of,
    nodes_option,
    print_answers,
    refused,
    shown,
)
from pcgrelay.cli.cutover.screen import screen
from pcgrelay.cli.root import json_option
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.errors import StatusProblem
from pcgrelay.output import fit_window, terminal

REDRAWN_EVERY_S = 1.0
EPILOG = """\b
Examples:
  pcgrelay cutover {name} custody -c met-1.toml
  pcgrelay cutover {name} custody -c met-1.toml -c met-2.toml
  pcgrelay cutover {name} custody -c met-1.toml --json | jq .outlets

"""
SERVICE = click.argument("service", metavar="SERVICE")


@click.command(epilog=EPILOG.format(name="watch") + EXIT_CODES)
@SERVICE
@nodes_option
@click.option("--once", is_flag=True, help="Show it once; so it is in a pipe, too.")
@json_option
def watch(service: str, paths: tuple[Path, ...], once: bool, as_json: bool) -> int:
    """Show a cut-over, redrawn each second.

    Shows which share each outlet takes, how both are judged, and what comes next. Ends with Ctrl-C. SERVICE is an
    import; its organisation may be left out where nothing else is meant.
    """
    nodes = nodes_of(paths)
    console = terminal()
    if once or as_json or not console.is_terminal:
        return _once(nodes, service, as_json)
    return _live(nodes, service)


@click.command(epilog=EPILOG.format(name="status") + EXIT_CODES)
@SERVICE
@nodes_option
@json_option
def status(service: str, paths: tuple[Path, ...], as_json: bool) -> int:
    """Show a cut-over once, as watch --once.

    The exit code says how it is. SERVICE is an import; its organisation may be left out where nothing else is meant.
    """
    return _once(nodes_of(paths), service, as_json)


def ask_status(nodes: Sequence[AskedNode], service: str) -> list[Got[CutoverStatus]]:
    """Ask each node for its cut-over of a service."""
    return ask_each(nodes, "GET", f"{CUTOVER_PATH}?{urlencode({'service': service})}", CutoverStatus)


def _once(nodes: Sequence[AskedNode], service: str, as_json: bool) -> int:
    gots = ask_status(nodes, service)
    if as_json:
        print_answers(gots)
        return code_of_all(gots, code_of)
    console = terminal()
    for number, (name, answer) in enumerate(answered(gots)):
        if number:
            console.print()
        for line in _lines(name if len(nodes) > 1 else "", answer, console.width):
            console.print(line)
    return code_of_all(gots, code_of)


def _lines(name: str, answer: CutoverStatus, width: int) -> Iterator[Text]:
    if answer.reason:
        refused(answer.reason, name)
        return
    if name:
        yield Text(f"{name}:", style="dim")
    yield from screen(answer, width, SYSTEM_CLOCK.wall())


def _live(nodes: Sequence[AskedNode], service: str) -> int:
    """Redraw until it is interrupted. A node that goes away is waited for: it may be in an upgrade."""
    # Only here is it needed, and a tenth of the time that a command takes.
    from rich.live import Live  # noqa: PLC0415

    gots = ask_status(nodes, service)
    if any(got.answer is None or got.answer.reason for got in gots):
        return _once(nodes, service, False)
    console = terminal()
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            fit_window(console)
            live.update(Group(*_frame(gots, console.width)), refresh=True)
            time.sleep(REDRAWN_EVERY_S)
            gots = _asked_again(gots, service)


def _asked_again(before: Sequence[Got[CutoverStatus]], service: str) -> list[Got[CutoverStatus]]:
    """The answers of now; where there is none, the last one stays, with the reason."""
    found = []
    for got in before:
        try:
            answer = ask_status([got.node], service)[0].answer
            problem = StatusProblem(answer.reason) if answer and answer.reason else None
            found.append(Got(got.node, got.answer if problem else answer, problem))
        except StatusProblem as error:
            found.append(Got(got.node, got.answer, error))
    return found


def _frame(gots: Sequence[Got[CutoverStatus]], width: int) -> Iterator[Text]:
    for number, got in enumerate(gots):
        assert got.answer is not None
        if number:
            yield Text("")
        yield from _lines(got.node.name if len(gots) > 1 else "", shown(got.answer), width)
        if got.problem is not None:
            yield Text(f"As it was. {shown_problem(got)}", style="bold red")


def shown_problem(got: Got[CutoverStatus]) -> str:
    """Why what is shown is old."""
    return f"{got.node.name}: {' '.join(str(got.problem).split())}"
