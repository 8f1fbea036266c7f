"""pcgrelay assure: evidence about a node, by command."""

from __future__ import annotations

import click

from pcgrelay.cli.root import LazyGroup

COMMANDS = {
    "run": ("pcgrelay.cli.assure.run:run", "Test the controls of a profile, and write a pack of evidence."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def assure() -> None:
    """Evidence for those who must be convinced: controls as live tests, and packs that others can verify."""
