"""pcgrelay dpia."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import suppress
from pathlib import Path

import click
from msgspec import structs

from pcgrelay import config
from pcgrelay.admin.client import read_status
from pcgrelay.admin.status import Status
from pcgrelay.assure.catalogue import load_controls, load_profile
from pcgrelay.assure.dpia import SHOWN_BY
from pcgrelay.assure.dpia import dpia as dpia_page
from pcgrelay.assure.evidence import opened_by
from pcgrelay.assure.judgement import PASSED
from pcgrelay.assure.pack import marking_of
from pcgrelay.assure.runner import run_controls
from pcgrelay.assure.scene import Scene
from pcgrelay.assure.tests import TESTS
from pcgrelay.cli.root import config_option
from pcgrelay.errors import PcgrelayError, UsageProblem
from pcgrelay.files import write_new

EPILOG = """\b
Example:
  pcgrelay dpia -c kent-1.toml --out dpia.md

\b
Its first sentence says that the gateway keeps no personal data, and is there
only if control M6 passed just now: a marker that was sent through a stream is
found in no log, record or metric. Without [assure] probe that is told by a
person, and the page says that it was not shown.

\b
Exit codes:
   0  the page is written, with the sentence or without it
   1  the file is there already, or cannot be written
  77  refused: permissions are wrong
  78  the configuration is refused
"""


@click.command(epilog=EPILOG)
@config_option
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="A file to be made; else it is printed.")
@click.option("--marking", metavar="TEXT", default="", help="On the page; else the highest of what the node serves.")
def dpia(path: Path, out: Path | None, marking: str) -> int:
    """Write what a node keeps, for a data protection impact assessment.

    Each place where anything is kept: what it is, whose, how long, and who may read it. Files that the node has open
    are looked at too: run it as root or as the node's user.
    """
    if len(marking) > 60 or not marking.isprintable():
        raise UsageProblem("--marking is at most 60 characters on one line.")
    settings = config.load(path)
    controls = load_controls(TESTS)
    profile = load_profile("ncsc-official", controls)
    with tempfile.TemporaryDirectory(prefix="pcgrelay-dpia-") as folder:
        scene = Scene(settings, profile.parameters, Path(folder))
        alone = structs.replace(profile, controls=(controls[SHOWN_BY],))
        done = asyncio.run(run_controls(scene, alone, TESTS))
        now = scene.clock.wall()
    status: Status | None = None
    with suppress(PcgrelayError):
        status = read_status(settings.node.admin)
    is_shown = all(each.outcome == PASSED for each in done.results)
    text = dpia_page(settings, status, opened_by(scene), now, marking or marking_of(settings), is_shown=is_shown)
    if out is None:
        click.echo(text, nl=False)
    else:
        write_new(out, text.encode())
    return 0
