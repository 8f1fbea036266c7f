"""pcgrelay audit: a log of decisions is examined, proved and read.

`places` finds the log and whom to trust, `on_record` tells the node of what is done with it, `shown` makes lines of a
report, the others are commands. None but `restart`
needs a running node, and none writes below the folder of a log.
"""

from __future__ import annotations

import click

from pcgrelay.cli.root import CONTEXT, LazyGroup

# Command: its module and its line in the help, which is here so that the help loads no command.
COMMANDS = {
    "verify": ("pcgrelay.cli.audit.verify:verify", "Examine a whole log: was anything changed, and who says so."),
    "prove": ("pcgrelay.cli.audit.proofs:prove", "Print a proof of one record, for somebody without the log."),
    "check": ("pcgrelay.cli.audit.proofs:check", "Check such a proof, without the log."),
    "query": ("pcgrelay.cli.audit.query:query", "Who used a service, and who had allowed it."),
    "policy": ("pcgrelay.cli.audit.policy:policy", "Print the keys of a log and its witnesses, to be kept elsewhere."),
    "export": ("pcgrelay.cli.audit.export:export", "Write a log as C2SP tiles, for other tools."),
    "restart": ("pcgrelay.cli.audit.restart:restart", "Begin a new log, because the old one cannot be signed."),
}

EPILOG = """\b
Examples:
  pcgrelay audit verify -c kent-1.toml
  pcgrelay audit verify /media/kent-1/audit --trust ca.pem
  pcgrelay audit query --service custody@kent.police.example \\
      --from 2026-11-03T02:00Z --to 2026-11-03T04:00Z -c kent-1.toml
  pcgrelay audit prove 8841273 -c kent-1.toml > 8841273.tlog-proof
  pcgrelay audit check 8841273.tlog-proof --policy realm.policy

\b
Exit codes:
   0  whole, proved, or shown
   1  failed at run time
   2  wrong usage of the command line
   4  verify: nothing is changed, and nothing says whose log it is or that
      enough witnesses have seen it
   8  something is not as it was signed, or a proof does not hold
  77  no permission
  78  no log is there, or a file that was named cannot be used
"""


@click.group(cls=LazyGroup, lazy=COMMANDS, epilog=EPILOG, context_settings=CONTEXT)
def audit() -> None:
    """Examine, prove and read the audit log of a node.

    A node with [audit] keeps a log in which a later change shows: each record is a leaf of a tree, whose head the node
    and its neighbours sign. Whoever has a copy of the folder can examine it, years later and without the node.
    """
