"""pcgrelay audit prove and check: one record, for somebody who has not the log."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from pcgrelay.admin.audit_answers import AUDIT_EXPORTED_PATH
from pcgrelay.audit.note import TYPE_NAMES
from pcgrelay.audit.policy import read_policy
from pcgrelay.audit.proof import PROOF_MOST_BYTES, Checked, Proof
from pcgrelay.audit.proof import check as check_proof
from pcgrelay.audit.proof import prove as prove_record
from pcgrelay.cli.audit.on_record import check_texts, put_on_record
from pcgrelay.cli.audit.places import by_options, folder_of, log_options
from pcgrelay.cli.audit.shown import moment_text
from pcgrelay.cli.root import json_option
from pcgrelay.errors import ProofProblem
from pcgrelay.files import read_bounded
from pcgrelay.output import count, print_json, say

PROVE_EPILOG = """\b
Example:
  pcgrelay audit prove 8841273 -c kent-1.toml > 8841273.tlog-proof

\b
Exit codes:
   0  printed
   2  wrong usage of the command line
   8  there is no such record, it is not signed yet, or the log was changed
  77  no permission
  78  no log is there
"""
CHECK_EPILOG = """\b
Example:
  pcgrelay audit check 8841273.tlog-proof --policy realm.policy

\b
Exit codes:
   0  it holds: the record was in that log, and enough witnesses saw it
   2  wrong usage of the command line
   8  it does not hold, or is no proof
  77  no permission
  78  a file cannot be read, or the policy is none
"""


@click.command(epilog=PROVE_EPILOG)
@click.argument("number", metavar="RECORD", type=click.IntRange(0, 10**18 - 1))
@log_options
@by_options
def prove(number: int, folder: Path | None, path: Path | None, by: str, reason: str) -> None:
    """Print a proof of one record.

    RECORD is its number, the "n" in its line. The proof is a file by C2SP tlog-proof. It holds the record itself, and
    shows that the log had it when its head was signed. Whoever has the policy can check it without the log.

    That it was made is put on record by the node, if it runs and -c names it; what is said of that goes to the other
    output.
    """
    check_texts(by, reason)
    place = folder_of(folder, path)
    proof = prove_record(place, number).encoded
    if path is not None:
        said = {"kind": "proof", "first": str(number), "last": str(number), "by": by, "reason": reason}
        say(put_on_record("proof", AUDIT_EXPORTED_PATH, said, path, place).sentence, err=True)
    click.echo(proof, nl=False)


@click.command(epilog=CHECK_EPILOG)
@click.argument("file", metavar="PROOF", type=click.Path(path_type=Path, readable=False))
@click.option(
    "--policy",
    "policy_path",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path, readable=False),
    help="A C2SP tlog-policy with the keys of the log and its witnesses; see audit policy.",
)
@json_option
def check(file: Path, policy_path: Path, as_json: bool) -> None:
    """Check a proof of a record, without the log.

    The keys are those of the policy alone: nothing that the proof says of itself is believed.
    """
    policy = read_policy(policy_path)
    data = read_bounded(file, "proof", PROOF_MOST_BYTES)
    try:
        checked = check_proof(Proof.parse(data), policy)
    except ProofProblem as problem:
        raise ProofProblem(f"{file}: {problem}") from None
    if as_json:
        print_json(_json(checked))
        return
    say(f"Record {count(checked.index)} of {checked.checkpoint.origin} is proved.")
    types = ", ".join(TYPE_NAMES[each.by.kind] for each in checked.signed)
    say(f"  signed by     the log ({types}), as one of {count(checked.checkpoint.size)} records")
    seen = "; ".join(f"{each.by.name} at {moment_text(each.time_s)}" for each in checked.witnessed)
    say(f"  witnessed     {seen or 'by nobody: the policy asks for none'}")
    say(f"  record        {checked.record.decode(errors='replace')}")


def _json(checked: Checked) -> dict[str, object]:
    try:
        record: object = msgspec.json.decode(checked.record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        record = checked.record.decode(errors="replace")
    return {
        "index": checked.index,
        "origin": checked.checkpoint.origin,
        "size": checked.checkpoint.size,
        "signed": [TYPE_NAMES[each.by.kind] for each in checked.signed],
        "witnessed": [{"name": each.by.name, "ts": moment_text(each.time_s)} for each in checked.witnessed],
        "record": record,
    }
