"""pcgrelay doctor."""

from __future__ import annotations

from pathlib import Path

import click

from pcgrelay import config
from pcgrelay.cli.findings import findings_of, show_findings
from pcgrelay.cli.root import config_option, json_option
from pcgrelay.doctor.examination import DEADLINE_S, examine
from pcgrelay.errors import PcgrelayError

EPILOG = """\b
Examples:
  pcgrelay doctor -c kent-1.toml
  pcgrelay doctor -c kent-1.toml --json | jq '.findings[] | .sentence, .mend'

\b
Exit codes:
   0  no error (there may be warnings)
   1  something does not answer, or refuses this node
   4  a date is wrong or near; nothing else is wrong
  77  permissions are wrong, and the configuration is not
  78  the configuration, or a file that it names, is wrong
"""


@click.command(epilog=EPILOG)
@config_option
@click.option(
    "--deadline",
    "deadline_s",
    metavar="SECONDS",
    type=click.FloatRange(1, 600),
    default=DEADLINE_S,
    show_default=True,
    help="How long neighbours and targets may take, all together.",
)
@json_option
def doctor(path: Path, deadline_s: float, as_json: bool) -> int:
    """Examine a node with its network: what is wrong, and what mends it.

    Does what `pcgrelay check` does, and then looks up the names of all neighbours and targets, connects to them, shakes
    hands with each neighbour as the node does, compares clocks, and probes each target. Disks, limits and who may
    change files are looked at too; a node that runs is asked how it is. The node need not run, and is not disturbed if
    it does: a neighbour logs a link that was closed before it had a lane.
    """
    try:
        findings = examine(config.load(path), deadline_s)
    except PcgrelayError as error:
        if not as_json:
            raise
        findings = findings_of(error)
    return show_findings(path, findings, as_json=as_json)
