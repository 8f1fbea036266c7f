"""Whatever is down says why: in the status, in the log and in explain, in the same words."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pcgrelay.admin.condition import troubles
from pcgrelay.gateway import edge_tables
from pcgrelay.health.state import Health
from pcgrelay.net.resolver import NameAbsentError
from pcgrelay.services import import_causes, target_causes, targets
from pcgrelay.services.target_causes import WORD_MOST, ProbeError, TargetFailure, answer_lacks, failure_of
from pcgrelay.session.table import Sessions
from pcgrelay.views.explain import explain
from pcgrelay.views.status import node_status
from tests.support.nodes_in_process import KENT, MET, Nodes, Running, entry, is_live
from tests.support.ports import free_port
from tests.support.probed_targets import Conduct, says_nothing, serving
from tests.support.waiting import until_async as until


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    made = Nodes(tmp_path)
    yield made
    await made.stop()


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def says_no(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"-LOADING\r\n")
    writer.close()


def raises(number: int) -> Any:
    async def said(*_: object) -> bool:
        raise OSError(number, os.strerror(number))

    return said


async def name_absent(*_: object) -> Any:
    raise NameAbsentError


async def name_unknown(*_: object) -> Any:
    raise TimeoutError


PONG = {"probe": "expect", "probe_expect": "+PONG"}
# What the target does (or what is put in place of a part), how it is probed, the cause, and the words.
TARGETS: list[Any] = [
    pytest.param(None, {}, {}, "target-refused", r"connection refused by 127\.0\.0\.1:\d+", id="refused"),
    pytest.param(says_nothing, {}, PONG, "target-silent", r"no answer from 127\.0\.0\.1:\d+ in 0\.3 s", id="silent"),
    pytest.param(resets, {}, PONG, "target-reset", r"127\.0\.0\.1:\d+ reset the connection", id="reset"),
    pytest.param(says_no, {}, PONG, "target-answer", r"the answer of 127\.0\.0\.1:\d+ lacks \+PONG", id="answer"),
    pytest.param(
        None,
        {"_said": raises(errno.EHOSTUNREACH)},
        {},
        "target-unreachable",
        r".*cannot be reached \(no route to host\)",
        id="unreachable",
    ),
    pytest.param(
        None, {"_said": raises(errno.EADDRNOTAVAIL)}, {}, "no-local-port", r"this machine has no local .*", id="port"
    ),
    pytest.param(
        None, {"_said": raises(errno.EPERM)}, {}, "connect-forbidden", r"this machine forbids .*", id="forbidden"
    ),
    pytest.param(
        None, {"_said": raises(errno.EMFILE)}, {}, "descriptors", r"no descriptor is left .*", id="descriptors"
    ),
]


@asynccontextmanager
async def served(conduct: Conduct | None) -> AsyncIterator[int]:
    if conduct is None:
        yield free_port()
        return
    async with serving(conduct) as port:
        yield port


async def exporting(nodes: Nodes, target: str, probe: dict[str, object]) -> Running:
    settings = {
        "service": "custody",
        "target": target,
        "allow": [MET],
        "connect_timeout_ms": 300,
        "probe": "connect",
        **probe,
    }
    return await nodes.start(KENT, "kent-1", listens=[f"127.0.0.1:{free_port()}"], exports=[settings])


@pytest.mark.parametrize(("conduct", "parts", "probe", "cause", "words"), TARGETS)
async def test_a_target_that_fails_says_why_everywhere(
    nodes: Nodes,
    monkeypatch: pytest.MonkeyPatch,
    conduct: Conduct | None,
    parts: dict[str, Any],
    probe: dict[str, object],
    cause: str,
    words: str,
) -> None:
    for name, part in parts.items():
        monkeypatch.setattr(targets, name, part)
    async with served(conduct) as port:
        kent = await exporting(nodes, f"127.0.0.1:{port}", probe)
        await until(lambda: kent.lines("target.failing"), 8)
        (line,) = kent.lines("target.failing")
        assert line["cause"] == cause
        assert cause in target_causes.CAUSES
        assert re.fullmatch(words, line["detail"])
        (service,) = node_status(kent.node).services
        assert (service.state, service.reason) == ("down", line["detail"])
        assert f"The export of custody@{KENT} is down ({line['detail']})." in told(kent)
        assert explain(kent.node, "custody").verdict == f"The service is withdrawn: {line['detail']}."


@pytest.mark.parametrize(
    ("resolve", "words", "logged", "verdict"),
    [
        (name_absent, "no such name: db.kent.example", "the name does not exist", "The service is withdrawn"),
        (
            name_unknown,
            "the name service does not answer for db.kent.example",
            "the name service does not answer",
            "New streams are refused",
        ),
    ],
)
async def test_a_target_without_an_address_says_why_everywhere(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, resolve: Any, words: str, logged: str, verdict: str
) -> None:
    monkeypatch.setattr(targets, "resolve", resolve)
    kent = await exporting(nodes, "db.kent.example:5432", {})
    await until(lambda: kent.lines("target.unresolved"))
    assert kent.lines("target.unresolved")[0]["cause"] == logged
    target = kent.edge.services.exports[0].target
    assert target.failure == TargetFailure("target-unresolved", words)
    # Only a name that does not exist is a target that fails; a name service may come back at any time.
    failing = [(line["cause"], line["detail"]) for line in kent.lines("target.failing")]
    assert failing == ([("target-unresolved", words)] if resolve is name_absent else [])
    assert (target.health is Health.FAILING) == (resolve is name_absent)
    (service,) = node_status(kent.node).services
    assert (service.state, service.reason) == ("down", words)
    assert f"The export of custody@{KENT} is down ({words})." in told(kent)
    answer = explain(kent.node, "custody")
    assert (answer.open, answer.health, answer.verdict) == (False, "failing", f"{verdict}: {words}.")


def told(running: Running) -> list[str]:
    return [trouble.sentence for trouble in troubles(node_status(running.node))]


IMPORTS: list[Any] = [
    pytest.param(
        "custdy",
        KENT,
        True,
        "unknown-service",
        rf"no edge of {KENT} offers it; it offers: custody",
        f"custody@{KENT}",
        id="service",
    ),
    pytest.param(
        "custody",
        "knet.police.example",
        True,
        "unknown-organisation",
        rf"no neighbour tells of an edge of knet\.police\.example; the nearest that is known: {KENT}",
        f"custody@{KENT}",
        id="organisation",
    ),
    pytest.param("custody", KENT, False, "no-link", "no neighbour is linked", "", id="link"),
]


@pytest.mark.parametrize(("service", "organisation", "is_linked", "cause", "words", "nearest"), IMPORTS)
async def test_an_import_that_is_down_says_why_everywhere(
    nodes: Nodes,
    monkeypatch: pytest.MonkeyPatch,
    service: str,
    organisation: str,
    is_linked: bool,
    cause: str,
    words: str,
    nearest: str,
) -> None:
    monkeypatch.setattr(edge_tables, "STARTING_MS", 500)
    port = free_port()
    settings = {"service": "custody", "target": "127.0.0.1:1", "allow": [MET], "probe": "none"}
    if is_linked:
        await nodes.start(KENT, "kent-1", listens=[f"127.0.0.1:{port}"], exports=[settings])
    links = [{"peer": f"kent-1.{KENT}", "address": f"127.0.0.1:{port}"}]
    subject = f"{service}@{organisation}"
    met = await nodes.start(MET, "met-1", links=links, imports=[{**entry(), "service": subject}])
    await until(lambda: met.lines("import.unavailable"), 8)
    await until(lambda: met.lines("import.unavailable")[-1]["cause"] == cause, 8)
    line = met.lines("import.unavailable")[-1]
    assert cause in import_causes.CAUSES
    assert re.fullmatch(words, line["detail"])
    assert line.get("nearest", "") == nearest
    # Until a node has been there for a while it waits for what nobody offers yet.
    await until(lambda: f"The import of {subject} is down ({line['detail']})." in told(met), 8)
    answer = explain(met.node, subject)
    assert answer.verdict.startswith(f"Applications are refused: {line['detail']}.")
    assert (f"Perhaps {nearest} was meant." in answer.verdict) == bool(nearest)
    count = len(met.lines("import.unavailable"))
    for _ in range(3):
        met.node.tick()
    assert len(met.lines("import.unavailable")) == count  # once for each cause


async def test_an_import_whose_target_is_away_there_says_so(nodes: Nodes) -> None:
    port = free_port()
    links = [{"peer": f"kent-1.{KENT}", "address": f"127.0.0.1:{port}"}]
    async with serving(says_nothing) as target:
        settings: dict[str, object] = {
            "service": "custody",
            "target": f"127.0.0.1:{target}",
            "allow": [MET],
            "probe": "connect",
        }
        settings["probe_interval_ms"] = 200
        await nodes.start(KENT, "kent-1", listens=[f"127.0.0.1:{port}"], exports=[settings])
        met = await nodes.start(MET, "met-1", links=links, imports=[entry()])
        await until(lambda: is_live(met), 8)
    await until(lambda: [line["cause"] for line in met.lines("import.unavailable")] == ["withdrawn"], 8)
    assert told(met)[0] == f"The import of custody@{KENT} is down (its target does not answer at kent-1.{KENT})."


async def test_an_import_whose_edge_drains_says_so(nodes: Nodes) -> None:
    port = free_port()
    settings = {"service": "custody", "target": "127.0.0.1:1", "allow": [MET], "probe": "none"}
    kent = await nodes.start(KENT, "kent-1", listens=[f"127.0.0.1:{port}"], exports=[settings])
    links = [{"peer": f"kent-1.{KENT}", "address": f"127.0.0.1:{port}"}]
    met = await nodes.start(MET, "met-1", links=links, imports=[entry()])
    await until(lambda: is_live(met), 8)
    kent.node.drain_begin(60_000)
    await says_everywhere(met, "draining", f"kent-1.{KENT} drains")


async def test_an_import_without_a_session_says_why(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    async def late(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(edge_tables, "STARTING_MS", 500)
    monkeypatch.setattr(Sessions, "_establish", late)
    port = free_port()
    settings = {"service": "custody", "target": "127.0.0.1:1", "allow": [MET], "probe": "none"}
    await nodes.start(KENT, "kent-1", listens=[f"127.0.0.1:{port}"], exports=[settings])
    links = [{"peer": f"kent-1.{KENT}", "address": f"127.0.0.1:{port}"}]
    met = await nodes.start(MET, "met-1", links=links, imports=[entry()])
    edge = f"kent-1.{KENT}"
    words = f"no session with {edge} ({edge}: The session was not set up in time)"
    await says_everywhere(met, "no-session", re.escape(words))
    assert {line["cause"] for line in met.lines("session.failed")} == {"The session was not set up in time."}


async def says_everywhere(met: Running, cause: str, words: str) -> None:
    """Wait until the log has a cause, and find the same words in status and explain."""
    await until(lambda: [line["cause"] for line in met.lines("import.unavailable")][-1:] == [cause], 12)
    detail = met.lines("import.unavailable")[-1]["detail"]
    assert cause in import_causes.CAUSES
    assert re.fullmatch(words, detail)
    assert f"The import of custody@{KENT} is down ({detail})." in told(met)
    assert explain(met.node, f"custody@{KENT}").verdict == f"Applications are refused: {detail}."


async def test_explain_proposes_the_nearest_name(nodes: Nodes) -> None:
    kent = await exporting(nodes, "127.0.0.1:1", {"probe": "none"})
    assert explain(kent.node, "custdy").reason == (
        "custdy is neither imported nor exported here; the nearest that is: custody."
    )


def test_what_people_read_of_an_answer_is_short_and_safe() -> None:
    shown = answer_lacks(b"\x00\xff\x1b[31m" + 100 * b"x", "here:1").detail
    assert shown.isprintable()
    assert len(shown) < WORD_MOST + 50
    # An attempt that knows why it failed is not judged again.
    failure = TargetFailure("target-answer", "x")
    assert failure_of(ProbeError(failure), "here:1", 1) is failure
