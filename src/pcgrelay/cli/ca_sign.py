"""pcgrelay ca sign."""

from __future__ import annotations

from pathlib import Path

import click

from pcgrelay.ca.authority import LEAF_DAYS
from pcgrelay.ca.index import Issued
from pcgrelay.ca.request import read_request
from pcgrelay.cli.ca_options import FOLDER, HOSTS, PASSPHRASE_FILE, PATH, confirm, open_authority
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.errors import RunError
from pcgrelay.model import NodeId
from pcgrelay.output import count

EPILOG = """\b
Examples:
  pcgrelay ca sign ca kent-1.csr --out signed
  pcgrelay ca sign ca kent-1.csr --out signed --yes

Compare the fingerprint with the one that `ca request` has shown, over another way than the one by which the request
came: whoever can change the request on its way would otherwise get a certificate in the node's name.
"""


@click.command(epilog=EPILOG)
@FOLDER
@click.argument("request", metavar="CSR", type=PATH)
@click.option("--out", metavar="OUT", required=True, type=PATH, help="Folder for the certificate.")
@click.option(
    "--days", metavar="DAYS", type=int, default=LEAF_DAYS, show_default=True, help="How long the certificate is valid."
)
@HOSTS
@click.option("--yes", is_flag=True, help="Do not ask: the fingerprint was compared.")
@PASSPHRASE_FILE
def sign(
    folder: Path,
    request: Path,
    out: Path,
    days: int,
    hosts: tuple[str, ...],
    yes: bool,
    passphrase_file: Path | None,
) -> None:
    """Sign the request of a node, after a look at its name and fingerprint.

    Writes OUT/N.pem, OUT/realm-ca.pem and OUT/realm.crl, the three files that the node gets, and never replaces a
    certificate. Refuses a name that is none of this realm, a key other than P-256 or P-384, a wrong signature, and
    whatever else a request should not have.
    """
    authority = open_authority(folder, passphrase_file)
    wanted = read_request(request, authority.realm)
    click.echo(f"Name:         {wanted.node.uri}", err=True)
    click.echo(f"Fingerprint:  {wanted.fingerprint[:39]}", err=True)
    click.echo(f"              {wanted.fingerprint[40:]}", err=True)
    if hosts:
        click.echo(f"Hosts:        {', '.join(hosts)}", err=True)
    click.echo(f"Issued:       {_before(authority.issued(), wanted.node)}", err=True)
    if not confirm("Sign it?", yes=yes):
        raise RunError("Nothing was signed.")
    issued = authority.sign(wanted, out, days=days, hosts=hosts)
    click.echo(f"{out / wanted.node.name}.pem is for {wanted.node}, until {issued.not_after:%Y-%m-%d}.")


def _before(issued: list[Issued], node: NodeId) -> str:
    mine = [entry for entry in issued if (entry.organisation, entry.node) == (node.organisation, node.name)]
    valid = [entry for entry in mine if entry.revoked is None and entry.not_after >= SYSTEM_CLOCK.wall()]
    if not mine:
        return "nothing to this node"
    last = f", the last until {max(entry.not_after for entry in valid):%Y-%m-%d}" if valid else ""
    return f"{count(len(mine))} to this node, {count(len(valid))} of them valid{last}"
