"""pcgrelay run."""

from __future__ import annotations

from pathlib import Path

import click

from pcgrelay.check import refuse_errors, refuse_reload
from pcgrelay.cli.root import config_option
from pcgrelay.gateway.approved_start import starting_policy

EPILOG = """\b
Examples:
  pcgrelay run -c /etc/pcgrelay/pcgrelay.toml
  pcgrelay run -c kent-1.toml --drain 5
  pcgrelay run -c kent-1.toml --take-over

\b
Signals:
  SIGTERM, SIGINT  let open streams end, for at most --drain seconds, then
                   stop; a second one stops at once
  SIGHUP           apply the configuration and its files again, as
                   pcgrelay reload does
  SIGUSR1, SIGUSR2 ignored

One line on standard output says that the node is ready. Logs go to standard error.
"""


@click.command(epilog=EPILOG)
@config_option
@click.option(
    "--drain",
    "drain_s",
    metavar="SECONDS",
    type=click.FloatRange(0, 86_400),
    help="How long open streams may continue after SIGTERM.  [default: 30; with --take-over: as the node before]",
)
@click.option("--take-over", is_flag=True, help="Replace the running node, and continue all its streams.")
@click.option("--detached", is_flag=True, hidden=True, help="With --take-over: write where that node wrote.")
def run(path: Path, drain_s: float | None, take_over: bool, detached: bool) -> int | None:
    """Run a node until it is stopped.

    The configuration is checked first, as by `pcgrelay check`; with an error the node does not start. With --take-over
    it is checked as by `pcgrelay reload`, and after an error the running node continues.
    """
    policy = starting_policy(path, taking_over=take_over)
    if take_over:
        refuse_reload(policy.to_check)
    else:
        for warning in refuse_errors(policy.to_check):
            click.echo(f"pcgrelay: {warning.where}: {warning.sentence} {warning.mend}", err=True)
    # What a node needs is loaded once it is to start: a page of help, or a wrong file, need not wait for it.
    from pcgrelay.daemon import run as daemon  # noqa: PLC0415

    return daemon.run(policy, drain_s, taking_over=take_over, detached=detached)
