"""pcgrelay check."""

from __future__ import annotations

from pathlib import Path

import click

from pcgrelay import config
from pcgrelay.check import check as look
from pcgrelay.cli.findings import findings_of, show_findings
from pcgrelay.cli.root import config_option, json_option
from pcgrelay.errors import PcgrelayError

EPILOG = """\b
Examples:
  pcgrelay check -c kent-1.toml
  pcgrelay check -c kent-1.toml --json | jq -r '.findings[].sentence'

\b
Exit codes:
   0  no error (there may be warnings)
   1  a port is taken, or an address is not there now; nothing else is wrong
   4  a date is wrong or near: of a certificate, of the revocation list, or of
      this machine; the node starts and says so
  77  permissions are wrong, and the configuration is not
  78  the configuration, or a file that it names, is wrong
"""


@click.command(epilog=EPILOG)
@config_option
@json_option
def check(path: Path, as_json: bool) -> int:
    """Check everything about a node that does not need its network.

    Checks syntax, names, the presence of files, that key and certificate belong together, identity, permissions, the
    admin socket's folder, and whether the ports can be listened on. Chain, dates and revocation are checked by a link
    that a node with these files makes with itself, in memory. Nothing is changed, so it is safe beside a running node.
    """
    try:
        findings = look(config.load(path))
    except PcgrelayError as error:
        if not as_json:
            raise
        findings = findings_of(error)
    return show_findings(path, findings, as_json=as_json)
