"""The admin socket: what is answered, to whom, and what is refused."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from pcgrelay.admin import http
from pcgrelay.admin.answers import BODY_LIMIT_BYTES
from pcgrelay.admin.client import ask
from pcgrelay.admin.http import Answer, json_answer
from pcgrelay.admin.server import AdminHandlers, AdminServer, Query, answered
from pcgrelay.admin.status import LinkStatus, NodeStatus, Status
from pcgrelay.errors import RunError, StatusProblem
from tests.support.metric_samples import value
from tests.support.waiting import until_async as until

NODE = NodeStatus(identity="spiffe://x", role="relay", uptime_s=1.5, version="1")
LINK = LinkStatus(peer='kent-1."odd"', bearer="psn", direction="in", state="up", lanes=2, lanes_up=2, rtt_ms=0.5)
BARE = AdminHandlers(status=lambda: Status(node=NODE), counters=dict)


async def act(query: Query, body: bytes) -> Answer:
    return json_answer(
        {"did": query.get("what", ""), "bytes": len(body), "by": query["uid"]}, 409 if "refuse" in query else 200
    )


async def fail(query: Query, body: bytes) -> Answer:
    raise ValueError("a secret")


LINGERING: list[str] = []


async def linger(query: Query, body: bytes) -> Answer:
    LINGERING.append(query["uid"])
    await asyncio.sleep(60)
    raise AssertionError


HANDLERS = AdminHandlers(
    status=lambda: Status(node=NODE, links=(LINK,), refusals={"revoked": 2}),
    counters=lambda: {"frames_sent_total": 3},
    views={
        "/v1/view": lambda query: json_answer({"seen": query.get("what", "")}),
        "/v1/who": lambda query: json_answer({"by": query.get("uid", "nobody")}),
        "/v1/large": lambda query: Answer(200, "text/plain", bytes(16 << 20)),
    },
    actions={"/v1/act": act, "/v1/fail": fail, "/v1/linger": linger},
)


@pytest.fixture
async def socket_path(tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "admin.sock"
    server = AdminServer(path, HANDLERS)
    await server.start()
    yield path
    await server.stop()
    assert not path.exists()


async def asked(path: Path, data: bytes) -> bytes:
    """What is answered to these bytes, until the other side closes; nothing, if it cut the connection at once."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    answer = b""
    try:
        async with asyncio.timeout(10):
            writer.write(data)
            while piece := await reader.read(1 << 16):
                answer += piece
    except ConnectionError:
        pass
    finally:
        writer.close()
    return answer


def code_of(answer: bytes) -> bytes:
    return answer.split(b" ")[1]


