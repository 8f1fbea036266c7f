"""Reloads of whole nodes on a core that only remembers: what is taken, what is refused, and what is left alone."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from pcgrelay.admin.answers import ReloadAnswer
from pcgrelay.admin.condition import troubles
from pcgrelay.daemon.drain_api import drain_state
from pcgrelay.daemon.reload import Reloader
from pcgrelay.log.writer import Log
from pcgrelay.views.explain import explain
from pcgrelay.views.status import node_status
from tests.support import fake_core
from tests.support.nodes_in_process import HUB, KENT, MET, Nodes, Running
from tests.support.ports import free_port
from tests.support.waiting import until_async as until


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


class Pair:
    """Two edges as neighbours, and what each of them is told to be."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.port = free_port()
        self.link = {"peer": f"kent-1.{KENT}", "address": f"127.0.0.1:{self.port}"}
        self.notes: list[str] = []

    async def start(self) -> tuple[Running, Running]:
        self.kent = await self.nodes.start(KENT, "kent-1", **self.kent_tables())
        self.met = await self.nodes.start(MET, "met-1", **self.met_tables())
        await until(lambda: self.met.imports() == [fake_core.IMPORT_LIVE])
        return self.kent, self.met

    def kent_tables(self, **tables: object) -> dict[str, object]:
        export = {"service": "custody", "target": "127.0.0.1:5432", "allow": [MET]}
        return {"listens": [f"127.0.0.1:{self.port}"], "exports": [export], **tables}

    def met_tables(self, **tables: object) -> dict[str, object]:
        entry = {"service": f"custody@{KENT}", "listen": f"127.0.0.1:{free_port()}"}
        return {"links": [self.link], "imports": [entry], **tables}

    async def reload(self, running: Running, **tables: object) -> ReloadAnswer:
        settings = running.node.config
        self.nodes.write(settings.node.id.organisation, settings.node.id.name, **tables)
        return await Reloader(running.node, Log("debug", running.sink), self.notes.append).reload()


@pytest.fixture
async def pair(nodes: Nodes) -> Pair:
    pair = Pair(nodes)
    await pair.start()
    return pair


async def test_a_grant_that_goes_is_published_and_nothing_else_changes(pair: Pair) -> None:
    before = pair.kent.core.published["exports"]
    export = {"service": "custody", "target": "127.0.0.1:5432", "allow": [HUB]}
    answer = await pair.reload(pair.kent, **pair.kent_tables(exports=[export]))
    assert answer.changes == (f"export custody@{KENT} changed (allow)",)
    assert pair.kent.core.published["exports"] == before
    assert list(pair.kent.core.published["grants"].values()) == [()]
    assert len(pair.kent.sessions_up()) == 1
    assert not pair.kent.lines("link.down")
    assert pair.kent.lines("config.reloaded")[-1]["changes"] == list(answer.changes)
    assert answer.policy
    assert pair.kent.lines("config.reloaded")[-1]["policy"] == list(answer.policy)
    assert all(each.split()[0] in ("WIDENS", "NARROWS", "NEUTRAL") for each in answer.policy)
    assert [note.partition("\n")[0] for note in pair.notes] == ["RELOADING=1", "READY=1"]


async def test_when_a_reload_began_is_told_to_the_microsecond(pair: Pair) -> None:
    """A service manager takes a time before its own signal for an old word, and waits for another until it gives up."""
    reloader = Reloader(pair.kent.node, Log("debug", pair.kent.sink), pair.notes.append)
    for _ in range(20):
        pair.notes.clear()
        before = time.monotonic_ns() // 1_000
        await reloader.reload()
        after = time.monotonic_ns() // 1_000
        assert before <= int(pair.notes[0].partition("MONOTONIC_USEC=")[2]) <= after


async def test_services_keep_their_numbers_whatever_comes_before_them(pair: Pair) -> None:
    exports = [{"service": name, "target": "127.0.0.1:5432", "allow": [MET]} for name in ("archive", "custody")]
    assert (await pair.reload(pair.kent, **pair.kent_tables(exports=exports))).ok
    published = pair.kent.core.published["exports"]
    # Number, name and rule: the rule is the place in the list, the number is not.
    assert [(entry[0], entry[1], entry[3]) for entry in published] == [(1, b"archive", 0), (0, b"custody", 1)]
    assert list(pair.kent.core.published["grants"].values()) == [(1, 0)]


