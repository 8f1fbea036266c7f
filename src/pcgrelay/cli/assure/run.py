"""pcgrelay assure run."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from pcgrelay import config
from pcgrelay.assure.catalogue import ASKED, Control, Profile, load_controls, load_profile, out_of_review
from pcgrelay.assure.evidence import gather
from pcgrelay.assure.judgement import BAD, BROKEN, FAILED, NOT_HERE, PASSED, TOLD
from pcgrelay.assure.pack import check_room, marking_of, pack_files, write_pack
from pcgrelay.assure.runner import Result, Run, run_controls
from pcgrelay.assure.scene import Scene
from pcgrelay.assure.seal import seal, witnesses_of
from pcgrelay.assure.tests import TESTS
from pcgrelay.cli.root import config_option, json_option
from pcgrelay.errors import PcgrelayError, UsageProblem
from pcgrelay.output import print_json, say
from pcgrelay.printable import printable

# Evidence that does not hold.
CHANGED = 8
WIDTH = 80
BELOW = " " * 10
WITNESSES_SHOWN = 4

EPILOG = """\b
Examples:
  pcgrelay assure run -c kent-1.toml
  pcgrelay assure run -c kent-1.toml --out evidence
  pcgrelay assure run -c kent-1.toml --profile kent.toml --out evidence

\b
Exit codes:
   0  no control failed
   1  the pack cannot be written
   8  a control failed, or its test could not run
  77  no permission
  78  the configuration or the profile is refused
"""


@click.command(epilog=EPILOG)
@config_option
@click.option("--profile", metavar="NAME|FILE", default="ncsc-official", show_default=True, help="Which controls.")
@click.option("--out", metavar="FOLDER", type=click.Path(path_type=Path), help="Write a pack into a folder to be made.")
@click.option("--part", type=click.Choice(["1", "2"]), default="2", help="1: outcomes alone, to be published.")
@click.option("--marking", metavar="TEXT", default="", help="On each page; else the highest of what the node serves.")
@click.option("--disrupt", is_flag=True, help="Let tests take a link away for a moment.")
@json_option
def run(path: Path, profile: str, out: Path | None, part: str, marking: str, disrupt: bool, as_json: bool) -> int:
    """Test the controls of a profile at a running node on this machine, and write a pack of evidence.

    Tests only read, and make ordinary handshakes with the node's own listeners, at most five in a second, from the
    address 127.6.6.6. Run it as root or as the node's user.
    """
    if len(marking) > 60 or not marking.isprintable():
        raise UsageProblem("--marking is at most 60 characters on one line.")
    settings = config.load(path)
    chosen = load_profile(profile, load_controls(TESTS))
    if out is not None:
        check_room(out)
    sealed = ""
    with tempfile.TemporaryDirectory(prefix="pcgrelay-assure-") as folder:
        scene = Scene(settings, chosen.parameters, Path(folder), disrupt=disrupt)
        started = scene.clock.wall()
        done = asyncio.run(run_controls(scene, chosen, TESTS, _telling(as_json)))
        if out is not None:
            evidence = gather(scene, chosen, done, started, marking or marking_of(settings))
            write_pack(out, pack_files(evidence, int(part)))
            sealed = _sealed(settings, out, chosen, done)
    if as_json:
        print_json({"profile": chosen.name, "seconds": done.seconds, "results": done.results})
    else:
        print_run(settings.node.id.dotted, chosen, done)
        if out is not None:
            say("")
            for line in click.wrap_text(sealed, WIDTH).splitlines():
                say(line)
    return CHANGED if any(each.is_bad for each in done.results) else 0


def _sealed(settings: config.Config, out: Path, profile: Profile, done: Run) -> str:
    """Seal a pack that was written, and return the sentence about it; without a seal it stays as it is."""
    if sys.stderr.isatty():
        click.echo("\r\x1b[KWaiting for the audit log to sign the seal: a minute at most", err=True, nl=False)
    try:
        proof = asyncio.run(seal(settings, out, profile, done.results))
    except PcgrelayError as error:
        words = str(error).rstrip(".")
        return f"{out}: the pack. It is not sealed: {words[:1].lower()}{words[1:]}."
    finally:
        if sys.stderr.isatty():
            click.echo("\r\x1b[K", err=True, nl=False)
    by = ", ".join(witnesses_of(proof.note)[:WITNESSES_SHOWN])
    return (
        f"{out} is sealed: record {proof.index:,} of the audit log, {f'witnessed by {by}' if by else 'not witnessed'}."
    )


def _telling(as_json: bool) -> Callable[[Control], None]:
    """Show on a terminal which control is under test; in a pipe nothing."""
    if as_json or not sys.stderr.isatty():
        return lambda control: None

    def tell(control: Control) -> None:
        click.echo(f"\r\x1b[K{printable(f'{control.id}  {control.title}'[: WIDTH - 1])}", err=True, nl=False)

    return tell


def print_run(node: str, profile: Profile, done: Run) -> None:
    """Print the table of a run: counts, and a line for each control that needs somebody."""
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", err=True, nl=False)
    say(f"{node}, profile {profile.title} ({len(profile.controls)} controls), {done.seconds:.0f} s")
    say(f"Confirmed by: {profile.confirmed_by or 'not yet confirmed by an assurer'}")
    if old := out_of_review(profile, done.results[0].started.date()):
        for line in click.wrap_text(f"Out of review: {', '.join(old)}", WIDTH, "", "  ").splitlines():
            say(line)
    say("")
    for outcome in (PASSED, FAILED, BROKEN, TOLD, NOT_HERE):
        found = [each for each in done.results if each.outcome == outcome]
        if outcome == BROKEN and not found:
            continue
        word = "to be told" if outcome == TOLD else outcome
        head = f"  {word:<12}{len(found):>3}"
        if outcome == TOLD and found:
            ids = ", ".join(each.id for each in found)
            for line in click.wrap_text(ids, WIDTH, f"{head}    ", " " * (len(head) + 4)).splitlines():
                say(line)
        else:
            say(head)
        for each in found:
            if outcome in BAD:
                _print_lines(each, each.observed, f"-> {each.cure}")
            elif outcome == TOLD and each.test != ASKED:
                # A machine could know it, and here it does not.
                _print_lines(each, each.observed)


def _print_lines(result: Result, *below: str) -> None:
    lines = [(f"{result.id:<4}{result.title}", "      "), *((text, BELOW) for text in below)]
    for text, indent in lines:
        for line in click.wrap_text(printable(text), WIDTH, indent, BELOW).splitlines():
            say(line)
