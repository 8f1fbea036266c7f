"""pcgrelay drill list, report."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import click
from rich.text import Text

from pcgrelay import config
from pcgrelay.admin.client import ask
from pcgrelay.admin.drill_answers import DRILL_PATH, DrillAnswer, DrillList
from pcgrelay.cli.drill.shown import head, record_lines
from pcgrelay.cli.root import config_option, json_option
from pcgrelay.output import Layout, Row, duration, print_json, print_table, say, terminal


@click.command(name="list", epilog="\b\nExample:\n  pcgrelay drill list -c met-1.toml")
@config_option
@json_option
def list_all(path: Path, as_json: bool) -> int:
    """List the drills that were held, the one that runs, and those that are due."""
    answer = ask(config.admin_path(path), "GET", DRILL_PATH, DrillList)
    if as_json:
        print_json(answer)
        return 0
    console = terminal()
    held = [*answer.records, *([answer.running] if answer.running is not None else [])]
    if not held:
        console.print("No drill was held yet.")
    rows = [
        Row(
            [each.begun, each.kind, each.subject or "-", each.result, duration(each.took_s) if each.is_over else "-"],
            [f"{each.id}: {each.sentence}" if each.sentence else each.id],
        )
        for each in held
    ]
    if rows:
        columns = ["begun", "kind", "subject", "result", ">took"]
        print_table(console, f"Drills ({len(rows)})", Layout(columns, rows))
    if answer.dues:
        console.print()
        due = [
            Row(
                [each.kind, each.subject or "-", each.due or "now", "by itself" if each.auto else "by hand"],
                [each.sentence] if each.sentence else [],
            )
            for each in answer.dues
        ]
        print_table(console, f"Due again and again ({len(due)})", Layout(["kind", "subject", "due", "held"], due))
    return 0


@click.command(epilog="\b\nExample:\n  pcgrelay drill report ID -c met-1.toml")
@click.argument("name", metavar="ID")
@config_option
@json_option
def report(name: str, path: Path, as_json: bool) -> int:
    """Show one drill: what it touched, and what came of it."""
    answer = ask(config.admin_path(path), "GET", f"{DRILL_PATH}?{urlencode({'id': name})}", DrillAnswer)
    if as_json:
        print_json(answer if answer.record is None else answer.record)
    if answer.record is None:
        if not as_json:
            say(f"pcgrelay: {answer.reason}", err=True)
        return answer.exit_code
    if not as_json:
        terminal().print(Text(head(answer.record), style="bold"))
        for line in record_lines(answer.record):
            say(line)
        for session in answer.record.sessions:
            pause = "ended" if session.ended else "-" if session.pause_ms is None else f"{session.pause_ms} ms"
            via = f" over {session.via}" if session.via else ""
            say(f"  {session.peer}: {session.streams:,} streams, pause {pause}{via}")
    return 0
