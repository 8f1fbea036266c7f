"""pcgrelay demo."""

from __future__ import annotations

from pathlib import Path

import click

from pcgrelay.cli.root import json_option
from pcgrelay.errors import UsageProblem

EPILOG = """\b
Examples:
  pcgrelay demo               real traffic, a table, and all is gone again
  pcgrelay demo --keep        stays up, with addresses for curl, until Ctrl-C
  pcgrelay demo --fleet       the same with a store of three members, an etcd
  pcgrelay demo --cutover     a service moves from an old network to the
                              gateway, a fault comes, and nobody notices
  pcgrelay demo --cutover --by-hand realm    the same; you move it

\b
Exit codes:
   0  everything was moved, and no relay held it in the clear;
      --cutover: the service moved, and no connection failed
   1  something failed, or a relay did; --out or --listen cannot be used;
      --fleet: etcd is not installed
   2  wrong usage of the command line
  77  this user may not read the memory of its own processes, or may not
      write where --out says
"""


@click.command(epilog=EPILOG)
@click.option("--keep", is_flag=True, help="Stay up, and print what to try.")
@click.option("--fleet", "with_fleet", is_flag=True, help="Start a store of three members, which the nodes share, and "
              "show the fleet. etcd has to be installed.")  # fmt: skip
@click.option("--cutover", "is_cutover", is_flag=True, help="Move a service from an old network to the gateway.")
@click.option("--out", metavar="FOLDER", type=click.Path(path_type=Path), help="With --cutover: where the report is "
              "written, a new folder; unless said, cutover-report-DATE-TIME here.")  # fmt: skip
@click.option("--listen", metavar="ADDRESS:PORT", default="", help="With --cutover: where the Met's applications "
              "connect, on the loopback device; unless said, a free port.")  # fmt: skip
@click.option("--by-hand", "by_hand", metavar="FOLDER", type=click.Path(path_type=Path), help="With --cutover: move "
              "nothing; you do, by the commands of the README. The realm's files are in FOLDER, a new one, until "
              "Ctrl-C.")  # fmt: skip
@click.option("--quick", is_flag=True, help="With --cutover: three steps and short soaks, about half a minute.")
@json_option
def demo(
    keep: bool,
    with_fleet: bool,
    is_cutover: bool,
    out: Path | None,
    listen: str,
    by_hand: Path | None,
    quick: bool,
    as_json: bool,
) -> int | None:
    """Run a whole realm on this machine, for demonstration.

    Two relays and three organisations on loopback, in a temporary folder, with real traffic between them. Shows how
    much was moved, how fast and under which suite, and that the relays never held it in the clear.

    --cutover shows instead how a service moves from an old network to the gateway, step by step, while an application
    connects all the time: a fault at 25 percent, the way back by itself, the second try, and the report.
    """
    given = {"--out": out is not None, "--listen": bool(listen), "--by-hand": by_hand is not None, "--quick": quick}
    # Each form is loaded when it is asked for.
    if not is_cutover:
        if option := next((name for name, is_given in given.items() if is_given), ""):
            raise UsageProblem(f"{option} belongs to --cutover; write: pcgrelay demo --cutover {option}")
        from pcgrelay import demo as demonstration  # noqa: PLC0415

        return demonstration.run(keep=keep, with_fleet=with_fleet, as_json=as_json)
    if with_fleet:
        raise UsageProblem("--fleet is about another demonstration than --cutover; leave one of them out.")
    from pcgrelay.demo import cutover  # noqa: PLC0415

    if by_hand is None:
        return cutover.run(out=out, listen=listen, quick=quick, keep=keep, as_json=as_json)
    given["--keep"] = keep
    if option := next((name for name in ("--out", "--quick", "--keep") if given[name]), ""):
        raise UsageProblem(f"{option} means nothing with --by-hand, where you move the service; leave it out.")
    return cutover.run_by_hand(folder=by_hand, listen=listen, as_json=as_json)
