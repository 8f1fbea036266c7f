"""pcgrelay assure: evidence about a node, by command."""

from __future__ import annotations

import click

from pcgrelay.cli.root import CONTEXT, LazyGroup

COMMANDS = {
    "run": ("pcgrelay.cli.assure.run:run", "Test the controls of a profile, and write a pack of evidence."),
    "verify": ("pcgrelay.cli.assure.verify:verify", "Say whether a pack is as it was sealed; no node is asked."),
    "diff": ("pcgrelay.cli.assure.diff:diff", "Show what got better and worse between two packs."),
    "sign": ("pcgrelay.cli.assure.sign:sign", "Sign a pack with your key; the signature stays beside it."),
}


EPILOG = """\b
Examples:
  pcgrelay assure run -c kent-1.toml --out evidence
  pcgrelay assure verify evidence --policy realm.policy
  pcgrelay assure diff evidence-2026-08 evidence
"""


@click.group(cls=LazyGroup, lazy=COMMANDS, epilog=EPILOG, context_settings=CONTEXT)
def assure() -> None:
    """Test a node's controls, and write evidence that others can verify."""
