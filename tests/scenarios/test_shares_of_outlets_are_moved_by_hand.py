"""An import has several outlets: shares are moved by hand, and a set-up that fails on one is led on to the next."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.scenarios.kit.echo_witness import host_port
from tests.scenarios.kit.nodes import HOST, KENT, Address, Stage
from tests.scenarios.kit.reload_setup import Scene, command, reload
from tests.support.applications import Talk, echo, server
from tests.support.ports import free_port
from tests.support.waiting import receive, until

pytestmark = pytest.mark.tier_test

SERVICE = f"named@{KENT}"


class Moved:
    """Kent's service `named` says who answers. The Met imports it over the gateway and over the old network."""

    def __init__(self, made: Scene, new: Address, old: Address) -> None:
        self.scene = made
        self.met, self.kent = made.met, made.kent
        self.door: Address = (HOST, free_port())
        made.change(made.kent, exports=[made.export("echo"), made.export("named", target=host_port(new[1]))])
        self.old = old
        self.configure(old)

    def configure(self, old: Address, **keys: object) -> None:
        state = self.scene.stage.folder / "state"
        state.mkdir(exist_ok=True)
        self.scene.change(
            self.met,
            node_table={"lanes": 1, "state": str(state)},
            imports=[
                self.scene.entry("echo", self.scene.door),
                {"service": SERVICE, "listen": host_port(self.door[1]), "outlet": "cjx", **keys},
            ],
            directs=[
                {"service": SERVICE, "name": "cjx", "address": host_port(old[1]), "bearer": "cjx", "probe": "none"}
            ],
            bearers=[{"name": "cjx", "marking": "OFFICIAL"}],
        )

    def asked(self, count: int = 1) -> Counter[bytes]:
        """Who answers so many connections, one after the other; none of them may fail."""
        seen: Counter[bytes] = Counter()
        for _ in range(count):
            with socket.create_connection(self.door, timeout=15) as connection:
                connection.sendall(b"x")
                said = receive(connection, 4)
                assert connection.recv(1) == b"x"
                seen[said] += 1
        return seen

    def outlet(self, *shares: str) -> subprocess.CompletedProcess[str]:
        return command("outlet", "named", *shares, "-c", self.met.config)


def says(name: bytes) -> Talk:
    def talk(connection: socket.socket) -> None:
        connection.sendall(name)
        echo(connection)

    return talk


@contextmanager
def moved(folder: Path, **environment: str) -> Iterator[Moved]:
    with Stage(folder) as stage, server(says(b"new ")) as new, server(says(b"old ")) as old:
        made = Moved(Scene(stage, 1), new, old)
        made.met.environment = environment
        stage.start()
        stage.await_well()
        until(lambda: made.met.service("named").state == "ready", 10)
        yield made


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moved]:
    """For what changes nothing."""
    with moved(tmp_path_factory.mktemp("standing")) as made:
        yield made


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Moved]:
    with moved(tmp_path) as made:
        yield made


def test_all_goes_to_the_outlet_of_the_file_and_then_as_the_shares_say(service: Moved) -> None:
    assert service.asked(20) == {b"old ": 20}
    done = service.outlet("cjx=90", "gateway=10")
    assert done.returncode == 0, done.stdout + done.stderr
    assert service.asked(200) == {b"old ": 180, b"new ": 20}
    assert service.outlet("gateway=100").returncode == 0
    assert service.asked(20) == {b"new ": 20}


def test_access_log_status_metrics_and_explain_name_the_outlet(service: Moved) -> None:
    service.outlet("cjx=50")
    assert service.asked(200) == {b"old ": 100, b"new ": 100}
    ends = [service.met.await_log("stream.end", service=SERVICE, outlet=name) for name in ("cjx", "gateway")]
    assert all(end["setup_ms"] >= 0 and not end.get("moved") for end in ends)
    assert 'outlet="gateway"' in service.met.asked("/metrics")[1]
    for name in ("cjx", "gateway"):
        assert service.met.metrics()[f'outlet_share{{outlet="{name}",service="{SERVICE}"}}'] == 0.5
        up = f'outlet_setups_total{{outcome="up",outlet="{name}",service="{SERVICE}"}}'
        until(lambda up=up: service.met.metrics()[up] == 100, 5, up)
    told = command("explain", SERVICE, "-c", service.met.config).stdout
    assert "cjx" in told
    assert "outlet cjx: 50 %, ready" in command("status", "-c", service.met.config).stdout


def test_a_target_that_refuses_at_the_exporter_is_led_on(service: Moved) -> None:
    service.outlet("gateway=100")
    service.scene.change(
        service.kent,
        exports=[service.scene.export("echo"), service.scene.export("named", target=host_port(free_port()))],
    )
    assert reload(service.kent).ok
    assert service.asked(50) == {b"old ": 50}
    assert service.met.await_log("stream.end", service=SERVICE, outlet="cjx", moved=1)
    labels = f'{{outlet="gateway",service="{SERVICE}"}}'
    until(lambda: service.met.metrics()[f"outlet_moved_total{labels}"] == 50, 20)


