"""pcgrelay audit export."""

from __future__ import annotations

from pathlib import Path

import click

from pcgrelay.audit.exporting import export_tiles
from pcgrelay.cli.audit.places import folder_of, log_options
from pcgrelay.cli.root import json_option
from pcgrelay.output import count, counted, print_json, say

EPILOG = """\b
Example:
  pcgrelay audit export --tiles out -c kent-1.toml

\b
Exit codes:
   0  written
   1  the folder is there already, or cannot be written
   2  wrong usage of the command line
   8  the log is not whole; audit verify says where
  77  no permission
  78  no log is there
"""


@click.command(epilog=EPILOG)
@click.option(
    "--tiles", "out", metavar="OUT", required=True, type=click.Path(path_type=Path), help="A folder to be made."
)
@log_options
@json_option
def export(out: Path, folder: Path | None, path: Path | None, as_json: bool) -> None:
    """Write a log as C2SP tlog-tiles has it, for other tools.

    The folder has the newest checkpoint, the tiles of the tree, and the records in bundles, as far as they are signed.
    Any web server can serve it as it is. It has all that the log has: whoever gets it reads who used which service.
    """
    done = export_tiles(folder_of(folder, path), out)
    if as_json:
        print_json({"folder": str(out), "size": done.size, "first": done.first, "files": done.files})
        return
    front = f", without the first {count(done.first)}, which were removed" if done.first else ""
    say(f"{out}: {counted(done.size, 'record')} in {counted(done.files, 'file')}{front}.")