async def test_an_import_that_moves_has_its_old_listeners_closed_first(pair: Pair) -> None:
    tables = pair.met_tables()
    assert (await pair.reload(pair.met, **tables)).ok
    assert pair.met.core.listener_calls == [("listen", 0), ("unlisten", 0), ("listen", 0)]
    assert (await pair.reload(pair.met, **pair.met_tables(imports=[]))).ok
    assert pair.met.core.listener_calls[-1] == ("unlisten", 0)
    assert pair.met.core.published["imports"] == []


async def test_a_link_that_is_removed_leaves_time_to_move(pair: Pair) -> None:
    answer = await pair.reload(pair.met, **pair.met_tables(links=[], listens=[f"127.0.0.1:{free_port()}"]))
    assert answer.ok
    assert next(iter(pair.met.node.link_table.links.values())).draining
    await until(lambda: pair.met.lines("link.down"))
    assert pair.met.lines("link.down")[0]["reason"] == "removed"
    assert not pair.met.node.link_table.dialler.wanted


async def test_a_suite_that_is_no_longer_allowed_ends_links_and_sessions(pair: Pair) -> None:
    tables = pair.kent_tables(policy={"suites": ["AES-128-GCM"]})
    assert (await pair.reload(pair.kent, **tables)).ok
    await until(lambda: pair.kent.lines("session.down") and pair.kent.lines("link.down"))
    assert pair.kent.lines("session.down")[0]["reason"] == "suite"
    # Made again, with what is allowed now.
    await until(lambda: len(pair.met.lines("session.up")) == 2)
    assert pair.met.lines("session.up")[-1]["suite"] == "AES-128-GCM"


async def test_an_organisation_that_is_no_member_any_more_is_shut_out(pair: Pair) -> None:
    assert (await pair.reload(pair.kent, **pair.kent_tables(policy={"members": [HUB]}))).ok
    await until(lambda: pair.kent.lines("link.down"))
    assert pair.kent.lines("link.down")[0]["reason"] == "not_a_member"
    assert pair.kent.node.refused.total()["not_a_member"] >= 1


async def test_a_revoked_peer_loses_link_session_and_catalogue(pair: Pair) -> None:
    pair.nodes.pki.authority.revoke(KENT, "kent-1")
    answer = await pair.reload(pair.met, **pair.met_tables(imports=[]))
    assert "revocation list renewed" in answer.changes
    await until(lambda: pair.met.lines("session.down") and pair.met.lines("link.down"))
    assert {line["reason"] for line in pair.met.lines("session.down")} == {"revoked"}
    assert {line["reason"] for line in pair.met.lines("link.down")} == {"revoked"}
    assert not list(pair.met.node.exchange.catalogue.edges())


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: text + "[", "not valid TOML"),
        (lambda text: text.replace("kent-1.pem", "nobody.pem"), "there is no certificate"),
        (lambda text: text.replace("64MiB", "65MiB"), "restart it"),
    ],
)
async def test_a_refused_reload_changes_nothing(pair: Pair, spoil: Callable[[str], str], words: str) -> None:
    kent = pair.kent
    path, old = kent.node.config.path, kent.node.config
    published = kent.core.published
    path.write_text(spoil(path.read_text()))
    answer = await Reloader(kent.node, Log("debug", kent.sink), pair.notes.append).reload()
    assert (answer.ok, answer.exit_code) == (False, 78)
    assert words in answer.reason
    assert kent.node.config is old
    assert kent.core.published is published
    assert not kent.node.configuration.successful
    assert kent.lines("config.refused")[0]["reason"] == answer.reason


async def test_another_handshake_deadline_reaches_the_core(pair: Pair) -> None:
    assert pair.kent.core.options["handshake_deadline_ms"] == 10_000
    assert (await pair.reload(pair.kent, **pair.kent_tables(policy={"handshake_deadline_ms": 1_500}))).ok
    assert pair.kent.core.options["handshake_deadline_ms"] == 1_500
    assert pair.met.core.options["handshake_deadline_ms"] == 10_000


