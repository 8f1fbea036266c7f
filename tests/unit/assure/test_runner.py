"""The harness: each test in a task of its own, with a deadline, and what it leaves behind is found."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pcgrelay.assure.catalogue import Control, Profile
from pcgrelay.assure.facts import Facts
from pcgrelay.assure.judgement import AskedError, Judgement, NotHereError, passed
from pcgrelay.assure.parameters import Parameters, RunParameters
from pcgrelay.assure.runner import Result, Run, run_controls
from pcgrelay.assure.scene import Pace, Scene
from pcgrelay.assure.tests import LiveTest
from pcgrelay.config import parse
from pcgrelay.errors import RunError

CONFIG = """\
[node]
name = "kent-1"
organisation = "kent.police.example"
realm = "police.example"
role = "edge"
admin = "kent-1.sock"
[identity]
certificate = "kent-1.pem"
key = "kent-1.key"
trust = "ca.pem"
[[link]]
peer = "relay-1.hub.example"
address = "127.0.0.1:7400"
"""
PARAMETERS = Parameters(test=RunParameters(seconds=1))


def control(id: str = "X1", test: str = "probe", applies: str = "any") -> Control:
    return Control(
        id=id,
        title="A title",
        test=test,
        sources=("a source",),
        applies=applies,  # type: ignore[arg-type]
        cure="mend it",
        reviewed="2026-11",
        question="Who?",
    )


async def run(folder: Path, *read: Callable[[Scene], Awaitable[Facts]], control: Control | None = None) -> Run:
    made = control or globals()["control"]()
    names = [f"probe{number}" for number in range(len(read))] or ["probe"]
    tests = {name: LiveTest(each, judge) for name, each in zip(names, read, strict=False)}
    controls = tuple(_named(made, f"X{n + 1}", name) for n, name in enumerate(names)) if read else (made,)
    profile = Profile(
        name="p", title="p", reviewed="2026-11", confirmed_by="", controls=controls, parameters=PARAMETERS
    )
    return await run_controls(Scene(parse(CONFIG, Path("kent-1.toml")), PARAMETERS, folder), profile, tests)


def _named(made: Control, id: str, test: str) -> Control:
    return control(id, test, made.applies)


def judge(facts: Facts, parameters: Parameters) -> Judgement:
    return passed("seen", "expected")


async def one(folder: Path, read: Callable[[Scene], Awaitable[Facts]]) -> Result:
    return (await run(folder, read)).results[0]


async def good(scene: Scene) -> Facts:
    return Facts()


async def test_what_is_good_passes(tmp_path: Path) -> None:
    result = await one(tmp_path, good)
    assert (result.outcome, result.observed, result.cure) == ("passed", "seen", "mend it")
    assert not result.is_bad


async def test_a_test_that_takes_too_long_is_broken(tmp_path: Path) -> None:
    async def slow(scene: Scene) -> Facts:
        await asyncio.sleep(60)
        return Facts()

    result = await one(tmp_path, slow)
    assert (result.outcome, result.observed) == ("broken", "it was not done within 1 s")
    assert result.is_bad


@pytest.mark.parametrize(
    ("error", "outcome", "said"),
    [
        (RunError("It cannot be done."), "broken", "It cannot be done"),
        (ConnectionRefusedError(111, "Connection refused"), "broken", "connection refused"),
        (ZeroDivisionError("oh"), "broken", "ZeroDivisionError: oh"),
        (NotHereError("there is none here"), "not here", "there is none here"),
    ],
)
async def test_what_a_test_raises_costs_no_other(tmp_path: Path, error: Exception, outcome: str, said: str) -> None:
    async def bad(scene: Scene) -> Facts:
        raise error

    done = await run(tmp_path, bad, good)
    assert [each.outcome for each in done.results] == [outcome, "passed"]
    assert done.results[0].observed == said


async def test_what_a_test_leaves_behind_is_found(tmp_path: Path) -> None:
    kept: list[object] = []

    async def descriptor(scene: Scene) -> Facts:
        kept.append(os.open("/dev/null", os.O_RDONLY))
        return Facts()

    async def file(scene: Scene) -> Facts:
        (scene.folder / "left").write_text("x")
        return Facts()

    async def task(scene: Scene) -> Facts:
        kept.append(asyncio.create_task(asyncio.sleep(30)))
        return Facts()

    done = await run(tmp_path, descriptor, file, task)
    assert [each.outcome for each in done.results] == ["broken"] * 3
    assert [each.observed for each in done.results] == [
        f"the test left behind: 1 {noun}" for noun in ("descriptors", "files", "tasks")
    ]
    os.close(kept[0])  # type: ignore[arg-type]
    kept[1].cancel()  # type: ignore[attr-defined]


async def test_a_control_of_relays_is_not_here_at_an_edge(tmp_path: Path) -> None:
    done = await run(tmp_path, good, control=control(applies="relay"))
    assert done.results[0].outcome == "not here"


async def test_what_is_told_has_its_question(tmp_path: Path) -> None:
    done = await run(tmp_path, control=control(test="told"))
    assert (done.results[0].outcome, done.results[0].question) == ("told", "Who?")


async def test_at_most_so_many_handshakes_in_a_second() -> None:
    pace, loop = Pace(50), asyncio.get_running_loop()
    began = loop.time()
    await asyncio.gather(*(pace.turn() for _ in range(6)))
    assert loop.time() - began >= 5 / 50 - 0.001


async def test_a_test_may_ask_a_person_instead(tmp_path: Path) -> None:
    async def asking(scene: Scene) -> Facts:
        raise AskedError

    result = (await run(tmp_path, asking)).results[0]
    assert (result.outcome, result.question) == ("told", "Who?")
