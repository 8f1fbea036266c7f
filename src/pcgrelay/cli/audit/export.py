"""pcgrelay audit export."""

from __future__ import annotations

from pathlib import Path

import click

from pcgrelay.admin.audit_answers import AUDIT_EXPORTED_PATH
from pcgrelay.audit.exporting import export_tiles
from pcgrelay.audit.history import read_newest
from pcgrelay.audit.segments import segments_of
from pcgrelay.cli.audit.on_record import check_texts, put_on_record
from pcgrelay.cli.audit.places import by_options, folder_of, log_options
from pcgrelay.cli.root import json_option
from pcgrelay.files import refuse_present
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
@by_options
@json_option
def export(out: Path, folder: Path | None, path: Path | None, by: str, reason: str, as_json: bool) -> None:
    """Write a log as C2SP tlog-tiles has it, for other tools.

    The folder has the newest checkpoint, the tiles of the tree, and the records in bundles, as far as they are signed.
    Any web server can serve it as it is. It has all that the log has: whoever gets it reads who used which service.

    An export is itself put on record by the node, if it runs and -c names it.
    """
    check_texts(by, reason)
    place = folder_of(folder, path)
    refuse_present(out)
    segments, newest = segments_of(place), read_newest(place)
    first, size = segments[0].first if segments else 0, newest.checkpoint.size if newest else 0
    said = {"kind": "tiles", "first": str(first), "last": str(max(first, size - 1)), "by": by, "reason": reason}
    told = put_on_record("export", AUDIT_EXPORTED_PATH, said, path, place)
    done = export_tiles(place, out)
    if as_json:
        facts = {"folder": str(out), "size": done.size, "first": done.first, "files": done.files}
        print_json({**facts, "on_record": told.number})
        return
    front = f", without the first {count(done.first)}, which were removed" if done.first else ""
    say(f"{out}: {counted(done.size, 'record')} in {counted(done.files, 'file')}{front}.")
    say(told.sentence)
