"""Links to relays that DNS leads to, in virtual time: whatever DNS says or does not, and whoever answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from pcgrelay.config import Address, DiscoverSettings, PolicySettings
from pcgrelay.link import discovery as module
from pcgrelay.link.dialled import ALREADY_LINKED, DialledLink
from pcgrelay.link.discovery import Discovery
from pcgrelay.link.link import LinkState
from pcgrelay.model import NodeId, Role
from pcgrelay.net.resolver import Outcome
from pcgrelay.net.srv import RECORDS_MOST, SrvAnswer, SrvRecord
from tests.support.virtual_time import VirtualLoop, run_virtually

NAME = "_pcgrelay._tcp.relays.example"
ME = NodeId("realm.example", "kent.police.example", "kent-1")
UNKNOWN, ABSENT = SrvAnswer(Outcome.UNKNOWN), SrvAnswer(Outcome.ABSENT)


def relay(name: str) -> NodeId:
    return NodeId("realm.example", "hub.example", name)


def at(name: str) -> Address:
    return Address(f"{name}.example", 7400)


def answer(*names: str, priority: int = 10, lives_s: int = 30) -> SrvAnswer:
    return SrvAnswer(Outcome.FOUND, tuple(SrvRecord(priority, 1, at(name)) for name in names), lives_s)


class World:
    """DNS, relays that are there or not, and a dialler that links to those at once."""

    def __init__(self, loop: VirtualLoop, *, links: int = 2, **settings: Any) -> None:
        self.loop = loop
        self.says: SrvAnswer = UNKNOWN
        self.asked: list[float] = []
        self.probed: list[str] = []
        self.away: set[str] = set()
        self.alias: dict[str, str] = {}  # which relay answers at an address, if it is not the one of that name
        self.begun: list[str] = []
        self.counted: list[str] = []
        self.events: list[Any] = []
        self.retired: list[str] = []
        self.named: set[NodeId] = set()
        self.policy: Any = SimpleNamespace(relays=("hub.example",), may_relay=lambda organisation: True)
        self.discovery = Discovery(
            DiscoverSettings(discover=NAME, links=links, bearer="psn", **settings),
            ME,
            begin=self._begin,
            is_named=lambda peer: peer in self.named,
            refuse_count=self.counted.append,
            emit=self.events.append,
            clock=loop,
            ask=self._ask,
            probe=self._probe,
        )
        self.tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self.tasks = [asyncio.create_task(work) for work in self.discovery.work()]

    async def _ask(self, name: str) -> SrvAnswer:
        assert name == NAME
        self.asked.append(self.loop.time())
        return self.says

    async def _probe(self, address: Address, sources: tuple[str, ...]) -> float | None:
        name = address.host.removesuffix(".example")
        self.probed.append(name)
        await asyncio.sleep(0.01)
        return None if name in self.away else 10.0

    def _begin(self, slot: DialledLink) -> None:
        name = slot.settings.address.host.removesuffix(".example")
        self.begun.append(name)
        slot.task = asyncio.create_task(self._dial(slot, name))

    async def _dial(self, slot: DialledLink, name: str) -> None:
        while True:
            peer = relay(self.alias.get(name, name))
            word = "unreachable" if name in self.away else slot.refusal(peer, self.policy)
            if word is None:
                made = slot.made_with(peer, Role.RELAY, self.policy)
                word = made if isinstance(made, str) else ""
            if word:
                slot.reason = word
            else:
                slot.link = self._link(peer, name)
                await slot.link.control_lost.wait()
            slot.attempts += 1
            slot.changed()
            await asyncio.sleep(1.0)

    def _link(self, peer: NodeId, name: str) -> Any:
        link: Any = SimpleNamespace(
            peer=peer, state=LinkState.UP, draining=False, lanes_up={0: 1}, opened_ms=self.loop.monotonic_ms(),
            control_lost=asyncio.Event(),
        )  # fmt: skip

        def retire(reason: str) -> None:
            self.retired.append(name)
            link.draining = True
            asyncio.get_running_loop().call_later(0.7, end)

        def end() -> None:
            link.state = LinkState.CLOSED
            link.lanes_up = {}
            link.control_lost.set()

        link.retire, link.end = retire, end
        return link

    @property
    def up(self) -> list[str]:
        return sorted(
            slot.settings.address.host.removesuffix(".example") for slot in self.discovery.slots if slot.is_up
        )

    def lose(self, name: str) -> None:
        """The relay is gone, with its link."""
        self.away.add(name)
        for slot in self.discovery.slots:
            if slot.settings.address == at(name) and slot.link is not None:
                slot.link.end()  # type: ignore[attr-defined]

    async def until(self, holds: Callable[[], bool], seconds: float) -> None:
        end = self.loop.time() + seconds
        while not holds():
            assert self.loop.time() < end, (self.up, self.begun, [slot.reason for slot in self.discovery.slots])
            await asyncio.sleep(0.05)


def in_world(work: Callable[[World], Coroutine[Any, Any, None]], **settings: Any) -> None:
    loop = VirtualLoop()

    async def run() -> None:
        world = World(loop, **settings)
        try:
            await work(world)
            assert not any(task.done() for task in world.tasks)
        finally:
            world.discovery.end()
            for task in world.tasks:
                task.cancel()
            await asyncio.sleep(1)

    run_virtually(run(), loop)


def test_as_many_as_wanted_are_linked() -> None:
    async def work(world: World) -> None:
        world.says = answer("a", "b", "c", "d", "e")
        world.start()
        await world.until(lambda: len(world.up) == 2, 1)
        await asyncio.sleep(600)
        assert len(world.begun) == 2
        assert world.retired == []

    in_world(work)


@pytest.mark.parametrize("links", [1, 2, 3])
def test_all_are_linked_without_a_probe_if_there_are_no_more(links: int) -> None:
    async def work(world: World) -> None:
        names = "abc"[:links]
        world.says = answer(*names)
        world.start()
        await world.until(lambda: world.up == list(names), 1)
        assert world.probed == []

    in_world(work, links=links)


def test_a_lost_relay_is_replaced_within_the_back_off() -> None:
    async def work(world: World) -> None:
        world.says = answer("a", "b", "c", "d")
        world.start()
        await world.until(lambda: len(world.up) == 2, 1)
        first, kept = world.up
        world.lose(first)
        await world.until(lambda: len(world.up) == 2, 3)
        assert kept in world.up
        assert first not in world.up
        # It is back, and is not missed any more.
        world.away.clear()
        before = list(world.up)
        await asyncio.sleep(300)
        assert world.up == before
        assert world.retired == []

    in_world(work)


def test_with_no_other_it_is_dialled_until_it_is_back() -> None:
    async def work(world: World) -> None:
        world.says = answer("a", "b")
        world.start()
        await world.until(lambda: world.up == ["a", "b"], 1)
        world.lose("a")
        await asyncio.sleep(120)
        assert world.up == ["b"]
        assert any(slot.reason == "unreachable" for slot in world.discovery.slots)
        world.away.clear()
        await world.until(lambda: world.up == ["a", "b"], 4)

    in_world(work)


def test_when_all_are_away_the_probes_are_bounded() -> None:
    async def work(world: World) -> None:
        names = [f"r{number}" for number in range(64)]
        world.away = set(names)
        world.says = answer(*names)
        world.start()
        await asyncio.sleep(60)
        assert world.up == []
        assert len(world.discovery.slots) <= 2
        # Eight at most, each time a back-off of up to three seconds is over, and what the slots dial themselves.
        assert len(world.probed) < 60 * 8
        world.away = set(names[:-3])
        await world.until(lambda: len(world.up) == 2, 300)

    in_world(work)


def test_silence_of_dns_changes_nothing() -> None:
    async def work(world: World) -> None:
        world.says = answer("a", "b")
        world.start()
        await world.until(lambda: world.up == ["a", "b"], 1)
        world.says = UNKNOWN
        await asyncio.sleep(3_600)
        assert world.up == ["a", "b"]
        assert world.discovery.answered is False
        assert "discovery_unanswered" in world.counted
        # It is asked again and again, and a few times a minute at most.
        assert 100 < len(world.asked) < 1_500
        assert len([event for event in world.events if event.EVENT == "discovery.failed"]) <= 62

    in_world(work)


def test_two_answers_that_there_is_none_withdraw_all() -> None:
    async def work(world: World) -> None:
        world.says = answer("a", "b")
        world.start()
        await world.until(lambda: world.up == ["a", "b"], 1)
        world.says = ABSENT
        await world.until(lambda: world.discovery.is_absent, 40)
        assert world.up == ["a", "b"]
        first = world.loop.time()
        await world.until(lambda: not world.discovery.slots, 40)
        assert world.loop.time() - first >= 29.9
        assert sorted(world.retired) == ["a", "b"]
        world.says = answer("b")
        await world.until(lambda: world.up == ["b"], 40)
        assert not world.discovery.is_absent

    in_world(work)


def test_one_answer_that_there_is_none_withdraws_nothing() -> None:
    async def work(world: World) -> None:
        world.says = answer("a", "b")
        world.start()
        await world.until(lambda: world.up == ["a", "b"], 1)
        for _ in range(5):
            world.says = ABSENT
            await world.until(lambda: world.discovery.is_absent, 40)
            world.says = answer("a", "b")
            await world.until(lambda: not world.discovery.is_absent, 40)
        assert world.retired == []

    in_world(work)


def test_a_record_that_is_gone_is_left_after_its_successor_is_up() -> None:
    async def work(world: World) -> None:
        world.says = answer("a", "b")
        world.start()
        await world.until(lambda: world.up == ["a", "b"], 1)
        world.says = answer("b", "c")
        world.away.add("c")
        await asyncio.sleep(300)
        assert world.up == ["a", "b"]  # a is better than nothing
        world.away.clear()
        await world.until(lambda: world.up == ["b", "c"], 10)
        assert world.retired == ["a"]

    in_world(work)


def test_fewer_records_than_links_leave_what_is_gone() -> None:
    async def work(world: World) -> None:
        world.says = answer("a", "b")
        world.start()
        await world.until(lambda: world.up == ["a", "b"], 1)
        world.says = answer("b")
        await world.until(lambda: world.up == ["b"], 100)

    in_world(work)


def test_a_relay_of_lower_priority_is_moved_to_after_two_rounds() -> None:
    async def work(world: World) -> None:
        far = tuple(SrvRecord(20, 1, at(name)) for name in "yz")
        near = tuple(SrvRecord(10, 1, at(name)) for name in "ab")
        world.says = SrvAnswer(Outcome.FOUND, near + far, 30)
        world.away = {"a", "b"}
        world.start()
        await world.until(lambda: world.up == ["y", "z"], 10)
        world.away = {"a"}
        back = world.loop.time()
        await world.until(lambda: "b" in world.up, 200)
        assert world.loop.time() - back >= module.BETTER_MS / 1000
        await world.until(lambda: len(world.up) == 2, 10)
        assert len(world.retired) == 1
        # A flapping one moves nothing.
        for _ in range(10):
            world.away = set()
            await asyncio.sleep(50)
            world.away = {"a"}
            await asyncio.sleep(80)
        assert len(world.retired) <= 2

    in_world(work)


def test_two_records_of_one_relay_give_one_link() -> None:
    async def work(world: World) -> None:
        world.alias = {"b": "a"}
        world.says = answer("a", "b")
        world.start()
        await asyncio.sleep(30)
        assert len(world.up) == 1
        assert ALREADY_LINKED in [slot.reason for slot in world.discovery.slots]
        world.says = answer("a", "b", "c")
        await world.until(lambda: len(world.up) == 2 and "c" in world.up, 100)

    in_world(work)


def test_a_relay_that_the_file_names_is_not_linked_twice() -> None:
    async def work(world: World) -> None:
        world.named.add(relay("a"))
        world.says = answer("a", "b", "c")
        world.start()
        await world.until(lambda: world.up == ["b", "c"], 30)

    in_world(work)


def test_who_is_not_admitted_is_replaced() -> None:
    async def work(world: World) -> None:
        world.says = answer("a", "b", "c")
        world.start()
        await world.until(lambda: world.up == ["b", "c"], 30)

    in_world(work, peers=(relay("b"), relay("c")))


def test_a_draining_relay_is_replaced_before_it_is_gone() -> None:
    async def work(world: World) -> None:
        world.says = answer("a", "b", "c")
        world.start()
        await world.until(lambda: len(world.up) == 2, 1)
        leaving = next(slot for slot in world.discovery.slots if slot.is_up)
        assert leaving.link is not None
        leaving.link.draining = True
        await world.until(lambda: len(world.up) == 2, 4)
        assert leaving.lives
        leaving.link.end()  # type: ignore[attr-defined]
        await world.until(lambda: leaving not in world.discovery.slots, 4)

    in_world(work)


def test_an_upgraded_relay_is_not_given_up() -> None:
    async def work(world: World) -> None:
        world.says = answer("a", "b", "c")
        world.start()
        await world.until(lambda: len(world.up) == 2, 1)
        before, slot = list(world.up), world.discovery.slots[0]
        assert slot.link is not None
        slot.link.state = LinkState.ORPHANED
        slot.changed()
        await asyncio.sleep(30)
        assert world.up == before
        assert len(world.begun) == 2

    in_world(work)


def test_a_reload_applies_to_what_is_up() -> None:
    async def work(world: World) -> None:
        world.says = answer("a", "b", "c")
        world.start()
        await world.until(lambda: len(world.up) == 2, 1)
        settings = world.discovery.settings
        policy: PolicySettings = world.policy

        def applied(**changes: Any) -> DiscoverSettings:
            values = {name: getattr(settings, name) for name in settings.__struct_fields__}
            return DiscoverSettings(**{**values, **changes})

        world.discovery.apply(applied(links=3), policy)
        await world.until(lambda: len(world.up) == 3, 5)
        world.discovery.apply(applied(links=1), policy)
        await world.until(lambda: len(world.up) == 1, 5)
        (stays,) = world.up
        other = next(name for name in "abc" if name != stays)
        world.discovery.apply(applied(links=1, peers=(relay(other),)), policy)
        assert world.up == []
        await world.until(lambda: world.up == [other], 60)
        world.discovery.apply(applied(links=1, peers=(relay(other),), bearer="internet"), policy)
        assert world.up == []
        await world.until(lambda: world.up == [other], 60)
        world.discovery.end()
        assert world.discovery.slots == []

    in_world(work)


def test_a_link_of_the_process_before_goes_on_without_dns() -> None:
    async def work(world: World) -> None:
        link = world._link(relay("a"), "a")
        link.state = LinkState.ORPHANED
        world.discovery.adopt(link, at("a"), [])
        world.start()
        (slot,) = world.discovery.slots
        world._begin(slot)
        await asyncio.sleep(600)
        assert world.up == ["a"]
        assert world.retired == []
        world.says = answer("b", "c")
        await world.until(lambda: world.up == ["b", "c"], 120)

    in_world(work)


def test_answers_are_bounded() -> None:
    async def work(world: World) -> None:
        world.start()
        for turn in range(5):
            world.says = answer(*(f"r{turn}x{number}" for number in range(300)))
            await asyncio.sleep(40)
            assert len(world.discovery.relays) <= 3 * RECORDS_MOST
        assert "discovery_too_many" in world.counted
        assert len(world.up) == 2

    in_world(work)


def test_an_error_of_the_library_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(world: World) -> None:
        world.says = answer("a", "b")
        world.start()
        await world.until(lambda: world.up == ["a", "b"], 1)

        async def broken(name: str) -> SrvAnswer:
            raise RuntimeError

        monkeypatch.setattr(world.discovery, "_ask", broken)
        await asyncio.sleep(300)
        assert world.up == ["a", "b"]
        assert world.discovery.answered is False

    in_world(work)
