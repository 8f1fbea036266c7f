"""pcgrelay audit verify."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
from msgspec import Struct

from pcgrelay.audit.history import SignedHead, parse_head
from pcgrelay.audit.verify import verify_log
from pcgrelay.cli.audit.places import folder_of, keys_of, node_option, trust_options
from pcgrelay.cli.audit.shown import report_lines
from pcgrelay.cli.root import json_option
from pcgrelay.errors import ConfigError
from pcgrelay.files import read_bounded
from pcgrelay.output import print_json, say, terminal

SEEN_MOST_BYTES = 1 << 20
CODES = {"whole": 0, "unproved": 4, "changed": 8}

EPILOG = """\b
Examples:
  pcgrelay audit verify -c kent-1.toml
  pcgrelay audit verify /media/kent-1/audit --policy realm.policy
  pcgrelay audit verify /media/kent-1/audit --trust ca.pem \\
      --seen kent.police.example_kent-1.json --marking OFFICIAL-SENSITIVE

\b
Exit codes:
   0  whole: what was signed is there, by a key that is known
   4  nothing is changed, and nothing says whose log it is (--trust,
      --policy), or the policy asks for more witnesses
   8  something is not as it was signed; it is said which record
  77  no permission
  78  no log is there, or a file that was named cannot be used
"""


@click.command(epilog=EPILOG)
@click.argument("folder", metavar="[FOLDER]", required=False, type=click.Path(path_type=Path, readable=False))
@node_option
@trust_options
@click.option(
    "--seen",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path, readable=False),
    help="A checkpoint of this log that a witness has kept: its STATE/witness/NODE.json. May be given again.",
)
@json_option
def verify(
    folder: Path | None,
    path: Path | None,
    policy_path: Path | None,
    trust: tuple[Path, ...],
    seen: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Examine a whole log.

    FOLDER is the log itself, the folder audit below [node] state; -c finds it by the node's configuration, and trusts
    the CA that this names. Each record is compared with each head of the tree that was ever signed, and each signature
    is verified. What was changed is named: the record, its segment, and its line.

    A log that was cut off together with its newest head, or written again with the node's own key, is found by what
    others have seen of it: the signatures of witnesses, and --seen.
    """
    report = verify_log(
        folder_of(folder, path), keys_of(policy_path, trust, path if folder is None else None), _heads(seen)
    )
    if as_json:
        print_json(report)
    else:
        for line in report_lines(report, terminal().width):
            say(line)
    return CODES[report.verdict]


class _Kept(Struct):
    """What a node keeps of a log that it witnesses, as far as it is read here."""

    note: str


class _State(Struct):
    """The file in which it does."""

    body: _Kept


def _heads(files: tuple[Path, ...]) -> list[SignedHead]:
    return [parse_head(_note_in(file), str(file)) for file in files]


def _note_in(file: Path) -> bytes:
    """The note of a checkpoint: the file itself, or in a witness's file of state."""
    data = read_bounded(file, "checkpoint", SEEN_MOST_BYTES)
    if not data.startswith(b"{"):
        return data
    try:
        return msgspec.json.decode(data, type=_State).body.note.encode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ConfigError(f"{file}: this is neither a checkpoint nor what a witness keeps; name one.") from None
