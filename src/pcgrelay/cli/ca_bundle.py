"""pcgrelay ca bundle: the realm's signer, and the bundles that it signs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from msgspec import Struct

from pcgrelay.ca.authority import LEAF_DAYS, SIGNER, SIGNER_STEM
from pcgrelay.ca.bundle import BUNDLE_DAYS, read_content, sign_bundle
from pcgrelay.cli.ca_options import FOLDER, PASSPHRASE_FILE, PATH, open_authority
from pcgrelay.cli.root import CONTEXT, json_option
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.model import Marking
from pcgrelay.output import count, print_json
from pcgrelay.printable import printable
from pcgrelay.realm.bundle import Content

EPILOG = """\b
Examples:
  pcgrelay ca bundle key ca --out signer
  pcgrelay ca bundle sign realm.toml --signer signer --out realm.bundle
  pcgrelay ca bundle show realm.bundle

\b
realm.toml, of which all but the realm may be left out:
  realm = "police.example"
  members = ["*.police.example", "hub.example"]
  relays = ["hub.example"]
  minimum_version = "0.1.0"
  [clearances]
  "hub.example" = "OFFICIAL-SENSITIVE"

Put the bundle at one node, as [realm] bundle of its configuration, and reload it: nodes tell each other.
"""


@click.group(epilog=EPILOG, context_settings=CONTEXT)
def bundle() -> None:
    """Make the realm's bundle: what the realm has decided, signed.

    A bundle narrows what the nodes' own files allow, and allows nothing itself. Of two, the one with the greater epoch
    counts.
    """


@bundle.command(epilog="\b\nExample:\n  pcgrelay ca bundle key ca --out signer")
@FOLDER
@click.option("--out", metavar="OUT", required=True, type=PATH, help="Folder for the signer's key and certificate.")
@click.option(
    "--days", metavar="DAYS", type=int, default=LEAF_DAYS, show_default=True, help="How long the certificate is valid."
)
@PASSPHRASE_FILE
def key(folder: Path, out: Path, days: int, passphrase_file: Path | None) -> None:
    """Make the key and certificate of the realm's signer.

    Writes OUT/realm-bundle.key and OUT/realm-bundle.pem, and never replaces a file. The certificate is of no use for
    links. Keep the folder where bundles are signed, on a machine that runs no node.
    """
    issued = open_authority(folder, passphrase_file).issue_signer(out, days=days)
    click.echo(f"{out / SIGNER_STEM}.pem signs bundles until {issued.not_after:%Y-%m-%d}.")


@bundle.command(
    epilog="""\b
Examples:
  pcgrelay ca bundle sign realm.toml --signer signer --out realm.bundle
  pcgrelay ca bundle sign realm.toml --signer signer --out realm.bundle \\
      --crl ca/realm.crl --days 90
"""
)
@click.argument("text", metavar="TOML", type=PATH)
@click.option("--signer", metavar="DIR", required=True, type=PATH, help="The folder that `ca bundle key` has made.")
@click.option("--out", metavar="FILE", required=True, type=PATH, help="The bundle; one that is there is replaced.")
@click.option(
    "--days",
    metavar="DAYS",
    type=int,
    default=BUNDLE_DAYS,
    show_default=True,
    help="How long it is valid, at most as long as its signer's certificate.",
)
@click.option(
    "--epoch", metavar="NUMBER", type=int, help="Its epoch; by default one more than that of the bundle in FILE."
)
@click.option(
    "--crl",
    "crls",
    metavar="FILE",
    multiple=True,
    type=PATH,
    help="Take a revocation list along; may be given several times.",
)
def sign(text: Path, signer: Path, out: Path, days: int, epoch: int | None, crls: tuple[Path, ...]) -> None:
    """Sign what the realm has decided.

    Reads TOML and writes FILE. Nodes refuse a bundle whose epoch is not greater than that of the one they have.
    """
    made = sign_bundle(text, signer, out, SYSTEM_CLOCK.wall(), days=days, epoch=epoch, crls=crls)
    click.echo(f"{out} has epoch {made.epoch}, until {made.end:%Y-%m-%d}; put it at one node, and reload that.")


@bundle.command(epilog="\b\nExample:\n  pcgrelay ca bundle show realm.bundle")
@click.argument("file", metavar="FILE", type=PATH)
@json_option
def show(file: Path, as_json: bool) -> None:
    """Show what a bundle says.

    Its signature is not verified; nodes do that, and `pcgrelay check`.
    """
    facts = _facts(read_content(file))
    if as_json:
        print_json(facts)
        return
    # Nobody has verified these names.
    click.echo(f"Realm {printable(facts.realm)}, epoch {facts.epoch}")
    click.echo(f"Valid from {facts.not_before:%Y-%m-%d %H:%M} to {facts.not_after:%Y-%m-%d %H:%M} UTC")
    _listed("Members", facts.members)
    _listed("Relays", facts.relays)
    markings = facts.clearances
    _listed("Clearances", None if markings is None else [f"{name}: {word}" for name, word in markings.items()])
    click.echo(f"Revocation lists: {count(facts.lists)}")
    click.echo(f"Oldest version: {printable(facts.minimum_version) or 'any'}")


@bundle.command(epilog="\b\nExample:\n  pcgrelay ca bundle revoke ca")
@FOLDER
@PASSPHRASE_FILE
def revoke(folder: Path, passphrase_file: Path | None) -> None:
    """Revoke the certificates of the realm's signer.

    Renews DIR/realm.crl. Nodes that have the list take nothing new of that signer; what is in force stays so. Make
    another with `ca bundle key`, and sign with a greater epoch.
    """
    authority = open_authority(folder, passphrase_file)
    revoked = authority.revoke("", SIGNER)
    click.echo(f"{count(len(revoked))} revoked; put {authority.crl_path} at a node, and reload it.")


def _listed(noun: str, names: Sequence[str] | None) -> None:
    if names is None:
        click.echo(f"{noun}: as the nodes' own files say")
        return
    click.echo(f"{noun}: {count(len(names))}")
    for name in names:
        click.echo(f"  {printable(name)}")


class Facts(Struct, frozen=True, kw_only=True):
    """What a bundle says, for people and programs."""

    realm: str
    epoch: int
    not_before: datetime
    not_after: datetime
    members: tuple[str, ...] | None
    relays: tuple[str, ...] | None
    clearances: dict[str, str] | None
    lists: int
    minimum_version: str


def _facts(content: Content) -> Facts:
    words = {number: marking.value for number, marking in enumerate(Marking, 1)}
    pairs = content.clearances
    return Facts(
        realm=content.realm,
        epoch=content.epoch,
        not_before=datetime.fromtimestamp(content.not_before, UTC),
        not_after=datetime.fromtimestamp(content.not_after, UTC),
        members=content.members,
        relays=content.relays,
        clearances=None if pairs is None else {name: words[number] for name, number in pairs},
        lists=len(content.lists),
        minimum_version=content.minimum,
    )
