"""pcgrelay drill: a back-up, a relay or a network is put to the test on purpose.

`hold` begins a drill and waits for its end, `restore` is one that needs no node, `listing` shows what was held, `shown`
makes lines of a record.
"""

from __future__ import annotations

import click

from pcgrelay.cli.root import CONTEXT, LazyGroup

# Command: its module and its line in the help, which is here so that the help loads no command.
COMMANDS = {
    "backup": ("pcgrelay.cli.drill.hold:backup", "Have new streams take a back-up for a while."),
    "relay-loss": ("pcgrelay.cli.drill.hold:relay_loss", "Lose a relay on purpose, and see how streams go on."),
    "bearer-loss": ("pcgrelay.cli.drill.hold:bearer_loss", "Lose a network on purpose, and see how streams go on."),
    "restore": ("pcgrelay.cli.drill.restore:restore", "Restore a back-up elsewhere, and check and compare it."),
    "stop": ("pcgrelay.cli.drill.hold:stop", "Stop the drill that runs; all is as before at once."),
    "list": ("pcgrelay.cli.drill.listing:list_all", "List what was held, and what is due."),
    "report": ("pcgrelay.cli.drill.listing:report", "Show one drill."),
}

EPILOG = """\b
Examples:
  pcgrelay drill backup custody --for 10m -c met-1.toml
  pcgrelay drill relay-loss relay-1.hub.example --for 60s -c met-1.toml
  pcgrelay drill bearer-loss psn --yes -c met-1.toml
  pcgrelay drill restore met-1.tgz -c met-1.toml
  pcgrelay drill list -c met-1.toml

\b
Exit codes:
   0  passed, or shown
   1  failed, stopped, or refused at run time
   2  wrong usage of the command line
   3  the node does not answer
   6  a rule does not allow it, or another node of the organisation is being
      changed; nothing was done
  77  no permission
  78  the node has no folder for state ([node] state)
 130  interrupted; the drill was stopped
"""


@click.group(cls=LazyGroup, lazy=COMMANDS, epilog=EPILOG, context_settings=CONTEXT)
def drill() -> None:
    """Put a back-up, a relay or a network to the test.

    A back-up that is not used is none. A drill says beforehand what it touches, refuses if something would be lost,
    stops itself if it goes wrong, and leaves a record. One is held at a time. With [fleet] it holds the lock of the
    organisation meanwhile.
    """
