"""Where targets lead while a name service answers, errs, or says nothing; in virtual time."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from msgspec import structs

from pcgrelay.config import Address, ExportSettings
from pcgrelay.health.state import Health
from pcgrelay.log.events import Record
from pcgrelay.log.service_events import TargetFailing, TargetUnresolved, TargetWell
from pcgrelay.net.resolver import NameAbsentError, Use
from pcgrelay.net.sockets import Where
from pcgrelay.services import targets
from pcgrelay.services.target_causes import TargetFailure
from pcgrelay.services.targets import ABSENT_S, Target
from tests.support.ports import free_port
from tests.support.probed_targets import export, says_nothing, serving
from tests.support.virtual_time import VirtualLoop, run_virtually
from tests.support.waiting import until_async as until

NAME = "records.kent.example"
FIRST, SECOND = ("192.0.2.1", 5432), ("192.0.2.2", 5432)
# What a look-up may come to: where it leads, or what is raised.
UNKNOWN = [TimeoutError(), OSError("the name service does not say"), ConnectionRefusedError()]
ABSENT = NameAbsentError()


class Names:
    """Says what is next, and that again and again."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked: list[float] = []

    async def resolve(self, address: Address, deadline_ms: int, use: Use) -> list[Where]:
        assert use is Use.TARGET
        self.asked.append(asyncio.get_running_loop().time())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, list)
        return [(socket.AF_INET, where) for where in answer]


def named(probe: bool = False) -> ExportSettings:
    return structs.replace(export(1, probe=probe), target=Address(NAME, 5432))


def led(
    monkeypatch: pytest.MonkeyPatch, names: Names, seconds: float, known: tuple[tuple[str, int], ...] = ()
) -> tuple[Target, list[Record], list[tuple[float, tuple[tuple[str, int], ...]]]]:
    """A target that is kept for so long; when it led where."""
    loop = VirtualLoop()
    said: list[Record] = []
    seen: list[tuple[float, tuple[tuple[str, int], ...]]] = []
    monkeypatch.setattr(targets, "resolve", names.resolve)
    target = Target(named(), lambda: seen.append((loop.time(), target.addresses)), said.append)
    target.remember(known)

    async def work() -> None:
        task = asyncio.ensure_future(target.run())
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run_virtually(work(), loop)
    return target, said, seen


@pytest.mark.parametrize("trouble", UNKNOWN, ids=lambda error: type(error).__name__)
def test_what_was_known_stays_while_nobody_can_say(monkeypatch: pytest.MonkeyPatch, trouble: Exception) -> None:
    target, said, seen = led(monkeypatch, Names([FIRST], trouble), 3_600)
    assert target.addresses == (FIRST,)
    assert (target.health, target.is_present) == (Health.UNKNOWN, True)
    assert len(seen) == 1
    assert not said


def test_a_name_that_is_gone_is_withdrawn_when_that_was_said_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    target, said, seen = led(monkeypatch, Names([FIRST], ABSENT), 3_600)
    assert target.addresses == ()
    assert target.health is Health.FAILING
    (came, _), (went, addresses) = seen
    assert addresses == ()
    assert ABSENT_S <= went - came - targets.INTERVAL_S < ABSENT_S + 5
    assert [type(record) for record in said] == [TargetFailing, TargetUnresolved]
    assert target.failure == TargetFailure("target-unresolved", f"no such name: {NAME}")


