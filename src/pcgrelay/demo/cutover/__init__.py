"""A service moves from an old network to the gateway, on this machine, in a minute, with a fault that nobody notices.

Real nodes, real commands, and applications that connect all the time. All is in one temporary folder and in child
processes, which are removed at the end, however it ends; what stays is the report. All output was measured in this run.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path

from msgspec import structs
from rich.console import Console

from pcgrelay.demo.cutover.course import Course
from pcgrelay.demo.cutover.drawing import measured_lines, shares
from pcgrelay.demo.cutover.measured import Measured, noticed, problems_of, stages_of
from pcgrelay.demo.cutover.operator import LOOKED_EVERY_S
from pcgrelay.demo.cutover.pace import QUICK, WHOLE, Pace
from pcgrelay.demo.cutover.paper import refuse_folder, written
from pcgrelay.demo.cutover.realm import MET
from pcgrelay.demo.cutover.stage import Stage, prepared, ready
from pcgrelay.demo.cutover.telling import Telling
from pcgrelay.demo.cutover.watch import Watch
from pcgrelay.demo.ending import Ending
from pcgrelay.demo.folders import room
from pcgrelay.errors import PcgrelayError
from pcgrelay.output import print_json, terminal


def run(*, out: Path | None, listen: str, quick: bool, keep: bool, as_json: bool) -> int:
    """Move the service; return the exit code: 1 if anything was not as it should be. Ctrl-C ends it at any point."""
    console = _console(as_json)
    folder = out or Path(f"cutover-report-{datetime.now().astimezone():%Y%m%d-%H%M%S}")
    refuse_folder(folder)
    with Ending() as ending, ExitStack() as stack:
        made = prepared(console, listen, stack)
        with ending.may_come():
            found = _moved(made, QUICK if quick else WHOLE, folder)
        if as_json:
            print_json(found)
            sys.stdout.flush()
        elif keep:
            _say_where(made)
        if keep:
            with suppress(KeyboardInterrupt), ending.may_come():  # here it is the normal end
                made.realm.watch()
    console.print(f"Every process has ended, and {made.realm.folder} is removed. The report is in {folder}.")
    return 0 if found.ok else 1


def run_by_hand(*, folder: Path, listen: str, as_json: bool) -> int:
    """Have somebody else move the service, until Ctrl-C; return the exit code: 1 if a connection failed."""
    console = _console(as_json)
    with Ending() as ending, ExitStack() as stack:
        made = prepared(console, listen, stack, folder)
        with ending.may_come():
            ready(made)
            _say_how(made, folder)
            watch = _watch(made)
        with suppress(KeyboardInterrupt), ending.may_come():  # here it is the normal end
            _watched(made, watch)
        told, others = watch.look(), made.others
        made.traffic.stop()
        arrived = told.phase in ("arrived", "quiet", "retired")
        counted = Measured(others=others, arrived=arrived, lost=told.lost, moved=told.moved, waited_ms=told.waited_ms)
        found = _closed(made, watch, counted)
        problems = tuple(noticed(found))
        found = structs.replace(found, ok=not problems, problems=problems)
        if as_json:
            print_json(found)
        else:
            _print(made.telling, found, with_end=True)
    return 0 if found.ok else 1


def _console(as_json: bool) -> Console:
    return Console(file=sys.stderr, quiet=True) if as_json else terminal()


def _watch(made: Stage) -> Watch:
    return Watch(made.telling, made.operator, made.realm, made.met)


def _moved(made: Stage, pace: Pace, folder: Path) -> Measured:
    """The course, the report and the tables."""
    telling = made.telling
    ready(made)
    watch = _watch(made)
    course = Course(telling, made.realm, made.traffic, made.met, made.operator, watch, pace)
    try:
        with room(made.realm.folder):
            course.go()
        telling.command(f"cutover report custody --out {folder}")
        report = written(made.operator, made.realm, folder)
        telling.say(f"The report in two parts, with SHA256SUMS: {folder}")
        others = made.others
        made.traffic.stop()
    except PcgrelayError:
        # If a node has ended, that is the cause, whatever was noticed first.
        made.realm.refuse_dead()
        _print(telling, _closed(made, watch, course.found), with_end=False)
        raise
    found = _closed(made, watch, structs.replace(course.found, report=report, others=others))
    problems = tuple(problems_of(found))
    found = structs.replace(found, ok=not problems, problems=problems)
    _print(telling, found, with_end=True)
    return found


def _watched(made: Stage, watch: Watch) -> None:
    """Tell what the node decides, and what applications see, for ever. RunError: a node has ended."""
    faults = 0
    while True:
        made.realm.refuse_dead()
        made.traffic.refuse_ended()
        with suppress(PcgrelayError):  # the node may be busy, or in an upgrade
            watch.look()
        for fault in made.faults[faults:]:
            made.telling.say(f"An application saw: {fault}.", "bold red")
        faults = len(made.faults)
        time.sleep(LOOKED_EVERY_S)


def _closed(made: Stage, watch: Watch, found: Measured) -> Measured:
    telling = made.telling
    end_s = telling.began_s + telling.seconds
    stages = stages_of(list(made.met.seen), watch.moments, telling.began_s, end_s)
    return structs.replace(found, stages=tuple(stages), faults=made.faults, total_s=round(telling.seconds, 1))


def _print(telling: Telling, found: Measured, *, with_end: bool) -> None:
    console = telling.console
    if any(stage.connections for stage in found.stages):
        console.print()
        for line in shares(found.stages, console.width):
            console.print(line)
    if with_end:
        console.print()
        for line in measured_lines(found, console.width):
            console.print(line)


def _say_where(made: Stage) -> None:
    """What to look at while it stays up."""
    console, config = made.telling.console, made.realm.met.config
    console.print()
    console.print("The realm stays up until Ctrl-C; the applications have ended. In another terminal:")
    for words in ("cutover status custody", "quiet", "page"):
        console.print(f"  pcgrelay {words} -c {config}", soft_wrap=True)


def _say_how(made: Stage, folder: Path) -> None:
    """What to type, where nobody moves it by itself."""
    console, door = made.telling.console, made.realm.doors[MET]
    made.telling.say("It is yours to move. What the node decides is told here; Ctrl-C ends everything.", "bold")
    console.print()
    console.print(f"Applications connect to {door[0]}:{door[1]}. In another terminal, in this folder:")
    for words in (
        f"export PCGRELAY_CONFIG={folder / 'met-1.toml'}",
        "pcgrelay cutover rehearse custody",
        "pcgrelay cutover --help",
    ):
        console.print(f"  {words}", soft_wrap=True)
    console.print()
