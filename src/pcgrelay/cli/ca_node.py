"""pcgrelay ca request and pcgrelay ca renew: what is done at a node."""

from __future__ import annotations

from pathlib import Path

import click

from pcgrelay import config as configuration
from pcgrelay.ca.authority import LEAF_DAYS
from pcgrelay.ca.renewal import Renewal
from pcgrelay.ca.request import Request, write_request
from pcgrelay.cli.ca_options import HOSTS, NODE, ORGANISATION, PASSPHRASE_FILE, PATH, open_authority, show_request
from pcgrelay.cli.root import config_option
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.errors import UsageProblem
from pcgrelay.files import write_replacing
from pcgrelay.identity.credentials import Credentials
from pcgrelay.model import NameProblem, NodeId
from pcgrelay.rehearsal import rehearse

RENEW_EPILOG = """\b
Examples:
  pcgrelay ca renew -c kent-1.toml
                         a new key and a request for it; sign that at the CA
  pcgrelay ca renew -c kent-1.toml --certificate kent-1.pem
                         put the new key and what was signed in their places
  pcgrelay ca renew -c kent-1.toml --ca ca
                         all of it, where the CA's folder is at hand
"""


@click.command(
    epilog="""\b
Example:
  pcgrelay ca request --realm police.example \\
      --organisation kent.police.example --node kent-1 --out tls
"""
)
@click.option("--realm", metavar="R", required=True, help="The realm's name, as police.example.")
@ORGANISATION
@NODE
@click.option("--out", metavar="OUT", required=True, type=PATH, help="Folder for the files.")
def request(realm: str, organisation: str, node: str, out: Path) -> None:
    """Make a key and a request for a certificate, at the node.

    Writes OUT/N.key, which stays there, and OUT/N.csr, which goes to the CA. Never replaces a file.
    """
    try:
        identity = NodeId(realm, organisation, node)
    except NameProblem as problem:
        raise UsageProblem(f"--realm, --organisation or --node: {problem}.") from None
    made = write_request(identity, out / f"{node}.key", out / f"{node}.csr")
    _show(out / f"{node}.csr", made)


@click.command(epilog=RENEW_EPILOG)
@config_option
@click.option("--certificate", metavar="PEM", type=PATH, help="What the CA has signed; finishes a renewal.")
@click.option("--ca", "authority", metavar="DIR", type=PATH, help="The CA's folder; does all at once.")
@click.option(
    "--days", metavar="DAYS", type=int, default=LEAF_DAYS, show_default=True, help="With --ca: how long it is valid."
)
@HOSTS
@PASSPHRASE_FILE
def renew(
    path: Path,
    certificate: Path | None,
    authority: Path | None,
    days: int,
    hosts: tuple[str, ...],
    passphrase_file: Path | None,
) -> None:
    """Give a node a new key and certificate.

    Before anything in use changes, the node's files are tried together with the new ones. The old key and certificate
    are kept beside the new, as N.old. Nothing changes for a running node before `pcgrelay reload`.
    """
    if certificate and authority:
        raise UsageProblem("--certificate, --ca: these two exclude each other; give one.")
    if hosts and authority is None:
        raise UsageProblem("--host: the CA gives host names; give it with --ca, or to: pcgrelay ca sign")
    config = configuration.load(path)
    renewal = Renewal(config.identity, config.node.id)
    if certificate is None and authority is None:
        _show(renewal.request, renewal.begin())
        click.echo(f"Then finish with: pcgrelay ca renew -c {path} --certificate PEM")
        return
    if authority is not None:
        opened = open_authority(authority, passphrase_file)
        made = renewal.begin()
        certificate = renewal.request.with_suffix(".pem")
        try:
            write_replacing(certificate, opened.certify(made, days=days, hosts=hosts))
        except BaseException:
            renewal.give_up()
            raise
    assert certificate is not None

    def judge(credentials: Credentials) -> str:
        fault = rehearse(config, credentials, SYSTEM_CLOCK.wall())
        return f"{fault.sentence} {fault.mend}".strip() if fault else ""

    leaf = renewal.finish(certificate, judge)
    if authority is not None:
        certificate.unlink(missing_ok=True)
    click.echo(f"{config.identity.certificate} is good until {leaf.not_valid_after_utc:%Y-%m-%d}, with a new key.")
    click.echo(f"A running node takes them with: pcgrelay reload -c {path}")


def _show(path: Path, made: Request) -> None:
    show_request(path, made)
    click.echo(f"Sign it where the CA is: pcgrelay ca sign DIR {path.name} --out OUT")