def test_a_name_that_is_back_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    target, said, _ = led(monkeypatch, Names([FIRST], ABSENT, ABSENT, [SECOND]), 600)
    assert [type(record) for record in said] == [TargetFailing, TargetUnresolved, TargetWell]
    assert (target.health, target.failure) == (Health.UNKNOWN, None)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (([FIRST], ABSENT, [FIRST]), (FIRST,)),
        (([FIRST], ABSENT, [FIRST], ABSENT, [FIRST]), (FIRST,)),
        (([FIRST], ABSENT, OSError(), TimeoutError(), OSError()), (FIRST,)),
        (([FIRST], ABSENT, OSError(), ABSENT), ()),
        (([FIRST], ABSENT, ABSENT, [SECOND]), (SECOND,)),
        (([FIRST], [SECOND]), (SECOND,)),
        (([FIRST, SECOND], [SECOND, FIRST]), (FIRST, SECOND)),
        ((ABSENT, [FIRST]), (FIRST,)),
        ((OSError(), [FIRST]), (FIRST,)),
        ((ABSENT,), ()),
        ((OSError(),), ()),
    ],
)
def test_where_a_target_leads_in_the_end(
    monkeypatch: pytest.MonkeyPatch, answers: tuple[object, ...], expected: tuple[tuple[str, int], ...]
) -> None:
    assert led(monkeypatch, Names(*answers), 600)[0].addresses == expected


@pytest.mark.parametrize("trouble", [*UNKNOWN, ABSENT], ids=lambda error: type(error).__name__)
def test_what_leads_nowhere_yet_is_asked_for_again_and_less_and_less(
    monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    names = Names(trouble)
    target, said, _ = led(monkeypatch, names, 120)
    assert 120 / 10 <= len(names.asked) <= 120 / 5
    assert names.asked[1] < 3
    assert [type(record) for record in said].count(TargetUnresolved) == 1
    assert sum(isinstance(record, TargetFailing) for record in said) == (trouble is ABSENT)
    # It is offered while nobody can say, and the cause is told all the same.
    assert target.is_present == (trouble is not ABSENT or not target.export.probe)
    assert target.failure is not None


@pytest.mark.parametrize("trouble", [*UNKNOWN, ABSENT], ids=lambda error: type(error).__name__)
def test_what_was_known_before_a_reload_or_a_hand_over_is_known(
    monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    assert led(monkeypatch, Names(trouble), 20, known=(FIRST,))[0].addresses == (FIRST,)
    assert led(monkeypatch, Names([SECOND]), 20, known=(FIRST,))[0].addresses == (SECOND,)


async def test_streams_go_where_the_probe_was_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first address swallows what is sent to it; the second is well. So it is the first from then on."""
    said = targets._said
    silent, changed = ("192.0.2.1", free_port()), list[tuple[tuple[str, int], ...]]()

    async def swallowed(where: tuple[str, int], *how: Any) -> bool:
        if where == silent:
            await asyncio.Event().wait()
        return await said(where, *how)

    monkeypatch.setattr(targets, "_said", swallowed)
    async with serving(says_nothing) as port:
        well = ("127.0.0.1", port)
        monkeypatch.setattr(targets, "resolve", Names([silent, well]).resolve)
        target = Target(named(probe=True), lambda: changed.append(target.addresses), lambda record: None)
        task = asyncio.ensure_future(target.run())
        await until(lambda: target.health is Health.OK, 10)
        assert target.addresses == (well, silent)
        assert changed[-1] == (well, silent)
        # The next look-up, in the resolver's order, changes nothing.
        await target.look_up()
        assert target.addresses == (well, silent)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("order", [0, 1])
async def test_only_what_says_the_word_is_well(monkeypatch: pytest.MonkeyPatch, order: int) -> None:
    """Of two addresses that connect, one says something else."""

    async def serves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"+PONG")

    async def is_loading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"-LOADING")

    async with serving(serves) as port, serving(is_loading) as other:
        both = [("127.0.0.1", port), ("127.0.0.1", other)]
        monkeypatch.setattr(targets, "resolve", Names(both[:: 1 - 2 * order]).resolve)
        settings = structs.replace(named(probe=True), probe_expect=b"+PONG")
        target = Target(settings, lambda: None, lambda record: None)
        task = asyncio.ensure_future(target.run())
        await until(lambda: target.health is Health.OK, 10)
        assert target.addresses[0] == ("127.0.0.1", port)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