@pytest.mark.tier_all
def test_a_back_up_is_exercised_and_nobody_notices_that_it_does_not_work(service: Moved) -> None:
    service.configure(service.old, outlet="gateway", exercise=10)
    assert reload(service.met).ok
    assert service.asked(200) == {b"new ": 180, b"old ": 20}
    series = f'exercise_last_success_timestamp_seconds{{outlet="cjx",service="{SERVICE}"}}'
    until(lambda: service.met.metrics().get(series, 0) > 0, 20, series)
    # Nothing listens there any more, and no probe tells.
    service.configure((HOST, free_port()), outlet="gateway", exercise=10)
    assert reload(service.met).ok

    def is_told() -> bool:
        # Again and again: what the node counts in one turn with streams that got through does not show that it is away.
        assert service.asked(100) == {b"new ": 100}
        return "The outlet cjx" in command("status", "-c", service.met.config).stdout

    until(is_told, 30, "it is told")
    assert service.met.metrics()[f'outlet_share{{outlet="cjx",service="{SERVICE}"}}'] == 0.1


def test_a_relay_that_is_killed_costs_no_connection(service: Moved) -> None:
    service.outlet("gateway=100")
    assert service.asked(5) == {b"new ": 5}
    service.scene.relays[0].kill()
    assert sum(service.asked(50).values()) == 50
    assert service.asked(5) == {b"old ": 5}


@pytest.mark.tier_all
def test_the_core_leads_on_while_python_stands_still(tmp_path: Path) -> None:
    folder = tmp_path / "slow"
    folder.mkdir()
    # A thread that holds the interpreter's lock: nothing of Python runs meanwhile.
    folder.joinpath("sitecustomize.py").write_text(
        "import ctypes, os, threading, time\n"
        "def stand_still():\n"
        f"    while not os.path.exists({str(folder / 'now')!r}):\n"
        "        time.sleep(0.05)\n"
        "    ctypes.PyDLL(None).sleep(10)\n"
        "if os.environ.get('STANDS_STILL'):\n"
        "    threading.Thread(target=stand_still, daemon=True).start()\n"
    )
    with moved(tmp_path, PYTHONPATH=str(folder), STANDS_STILL="1") as service:
        service.outlet("gateway=100")
        service.scene.change(
            service.kent,
            exports=[service.scene.export("echo"), service.scene.export("named", target=host_port(free_port()))],
        )
        assert reload(service.kent).ok
        folder.joinpath("now").touch()
        time.sleep(0.2)
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(1)
            admin.connect(str(service.met.admin))
            admin.sendall(b"GET /v1/status HTTP/1.1\r\nHost: node\r\n\r\n")
            with pytest.raises(TimeoutError):
                admin.recv(1)
            assert service.asked(50) == {b"old ": 50}
            # It stood still to the end of that.
            admin.settimeout(0.1)
            with pytest.raises(TimeoutError):
                admin.recv(1)


def shares(service: Moved) -> dict[str, float]:
    told = json.loads(command("outlet", "named", "--json", "-c", service.met.config).stdout)
    return {outlet["name"]: outlet["share"] * 100 for outlet in told["outlets"]}


def test_shares_survive_reload_upgrade_and_restart_and_streams_an_upgrade(service: Moved) -> None:
    assert service.outlet("cjx=30", "gateway=70").returncode == 0
    lasting = [socket.create_connection(service.door, timeout=15) for _ in range(20)]
    assert Counter(connection.recv(4) for connection in lasting)[b"old "] in (5, 6, 7)
    for again in (lambda: reload(service.met), service.met.upgrade):
        again()
        assert shares(service) == {"gateway": 70.0, "cjx": 30.0}
        assert service.asked(200) == {b"old ": 60, b"new ": 140}
        for connection in lasting:
            connection.sendall(b"still here")
            assert receive(connection, 10) == b"still here"
    for connection in lasting:
        connection.close()
    service.met.stop()
    service.met.start()
    until(lambda: service.met.service("named").state == "ready", 10)
    assert shares(service) == {"gateway": 70.0, "cjx": 30.0}
    assert service.asked(200) == {b"old ": 60, b"new ": 140}


@pytest.mark.tier_all
def test_before_the_gateway_is_there_an_edge_is_a_plain_proxy_that_counts(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage, server(says(b"old ")) as old:
        door = (HOST, free_port())
        met = stage.node(
            "met.police.example",
            "met-1",
            imports=[{"service": SERVICE, "listen": host_port(door[1]), "outlet": "cjx"}],
            directs=[{"service": SERVICE, "name": "cjx", "address": host_port(old[1]), "bearer": "cjx"}],
        )
        stage.start()
        for _ in range(10):
            with socket.create_connection(door, timeout=15) as connection:
                assert receive(connection, 4) == b"old "
        until(lambda: met.metrics()[f'outlet_setups_total{{outcome="up",outlet="cjx",service="{SERVICE}"}}'] == 10)
        assert met.service("named").state == "ready"


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (("cjx=90", "gateway=20"), 2),
        (("cjx=0.3", "gateway=99.7"), 2),
        (("psnp=100",), 2),
        (("cjx=-1", "gateway=101"), 2),
        (("cjx=nan",), 2),
        (("cjx",), 2),
    ],
)
def test_shares_that_are_none_change_nothing(standing: Moved, wrong: tuple[str, ...], code: int) -> None:
    before = shares(standing)
    refused = standing.outlet(*wrong)
    assert refused.returncode == code, refused.stdout + refused.stderr
    assert len(refused.stderr.strip().splitlines()) <= 3
    assert "Traceback" not in refused.stderr
    assert shares(standing) == before
