"""Runs the controls of a profile one after the other, each test in a task of its own, and sees that nothing is left.

A test that takes too long, raises, or leaves something behind is *broken*: it has shown nothing, and that counts as a
failure. What a test may leave behind is counted before and after it: descriptors of this process, tasks, and files.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from pcgrelay.assure.catalogue import ASKED, Control, Profile
from pcgrelay.assure.facts import Facts
from pcgrelay.assure.judgement import BAD, BROKEN, NOT_HERE, TOLD, AskedError, Judgement, NotHereError
from pcgrelay.assure.scene import Scene
from pcgrelay.assure.tests import LiveTest
from pcgrelay.errors import PcgrelayError
from pcgrelay.files import reason_of

SETTLE_S = 1.0  # so long a descriptor of a thread that was not waited for may take to be closed
DESCRIPTORS = Path("/proc/self/fd")


class Result(Struct, frozen=True, kw_only=True):
    """What came of one control."""

    id: str
    title: str
    test: str
    outcome: str  # of judgement.OUTCOMES
    observed: str
    expected: str
    cure: str
    sources: tuple[str, ...]
    started: datetime
    seconds: float
    question: str = ""  # of one that a person answers

    @property
    def is_bad(self) -> bool:
        """Whether it counts as a failure."""
        return self.outcome in BAD


class Run(Struct, frozen=True, kw_only=True):
    """A whole run. facts: by id of the control, what its reader found."""

    results: tuple[Result, ...]
    facts: Mapping[str, Facts]
    seconds: float


async def run_controls(
    scene: Scene,
    profile: Profile,
    tests: Mapping[str, LiveTest],
    tell: Callable[[Control], None] = lambda control: None,
) -> Run:
    """Run all controls of a profile in their order. tell: called before each."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    results: list[Result] = []
    facts: dict[str, Facts] = {}
    for control in profile.controls:
        tell(control)
        started, mark = scene.clock.wall(), loop.time()
        judgement, found = await _judged(scene, control, tests)
        if found is not None:
            facts[control.id] = found
        results.append(
            Result(
                id=control.id,
                title=control.title,
                test=control.test,
                outcome=judgement.outcome,
                observed=judgement.observed,
                expected=judgement.expected,
                cure=judgement.cure or control.cure,
                sources=control.sources,
                question=control.question if judgement.outcome == TOLD else "",
                started=started,
                seconds=round(loop.time() - mark, 3),
            )
        )
    return Run(results=tuple(results), facts=facts, seconds=round(loop.time() - began, 3))


async def _judged(scene: Scene, control: Control, tests: Mapping[str, LiveTest]) -> tuple[Judgement, Facts | None]:
    role = scene.config.node.role.title.lower()
    if not control.is_for(role):
        return Judgement(outcome=NOT_HERE, observed=f"this is not about a node of the role {role}", expected=""), None
    if control.test == ASKED:
        return _asked(control), None
    test = tests[control.test]
    seconds = scene.parameters.test.seconds * test.times
    before = await _remains(scene.folder)
    try:
        async with asyncio.timeout(seconds):
            found: Facts = await asyncio.create_task(_read(test, scene), name=f"assure {control.id}")
        judgement = test.judge(found, scene.parameters)
    except AskedError as reason:
        judgement, found = _asked(control, str(reason)), Facts()
    except NotHereError as reason:
        judgement, found = Judgement(outcome=NOT_HERE, observed=str(reason), expected=""), Facts()
    except TimeoutError:
        judgement, found = _broken(f"it was not done within {seconds} s"), Facts()
    except PcgrelayError as error:
        judgement, found = _broken(str(error).rstrip(".")), Facts()
    except OSError as error:
        judgement, found = _broken(reason_of(error)), Facts()
    except Exception as error:  # what one test does never costs another
        judgement, found = _broken(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"), Facts()
    if left := await _left_behind(before, scene.folder):
        judgement = _broken(f"the test left behind: {left}")
    return judgement, found if type(found) is not Facts else None


async def _read(test: LiveTest, scene: Scene) -> Facts:
    found: Facts = await test.read(scene)
    return found


def _asked(control: Control, why: str = "") -> Judgement:
    observed = why or "to be told by a person"
    return Judgement(outcome=TOLD, observed=observed, expected=control.question or control.title)


def _broken(observed: str) -> Judgement:
    return Judgement(outcome=BROKEN, observed=observed, expected="the test runs")


# -- what is left behind ---------------------------------------------------------------------------------------------


async def _remains(folder: Path) -> tuple[int, int, int]:
    """Return how many descriptors, tasks and files there are."""
    # One descriptor is that of the listing itself, each time.
    return len(os.listdir(DESCRIPTORS)), len(asyncio.all_tasks()), len(os.listdir(folder))


async def _left_behind(before: Sequence[int], folder: Path) -> str:
    """Return what is there now and was not before, in words; "": nothing."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SETTLE_S
    while True:
        now = await _remains(folder)
        more = [after - then for then, after in zip(before, now, strict=True)]
        words = [f"{n} {noun}" for n, noun in zip(more, ("descriptors", "tasks", "files"), strict=True) if n > 0]
        if not words or loop.time() >= deadline:
            return ", ".join(words)
        await asyncio.sleep(0.02)
