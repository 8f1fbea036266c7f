"""pcgrelay init."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from pcgrelay import config
from pcgrelay.cli.init_file import FirstNode, first_file
from pcgrelay.errors import ConfigError, UsageProblem
from pcgrelay.files import SYSTEM_FOLDER, write_new
from pcgrelay.output import say

EPILOG = """\b
Examples:
  pcgrelay init                          asks, and writes NAME.toml here
  pcgrelay init /etc/pcgrelay/kent-1.toml --role edge --name kent-1 \\
      --organisation kent.police.example --realm police.example \\
      --link relay-1.hub.example=relay.hub.example:7400 \\
      --export custody=127.0.0.1:5432 --allow met.police.example
  pcgrelay init --role relay --name relay-1 --organisation hub.example \\
      --realm police.example --listen 0.0.0.0:7400 \\
      --member kent.police.example --member met.police.example

\b
Exit codes:
   0  the file is written
   1  a file is there already, or cannot be written; nothing is replaced
   2  something is missing, or is not valid
"""
REQUIRED = ("role", "name", "organisation", "realm")


@click.command(epilog=EPILOG)
@click.argument("path", metavar="[FILE]", required=False, type=click.Path(path_type=Path, readable=False))
@click.option("--role", type=click.Choice(["edge", "relay"]), help="edge: has services; relay: carries for edges.")
@click.option("--name", metavar="N", help="The node's name in its organisation, as kent-1.")
@click.option("--organisation", metavar="O", help="As kent.police.example.")
@click.option("--realm", metavar="R", help="As police.example.")
@click.option("--link", "links", metavar="PEER=ADDRESS", multiple=True, help="A neighbour to dial.")
@click.option("--listen", "listens", metavar="ADDRESS", multiple=True, help="Where neighbours dial this node.")
@click.option("--member", "members", metavar="O", multiple=True, help="Whose nodes may link to this one.")
@click.option("--export", "exports", metavar="NAME=ADDRESS", multiple=True, help="A service here, and its server.")
@click.option("--allow", metavar="O", multiple=True, help="Who may use the exports.")
@click.option("--import", "imports", metavar="SERVICE=ADDRESS", multiple=True, help="A service elsewhere, and where.")
@click.option("--tls", metavar="DIR", default="tls", show_default=True, help="Folder of key and certificates.")
@click.option("--request", is_flag=True, help="Make the key and the request for a certificate too.")
def init(path: Path | None, tls: str, request: bool, **said: str | tuple[str, ...] | None) -> None:
    """Write the first configuration file of a node.

    Asks for what no option says, if there is a terminal. The file has comments, and is checked before it is written. No
    file is ever replaced. What is to be done then is printed: the request for a certificate, check and run.
    """
    if any(not said[key] for key in REQUIRED):
        _ask(said)
    node = _node(said, tls, path)
    path = path or Path(f"{node.name}.toml")
    text = first_file(node)
    try:
        config.parse(text, path)
    except ConfigError as error:
        # There is no file yet, so its lines say nothing.
        words = " ".join(re.sub(r"^.*?:\d+: ", "", sentence) for sentence in error.sentences)
        raise UsageProblem(f"What was said makes no valid configuration: {words}") from None
    write_new(path, text.encode())
    folder = path.parent / tls
    say(f"{path} is written.")
    if request:
        _request(node, folder)
    for line in _next_steps(node, path, folder, is_requested=request):
        click.echo(line)


def _node(said: dict[str, str | tuple[str, ...] | None], tls: str, path: Path | None) -> FirstNode:
    def one(key: str) -> str:
        value = said[key]
        assert isinstance(value, str)
        return value

    def many(key: str) -> tuple[str, ...]:
        return tuple(said[key] or ())

    is_of_system = path is not None and path.absolute().parent == SYSTEM_FOLDER
    return FirstNode(
        role=one("role"),
        name=one("name"),
        organisation=one("organisation"),
        realm=one("realm"),
        tls=tls,
        is_of_system=is_of_system,
        links=_pairs("--link", many("links")),
        listens=many("listens"),
        members=many("members"),
        exports=_pairs("--export", many("exports")),
        allow=many("allow"),
        imports=_pairs("--import", many("imports")),
    )


def _pairs(option: str, texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found = []
    for text in texts:
        name, sign, address = text.partition("=")
        if not sign or not name or not address:
            raise UsageProblem(f'{option}: "{text}" has no two parts; write for example {option} NAME=HOST:PORT')
        found.append((name, address))
    return tuple(found)


def _ask(said: dict[str, str | tuple[str, ...] | None]) -> None:
    """Ask for what is missing. UsageProblem: there is no terminal."""
    if not sys.stdin.isatty():
        missing = ", ".join(f"--{key}" for key in REQUIRED if not said[key])
        raise UsageProblem(f"There is no terminal to ask on; give {missing}.")
    roles = click.Choice(["edge", "relay"])
    said["role"] = said["role"] or _asked("An edge has services or their users, a relay carries for edges. Role", roles)
    said["organisation"] = said["organisation"] or _asked("Organisation, as kent.police.example")
    assert isinstance(said["organisation"], str)
    above = said["organisation"].partition(".")[2]
    said["realm"] = said["realm"] or _asked("Realm, of which all nodes are", default=above or None)
    said["name"] = said["name"] or _asked("Name of this node, as kent-1")
    if said["role"] == "relay":
        said["listens"] = said["listens"] or _list("Address at which nodes dial this one", "0.0.0.0:7400")
        said["members"] = said["members"] or _list("Organisations whose nodes may, with blanks between", "")
        return
    if not said["links"] and not said["listens"]:
        peer = _asked("Relay to dial, as relay-1.hub.example")
        said["links"] = (f"{peer}={_asked('Its address, as relay.hub.example:7400')}",)
    if not said["exports"] and (name := _asked("A service to offer, as custody (none: Enter)", default="")):
        said["exports"] = (f"{name}={_asked('Its server, as 127.0.0.1:5432')}",)
        said["allow"] = said["allow"] or _list("Organisations that may use it, with blanks between", "")
    if not said["imports"] and (
        name := _asked("A service to use, as custody@kent.police.example (none: Enter)", default="")
    ):
        said["imports"] = (f"{name}={_asked('Where applications are to connect, as 127.0.0.1:15432')}",)


def _asked(question: str, kind: click.Choice[str] | None = None, default: str | None = None) -> str:
    answer: str = click.prompt(question, type=kind, default=default, show_default=bool(default), err=True)
    return answer.strip()


def _list(question: str, default: str) -> tuple[str, ...]:
    return tuple(_asked(question, default=default).split())


def _request(node: FirstNode, folder: Path) -> None:
    # The CA's parts load OpenSSL, which a mere file does not need.
    from pcgrelay.ca.request import write_request  # noqa: PLC0415
    from pcgrelay.cli.ca_options import show_request  # noqa: PLC0415
    from pcgrelay.model import NodeId  # noqa: PLC0415

    identity = NodeId(node.realm, node.organisation, node.name)
    path = folder / f"{node.name}.csr"
    show_request(path, write_request(identity, folder / f"{node.name}.key", path))


def _next_steps(node: FirstNode, path: Path, folder: Path, *, is_requested: bool) -> list[str]:
    steps = [] if is_requested else [
        f"pcgrelay ca request --realm {node.realm} --organisation {node.organisation} \\",
        f"    --node {node.name} --out {folder}",
    ]  # fmt: skip
    name = node.name
    return [
        "Next:",
        *(f"  {step}" for step in steps),
        f"  (send {folder}/{name}.csr to the CA; put what it returns, {name}.pem,",
        f"   realm-ca.pem and realm.crl, into {folder})",
        f"  pcgrelay check -c {path}",
        f"  systemctl enable --now pcgrelay@{name}" if node.is_of_system else f"  pcgrelay run -c {path}",
        f"  pcgrelay doctor -c {path}",
    ]
