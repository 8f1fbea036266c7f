"""pcgrelay cutover why."""

from __future__ import annotations

from pathlib import Path

import click

from pcgrelay.cli.cutover.condition import EXIT_CODES, code_of
from pcgrelay.cli.cutover.nodes import answered, code_of_all, nodes_of, nodes_option, print_answers, refused
from pcgrelay.cli.cutover.watch import ask_status
from pcgrelay.cli.root import json_option
from pcgrelay.output import say

EPILOG = """\b
Examples:
  pcgrelay cutover why custody -c met-1.toml
  pcgrelay cutover why custody -c met-1.toml -c met-2.toml

"""


@click.command(epilog=EPILOG + EXIT_CODES)
@click.argument("service", metavar="SERVICE")
@nodes_option
@json_option
def why(service: str, paths: tuple[Path, ...], as_json: bool) -> int:
    """Say in one sentence what a cut-over waits for.

    Says why it is where it is, and what would move it on.
    """
    nodes = nodes_of(paths)
    gots = ask_status(nodes, service)
    if as_json:
        print_answers(gots)
        return code_of_all(gots, code_of)
    for name, answer in answered(gots):
        node = name if len(nodes) > 1 else ""
        if answer.reason:
            refused(answer.reason, node)
        else:
            say(f"{node}: {answer.why}" if node else answer.why)
    return code_of_all(gots, code_of)
