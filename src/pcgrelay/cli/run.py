"""pcgrelay run."""

from __future__ import annotations

from pathlib import Path

import click

from pcgrelay import config, gateway
from pcgrelay.check import refuse_errors
from pcgrelay.cli.root import config_option

EPILOG = """\b
Examples:
  pcgrelay run -c /etc/pcgrelay/pcgrelay.toml
  pcgrelay run -c kent-1.toml --drain 5

\b
Signals:
  SIGTERM, SIGINT  let open streams end, for at most --drain seconds, then
                   stop; a second one stops at once
  SIGHUP           take the configuration and its files anew, as
                   pcgrelay reload does

One line on standard output says that the node is ready. Logs go to standard error.
"""


@click.command(epilog=EPILOG)
@config_option
@click.option(
    "--drain",
    "drain_s",
    metavar="SECONDS",
    type=click.FloatRange(0, 86_400),
    default=30.0,
    show_default=True,
    help="How long open streams may go on after SIGTERM.",
)
def run(path: Path, drain_s: float) -> int | None:
    """Run a node until it is told to stop.

    The configuration is checked first, as `pcgrelay check` does it; with an error the node does not start.
    """
    settings = config.load(path)
    for warning in refuse_errors(settings):
        click.echo(f"pcgrelay: {warning.where}: {warning.sentence} {warning.mend}", err=True)
    return gateway.run(settings, drain_s)
