"""pcgrelay page."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
from pathlib import Path

import click

from pcgrelay import config
from pcgrelay.cli.root import config_option
from pcgrelay.errors import UsageProblem
from pcgrelay.output import say

EPILOG = """\b
Examples:
  pcgrelay page -c met-1.toml
  pcgrelay page -c met-1.toml --listen 127.0.0.1:9000

\b
From another machine, without this command:
  ssh -L 8080:/run/pcgrelay/met-1.sock met-1
  and open http://localhost:8080/cutover

\b
Exit codes:
   0  it was ended by Ctrl-C or SIGTERM
   1  the port is taken
   2  the address is not one of loopback
  78  the configuration names no admin socket
"""


@click.command(epilog=EPILOG)
@config_option
@click.option(
    "--listen",
    metavar="ADDRESS:PORT",
    default="127.0.0.1:8080",
    show_default=True,
    help="Where a browser finds it; loopback alone. Port 0 is any.",
)
def page(path: Path, listen: str) -> int:
    """Show the cut-overs of a running node to a browser on this machine.

    Nothing can be changed from a page. It shows what this user may read of the node, to every user of this machine.
    """
    host, port = _loopback(listen)
    admin = config.admin_path(path)
    # No other command waits for the server to be loaded.
    from pcgrelay.admin.page_server import PageServer  # noqa: PLC0415

    async def shown() -> None:
        server = PageServer(admin, host, port)
        stopping = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        await server.start()
        try:
            say(f"http://{server.address}/cutover")
            await stopping.wait()
        finally:
            await server.stop()

    asyncio.run(shown())
    return 0


def _loopback(text: str) -> tuple[str, int]:
    """Return host and port. UsageProblem: they are no address of loopback."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        raise UsageProblem(f"--listen {text}: write a number and a port, as 127.0.0.1:8080 or [::1]:8080.") from None
    if not number.is_loopback:
        raise UsageProblem(f"--listen {text}: pages are shown on loopback alone; use ssh -L from another machine.")
    if not (port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65_536):
        raise UsageProblem(f"--listen {text}: the port is a number up to 65535.")
    return host, int(port)