async def test_another_time_for_half_closed_streams_reaches_the_core(pair: Pair) -> None:
    assert pair.kent.core.options["linger_ms"] == 3_600_000
    assert (await pair.reload(pair.kent, **pair.kent_tables(policy={"half_closed_s": 75}))).ok
    assert pair.kent.core.options["linger_ms"] == 75_000


async def test_another_probe_interval_reaches_the_lanes_that_are_up(pair: Pair) -> None:
    assert pair.kent.core.options["probe_interval_ms"] == 500
    assert (await pair.reload(pair.kent, **pair.kent_tables(policy={"probe_interval_ms": 75}))).ok
    assert pair.kent.core.options["probe_interval_ms"] == 75
    assert pair.met.core.options["probe_interval_ms"] == 500


async def test_a_reload_while_it_drains_opens_no_door(pair: Pair) -> None:
    pair.met.node.drain_begin(0)
    assert pair.met.core.listeners == {}
    assert (await pair.reload(pair.met, **pair.met_tables())).ok
    assert pair.met.core.listeners == {}
    assert drain_state(pair.met.node).empty
    await pair.met.node.drain_undo()
    assert len(pair.met.core.listeners) == 1
    await until(lambda: pair.met.imports() == [fake_core.IMPORT_LIVE])


ELSEWHERE = {"service": "archive", "target": "10.9.9.9:5432", "allow": [MET], "probe": "none"}
CUSTODY = {"service": "custody", "target": "127.0.0.1:5432", "allow": [HUB]}


async def refused_and_unchanged(pair: Pair, words: str, **tables: object) -> None:
    kent = pair.kent
    before = (kent.node.config, kent.core.published, kent.edge.services.rules, dict(kent.core.options))
    answer = await pair.reload(kent, **pair.kent_tables(**tables))
    assert (answer.ok, answer.exit_code) == (False, 78)
    assert words in answer.reason
    after = (kent.node.config, kent.core.published, kent.edge.services.rules, dict(kent.core.options))
    assert before == after
    assert node_status(kent.node).configuration.reason == answer.reason


async def test_a_reload_whose_tables_the_core_refuses_is_refused_whole(pair: Pair) -> None:
    kent = pair.kent
    kent.core.refuses_tables = True
    await refused_and_unchanged(pair, "does not take", exports=[CUSTODY])
    kent.core.refuses_tables = False
    kent.core.hosts_refused = {"10.9.9.9"}
    await refused_and_unchanged(pair, "export archive", exports=[CUSTODY, ELSEWHERE])
    assert list(kent.core.published["grants"].values()) == [(0,)]
    assert (await pair.reload(kent, **pair.kent_tables(exports=[CUSTODY]))).ok
    assert list(kent.core.published["grants"].values()) == [()]


@pytest.mark.parametrize(
    ("name", "figure"), [("rekey_ms", 30_000), ("probe_interval_ms", 75), ("handshake_deadline_ms", 1_500)]
)
async def test_a_reload_whose_figures_the_core_refuses_is_refused_whole(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, name: str, figure: int
) -> None:
    assert (await pair.reload(pair.kent, **pair.kent_tables(policy={"rekey_s": 60}))).ok
    before = pair.kent.core.settings

    def refuse(**figures: int) -> None:
        if figures[name] == figure:
            raise fake_core.CoreError("no")
        before(**figures)

    monkeypatch.setattr(pair.kent.core, "settings", refuse)
    policy = {"rekey_s": 30, "probe_interval_ms": 75, "handshake_deadline_ms": 1_500}
    await refused_and_unchanged(pair, "[policy]", policy=policy, exports=[CUSTODY])


