"""Outlets of an import in a whole node, with the fake core: what is published, moved by hand, kept and told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest

from pcgrelay import files
from pcgrelay.admin.condition import troubles
from pcgrelay.errors import ConfigError, RuleProblem, RunError, UsageProblem
from pcgrelay.gateway.governors import Decider, Governed
from pcgrelay.gateway.handover import to_handover
from pcgrelay.gateway.outlet_shares import move_shares
from pcgrelay.handover.node import decode_handover, encode_handover
from pcgrelay.model import ServiceName
from pcgrelay.services.shares import NAME
from pcgrelay.views.explain import explain
from pcgrelay.views.outlets import outlet_answer
from pcgrelay.views.status import node_status
from tests.support import fake_core
from tests.support.nodes_in_process import MET, Nodes
from tests.support.outlet_nodes import CUSTODY, OPERATOR, direct, link, met, stop
from tests.support.ports import free_port
from tests.support.waiting import until_async as until

DIRECT = fake_core.OUTLET_DIRECT


async def test_an_import_without_direct_outlets_has_no_outlets(nodes: Nodes) -> None:
    running, _ = await met(nodes)
    assert [row[6] for row in running.core.published["imports"]] == [None]
    assert running.core.meters == {}


async def test_a_service_whose_streams_have_two_descriptors_may_have_half_as_many(nodes: Nodes) -> None:
    edge, _ = await met(nodes, direct())
    bounds = edge.core.bounds_set
    assert list(bounds["imports"].values()) == [[bounds["descriptors"] // 8, 0, 0, 0, 0, 0]]


async def test_a_counted_plain_proxy_before_the_gateway_is_there(nodes: Nodes) -> None:
    running, _ = await met(nodes, direct(source="127.0.0.8"), entry={"outlet": "cjx"})
    meter, careful, leads_denied, deadline_ms, wait_ms, _, order, ways = running.row()
    assert running.counts() == [0, 200]
    assert (careful, leads_denied, deadline_ms, wait_ms) == (True, True, 10_000, 0)
    assert meter in running.core.meters
    # What is away comes last.
    assert list(order) == [1, 0]
    assert ways == (
        (fake_core.OUTLET_GATEWAY, 1_000, (), ()),
        (DIRECT, 1_000, (("127.0.0.9", 5432),), ("127.0.0.8",)),
    )
    (service,) = node_status(running.node).services
    assert (service.state, service.health) == ("ready", "ok")
    assert [(outlet.name, outlet.share, outlet.state) for outlet in service.outlets] == [
        ("gateway", 0.0, "away"),
        ("cjx", 1.0, "ready"),
    ]
    answer = explain(running.node, CUSTODY)
    assert answer.open
    assert answer.verdict == "A new stream is dealt to cjx."
    assert [(each.name, each.taken, each.why_not) for each in answer.outlets][1] == ("cjx", True, "")
    assert answer.outlets[0].why_not


async def test_shares_that_are_set_hold_at_once_and_outlast_a_restart(nodes: Nodes) -> None:
    running, path = await met(nodes, direct(), entry={"outlet": "cjx"})
    moved = await running.move("cjx=90", "gateway=10")
    assert (moved.changed, moved.before) == (True, {"cjx": 100.0})
    assert running.counts() == [20, 180]
    assert "gateway is away (" in moved.warnings[0]
    (line,) = running.lines("outlet.shares")
    assert (line["before"], line["after"]) == ({"cjx": 100.0}, {"gateway": 10.0, "cjx": 90.0})
    assert (line["by"], line["reason"], line["uid"]) == ("night shift", "INC-77", 0)
    slots = running.row()[5]
    assert not (await running.move("gateway=10")).changed
    # Slots are kept as long as the shares are.
    running.edge.tables.publisher.now()
    assert running.row()[5] == slots
    await running.reload(path)
    assert running.counts() == [20, 180]
    await stop(running)
    again, _ = await met(nodes, direct(), entry={"outlet": "cjx"})
    assert again.counts() == [20, 180]
    answer = outlet_answer(again.node, again.edge, again.edge.services.imports[0])
    assert (answer.set, answer.set_by, answer.set_reason) == (True, "root (night shift)", "INC-77")
    await stop(again)


async def test_without_a_folder_nothing_is_set(nodes: Nodes) -> None:
    running, _ = await met(nodes, direct(), state=False)
    with pytest.raises(ConfigError, match=r'state = "/var/lib/pcgrelay/met-1"'):
        await running.move("cjx=10", "gateway=90")
    assert running.counts() == [200, 0]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["cjx=10"], "what goes to gateway and old is not said; name all outlets: gateway=PERCENT cjx=10 old=PERCENT"),
        (["cjx=10", "gateway=90"], "name all outlets: gateway=90 cjx=10 old=0"),
        (["cjx=10", "gateway=80", "old=9"], "the shares add up to 99 percent"),
        (["cjx=0.2", "gateway=99.8", "old=0"], "a share is a multiple of 0.5"),
        (["cjx=-1", "gateway=101", "old=0"], '"-1" is no share for cjx'),
        (["cjx=nan", "gateway=100", "old=0"], '"nan" is no share for cjx'),
        (["cjy=10", "gateway=90", "old=0"], 'there is no outlet "cjy"; there are: gateway, cjx, old'),
        (["cjx=10", "cjx=90", "old=0"], "cjx is named twice"),
        (["cjx"], "which is written OUTLET=PERCENT"),
        ([""], "which is written OUTLET=PERCENT"),
    ],
)
async def test_what_are_no_shares_is_refused(nodes: Nodes, words: Sequence[str], problem: str) -> None:
    running, _ = await met(nodes, direct(), direct("old", 1))
    with pytest.raises(UsageProblem) as refused:
        await running.move(*words)
    assert problem in str(refused.value)
    assert running.counts() == [200, 0, 0]


async def test_a_service_is_found_by_its_name(nodes: Nodes) -> None:
    running, _ = await met(nodes)
    with pytest.raises(RunError, match="has one outlet, the gateway"):
        await running.move("gateway=100")
    with pytest.raises(RunError, match=f"other is not imported here; there are: {CUSTODY}"):
        await move_shares(running.node, running.edge, "other", ["a=1"], OPERATOR)


async def test_forward_is_written_first_and_backward_is_published_first(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, _ = await met(nodes, direct(), entry={"outlet": "cjx"})
    await running.move("gateway=10")
    steps: list[tuple[str, list[int]]] = []
    write = files.write_replacing

    def watched(path: Path, data: bytes, mode: int) -> None:
        steps.append((path.name, running.counts()))
        write(path, data, mode)

    monkeypatch.setattr("pcgrelay.state.file.write_replacing", watched)
    await running.move("gateway=50")
    assert steps == [(NAME, [20, 180])]
    await running.move("gateway=0")
    assert steps[1:] == [(NAME, [0, 200])]


async def test_a_disk_that_is_full_stops_no_one_from_going_back(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    running, _ = await met(nodes, direct(), entry={"outlet": "cjx"})
    await running.move("gateway=10")

    def full(path: Path, data: bytes, mode: int) -> None:
        raise RunError(f"{path}: this cannot be written (no space left on device); mend that and try again.")

    monkeypatch.setattr("pcgrelay.state.file.write_replacing", full)
    with pytest.raises(RunError, match="no space left"):
        await running.move("gateway=50")
    assert running.counts() == [20, 180]
    moved = await running.move("gateway=0")
    assert running.counts() == [0, 200]
    assert "a restart now would undo it" in moved.warnings[0]
    running.edge.tick()
    status = node_status(running.node)
    assert "no space left" in status.state.reason
    assert any("are not written" in trouble.sentence for trouble in troubles(status))
    # What could not be written is handed over.
    left = decode_handover(encode_handover(to_handover(running.node)))
    assert json.loads(left.unwritten_shares)["shares"][CUSTODY]["shares"] == {"gateway": 0.0, "cjx": 100.0}
    monkeypatch.undo()
    running.edge.tick()
    await until(lambda: not running.edge.outlets.shares.is_behind)
    assert node_status(running.node).state.reason == ""
    await stop(running)
    again, _ = await met(nodes, direct(), entry={"outlet": "cjx"})
    assert again.counts() == [0, 200]
    await stop(again)


async def test_shares_that_the_core_does_not_take_are_as_they_were(nodes: Nodes) -> None:
    running, _ = await met(nodes, direct(), entry={"outlet": "cjx"})
    await running.move("gateway=10")
    running.core.refuses_tables = True
    with pytest.raises(RunError, match="all is as it was"):
        await running.move("gateway=50")
    running.core.refuses_tables = False
    running.edge.tables.publisher.now()
    assert running.counts() == [20, 180]
    assert running.edge.outlets.shares.state.shares[CUSTODY].shares == {"gateway": 10.0, "cjx": 90.0}
    assert not running.edge.outlets.shares.is_behind


async def test_files_that_cannot_be_read_are_never_guessed(nodes: Nodes) -> None:
    running, _ = await met(nodes, direct(), entry={"outlet": "cjx"})
    await running.move("gateway=50")
    await running.move("gateway=80")
    await stop(running)
    state = nodes.folder / "state"
    (state / NAME).write_text("torn")
    older, _ = await met(nodes, direct(), entry={"outlet": "cjx"})
    assert older.counts() == [100, 100]
    assert node_status(older.node).state.older
    assert [line["lost"] for line in older.lines("state.unreadable")] == [False]
    await stop(older)
    (state / f"{NAME}.before").write_text("torn")
    lost, _ = await met(nodes, direct(), entry={"outlet": "cjx"})
    assert lost.counts() == [0, 200]
    status = node_status(lost.node)
    assert status.state.lost
    assert any(trouble.is_grave and "are lost" in trouble.sentence for trouble in troubles(status))
    lost.edge.tick()
    assert (state / NAME).read_text() == "torn"
    await lost.move("gateway=50")
    assert not node_status(lost.node).state.lost
    await stop(lost)


async def test_a_configured_outlet_that_is_past_its_end_is_not_guessed_either(nodes: Nodes) -> None:
    (nodes.folder / "state").mkdir(mode=0o700)
    (nodes.folder / "state" / NAME).write_text("torn")
    bearers = [{"name": "cjx", "supported_until": date(2020, 1, 31)}]
    running, _ = await met(nodes, direct(bearer="cjx"), entry={"outlet": "cjx"}, bearers=bearers)
    assert running.counts() == [200, 0]
    assert list(running.row()[6]) == [0]
    await stop(running)


async def test_indices_stay_through_a_reload(nodes: Nodes) -> None:
    running, path = await met(nodes, direct(), direct("old", 1))
    await running.move("gateway=0", "cjx=60", "old=40")
    running.figures(1, up=7, active=2)
    listen = str(running.node.config.imports[0].listen)
    entry = {"service": CUSTODY, "listen": listen, "outlet": "old"}
    tables = {"links": [link()], "imports": [entry]}
    node_table = {"state": str(nodes.folder / "state")}
    path = nodes.write(MET, "met-1", node_table=node_table, directs=[direct("new", 2), direct("old", 1)], **tables)
    await running.reload(path)
    kinds = [way[0] for way in running.row()[7]]
    assert kinds == [fake_core.OUTLET_GATEWAY, fake_core.OUTLET_NONE, DIRECT, DIRECT]
    assert running.row()[7][3][2] == (("127.0.0.9", 2),)
    # What the removed one had goes to the one that the configuration names.
    assert running.counts() == [0, 0, 200, 0]
    assert list(running.row()[6]) == [2, 3, 0]
    (service,) = node_status(running.node).services
    assert [(outlet.name, outlet.state) for outlet in service.outlets][-1] == ("cjx", "removed")
    running.figures(1, active=0)
    running.edge.outlets._known[0].meter.look_again()
    assert "cjx" not in [outlet.name for outlet in node_status(running.node).services[0].outlets]
    running.figures(1, active=2)
    running.edge.outlets._known[0].meter.look_again()
    path = nodes.write(
        MET, "met-1", node_table=node_table, directs=[], **{**tables, "imports": [{**entry, "outlet": "gateway"}]}
    )
    await running.reload(path)
    assert running.row()[7][1][0] == fake_core.OUTLET_NONE
    running.edge.tick()
    await asyncio.sleep(0)
    assert running.row() is not None  # two streams are open on cjx
    running.figures(1, active=0)
    running.edge.outlets._known[0].meter.look_again()
    running.edge.tick()
    await asyncio.sleep(0)
    assert [row[6] for row in running.core.published["imports"]] == [None]
    assert running.core.meters == {}


async def test_a_network_below_the_marking_carries_nothing(nodes: Nodes) -> None:
    running, _ = await met(nodes, direct(), entry={"outlet": "cjx"})
    (imported,) = running.edge.services.imports
    assert imported.outlets is not None
    imported.outlets.marking = 2
    running.edge.tables.publisher.now()
    assert running.row()[7][1][0] == fake_core.OUTLET_FORBIDDEN
    assert running.counts() == [200, 0]
    assert list(running.row()[6]) == [0]
    with pytest.raises(RuleProblem, match="is for OFFICIAL, and the service is marked higher"):
        await running.move("cjx=10")
    # It is kept, so that a start without the gateway lets nothing out.
    running.edge.tick()
    await until(lambda: not running.edge.outlets.shares.is_behind)
    await stop(running)
    again, _ = await met(nodes, direct(), entry={"outlet": "cjx"})
    assert again.row()[7][1][0] == fake_core.OUTLET_FORBIDDEN
    (service,) = node_status(again.node).services
    assert [outlet.state for outlet in service.outlets] == ["away", "forbidden"]
    assert service.state != "ready"
    await stop(again)


async def test_an_address_that_leads_back_is_away(nodes: Nodes) -> None:
    port = free_port()
    entry = {"outlet": "cjx", "listen": f"0.0.0.0:{port}"}
    running, _ = await met(nodes, {**direct(), "address": f"127.0.0.9:{port}"}, entry=entry)
    assert running.row()[7][1][2] == ()
    (service,) = node_status(running.node).services
    assert service.outlets[1].state == "away"
    assert "a listener of this very node" in service.outlets[1].reason
    assert service.state != "ready"


class Governor:
    """Governs one service as tests say."""

    def __init__(self) -> None:
        self.governed: Governed | None = None
        self.reason: str | None = None

    def governs(self, service: ServiceName) -> Governed | None:
        return self.governed if str(service) == CUSTODY else None

    def why_not_by_hand(self, service: ServiceName) -> str | None:
        return self.reason if str(service) == CUSTODY else None


async def test_a_governor_decides_and_shares_by_hand_hold_again_after_it(nodes: Nodes) -> None:
    running, _ = await met(nodes, direct(), entry={"outlet": "cjx"})
    outlets = running.edge.outlets
    (imported,) = running.edge.services.imports
    first, second = Governor(), Governor()
    outlets.governors += [first, second]
    assert outlet_answer(running.node, running.edge, imported).decided_by == "configuration"
    await running.move("gateway=10")
    assert outlet_answer(running.node, running.edge, imported).decided_by == "hand"
    assert node_status(running.node).services[0].decided_by == "hand"

    second.governed = Governed({"gateway": 25.0, "cjx": 75.0}, last=("cjx",), leads_denied=False, wait_ms=2_000)
    running.edge.tables.publisher.attempt()
    assert running.counts() == [50, 150]
    _, _, leads_denied, _, wait_ms, _, order, _ = running.row()
    assert (leads_denied, wait_ms, list(order)) == (False, 2_000, [0, 1])
    assert explain(running.node, CUSTODY).verdict.startswith(
        "A new stream is dealt to one of 2 outlets (75 % cjx, 25 % gateway), as a cut-over decides"
    )
    # The first that answers decides.
    first.governed = Governed({"gateway": 0.0, "cjx": 100.0}, decided_by=Decider.DRILL)
    running.edge.tables.publisher.attempt()
    assert running.counts() == [0, 200]
    assert outlet_answer(running.node, running.edge, imported).decided_by == "drill"

    first.governed = second.governed = None
    running.edge.tick()
    await until(lambda: running.counts() == [20, 180])
    assert running.row()[2:5] == (True, 10_000, 0)
    await stop(running)


async def test_nobody_sets_shares_by_hand_while_a_governor_is_against_it(nodes: Nodes) -> None:
    running, _ = await met(nodes, direct(), entry={"outlet": "cjx"})
    governor = Governor()
    running.edge.outlets.governors += [Governor(), governor]
    governor.reason = f"{CUSTODY} is being moved by the cut-over CR-1042; pause it or go back first."
    with pytest.raises(RuleProblem, match="is being moved by the cut-over CR-1042") as refused:
        await running.move("gateway=10")
    assert refused.value.exit_code == 6
    assert running.counts() == [0, 200]
    assert running.edge.outlets.shares.state.shares == {}
    (imported,) = running.edge.services.imports
    assert outlet_answer(running.node, running.edge, imported).why_not_by_hand == governor.reason
    governor.reason = None
    assert (await running.move("gateway=10")).changed
    await stop(running)


async def test_a_retired_outlet_is_neither_used_nor_probed(nodes: Nodes) -> None:
    running, path = await met(nodes, direct(probe="connect"), direct("old", 1), entry={"outlet": "cjx"})
    (imported,) = running.edge.services.imports
    assert imported.outlets is not None
    governor = Governor()
    running.edge.outlets.governors.append(governor)
    governor.governed = Governed({"gateway": 100.0}, without=frozenset({"cjx"}))
    running.edge.tables.publisher.attempt()
    running.edge.tick()
    assert [way[0] for way in running.row()[7]] == [fake_core.OUTLET_GATEWAY, fake_core.OUTLET_NONE, DIRECT]
    assert running.counts() == [200, 0, 0]
    assert 1 not in running.row()[6]
    assert [direct.task is None for direct in imported.outlets.directs.values()] == [True, False]
    (service,) = node_status(running.node).services
    assert (service.outlets[1].state, service.outlets[1].away_since) == ("retired", "")
    # A reload does not take it up again.
    await running.reload(path)
    assert imported.outlets.directs["cjx"].task is None
    governor.governed = None
    running.edge.tick()
    assert imported.outlets.directs["cjx"].task is not None
    await stop(running)


async def test_what_fails_is_told_and_what_is_well_again_too(nodes: Nodes) -> None:
    running, _ = await met(nodes, direct(), entry={"outlet": "cjx"})
    running.edge.tick()
    watch = running.edge.outlets.watch
    (imported,) = running.edge.services.imports
    assert imported.outlets is not None
    running.figures(1, silent=9, tried=9)
    imported.outlets.meter.look_again()
    watch.look([imported])
    assert watch.problem(imported, "cjx") == "its last 9 set-ups failed (silent)"
    assert running.lines("outlet.failing") == []
    watch._watched[(0, "cjx")].bad_ms -= 3_000  # type: ignore[operator]
    watch.look([imported])
    (line,) = running.lines("outlet.failing")
    assert (line["outlet"], line["share_percent"]) == ("cjx", 100.0)
    status = node_status(running.node)
    assert status.services[0].outlets[1].state == "failing"
    assert any("The outlet cjx of" in trouble.sentence and not trouble.is_grave for trouble in troubles(status))
    running.figures(1, up=1)
    imported.outlets.meter.look_again()
    watch.look([imported])
    assert [line["outlet"] for line in running.lines("outlet.well")] == ["cjx"]
    # A gateway that nobody has announced and that has no share is missed by nobody.
    assert watch.problem(imported, "gateway") == ""


async def test_figures_and_indices_are_handed_over(nodes: Nodes) -> None:
    running, path = await met(nodes, direct(), direct("old", 1), entry={"outlet": "old"})
    await running.move("gateway=0", "cjx=50", "old=50")
    running.figures(1, up=7, tried=8, active=2, sent_bytes=1 << 40, setup_us={30: 7})
    left = decode_handover(encode_handover(to_handover(running.node)))
    (handed,) = left.outlets
    assert [outlet.name for outlet in handed.outlets] == ["gateway", "cjx", "old", ""]
    assert (handed.outlets[1].real.sent_bytes, handed.outlets[1].real.active) == (1 << 40, 0)
    await stop(running)
    # The other order in the file: the indices are those of before all the same.
    other, _ = await met(nodes, direct("old", 1), direct(), entry={"outlet": "old"})
    (imported,) = other.edge.services.imports
    assert imported.outlets is not None
    fresh_names = imported.outlets.names
    assert fresh_names == ["gateway", "old", "cjx", ""]
    imported.outlets.restore([outlet.name for outlet in handed.outlets])
    await stop(other)
    assert path.exists()


async def test_further_listeners_are_opened_for_the_same_import(nodes: Nodes) -> None:
    ports = [free_port(), free_port()]
    running, _ = await met(nodes, direct(), entry={"also": [f"127.0.0.1:{port}" for port in ports]})
    assert len(running.core.listeners[0]) == 3 * running.core.workers
    assert len(running.edge.held()) == 3
    left = to_handover(running.node)
    assert left.imports[0].also == tuple(f"127.0.0.1:{port}" for port in ports)


END = (0, b"custody", 64, 70, 5_000, 0, "done", 0xFFFF, False)


async def test_the_access_log_names_the_outlet_and_no_shadow(nodes: Nodes) -> None:
    running, _ = await met(nodes, direct(), entry={"outlet": "cjx"})
    running.core.emit(fake_core.EVENT_STREAM_END, True, 0, *END, (1, 2_500, 1, True, False))
    running.core.emit(fake_core.EVENT_STREAM_END, True, 0, *END, (1, 2_500, 0, True, True))
    running.node.plane.deliver()
    (line,) = running.lines("stream.end")
    assert (line["outlet"], line["setup_ms"], line["moved"]) == ("cjx", 2.5, 1)
    assert running.edge.services.stream_counts.opened_total == 1


@pytest.mark.parametrize("access", [True, False])
async def test_ends_are_told_one_by_one_where_a_log_wants_them(nodes: Nodes, access: bool) -> None:
    running, _ = await met(nodes, direct(), log={"access": access})
    assert running.node.plane.tells_each_end is access
    running.core.emit(fake_core.EVENT_STREAMS_DONE, True, 0, 0, 20, 5_000, (1, 2, 3, 4, [0] * 40, [0] * 40))
    running.node.plane.deliver()
    counts = running.edge.services.stream_counts
    assert (counts.opened_total, counts.closed_total["done"], counts.imports[0].opened_total) == (20, 20, 20)


async def test_the_access_log_of_other_imports_is_as_it_was(nodes: Nodes) -> None:
    running, _ = await met(nodes)
    running.core.emit(fake_core.EVENT_STREAM_END, True, 0, *END)
    running.node.plane.deliver()
    (line,) = running.lines("stream.end")
    assert not {"outlet", "setup_ms", "moved"} & set(line)


async def test_streams_on_a_direct_outlet_take_back_no_refusal_of_an_exporter(nodes: Nodes) -> None:
    running, _ = await met(nodes, direct(), entry={"outlet": "cjx"})
    refusals = running.edge.services.far_refusals
    (imported,) = running.edge.services.imports
    looked = []
    refusals.looked_at = lambda *what: looked.append(what)  # type: ignore[method-assign]
    running.figures(1, active=5)
    assert imported.outlets is not None
    imported.outlets.meter.look_again()
    running.edge.stream_ends.tick()
    running.figures(0, active=2)
    imported.outlets.meter.look_again()
    running.edge.stream_ends.tick()
    assert [active for _, _, active, _ in looked] == [0, 2]
