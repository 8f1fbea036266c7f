"""What one organisation uses up is refused to it by name, and costs the others nothing."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import pytest

from tests.scenarios.kit.nodes import HOST, KENT, MET, Address, Node, Stage
from tests.scenarios.kit.reload_setup import command
from tests.scenarios.kit.socket_steps import accepted, bind_listener, connect, read_exactly, write_until_reset
from tests.scenarios.kit.two_edges import await_streams, pair, reload
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test
SUSSEX = "sussex.police.example"
MEASURED_S = 1.5


def entry(door: Address, **keys: object) -> dict[str, object]:
    return {"service": f"echo@{KENT}", "listen": f"{door[0]}:{door[1]}", **keys}


def is_refused(door: Address) -> bool:
    """Whether a new stream is refused; one that is not is closed again."""
    try:
        with connect(door) as client:
            client.sendall(b"x")
            return client.recv(1) == b""
    except ConnectionResetError:
        return True


def foretold(kent: Node, organisation: str) -> tuple[int, str]:
    """The exit code of `explain --from`, and the cause with which it says that a stream would be refused."""
    done = command("explain", "echo", "--from", organisation, "-c", kent.config, "--json")
    causes = [check["cause"] for check in json.loads(done.stdout)["checks"] if not check["passed"]]
    return done.returncode, "".join(causes)


@contextmanager
def echo(address: Address) -> Iterator[None]:
    """A server that answers each connection in a thread of its own."""

    def serve(sock: socket.socket) -> None:
        with sock:
            try:
                while data := sock.recv(65_536):
                    sock.sendall(data)
            except OSError:
                pass

    def accept(server: socket.socket) -> None:
        while True:
            try:
                sock, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(sock,), daemon=True).start()

    with bind_listener(address) as server:
        server.settimeout(None)
        thread = threading.Thread(target=accept, args=(server,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


class Three:
    """Kent exports; the Met and Sussex import, each at its door."""

    def __init__(self, stage: Stage, target: Address, **limits: object) -> None:
        self.doors = {MET: (HOST, free_port()), SUSSEX: (HOST, free_port())}
        port = free_port()
        export = {"service": "echo", "target": f"{HOST}:{target[1]}", "allow": [MET, SUSSEX], **limits}
        self.kent = stage.node(KENT, "kent-1", listens=[f"{HOST}:{port}"], exports=[export])
        links = [{"peer": f"kent-1.{KENT}", "address": f"{HOST}:{port}"}]
        self.callers = {
            name: stage.node(name, f"{name[:3]}-1", links=links, imports=[entry(door)])
            for name, door in self.doors.items()
        }
        stage.start()
        stage.await_well()


def rounds_a_second(door: Address) -> float:
    """Small requests and answers on one stream."""
    with connect(door) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        count, began = 0, time.monotonic()
        while time.monotonic() - began < MEASURED_S:
            client.sendall(b"x" * 64)
            read_exactly(client, 64)
            count += 1
        return count / (time.monotonic() - began)


def hold(held: ExitStack, door: Address, count: int) -> None:
    """Have so many streams, each of which has carried something."""
    for _ in range(count):
        client = held.enter_context(connect(door))
        client.sendall(b"x")
        read_exactly(client, 1)


@pytest.mark.tier_all
def test_streams_of_one_organisation_end_at_its_own_bound(tmp_path: Path, figure: Callable[[str], None]) -> None:
    target = (HOST, free_port())
    with echo(target), Stage(tmp_path) as stage, ExitStack() as held:
        three = Three(stage, target, max_streams_per_organisation=5)
        hold(held, three.doors[MET], 5)
        assert foretold(three.kent, SUSSEX) == (0, "")
        assert foretold(three.kent, MET) == (3, "organisation-limit")
        assert is_refused(three.doors[MET])
        full = three.kent.await_log("service.full", limit="organisation-limit")
        assert (full["service"], full["organisation"]) == (f"echo@{KENT}", MET)
        refused = three.kent.await_log("stream.refused", cause="organisation-limit")
        assert refused["from_organisation"] == MET
        assert three.callers[MET].await_log("stream.refused", code="limit")["id"] == refused["id"]
        # Sussex is served, as fast as before, while the Met goes on asking: rounds with and without, in turn.
        alone, beside = [], []
        for _ in range(3):
            alone.append(rounds_a_second(three.doors[SUSSEX]))
            with asking_on(three.doors[MET]):
                beside.append(rounds_a_second(three.doors[SUSSEX]))
        ratio = median(after / before for before, after in zip(alone, beside, strict=True))
        figure(f"{median(alone):.0f} rounds a second alone, and {ratio:.2f} of that beside one at its bound")
        assert not is_refused(three.doors[SUSSEX])
        # What was full has room again when one has ended.
        held.close()
        await_streams(three.kent, 0)
        assert not is_refused(three.doors[MET])


@contextmanager
def asking_on(door: Address) -> Iterator[None]:
    """Another process that opens fifty streams a second, as an organisation does that does not look at refusals."""
    script = f"""
