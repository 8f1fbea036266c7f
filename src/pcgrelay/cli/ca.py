"""pcgrelay ca."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from pcgrelay.ca import Authority, Issued
from pcgrelay.ca.authority import CA_DAYS, CRL_DAYS, LEAF_DAYS
from pcgrelay.cli.ca_bundle import bundle
from pcgrelay.cli.ca_node import renew, request
from pcgrelay.cli.ca_options import (
    FOLDER,
    HOSTS,
    NODE,
    ORGANISATION,
    PASSPHRASE_FILE,
    PATH,
    open_authority,
    read_passphrase,
)
from pcgrelay.cli.ca_sign import sign
from pcgrelay.cli.root import CONTEXT, json_option
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.output import Layout, Row, count, print_json, print_table, terminal

EPILOG = """\b
Examples:
  pcgrelay ca init ca --realm police.example
  pcgrelay ca request --realm police.example \\
      --organisation kent.police.example --node kent-1 --out tls
                                       at the node: a key, and a request
  pcgrelay ca sign ca kent-1.csr --out signed
                                       at the CA: the certificate for it
  pcgrelay ca issue ca --organisation kent.police.example --node kent-1 \\
      --out tls                        both at once; then the key travels
  pcgrelay ca renew -c kent-1.toml     at the node: the next key and request
  pcgrelay ca revoke ca --organisation kent.police.example --node kent-1
  pcgrelay ca show ca
  pcgrelay ca bundle --help            what the realm has decided, signed

Keep the folder of the CA on a machine that runs no node: whoever reads realm-ca.key can impersonate any node of the
realm. Give realm.crl to one node that is linked after each renewal: nodes tell
each other.
"""


@click.group(epilog=EPILOG, context_settings=CONTEXT)
def ca() -> None:
    """Make certificates for a small realm.

    The CA is a folder. It uses P-256, one SPIFFE name in each certificate, and a revocation list. Realms with a PKI of
    their own do not need it. `request` and `renew` are for the nodes.
    """


for command in (request, sign, renew, bundle):
    ca.add_command(command)


@ca.command(epilog="\b\nExample:\n  pcgrelay ca init ca --realm police.example")
@FOLDER
@click.option("--realm", metavar="R", required=True, help="The realm's name, as police.example.")
@click.option("--days", metavar="DAYS", type=int, default=CA_DAYS, show_default=True, help="How long the CA is valid.")
@click.option("--passphrase", is_flag=True, help="Put the CA's key under a passphrase, and ask for it.")
@PASSPHRASE_FILE
def init(folder: Path, realm: str, days: int, passphrase: bool, passphrase_file: Path | None) -> None:
    """Make a CA in a folder.

    Writes DIR/realm-ca.pem, realm-ca.key, index.json and an empty realm.crl.
    """
    word = read_passphrase(passphrase_file, confirm=True) if passphrase or passphrase_file else None
    authority = Authority.create(folder, realm, days=days, passphrase=word)
    click.echo(f"The CA of {realm} is in {folder}; give {authority.certificate_path} to every node as its trust.")


@ca.command(epilog="\b\nExample:\n  pcgrelay ca issue ca --organisation kent.example --node kent-1 --out tls")
@FOLDER
@ORGANISATION
@NODE
@click.option("--out", metavar="OUT", required=True, type=PATH, help="Folder for the files.")
@click.option(
    "--days", metavar="DAYS", type=int, default=LEAF_DAYS, show_default=True, help="How long the certificate is valid."
)
@HOSTS
@PASSPHRASE_FILE
def issue(
    folder: Path,
    organisation: str,
    node: str,
    out: Path,
    days: int,
    hosts: tuple[str, ...],
    passphrase_file: Path | None,
) -> None:
    """Make a key and a certificate for a node.

    Writes OUT/N.pem, OUT/N.key and OUT/realm-ca.pem, and never replaces a key or certificate. Renews DIR/realm.crl, so
    that the list does not end before the certificate.
    """
    issued = open_authority(folder, passphrase_file).issue(organisation, node, out, days=days, hosts=hosts)
    click.echo(f"{out / node}.pem and its key are for {node}.{organisation}, until {issued.not_after:%Y-%m-%d}.")


@ca.command(
    epilog="""\b
