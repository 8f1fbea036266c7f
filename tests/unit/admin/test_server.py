"""The admin socket and the log."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pcgrelay.admin.server import AdminHandlers, AdminServer, Answer, Query, json_answer
from pcgrelay.admin.status import LinkStatus, NodeStatus, Status
from pcgrelay.errors import RunError
from pcgrelay.log import events as records
from pcgrelay.log.events import Record
from pcgrelay.log.throttle import Throttle
from pcgrelay.log.writer import Log, line_of

NODE = NodeStatus(identity="spiffe://x", role="relay", uptime_s=1.5, version="1")
LINK = LinkStatus(peer='kent-1."odd"', bearer="psn", direction="in", state="up", lanes=2, lanes_up=2, rtt_ms=0.5)


@pytest.fixture
async def socket_path(tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "admin.sock"
    status = Status(node=NODE, links=(LINK,), refusals={"revoked": 2})

    async def act(query: Query) -> Answer:
        return json_answer({"did": query.get("what", "")}, 409 if "refuse" in query else 200)

    server = AdminServer(
        path,
        AdminHandlers(
            status=lambda: status,
            counters=lambda: {"frames_sent_total": 3},
            views={"/v1/view": lambda query: json_answer({"seen": query.get("what", "")})},
            actions={"/v1/act": act},
        ),
    )
    await server.start()
    yield path
    await server.stop()
    assert not path.exists()


async def asked(path: Path, data: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(data)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


async def test_status(socket_path: Path) -> None:
    head, _, body = (await asked(socket_path, b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(body)["node"]["identity"] == "spiffe://x"


@pytest.mark.parametrize(
    ("request_line", "code"),
    [
        (b"GET /healthz HTTP/1.1", b"200"),
        (b"GET /readyz HTTP/1.0", b"200"),
        (b"GET /metrics HTTP/1.1", b"200"),
        (b"HEAD /v1/status HTTP/1.1", b"200"),
        (b"GET /v1/status?x=1 HTTP/1.1", b"200"),
        (b"GET / HTTP/1.1", b"404"),
        (b"GET /../etc/passwd HTTP/1.1", b"404"),
        (b"POST /v1/status HTTP/1.1", b"405"),
        (b"POST /v1/act HTTP/1.1", b"200"),
        (b"POST /v1/act?refuse=1 HTTP/1.1", b"409"),
        (b"GET /v1/act HTTP/1.1", b"404"),
        (b"POST /v1/view HTTP/1.1", b"405"),
        (b"hello", b"400"),
        (b"GET /v1/status FTP/9", b"400"),
    ],
)
async def test_answers(socket_path: Path, request_line: bytes, code: bytes) -> None:
    assert (await asked(socket_path, request_line + b"\r\n\r\n")).split(b" ")[1] == code


async def test_views_and_actions_are_given_what_was_asked(socket_path: Path) -> None:
    for request, answer in ((b"GET /v1/view", b'{"seen":"a@b"}'), (b"POST /v1/act", b'{"did":"a@b"}')):
        said = await asked(socket_path, request + b"?what=a%40b HTTP/1.1\r\n\r\n")
        assert said.endswith(answer)


async def test_metrics(socket_path: Path) -> None:
    text = (await asked(socket_path, b"GET /metrics HTTP/1.1\r\n\r\n")).decode()
    assert 'pcgrelay_link_up{link="kent-1.\\"odd\\"",bearer="psn",direction="in"} 1\n' in text
    assert 'pcgrelay_refused_total{reason="revoked"} 2\n' in text
    assert "pcgrelay_core_frames_sent_total 3\n" in text


async def test_too_much_gets_no_answer(socket_path: Path) -> None:
    assert await asked(socket_path, b"GET /" + b"x" * 20_000) == b""


async def test_only_its_owner_may_open_it(socket_path: Path) -> None:
    assert stat.S_IMODE(os.stat(socket_path).st_mode) == 0o600


async def test_a_second_process_is_refused(socket_path: Path) -> None:
    second = AdminServer(socket_path, AdminHandlers(status=lambda: Status(node=NODE), counters=dict))
    with pytest.raises(RunError, match="another process"):
        await second.start()


async def test_what_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = AdminServer(path, AdminHandlers(status=lambda: Status(node=NODE), counters=dict))
    await server.start()
    await server.stop()


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    server = AdminServer(tmp_path / "none" / "x.sock", AdminHandlers(status=lambda: Status(node=NODE), counters=dict))
    with pytest.raises(RunError, match="does not exist"):
        await server.start()


# -- the log ----------------------------------------------------------------------------------------------------------


def test_a_line() -> None:
    record = records.LinkDown(link=1, peer="kent-1", bearer="psn", reason="silent", duration_ms=5)
    assert line_of(record, datetime(2027, 1, 2, 3, 4, 5, 67_890, tzinfo=UTC)) == (
        '{"ts":"2027-01-02T03:04:05.067Z","level":"warning","event":"link.down",'
        '"link":1,"peer":"kent-1","bearer":"psn","reason":"silent","duration_ms":5}'
    )


def test_foreign_text_cannot_break_a_line() -> None:
    record = records.SessionFailed(peer="x", reason="y", cause='"\n{"event":"link.up"}\x1b[31m')
    line = line_of(record, datetime.now(UTC))
    assert "\n" not in line
    assert "\x1b" not in line
    assert json.loads(line)["event"] == "session.failed"


def kinds(base: type[Record] = Record) -> list[type[Record]]:
    """What is said; a record that others are made from has no event of its own."""
    return [leaf for kind in base.__subclasses__() for leaf in (kinds(kind) if kind.__subclasses__() else [kind])]


@pytest.mark.parametrize("kind", kinds())
def test_every_record_has_its_event_and_no_field_for_what_must_not_be_kept(kind: type[Record]) -> None:
    assert kind.LEVEL in records.LEVELS
    assert kind.EVENT.count(".") == 1
    forbidden = {"payload", "key", "secret", "user", "address", "target", "data"}
    assert not forbidden & set(kind.__struct_fields__)
    assert not {"EVENT", "LEVEL"} & set(kind.__struct_fields__)


def test_event_names_are_unique() -> None:
    names = [kind.EVENT for kind in kinds()]
    assert len(set(names)) == len(names)


def test_levels() -> None:
    sink = io.StringIO()
    log = Log("warning", sink)
    log.emit(records.NodeStopped(node="x", streams=0))
    log.emit(records.EventsLost(count=1))
    assert [json.loads(line)["event"] for line in sink.getvalue().splitlines()] == ["events.lost"]


def test_a_closed_sink_stops_nothing() -> None:
    sink = io.StringIO()
    sink.close()
    log = Log("info", sink)
    log.emit(records.EventsLost(count=1))
    assert log.lost_total == 1


def test_what_a_sink_did_not_take_is_told_once_it_takes_again() -> None:
    class Full(io.StringIO):
        is_full = False

        def write(self, text: str) -> int:
            if self.is_full:
                raise OSError
            return super().write(text)

    sink = Full()
    log = Log("info", sink)
    sink.is_full = True
    for _ in range(3):
        log.emit(records.EventsLost(count=1))
    assert (log.lost_total, log.is_failing) == (3, True)
    sink.is_full = False
    log.emit(records.EventsLost(count=2))
    assert (log.lost_total, log.is_failing) == (3, False)
    lines = [json.loads(line) for line in sink.getvalue().splitlines()]
    assert [(line["event"], line["count"]) for line in lines] == [("log.lost", 3), ("events.lost", 2)]


def test_standard_error_that_nobody_reads_is_not_waited_for() -> None:
    """A pipe that is full: lines are lost, none is torn, and the process goes on to its end."""
    program = """
