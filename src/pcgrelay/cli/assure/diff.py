"""pcgrelay assure diff."""

from __future__ import annotations

from pathlib import Path

import click

from pcgrelay.assure.comparing import BETTER, OTHER, WORSE, compare, read_results
from pcgrelay.cli.root import json_option
from pcgrelay.output import counted, print_json, say
from pcgrelay.printable import printable

EPILOG = """\b
Example:
  pcgrelay assure diff evidence-2026-08 evidence

\b
Exit codes:
   0  nothing got worse
   8  something got worse
  78  one of them is no pack
"""
CHANGED = 8
WIDTH = 80
BELOW = " " * 13


@click.command(epilog=EPILOG)
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@json_option
def diff(before: Path, after: Path, as_json: bool) -> int:
    """Show what got better and worse between two packs."""
    old, new = read_results(before), read_results(after)
    changes = list(compare(old, new))
    if as_json:
        print_json({"before": old.started, "after": new.started, "same_node": old.node == new.node, "changes": changes})
    else:
        if old.node != new.node:
            say(f"These are two nodes: {old.node} and {new.node}.")
        say(f"{old.started:%Y-%m-%d %H:%M} to {new.started:%Y-%m-%d %H:%M} UTC: {counted(len(changes), 'change')}.")
        for kind in (WORSE, BETTER, OTHER):
            for each in (each for each in changes if each.kind == kind):
                say(f"  {kind:<7}{each.id:<4}{each.before} -> {each.after}")
                for text in (each.title, each.observed if kind == WORSE else ""):
                    for line in click.wrap_text(printable(text), WIDTH, BELOW, BELOW).splitlines():
                        say(line)
    return CHANGED if any(each.kind == WORSE for each in changes) else 0
