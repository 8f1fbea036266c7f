"""What the commands of `pcgrelay ca` have in common: their arguments, and how a passphrase is given."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from pcgrelay.ca import Authority
from pcgrelay.ca.passphrase import MOST_BYTES
from pcgrelay.ca.request import Request
from pcgrelay.errors import ConfigError, UsageProblem
from pcgrelay.files import read_bounded
from pcgrelay.identity.credentials import refuse_open_secret

PATH = click.Path(path_type=Path, readable=False)
FOLDER = click.argument("folder", metavar="DIR", type=PATH)
ORGANISATION = click.option(
    "--organisation", metavar="O", required=True, help="The node's organisation, as kent.police.example."
)
NODE = click.option("--node", metavar="N", required=True, help="Name of the node in its organisation, as kent-1.")
HOSTS = click.option(
    "--host",
    "hosts",
    metavar="HOST",
    multiple=True,
    help="A DNS name or IP address under which browsers and scrapers reach the node; may be given several times.",
)
PASSPHRASE_FILE = click.option(
    "--passphrase-file",
    metavar="FILE",
    type=PATH,
    help="Read the passphrase of the CA's key from this file; without it a terminal is asked.",
)


def open_authority(folder: Path, passphrase_file: Path | None) -> Authority:
    """Open a CA whose key may be under a passphrase."""
    return Authority(folder, passphrase=partial(read_passphrase, passphrase_file))


def read_passphrase(path: Path | None, *, confirm: bool = False) -> bytes:
    """Return the passphrase from a file, else from the terminal. UsageProblem: there is neither.

    It is on no command line and in no environment, where other users and child processes would see it.
    """
    if path is not None:
        data = read_bounded(
            path, "passphrase", MOST_BYTES + 2, lambda status: refuse_open_secret(path, status, "passphrase")
        )
        word = data.removesuffix(b"\n").removesuffix(b"\r")
        if b"\n" in word or not word:
            raise ConfigError(f"{path}: the passphrase must be one line; name the right file.")
        return word
    if not sys.stdin.isatty():
        raise UsageProblem("The CA's key is under a passphrase and there is no terminal; give --passphrase-file.")
    asked: str = click.prompt("Passphrase of the CA's key", hide_input=True, confirmation_prompt=confirm, err=True)
    return asked.encode()


def show_request(path: Path, made: Request) -> None:
    """Show what a request asks for, and the fingerprint by which the CA's keeper knows whose it is."""
    click.echo(f"{path} asks for the name {made.node.uri}")
    click.echo(f"Fingerprint:  {made.fingerprint[:39]}")
    click.echo(f"              {made.fingerprint[40:]}")


def confirm(question: str, *, yes: bool) -> bool:
    """Ask a person on the terminal. yes: do not ask. UsageProblem: there is no terminal."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageProblem("There is no terminal to ask on; compare the fingerprint, and give --yes.")
    return click.confirm(question, err=True)
