"""pcgrelay demo."""

from __future__ import annotations

import click

from pcgrelay import demo as demonstration
from pcgrelay.cli.root import json_option

EPILOG = """\b
Examples:
  pcgrelay demo           real traffic, a table, and everything is gone again
  pcgrelay demo --keep    stays up, with addresses for curl; Ctrl-C ends it

\b
Exit codes:
   0  everything was moved, and no relay held it in the clear
   1  something failed, or a relay did
  77  this user may not read the memory of its own processes
"""


@click.command(epilog=EPILOG)
@click.option("--keep", is_flag=True, help="Stay up, and print addresses to try.")
@json_option
def demo(keep: bool, as_json: bool) -> int | None:
    """Run a whole realm on this machine, for demonstration.

    Two relays and three organisations on loopback, in a temporary folder, with real traffic between them. Shows how
    much was moved, how fast and under which suite, and that the relays never held it in the clear.
    """
    return demonstration.run(keep=keep, as_json=as_json)