async def test_status(socket_path: Path) -> None:
    head, _, body = (await asked(socket_path, b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(body)["node"]["identity"] == "spiffe://x"


async def test_a_view_knows_who_asks_as_the_kernel_says(socket_path: Path) -> None:
    for target in (b"/v1/who", b"/v1/who?uid=12345"):
        answer = await asked(socket_path, b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)
        assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"by": str(os.getuid())}
    # Over TCP nobody says so, and what is written there counts for nothing.
    over_tcp = answered("GET", "/v1/who?uid=0", HANDLERS)
    assert json.loads(over_tcp.body) == {"by": "nobody"}


@pytest.mark.parametrize(
    ("request_line", "code"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: x", b"200"),
        (b"GET /readyz HTTP/1.0", b"200"),
        (b"GET /metrics HTTP/1.1\r\nHost: x", b"200"),
        (b"HEAD /v1/status HTTP/1.1\r\nHost: x", b"200"),
        (b"GET /v1/status?x=1 HTTP/1.1\r\nHost: x", b"200"),
        (b"GET / HTTP/1.1\r\nHost: x", b"404"),
        (b"GET /../etc/passwd HTTP/1.1\r\nHost: x", b"404"),
        (b"GET http://other/v1/status HTTP/1.1\r\nHost: x", b"404"),
        (b"POST /v1/status HTTP/1.1\r\nHost: x", b"405"),
        (b"POST /v1/act HTTP/1.1\r\nHost: x", b"200"),
        (b"POST /v1/act?refuse=1 HTTP/1.1\r\nHost: x", b"409"),
        (b"GET /v1/act HTTP/1.1\r\nHost: x", b"404"),
        (b"PUT /v1/act HTTP/1.1\r\nHost: x", b"405"),
        (b"DELETE /v1/act HTTP/1.1\r\nHost: x", b"405"),
        (b"CONNECT /v1/act HTTP/1.1\r\nHost: x", b"405"),
        (b"POST /v1/view HTTP/1.1\r\nHost: x", b"405"),
        (b"GET /healthz HTTP/1.1", b"400"),  # it has to name a host
        (b"hello", b"400"),
        (b"\x16\x03\x01\x02\x00", b"400"),
        (b"GET /v1/status FTP/9", b"400"),
        (b"GET /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: many", b"400"),
        (b"GET /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked", b"400"),
        (b"GET /v1/status HTTP/1.1\r\nHost: x\r\na header without an end", b"400"),
    ],
)
async def test_answers(
    socket_path: Path,
    request_line: bytes,
    code: bytes,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Nonsense is answered, but neither repeated nor written anywhere."""
    answer = await asked(socket_path, request_line + b"\r\n\r\n")
    assert code_of(answer) == code
    if code == b"400":
        assert answer.endswith(b"\r\n\r\nThis is no request.\n")
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("request_line", [b"GET /healthz HTTP/1.1\r\nHost: x", b"nonsense", b"GET /none HTTP/1.0"])
async def test_an_answer_does_not_say_which_software_it_comes_from(socket_path: Path, request_line: bytes) -> None:
    answer = (await asked(socket_path, request_line + b"\r\n\r\n")).lower()
    assert b"server:" not in answer
    assert b"aiohttp" not in answer
    assert b"python" not in answer


async def test_views_and_actions_are_given_what_was_asked(socket_path: Path) -> None:
    for request, answer in (
        (b"GET /v1/view", b'{"seen":"a@b"}'),
        (b"POST /v1/act", b'{"did":"a@b","bytes":0,"by":"%d"}' % os.geteuid()),
    ):
        said = await asked(socket_path, request + b"?what=a%40b HTTP/1.1\r\nHost: x\r\n\r\n")
        assert said.endswith(answer)


async def test_who_asks_is_what_the_kernel_says(socket_path: Path) -> None:
    said = await asked(socket_path, b"POST /v1/act?uid=4711 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert said.endswith(b'"by":"%d"}' % os.geteuid())


async def test_metrics(socket_path: Path) -> None:
    answer = (await asked(socket_path, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")).decode()
    text = answer.partition("\r\n\r\n")[2]
    assert value(text, "pcgrelay_link_up", link='kent-1."odd"', bearer="psn", direction="in") == 1
    assert value(text, "pcgrelay_refused_total", reason="revoked") == 2
    assert value(text, "pcgrelay_core_frames_sent_total") == 3
    assert value(text, "process_open_fds") > 3


# -- the body ---------------------------------------------------------------------------------------------------------


class Did(msgspec.Struct):
    did: str
    bytes: int


@pytest.mark.parametrize("size", [0, 1, 5_000, BODY_LIMIT_BYTES])
async def test_an_action_is_given_the_body_whole(socket_path: Path, size: int) -> None:
    answer = await asyncio.to_thread(ask, socket_path, "POST", "/v1/act?what=x", Did, body=bytes(size))
    assert answer == Did("x", size)


async def test_a_body_in_pieces(socket_path: Path) -> None:
    said = await asked(
        socket_path,
        b"POST /v1/act HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    )
    assert b'"bytes":5' in said


async def test_a_packed_body_stays_packed(socket_path: Path) -> None:
    """A kilobyte that unpacks to a gigabyte is a kilobyte."""
    said = await asked(
        socket_path, b"POST /v1/act HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
    )
    assert b'"bytes":3' in said


@pytest.mark.parametrize(
    "sent",
    [
        b"Content-Length: 65537\r\n\r\n",
        b"Content-Length: 999999999999\r\n\r\n" + bytes(1 << 20),
        b"Transfer-Encoding: chunked\r\n\r\n" + (b"4000\r\n" + bytes(0x4000) + b"\r\n") * 5 + b"0\r\n\r\n",
    ],
)
async def test_a_body_that_is_too_large_is_refused(socket_path: Path, sent: bytes) -> None:
    said = await asked(socket_path, b"POST /v1/act HTTP/1.1\r\nHost: x\r\n" + sent)
    assert code_of(said) == b"413"
    assert said.endswith(b"The body of a request is at most 64 KiB.\n")


def test_our_own_client_does_not_even_send_it(tmp_path: Path) -> None:
    with pytest.raises(StatusProblem, match="at most 64 KiB"):
        ask(tmp_path / "none", "POST", "/v1/act", Did, body=bytes(BODY_LIMIT_BYTES + 1))


# -- too much, too slow, too many -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 9_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + (b"X: " + b"x" * 1_000 + b"\r\n") * 9 + b"\r\n",
    ],
)  # fmt: skip
async def test_a_head_that_is_too_large_is_refused(socket_path: Path, head: bytes) -> None:
    assert code_of(await asked(socket_path, head)) == b"431"


async def test_more_headers_than_any_client_sends_are_refused(socket_path: Path) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 70
    assert code_of(await asked(socket_path, head + b"\r\n")) == b"400"


async def test_a_head_that_grows_without_an_end_is_cut(socket_path: Path) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + (b"X: " + b"x" * 1_000 + b"\r\n") * 12
    assert await asked(socket_path, head) == b""


@pytest.fixture
def short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "DEADLINE_S", 0.2)
    monkeypatch.setattr(http, "ACTION_DEADLINE_S", 0.2)


@pytest.fixture
async def hasty(short_deadlines: None, socket_path: Path) -> Path:
    return socket_path


@pytest.mark.parametrize("sent", [b"", b"GET /healthz", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
async def test_a_head_that_does_not_come_gets_no_answer(hasty: Path, sent: bytes) -> None:
    assert await asked(hasty, sent) == b""


async def test_a_body_that_does_not_come_is_refused(hasty: Path) -> None:
    assert code_of(await asked(hasty, b"POST /v1/act HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc")) == b"408"


async def test_a_client_that_goes_before_its_body_is_complete_changes_nothing(socket_path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(socket_path))
    writer.write(b"POST /v1/act HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc")
    writer.write_eof()
    async with asyncio.timeout(10):
        assert b'"did"' not in await reader.read()
    writer.close()


async def test_an_action_that_takes_too_long_is_ended(hasty: Path) -> None:
    assert code_of(await asked(hasty, b"POST /v1/linger HTTP/1.1\r\nHost: x\r\n\r\n")) == b"503"


async def test_an_answer_that_nobody_takes_is_given_up(hasty: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(hasty), limit=1 << 10)
    writer.write(b"GET /v1/large HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.6)
    got = 0
    async with asyncio.timeout(10):
        try:
            while piece := await reader.read(1 << 16):
                got += len(piece)
        except ConnectionError:
            pass
    writer.close()
    assert 0 < got < 16 << 20


async def test_a_fault_of_the_node_is_no_text_for_a_client(socket_path: Path) -> None:
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    said = await asked(socket_path, b"POST /v1/fail HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n")
    assert code_of(said) == b"500"
    assert b"secret" not in said
    assert b"Traceback" not in said
    assert isinstance(told[0]["exception"], ValueError)
    assert code_of(await asked(socket_path, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")) == b"200"


async def test_who_asks_is_answered_whoever_says_nothing(socket_path: Path) -> None:
    """The oldest that has not asked anything makes room; those behind it can still ask."""
    held = [await asyncio.open_unix_connection(str(socket_path)) for _ in range(http.CONNECTIONS_MOST)]
    assert code_of(await asked(socket_path, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")) == b"200"
    (oldest, closing), *rest = held
    async with asyncio.timeout(10):
        with suppress(ConnectionError):
            assert await oldest.read() == b""
    closing.close()
    for _, writer in rest:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    for reader, writer in rest:
        async with asyncio.timeout(10):
            assert code_of(await reader.read()) == b"200"
        writer.close()


async def test_one_too_many_gets_no_answer(socket_path: Path) -> None:
    """Those who are being answered are not disturbed."""
    held = [await asyncio.open_unix_connection(str(socket_path)) for _ in range(http.CONNECTIONS_MOST)]
    for _, writer in held:
        writer.write(b"POST /v1/linger HTTP/1.1\r\nHost: x\r\n\r\n")
    LINGERING.clear()
    await until(lambda: len(LINGERING) == len(held))
    assert await asked(socket_path, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    for _, writer in held:
        writer.close()


async def test_one_request_per_connection(socket_path: Path) -> None:
    said = await asked(socket_path, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
    assert said.count(b"HTTP/1.1 200") == 1
    assert b"\r\nConnection: close\r\n" in said


async def test_stopping_waits_for_nobody(tmp_path: Path) -> None:
    """Neither for an action, nor for one that says nothing, nor for one that does not take its answer."""
    path = tmp_path / "x.sock"
    server = AdminServer(path, HANDLERS)
    await server.start()
    held = [await asyncio.open_unix_connection(str(path), limit=1 << 10) for _ in range(3)]
    held[0][1].write(b"POST /v1/linger HTTP/1.1\r\nHost: x\r\n\r\n")
    held[1][1].write(b"GET /v1/large HTTP/1.1\r\nHost: x\r\n\r\n")
    await held[1][0].readexactly(100)
    async with asyncio.timeout(2):
        await server.stop()
    for _, writer in held:
        writer.close()


# -- the socket -------------------------------------------------------------------------------------------------------


async def test_only_its_owner_may_open_it(socket_path: Path) -> None:
    assert stat.S_IMODE(os.stat(socket_path).st_mode) == 0o600


async def test_a_second_process_is_refused(socket_path: Path) -> None:
    second = AdminServer(socket_path, BARE)
    with pytest.raises(RunError, match="another process"):
        await second.start()


async def test_what_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = AdminServer(path, BARE)
    await server.start()
    await server.stop()


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    server = AdminServer(tmp_path / "none" / "x.sock", BARE)
    with pytest.raises(RunError, match="does not exist"):
        await server.start()


async def test_a_socket_that_was_handed_over_answers_who_waited_at_it(tmp_path: Path) -> None:
    """A client that connected while nobody accepted is answered by the process that takes the socket over."""
    first = AdminServer(tmp_path / "x.sock", BARE)
    await first.start()
    taken = socket.socket(fileno=os.dup(first.descriptor))
    path = tmp_path / "x.sock"
    moved = tmp_path / "kept.sock"
    path.rename(moved)  # so that the first leaves it, as a process does that exits without a word
    await first.stop()
    moved.rename(path)
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect(str(path))
    waiting.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    second = AdminServer(path, BARE)
    await second.start(taken)
    assert code_of(await asyncio.to_thread(waiting.recv, 1_000)) == b"200"
    waiting.close()
    await second.stop()


@pytest.mark.parametrize(("group", "mode"), [(None, 0o600), (os.getegid(), 0o660)])
async def test_a_group_may_open_the_socket_if_it_is_named(tmp_path: Path, group: int | None, mode: int) -> None:
    server = AdminServer(tmp_path / "x.sock", BARE, group)
    await server.start()
    status = (tmp_path / "x.sock").stat()
    assert stat.S_IMODE(status.st_mode) == mode
    assert group is None or status.st_gid == group
    await server.stop()


@pytest.mark.parametrize(
    ("user", "code"), [(os.geteuid(), b"200"), (0, b"200"), (4_711, b"403"), (http.NOBODY, b"403")]
)
async def test_only_the_owner_may_change_something(
    socket_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, code: bytes
) -> None:
    """A member of the group may read; who asks is what the kernel says."""
    monkeypatch.setattr(http, "_user", lambda transport: user)
    assert code_of(await asked(socket_path, b"POST /v1/act HTTP/1.1\r\nHost: x\r\n\r\n")) == code
    for path in (b"/v1/status", b"/metrics"):
        assert code_of(await asked(socket_path, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")) == b"200"


AS_ANOTHER_USER = """
import os, socket, sys
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(sys.argv[1])
    sock.sendall(b"POST /v1/act?uid=0 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    print(sock.recv(99).split()[1].decode())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask as another user")
@pytest.mark.parametrize(("user", "code"), [(0, "200"), (65_534, "403")])
async def test_a_real_user_who_is_not_the_owner_is_refused(user: int, code: str) -> None:
    with tempfile.TemporaryDirectory() as folder:  # not pytest's, which another user may not enter
        os.chmod(folder, 0o711)
        path = Path(folder, "x.sock")
        server = AdminServer(path, HANDLERS)
        await server.start()
        os.chmod(path, 0o666)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-c", AS_ANOTHER_USER, path, str(user), stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
        assert said.decode().strip() == code
        await server.stop()


def test_nothing_of_this_is_logged_by_the_library() -> None:
    """Its loggers stay silent: the lines of a node are its own records."""
    assert not logging.getLogger("aiohttp.access").isEnabledFor(logging.DEBUG)


@pytest.mark.parametrize("words", [["--help"], ["status"], ["reload"], ["run", "--help"], ["outlet", "--help"]])
def test_a_short_command_does_not_wait_for_the_server_to_be_imported(tmp_path: Path, words: list[str]) -> None:
    config = tmp_path / "met-1.toml"
    arguments = words if "--help" in words else [*words, "-c", str(config)]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "from pcgrelay.cli import main; main()", *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "click" in imported
    assert not {"aiohttp", "jinja2", "prometheus_client"} & imported
