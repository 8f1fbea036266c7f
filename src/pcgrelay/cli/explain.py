"""pcgrelay explain."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import click
from rich.console import Console
from rich.text import Text

from pcgrelay import config
from pcgrelay.admin.answers import EXPLAIN_PATH, ExplainAnswer
from pcgrelay.admin.client import ask
from pcgrelay.cli.root import config_option, json_option
from pcgrelay.errors import RunError, StatusProblem
from pcgrelay.output import Layout, Row, count, milliseconds, print_json, print_table, terminal

EPILOG = """\b
Examples:
  pcgrelay explain custody@kent.police.example -c met-1.toml
  pcgrelay explain custody -c kent-1.toml
  pcgrelay explain kent-1.kent.police.example -c relay-1.toml --json

\b
Exit codes:
  0  a new stream would go through, as far as this node knows
  1  the node knows nothing of it
  3  a new stream would be refused or would wait, or the node does not answer
"""


@click.command(epilog=EPILOG)
@click.argument("subject", metavar="SERVICE")
@config_option
@json_option
def explain(subject: str, path: Path, as_json: bool) -> int:
    """Say which way a new stream would take, and why not another.

    The rule, the ways hop by hop as far as they are known, the health of each, and the suites. SERVICE is an import or
    export of an edge; at a relay it is a service or an edge, as kent-1.kent.police.example.
    """
    answer = ask(config.admin_path(path), "GET", f"{EXPLAIN_PATH}?subject={quote(subject, safe='')}", ExplainAnswer)
    if as_json:
        print_json(answer)
    elif answer.reason:
        click.echo(f"pcgrelay: {answer.reason}", err=True)
    else:
        _print(terminal(), answer)
    if answer.reason:
        return RunError.exit_code
    return 0 if answer.open else StatusProblem.exit_code


def _print(console: Console, answer: ExplainAnswer) -> None:
    console.print(Text.assemble((answer.subject, "bold"), f" ({answer.kind})"))
    console.print(answer.verdict)
    console.print(f"Rule: {answer.rule}")
    console.print(f"Health: {answer.health}")
    if answer.ways:
        rows = [
            Row(
                [
                    "chosen" if way.chosen else "-",
                    " > ".join(way.hops),
                    way.link,
                    f"{way.lanes_up}/{way.lanes}",
                    milliseconds(way.rtt_ms),
                    way.bearer,
                    way.suite,
                    way.group,
                ],
                [f"not taken: {way.why_not}"] if way.why_not else [],
            )
            for way in answer.ways
        ]
        console.print()
        columns = ["way", "hops", "link", ">lanes", ">rtt", "bearer", "suite", "group"]
        print_table(console, f"Ways ({len(rows)})", Layout(columns, rows))
    if answer.sessions:
        rows = [
            Row(
                [
                    session.peer,
                    session.state,
                    session.via or "-",
                    session.suite or "-",
                    session.group or "-",
                    count(session.streams),
                    {None: "-", True: "yes", False: "no"}[session.may_open],
                ]
            )
            for session in answer.sessions
        ]
        console.print()
        columns = ["session with", "state", "via", "suite", "group", ">streams", "allowed"]
        print_table(console, f"Sessions ({len(rows)})", Layout(columns, rows))