async def test_a_target_that_is_refused_later_leaves_its_export_alone_unresolved(pair: Pair) -> None:
    kent = pair.kent
    tables = pair.kent_tables(exports=[{**CUSTODY, "allow": [MET]}, ELSEWHERE])
    assert (await pair.reload(kent, **tables)).ok
    kent.core.hosts_refused = {"10.9.9.9"}
    kent.edge.tables.publisher.attempt()
    states = [row[4] for row in kent.core.published["exports"]]
    assert states == [fake_core.EXPORT_READY, fake_core.EXPORT_UNRESOLVED]
    status = node_status(kent.node)
    assert [service.state for service in status.services] == ["ready", "down"]
    assert any("archive" in each.sentence and "10.9.9.9" in each.sentence for each in troubles(status))
    assert not explain(kent.node, "archive").open
    # A rule that changes meanwhile is in force at once.
    assert (await pair.reload(kent, **pair.kent_tables(exports=[CUSTODY, ELSEWHERE]))).ok
    assert list(kent.core.published["grants"].values()) == [(1,)]
    kent.core.hosts_refused = set()
    kent.edge.tables.publisher.attempt()
    assert [row[4] for row in kent.core.published["exports"]] == [fake_core.EXPORT_READY] * 2


async def test_tables_that_are_refused_after_the_check_are_told_and_given_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    kent = pair.kent
    with monkeypatch.context() as patched:
        patched.setattr(kent.edge.tables.publisher, "check", lambda tables: None)
        kent.core.refuses_tables = True
        answer = await pair.reload(kent, **pair.kent_tables(exports=[CUSTODY]))
    assert (answer.ok, answer.exit_code) == (False, 78)
    assert "serves by the last of its tables" in answer.reason
    status = node_status(kent.node)
    assert status.condition == "failing"
    assert not status.tables.successful
    assert kent.node.refused.total()["tables_refused"] >= 1
    assert [line["where"] for line in kent.lines("node.failure")] == ["tables"]
    # One that changes nothing does not say that all is well.
    assert not (await pair.reload(kent, **pair.kent_tables(exports=[CUSTODY]))).ok
    kent.core.refuses_tables = False
    await until(lambda: list(kent.core.published["grants"].values()) == [()])
    assert (await pair.reload(kent, **pair.kent_tables(exports=[CUSTODY]))).ok


async def test_a_listener_that_the_core_refuses_is_told(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int, fds: list[int], counted: object) -> None:
        raise fake_core.CoreError("no")

    monkeypatch.setattr(pair.met.core, "import_listen", refuse)
    answer = await pair.reload(pair.met, **pair.met_tables())
    assert (answer.ok, answer.exit_code) == (False, 78)
    status = node_status(pair.met.node)
    assert status.condition == "failing"
    assert [(service.state, service.present) for service in status.services] == [("down", False)]
    monkeypatch.undo()
    assert (await pair.reload(pair.met, **pair.met_tables())).ok
    assert node_status(pair.met.node).condition == "ready"


async def test_a_fault_in_a_reload_is_told_and_the_next_one_is_taken(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: object) -> None:
        raise KeyError

    tables = pair.kent_tables(policy={"probe_interval_ms": 75})
    with monkeypatch.context() as patched:
        patched.setattr(pair.kent.node, "take", fault)
        answer = await pair.reload(pair.kent, **tables)
    assert (answer.ok, answer.exit_code) == (False, 1)
    assert "restart the node" in answer.reason
    (line,) = pair.kent.lines("node.failure")
    assert (line["where"], line["error"]) == ("reload", "KeyError")
    assert not pair.kent.node.configuration.successful
    assert (await pair.reload(pair.kent, **tables)).ok


async def test_an_organisation_that_may_have_no_relays_any_more_loses_their_links(nodes: Nodes) -> None:
    port = free_port()
    link = {"peer": f"relay-1.{HUB}", "address": f"127.0.0.1:{port}"}
    await nodes.start(HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{port}"])
    met = await nodes.start(MET, "met-1", links=[link], policy={"relays": [HUB]})
    await until(lambda: list(met.node.link_table.usable()))
    nodes.write(MET, "met-1", links=[link], policy={"relays": [KENT]})
    answer = await Reloader(met.node, Log("debug", met.sink), lambda state: None).reload()
    assert answer.changes == ("policy.relays changed",)
    await until(lambda: met.lines("link.down"))
    assert met.lines("link.down")[0]["reason"] == "not_a_relay"
    await until(lambda: met.lines("link.failed"))
    assert met.lines("link.failed")[0]["reason"] == "not_a_relay"
