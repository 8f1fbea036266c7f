"""Pages for a browser: loopback, GET, and the right Host alone."""

from __future__ import annotations

import asyncio
import http.client
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pcgrelay.admin.page_server import PageServer
from pcgrelay.admin.server import AdminHandlers, AdminServer
from pcgrelay.admin.status import NodeStatus, Status
from pcgrelay.errors import RunError
from pcgrelay.views.cutover_page import problem_page, style
from tests.support.command_line import invoker
from tests.support.cutover_examples import NOW

Got = tuple[int, dict[str, str], str]


def page(path: str) -> object:
    return (
        style() if path == "/page.css" else problem_page("Nothing yet.", "met-1", NOW) if path == "/cutover" else None
    )


HANDLERS = AdminHandlers(
    status=lambda: Status(node=NodeStatus(identity="spiffe://x", role="edge", uptime_s=1.5, version="1")),
    counters=dict,
    page=page,  # type: ignore[arg-type]
)


def got(address: str, method: str, path: str, host: str = "") -> Got:
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request(method, path, headers={"Host": host} if host else {})
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read().decode()
    finally:
        connection.close()


@pytest.fixture
async def shown(tmp_path: Path) -> AsyncIterator[PageServer]:
    admin = AdminServer(tmp_path / "x.sock", HANDLERS)
    await admin.start()
    server = PageServer(tmp_path / "x.sock", "127.0.0.1", 0)
    await server.start()
    yield server
    await server.stop()
    await admin.stop()


async def test_a_page_and_its_style(shown: PageServer) -> None:
    code, headers, text = await asyncio.to_thread(got, shown.address, "GET", "/cutover")
    assert (code, "Nothing yet." in text) == (404, True)
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'; style-src 'self'" in policy
    assert "script" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    code, headers, _ = await asyncio.to_thread(got, shown.address, "GET", "/page.css")
    assert (code, headers["Content-Type"]) == (200, "text/css; charset=utf-8")
    code, headers, _ = await asyncio.to_thread(got, shown.address, "GET", "/")
    assert (code, headers["Location"]) == (303, "/cutover")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "evil.example:{port}", "0.0.0.0:{port}"])
async def test_a_name_that_is_not_loopbacks_is_refused(shown: PageServer, host: str) -> None:
    host = host.format(port=shown.address.rpartition(":")[2])
    code, _, text = await asyncio.to_thread(got, shown.address, "GET", "/cutover", host)
    assert code == 403
    assert "Nothing yet" not in text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_nothing_is_changed(shown: PageServer, method: str) -> None:
    code, _, _ = await asyncio.to_thread(got, shown.address, method, "/cutover")
    assert code == 405


@pytest.mark.parametrize("path", ["/v1/status", "/metrics", "/cutoverx", "/../cutover", "//v1/status"])
async def test_only_pages_are_shown(shown: PageServer, path: str) -> None:
    code, _, text = await asyncio.to_thread(got, shown.address, "GET", path)
    assert code == 404
    assert "spiffe" not in text


async def test_a_node_that_is_away_is_told(tmp_path: Path) -> None:
    server = PageServer(tmp_path / "none.sock", "127.0.0.1", 0)
    await server.start()
    code, _, text = await asyncio.to_thread(got, server.address, "GET", "/cutover")
    assert (code, "no node listens here" in text) == (503, True)
    other = PageServer(tmp_path / "none.sock", "127.0.0.1", int(server.address.rpartition(":")[2]))
    with pytest.raises(RunError, match="nobody can listen here"):
        await other.start()
    await server.stop()


@pytest.mark.parametrize(
    ("listen", "words"),
    [
        ("0.0.0.0:80", "on loopback alone"), ("10.0.0.1:80", "on loopback alone"), ("[::]:80", "on loopback alone"),
        ("localhost:80", "write a number and a port"), ("127.0.0.1", "write a number"), ("127.0.0.1:x", "the port is"),
        ("127.0.0.1:99999", "the port is"),
    ],
)  # fmt: skip
def test_an_address_that_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, listen: str, words: str
) -> None:
    done = invoker(capsys, monkeypatch)("page", "--listen", listen, "-c", "none.toml")
    assert done.code == 2
    assert words in done.err


def test_the_command_says_where_it_shows_pages_and_ends_when_it_is_told(tmp_path: Path) -> None:
    config = tmp_path / "met-1.toml"
    config.write_text(f'[node]\nname = "met-1"\nadmin = "{tmp_path}/met-1.sock"\n')
    command = [
        sys.executable,
        "-c",
        "from pcgrelay.cli import main; main()",
        "page",
        "-c",
        config,
        "--listen",
        "127.0.0.1:0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        assert line.startswith("http://127.0.0.1:")
        code, _, _ = got(line.removeprefix("http://").removesuffix("/cutover"), "GET", "/cutover")
        assert code == 503
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