from pcgrelay.log.writer import Log
from pcgrelay.log.events import LogLost
log = Log("info")
for count in range(5_000):
    log.emit(LogLost(count=count))
print(log.lost_total)
"""
    reading, writing = os.pipe()
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=writing, text=True, check=True, timeout=20
    )
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        written = [json.loads(line)["count"] for line in pipe]
    assert written == list(range(len(written)))
    assert int(done.stdout) == 5_000 - len(written) > 0


def test_throttle() -> None:
    throttle = Throttle(1_000, keys_most=3)
    assert throttle.admit("a", 0) == 0
    assert throttle.admit("a", 999) is None
    assert throttle.admit("a", 500) is None
    assert throttle.admit("b", 500) == 0
    assert throttle.admit("a", 1_000) == 2
    for number in range(100):
        throttle.admit(str(number), 2_000)
    assert len(throttle._known) <= 3


@pytest.mark.parametrize(("group", "mode"), [(None, 0o600), (os.getegid(), 0o660)])
async def test_a_group_may_open_the_socket_if_it_is_named(tmp_path: Path, group: int | None, mode: int) -> None:
    server = AdminServer(tmp_path / "x.sock", AdminHandlers(status=lambda: Status(node=NODE), counters=dict), group)
    await server.start()
    status = (tmp_path / "x.sock").stat()
    assert stat.S_IMODE(status.st_mode) == mode
    assert group is None or status.st_gid == group
    await server.stop()


@pytest.mark.parametrize(("user", "code"), [(os.geteuid(), 200), (4_711, 403)])
async def test_only_the_owner_may_change_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, code: int
) -> None:
    """A member of the group may ask; who asks is what the kernel says."""

    async def act(query: object) -> Answer:
        return Answer(200, "text/plain", b"done")

    facts = AdminHandlers(status=lambda: Status(node=NODE), counters=dict, actions={"/v1/act": act})
    server = AdminServer(tmp_path / "x.sock", facts, os.getegid())
    await server.start()
    monkeypatch.setattr("pcgrelay.admin.server._is_owner", lambda writer: user == os.geteuid())
    for method, path, wanted in (("POST", "/v1/act", code), ("GET", "/v1/status", 200), ("GET", "/metrics", 200)):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "x.sock")
        writer.write(f"{method} {path} HTTP/1.1\r\n\r\n".encode())
        assert (await reader.readline()).split()[1] == str(wanted).encode()
        writer.close()
    await server.stop()