import socket, time
while True:
    with socket.socket() as sock:
        try:
            sock.connect({door!r})
            sock.recv(1)
        except OSError:
            pass
    time.sleep(0.02)
"""
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        try:
            yield
        finally:
            process.kill()


@pytest.mark.tier_all
def test_an_upgrade_and_two_workers_count_on(tmp_path: Path) -> None:
    target = (HOST, free_port())
    with echo(target), Stage(tmp_path) as stage, ExitStack() as held:
        three = Three(stage, target, max_streams_per_organisation=3)
        hold(held, three.doors[MET], 3)
        assert three.kent.upgrade().returncode == 0
        assert is_refused(three.doors[MET])
        assert not is_refused(three.doors[SUSSEX])
        held.close()
        await_streams(three.kent, 0)
        assert not is_refused(three.doors[MET])


def test_new_streams_come_at_their_rate(tmp_path: Path) -> None:
    target = (HOST, free_port())
    with echo(target), Stage(tmp_path) as stage:
        three = Three(stage, target, new_streams_per_second=4)
        refused = [is_refused(three.doors[MET]) for _ in range(40)]
        assert not any(refused[:4])
        assert any(refused)
        assert not is_refused(three.doors[SUSSEX])
        assert three.kent.await_log("service.full", limit="rate-limit")["organisation"] == MET
        until(lambda: not is_refused(three.doors[MET]), 20, "the Met may open another")


@pytest.mark.tier_all
def test_an_import_has_limits_of_its_own(tmp_path: Path) -> None:
    door, target = (HOST, free_port()), (HOST, free_port())
    exports = [{"service": "echo", "target": f"{HOST}:{target[1]}"}]
    with echo(target), pair(tmp_path, exports, [entry(door, new_streams_per_second=3)]) as edges:
        refused = [is_refused(door) for _ in range(30)]
        assert not any(refused[:3])
        assert any(refused)
        edges.importer.await_log("service.full", limit="rate-limit", imported=True)


@pytest.mark.tier_all
def test_idle_streams_and_old_ones_end_by_name(tmp_path: Path) -> None:
    door, target = (HOST, free_port()), (HOST, free_port())
    exports = [{"service": "echo", "target": f"{HOST}:{target[1]}", "idle_timeout_s": 2}]
    with echo(target), pair(tmp_path, exports, [entry(door)]) as edges:
        with connect(door) as idle, connect(door) as busy:
            idle.sendall(b"x")
            read_exactly(idle, 1)
            began = time.monotonic()
            while time.monotonic() - began < 4:
                busy.sendall(b"x")
                read_exactly(busy, 1)
                time.sleep(0.3)
            with pytest.raises(ConnectionResetError):
                idle.recv(1)
            end = edges.exporter.await_log("stream.end", cause="idle")
            assert end["duration_ms"] >= 2_000
            # A reload sets another limit for what is open: the life of each.
            edges.write_exporter([{"service": "echo", "target": f"{HOST}:{target[1]}", "max_duration_s": 1}])
            assert reload(edges.exporter).ok
            write_until_reset(busy)
        assert edges.exporter.await_log("stream.end", cause="max-duration")["duration_ms"] >= 4_000


@pytest.mark.tier_all
def test_a_rule_that_runs_out_ends_its_streams_and_tells_its_reference(tmp_path: Path) -> None:
    door, target = (HOST, free_port()), (HOST, free_port())
    export = {"service": "echo", "target": f"{HOST}:{target[1]}"}
    with bind_listener(target) as server, pair(tmp_path, [export], [entry(door)]) as edges:
        with connect(door) as client, accepted(server) as far:
            far.sendall(b"x")
            assert client.recv(1) == b"x"
            until_ = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=4)
            rule = {"organisation": MET, "until": until_, "reason": "an operation", "reference": "DPIA-2026-114"}
            edges.write_exporter([{**export, "allow": [rule]}])
            assert reload(edges.exporter).changes == (f"export echo@{KENT} changed (allow)",)
            client.settimeout(20.0)
            with pytest.raises(ConnectionResetError):
                client.recv(1)
            late = (datetime.now(UTC) - until_).total_seconds()
        assert 0 <= late < 2
        ended = edges.exporter.await_log("rule.ended")
        assert (ended["organisation"], ended["reference"], ended["reason"]) == (MET, "DPIA-2026-114", "an operation")
        edges.exporter.await_log("stream.end", cause="not-allowed")
        assert foretold(edges.exporter, MET) == (3, "not-allowed")
        assert is_refused(door)
        refused = edges.exporter.await_log("stream.refused", cause="not-allowed")
        assert "DPIA-2026-114" in refused["rule_text"]
