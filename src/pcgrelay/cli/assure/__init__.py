"""pcgrelay assure: evidence about a node, by command."""

from __future__ import annotations

import click

from pcgrelay.cli.root import LazyGroup

COMMANDS = {
    "run": ("pcgrelay.cli.assure.run:run", "Test the controls of a profile, and write a pack of evidence."),
    "verify": ("pcgrelay.cli.assure.verify:verify", "Say whether a pack is as it was sealed; no node is asked."),
    "diff": ("pcgrelay.cli.assure.diff:diff", "Show what got better and worse between two packs."),
    "sign": ("pcgrelay.cli.assure.sign:sign", "Sign a pack with your key; the signature stays beside it."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def assure() -> None:
    """Evidence for those who must be convinced: controls as live tests, and packs that others can verify."""
