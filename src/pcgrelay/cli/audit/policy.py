"""pcgrelay audit policy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click

from pcgrelay.audit.heads import Heads
from pcgrelay.audit.problems import Problems
from pcgrelay.audit.told import Told
from pcgrelay.audit.verify import Keys
from pcgrelay.audit.walk import Walk, WalkEnded
from pcgrelay.cli.audit.places import folder_of, keys_of, node_option
from pcgrelay.errors import ProofProblem

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
    if not keys.logs:
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
    names = [witness.name.replace("/", "-") for witness in keys.witnesses]
    for name, witness in zip(names, keys.witnesses, strict=True):
        yield f"witness {name} {witness.vkey}"
    if not names:
        yield "quorum none"
        return
    yield "# One of these must have seen what is to be believed; write a number or all for more."
    yield f"group witnesses any {' '.join(names)}"
    yield "quorum witnesses"
