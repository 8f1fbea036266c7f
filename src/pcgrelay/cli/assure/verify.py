"""pcgrelay assure verify."""

from __future__ import annotations

from pathlib import Path

import click

from pcgrelay.assure.comparing import read_results
from pcgrelay.assure.signing import verify_signatures
from pcgrelay.assure.sums import PROOF, differences, read_sums
from pcgrelay.cli.root import json_option
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.output import counted, print_json, say

CHANGED = 8

EPILOG = """\b
Examples:
  pcgrelay assure verify evidence
  pcgrelay assure verify evidence --signers allowed_signers

\b
Exit codes:
   0  every file is as it was written, and what was asked for holds
   8  a file was changed, is missing or was added; or a seal or signature does not hold
  78  this is no pack, or a list is refused
"""


@click.command(epilog=EPILOG)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--signers", metavar="FILE", type=click.Path(path_type=Path), help="allowed_signers: who may have signed."
)
@json_option
def verify(folder: Path, signers: Path | None, as_json: bool) -> int:
    """Say whether a pack is as it was written.

    Nothing but the folder is read, and no node is asked or trusted.
    """
    sums = read_sums(folder)
    wrong = list(differences(folder, sums))
    results = read_results(folder) if not wrong else None
    sealed = (folder / PROOF).is_file()
    signed = list(verify_signatures(folder, signers, SYSTEM_CLOCK.wall())) if signers else []
    bad = bool(wrong) or any(why for _, _, why in signed)
    if as_json:
        signatures = [{"role": role, "by": who, "reason": why} for role, who, why in signed]
        print_json(
            {"files": len(sums), "differences": wrong, "sealed": sealed, "signatures": signatures, "good": not bad}
        )
        return CHANGED if bad else 0
    for each in wrong:
        say(f"pcgrelay: {folder}: {each}.", err=True)
    if results is not None:
        when = f"{results.started:%Y-%m-%dT%H:%M:%SZ}"
        say(f"All {counted(len(sums), 'file')} are as they were written at {when} by {results.node}.")
        if not sealed:
            say("The pack is not sealed: no audit log says when it was written, or that nobody wrote it anew.")
    for role, who, why in signed:
        if why:
            say(f"pcgrelay: {folder}: {role}: {why}.", err=True)
        else:
            say(f"Signed by {who} as {role}.")
    return CHANGED if bad else 0
