"""pcgrelay assure verify."""

from __future__ import annotations

from pathlib import Path

import click

from pcgrelay.assure.comparing import read_results
from pcgrelay.assure.seal import Sealed, read_seal, short_name
from pcgrelay.assure.signing import verify_signatures
from pcgrelay.assure.sums import PROOF, differences, read_sums
from pcgrelay.audit.checkpoint import CheckpointRefused
from pcgrelay.audit.note import NoteRefused
from pcgrelay.audit.policy import read_policy
from pcgrelay.audit.tree import TreeRefused
from pcgrelay.cli.root import json_option
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.errors import ProofProblem
from pcgrelay.output import counted, print_json, say

CHANGED = 8

EPILOG = """\b
Examples:
  pcgrelay assure verify evidence
  pcgrelay assure verify evidence --policy realm.policy
  pcgrelay assure verify evidence --signers allowed_signers

\b
Exit codes:
   0  every file is as it was written, and what was asked for holds
   8  a file was changed, is missing or was added; or a seal or a signature
      does not hold
  78  this is no pack, or a list is refused
"""


@click.command(epilog=EPILOG)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--policy", metavar="FILE", type=click.Path(path_type=Path), help="tlog-policy: whose logs you trust.")
@click.option(
    "--signers", metavar="FILE", type=click.Path(path_type=Path), help="allowed_signers: who may have signed."
)
@json_option
def verify(folder: Path, policy: Path | None, signers: Path | None, as_json: bool) -> int:
    """Say whether a pack is as it was written.

    Nothing but the folder is read, and no node is asked or trusted.
    """
    sums = read_sums(folder)
    wrong = list(differences(folder, sums))
    results = read_results(folder) if not wrong else None
    seal, unsealed = _seal(folder, policy, whole=not wrong)
    signed = list(verify_signatures(folder, signers, SYSTEM_CLOCK.wall())) if signers else []
    bad = bool(wrong) or any(why for _, _, why in signed) or (policy is not None and seal is None)
    if as_json:
        signatures = [{"role": role, "by": who, "reason": why} for role, who, why in signed]
        found = {"files": len(sums), "differences": wrong, "seal": seal, "unsealed": unsealed, "signatures": signatures}
        print_json({**found, "good": not bad})
        return CHANGED if bad else 0
    for each in wrong:
        say(f"pcgrelay: {folder}: {each}.", err=True)
    if results is not None:
        what = f"All {counted(len(sums), 'file')} are as they were"
        if seal is None and policy is not None:
            # Who changes a pack makes its list anew.
            say(f"{counted(len(sums), 'file')} agree with the pack's own list, which proves nothing without the seal.")
            say(f"pcgrelay: {folder}: {unsealed}", err=True)
        elif seal is None:
            when = f"{results.started:%Y-%m-%dT%H:%M:%SZ}"
            say(f"{what} written at {when} by {results.node}.")
            say(unsealed)
        else:
            by = f"; witnessed by {len(seal.witnesses)}" if seal.witnesses else "; no witness that you trust has signed"
            say(f"{what} sealed on {seal.ts} by {short_name(seal.origin)}{by}.")
    for role, who, why in signed:
        if why:
            say(f"pcgrelay: {folder}: {role}: {why}.", err=True)
        else:
            say(f"Signed by {who} as {role}.")
    return CHANGED if bad else 0


def _seal(folder: Path, policy: Path | None, *, whole: bool) -> tuple[Sealed | None, str]:
    """Return the seal if it holds by the policy; else why there is none to speak of."""
    if not (folder / PROOF).is_file():
        return None, "The pack is not sealed: no audit log says when it was written, or that nobody wrote it anew."
    if policy is None:
        return None, "It has a seal that was not checked: name the logs that you trust by --policy FILE."
    if not whole:
        return None, ""
    try:
        return read_seal(folder, read_policy(policy)), ""
    except (ProofProblem, NoteRefused, TreeRefused, CheckpointRefused) as problem:
        return None, f"The seal does not hold: {problem}"
