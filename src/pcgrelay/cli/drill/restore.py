"""pcgrelay drill restore."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import urlencode

import click
import msgspec

from pcgrelay import config
from pcgrelay.admin.client import ask
from pcgrelay.admin.drill_answers import DRILL_PATH, DrillAnswer
from pcgrelay.cli.root import config_option, json_option
from pcgrelay.drills.record import FAILED, PASSED, RESTORE, DrillRecord
from pcgrelay.errors import PcgrelayError, RunError
from pcgrelay.output import print_json, say
from pcgrelay.restoring import SAME
from pcgrelay.restoring import restore as restored_from

TELL_S = 20.0


@click.command(epilog="\b\nExample:\n  pcgrelay drill restore met-1.tgz -c met-1.toml")
@click.argument("archives", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@config_option
@click.option("--by", metavar="NAME", default="", help="Who you are, beside the user that the system names.")
@click.option("--reason", metavar="TEXT", default="", help="Why, for whoever asks later.")
@json_option
def restore(archives: tuple[Path, ...], path: Path, by: str, reason: str, as_json: bool) -> int:
    """Restore a back-up into an empty folder, and see whether a node could start from it.

    FILE is a tar archive of the configuration, the files that it names, and the folder of state; several are unpacked
    over each other. What they hold is checked and compared with what is in force. Nothing of the node is touched; if it
    runs, it keeps the record.
    """
    began = time.monotonic()
    found = restored_from(archives, path)
    result = FAILED if found.problem else PASSED
    took_s = round(time.monotonic() - began, 3)
    said = {"result": result, "sentence": found.sentence[:1_000], "took_s": str(took_s), "by": by, "reason": reason}
    answer = _told(path, said, found.files)
    record = answer.record or DrillRecord(
        id="", kind=RESTORE, subject="", node="", begun="", result=result, sentence=found.sentence, files=found.files
    )
    if as_json:
        print_json(record)
    else:
        for file in found.files:
            if file.outcome != SAME:
                say(f"  {file.name.ljust(24)}{file.outcome}")
        say(f"{result.capitalize()}: {found.sentence}.")
        say(f"Record: {record.id}" if record.id else f"No record is kept: {answer.reason}")
    return 0 if result == PASSED else RunError.exit_code


def _told(path: Path, query: dict[str, str], files: tuple[object, ...]) -> DrillAnswer:
    """Have the node keep the record, if it runs."""
    words = urlencode({"act": "restored", **query})
    try:
        admin = config.admin_path(path)
        return ask(admin, "POST", f"{DRILL_PATH}?{words}", DrillAnswer, TELL_S, body=msgspec.json.encode(files))
    except PcgrelayError as error:
        return DrillAnswer(reason=str(error), exit_code=error.exit_code)
