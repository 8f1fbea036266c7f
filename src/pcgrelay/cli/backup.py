"""pcgrelay backup."""

from __future__ import annotations

from pathlib import Path

import click

from pcgrelay import config
from pcgrelay.backup import make_backup
from pcgrelay.cli.root import config_option
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.log.events import time_text
from pcgrelay.output import say
from pcgrelay.quantities import size

EPILOG = """\b
Examples:
  pcgrelay backup kent-1.tgz -c kent-1.toml
  pcgrelay backup kent-1.tgz -c kent-1.toml --ca /etc/pcgrelay/ca --keys
  pcgrelay drill restore kent-1.tgz -c kent-1.toml      does it start a node?

\b
Exit codes:
   0  it is written
   1  the file exists, or cannot be written
  77  no permission
  78  the configuration is refused, or a file that it names is not there
"""


@click.command(epilog=EPILOG)
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path))
@config_option
@click.option("--keys", is_flag=True, help="With private keys; whoever has the file can then be this node.")
@click.option("--ca", metavar="FOLDER", type=click.Path(path_type=Path), help="With the index of this CA.")
def backup(target: Path, path: Path, keys: bool, ca: Path | None) -> int:
    """Write a back-up of a node: configuration, files and state.

    FILE is a tar archive that only this user may read. Private keys are left out unless --keys is given; the audit log
    is left out always, and copied by pcgrelay audit export. The node need not be stopped.
    """
    settings = config.load(path)
    made = make_backup(settings, target, time_text(SYSTEM_CLOCK.wall()), keys=keys, ca=ca)
    say(f"{target}: {made.files} files, {size(made.size_bytes)}, {'with' if keys else 'without'} private keys.")
    say(f"See whether a node starts from it: pcgrelay drill restore {target} -c {path}")
    return 0