Examples:
  pcgrelay ca revoke ca --organisation kent.police.example --node kent-1
  pcgrelay ca revoke ca --organisation kent.police.example --node kent-1 \\
      --all-but-newest
"""
)
@FOLDER
@ORGANISATION
@NODE
@click.option(
    "--serial",
    "serials",
    metavar="HEX",
    multiple=True,
    help="Only the certificate with this serial number, as `ca show` has it; may be given several times.",
)
@click.option(
    "--all-but-newest", is_flag=True, help="All but the one that was issued last, as after a renewal for a lost key."
)
@PASSPHRASE_FILE
def revoke(
    folder: Path,
    organisation: str,
    node: str,
    serials: tuple[str, ...],
    all_but_newest: bool,
    passphrase_file: Path | None,
) -> None:
    """Revoke certificates of a node: all of them, unless options select some.

    Renews DIR/realm.crl. Nodes that have loaded the new list refuse the revoked certificates.
    """
    authority = open_authority(folder, passphrase_file)
    revoked = authority.revoke(organisation, node, serials=serials, all_but_newest=all_but_newest)
    number = f"{len(revoked)} certificate{'' if len(revoked) == 1 else 's'}"
    none = "has no older certificate to revoke" if all_but_newest else "was revoked before"
    what = f"{number} of {node}.{organisation} revoked" if revoked else f"{node}.{organisation} {none}"
    click.echo(f"{what}; put {authority.crl_path} at a node, and reload it.")


@ca.command(epilog="\b\nExample:\n  pcgrelay ca crl ca --days 30")
@FOLDER
@click.option(
    "--days", metavar="DAYS", type=int, default=CRL_DAYS, show_default=True, help="How long the list is valid."
)
@click.option(
    "--above",
    metavar="NUMBER",
    type=int,
    default=0,
    help="Give the list a greater number than this: after the CA was restored from a copy.",
)
@PASSPHRASE_FILE
def crl(folder: Path, days: int, above: int, passphrase_file: Path | None) -> None:
    """Renew the revocation list before it expires.

    Writes DIR/realm.crl with the same entries, the next number and a later end.
    """
    authority = open_authority(folder, passphrase_file)
    end = authority.renew_crl(days=days, above=above)
    click.echo(f"{authority.crl_path} holds until {end:%Y-%m-%d}; put it at a node, and reload that.")


@ca.command(epilog="\b\nExample:\n  pcgrelay ca show ca")
@FOLDER
@json_option
def show(folder: Path, as_json: bool) -> None:
    """List all certificates that were issued, with their states."""
    authority = Authority(folder)
    issued = authority.issued()
    end, crl_end = authority.certificate.not_valid_after_utc, authority.crl_end()
    if as_json:
        whole = {"realm": authority.realm, "not_after": end, "crl_next_update": crl_end, "issued": issued}
        print_json(whole)
        return
    console = terminal()
    ends = f"CA until {end:%Y-%m-%d}, {_list_end(crl_end)}"
    console.print(f"Realm {authority.realm}, {ends}, {count(len(issued))} issued")
    if issued:
        columns = ["node", "organisation", "state"]
        wide = [Row([entry.node, entry.organisation, _state(entry), entry.serial]) for entry in issued]
        narrow = [Row([entry.node, entry.organisation, _state(entry)], [f"serial {entry.serial}"]) for entry in issued]
        print_table(console, "", Layout([*columns, "serial"], wide), Layout(columns, narrow))


def _list_end(end: datetime | None) -> str:
    if end is None:
        return "no revocation list"
    return f"list {'ran out' if end < SYSTEM_CLOCK.wall() else 'until'} {end:%Y-%m-%d}"


def _state(entry: Issued) -> str:
    if entry.revoked:
        return f"revoked {entry.revoked:%Y-%m-%d}"
    ended = entry.not_after < SYSTEM_CLOCK.wall()
    return f"{'expired' if ended else 'until'} {entry.not_after:%Y-%m-%d}"
