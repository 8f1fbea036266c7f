"""pcgrelay audit policy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path

import click

from pcgrelay.audit.heads import Heads
from pcgrelay.audit.note import NoteVerifier
from pcgrelay.audit.problems import Problems
from pcgrelay.audit.told import Told
from pcgrelay.audit.verify import Keys
from pcgrelay.audit.walk import Walk, WalkEnded
from pcgrelay.cli.audit.places import folder_of, keys_of, node_option
from pcgrelay.errors import ProofProblem

ALL = "witnesses"  # the group of all; the name of each has a slash
_IS_NODE = re.compile(r"[a-z0-9.-]+/[a-z0-9.-]+", re.ASCII | re.IGNORECASE)
EPILOG = """\b
Examples:
  pcgrelay audit policy -c kent-1.toml > realm.policy
  pcgrelay audit policy /media/kent-1/audit --trust ca.pem > realm.policy

\b
Exit codes:
   0  printed
   2  wrong usage of the command line
   8  the log names no keys, or the CA does not vouch for them
  77  no permission
  78  no log is there, or a file that was named cannot be used
"""


@click.command(epilog=EPILOG)
@click.argument("folder", metavar="[FOLDER]", required=False, type=click.Path(path_type=Path, readable=False))
@node_option
@click.option(
    "--trust",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path, readable=False),
    help="Certificates of a CA (PEM) whose nodes may sign for the keys of a log. May be given again.",
)
def policy(folder: Path | None, path: Path | None, trust: tuple[Path, ...]) -> None:
    """Print the keys of a log and of its witnesses as a policy to start with.

    It is a file by C2SP tlog-policy for verify and check. Read it, say how many witnesses you ask for, and keep it
    where those who run the node cannot change it: a policy that comes with the log proves nothing.
    """
    place = folder_of(folder, path)
    problems, told = Problems(), Told()
    heads = Heads(place, (), problems)
    with suppress(WalkEnded):
        for group in Walk(place, problems).groups():
            told.add(group.lines)
    keys = keys_of(None, trust, path if folder is None else None)(told.keys, heads.origin)
    if not keys.logs or not all(log.name.isprintable() for log in keys.logs):
        raise ProofProblem(next(iter(keys.refused), f"{place}: this log names no keys; is it that of a node?"))
    click.echo("\n".join(policy_lines(keys)))


def policy_lines(keys: Keys) -> Iterator[str]:
    """The lines of a policy with these keys."""
    if keys.trust == "certificate":
        yield f"# The keys below are signed by a certificate of {keys.identity}."
    else:
        yield "# These are the keys that the log itself names. Nobody has vouched for them yet: compare them with"
        yield "# what the node's operators say, or name its CA by --trust."
    for log in keys.logs:
        yield f"log {log.vkey}"
    names = list[str]()
    for key_name, witnesses in groupby(sorted(keys.witnesses, key=_name_of), key=_name_of):
        if not _IS_NODE.fullmatch(key_name):
            yield "# A key was left out: its name is not that of a node."
            continue
        vkeys = [witness.vkey for witness in witnesses]
        names.append(key_name)
        if len(vkeys) == 1:
            yield f"witness {key_name} {vkeys[0]}"
            continue
        yield f"# {key_name} has begun its own log again, with another key: it counts once."
        several = [f"{key_name}#{number}" for number in range(1, len(vkeys) + 1)]
        for name, vkey in zip(several, vkeys, strict=True):
            yield f"witness {name} {vkey}"
        yield f"group {key_name} any {' '.join(several)}"
    if not names:
        yield "quorum none"
        return
    yield "# One of these must have seen what is to be believed; write a number or all for more."
    yield f"group {ALL} any {' '.join(names)}"
    yield f"quorum {ALL}"


def _name_of(key: NoteVerifier) -> str:
    return key.name
