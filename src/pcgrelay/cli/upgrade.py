"""pcgrelay upgrade."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from pcgrelay import config
from pcgrelay.cli.root import config_option
from pcgrelay.errors import PcgrelayError

EPILOG = """\b
Examples:
  pcgrelay upgrade -c kent-1.toml       for a node that was started by hand
  systemctl reload pcgrelay@kent-1      for one that a service manager keeps,
                                        with this command as ExecReload=

\b
Exit codes:
   0  the new process has taken over, and the old one has left
   1  it has not; the old one goes on. So it is for a node that a service
      manager keeps, unless the command runs inside of its unit
  77  the same: permissions are wrong
  78  the same: the configuration is wrong

What went wrong is one sentence on standard error. Logs go where those of the old process went.
"""


@click.command(epilog=EPILOG)
@config_option
@click.option(
    "--drain",
    "drain_s",
    metavar="SECONDS",
    type=click.FloatRange(0, 86_400),
    help="How long open streams of the new process may continue after SIGTERM.  [default: as of the old one]",
)
def upgrade(path: Path, drain_s: float | None) -> int:
    """Replace a running node's process with this version of pcgrelay.

    A new process is started. It takes over the listeners, lanes, keys and streams of the running one, which then exits.
    No stream ends; applications notice a pause of some milliseconds. The configuration is applied again, as by
    `pcgrelay reload`.
    """
    config.load(path)
    drain = [] if drain_s is None else ["--drain", str(drain_s)]
    # A launcher that is isolated from the caller's environment and folder starts one that is, too.
    isolated = ["-I"] if sys.flags.isolated else []
    command = [sys.executable, *isolated, "-m", "pcgrelay.cli", "run", "-c", str(path), *drain]
    try:
        # In a session of its own, because it must outlive this command and its terminal.
        process = subprocess.Popen(
            [*command, "--take-over", "--detached"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise PcgrelayError(f"The new process cannot be started ({error.strerror}); the old one goes on.") from None
    assert process.stdout is not None
    # The process closes its output when it ends, and each of its waits has a deadline.
    if process.stdout.readline():
        click.echo(f"The new process {process.pid} has taken over.")
        return 0
    return process.wait() or 1
