"""pcgrelay audit restart."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import click

from pcgrelay import config
from pcgrelay.admin.audit_answers import AUDIT_RESTART_PATH, AuditRestartAnswer
from pcgrelay.admin.client import ask
from pcgrelay.cli.root import config_option, json_option
from pcgrelay.output import print_json, say

RESTART_S = 20.0
EPILOG = """\b
Example:
  pcgrelay audit restart --reason "disk restored, CR-1042" -c kent-1.toml

\b
Exit codes:
   0  a new log has begun
   1  refused at run time: the log is whole, or cannot be moved
   2  wrong usage of the command line
   3  the node does not answer
   6  refused by a rule: with [approvals] others sign for it
  77  no permission
"""


@click.command(epilog=EPILOG)
@click.option("--reason", metavar="TEXT", required=True, help="Why; it is the second record of the new log.")
@click.option("--by", metavar="NAME", default="", help="Who you are, beside the user that the system names.")
@config_option
@json_option
def restart(reason: str, by: str, path: Path, as_json: bool) -> int:
    """Begin a new log, because the old one cannot be signed any more.

    A log never signs two histories. If records are gone that were signed, or a witness has a head that the log has not,
    the node signs nothing until somebody says why. The old log stays beside the new one, which has keys of its own, and
    whose second record names the head of the old one. Witnesses tell of it.
    """
    words = urlencode({"reason": reason, "by": by})
    admin = config.admin_path(path)
    answer = ask(admin, "POST", f"{AUDIT_RESTART_PATH}?{words}", AuditRestartAnswer, RESTART_S)
    if as_json:
        print_json(answer)
    elif answer.ok:
        say("A new audit log has begun; the old one is beside it, in old-....")
    else:
        say(f"pcgrelay: {answer.reason}", err=True)
    return answer.exit_code
