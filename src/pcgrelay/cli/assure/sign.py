"""pcgrelay assure sign."""

from __future__ import annotations

from pathlib import Path

import click

from pcgrelay.assure.signing import sign as sign_pack
from pcgrelay.assure.sums import SUMS, differences, read_sums
from pcgrelay.errors import ConfigError
from pcgrelay.output import say

EPILOG = """\b
Example:
  pcgrelay assure sign evidence --as "information assurance" \\
      --key ~/.ssh/id_ed25519

\b
Exit codes:
   0  signed; the signature lies in the folder
   1  not signed: ssh-keygen is missing or refused, or this role has signed
   2  the role is none
  78  this is no pack, or it is not as it was written
"""


@click.command(epilog=EPILOG)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--as", "role", metavar="ROLE", required=True, help="In which role you sign.")
@click.option("--key", metavar="FILE", required=True, type=click.Path(path_type=Path), help="Your SSH key.")
def sign(folder: Path, role: str, key: Path) -> int:
    """Sign a pack with your key, by ssh-keygen, for the namespace pcgrelay-evidence@1.

    What is signed is SHA256SUMS, and so every file of the pack. A pack that was changed is not signed.
    """
    if wrong := next(iter(differences(folder, read_sums(folder))), ""):
        raise ConfigError(f"{folder}: {wrong}, so it is not as it was written; nothing was signed.")
    path = sign_pack(folder, key, role)
    say(f"{path}: signed {SUMS} of {folder}. Who reads it runs: pcgrelay assure verify {folder} --signers FILE")
    return 0
