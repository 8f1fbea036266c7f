"""Callers who still come to an exported service the old way are served at its border, and counted by organisation."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest

from tests.scenarios.kit.echo_witness import host_port
from tests.scenarios.kit.nodes import HOST, KENT, MET, Address, Stage
from tests.scenarios.kit.reload_setup import Scene, command, reload
from tests.scenarios.kit.socket_steps import connect
from tests.support.applications import echo, server
from tests.support.ports import free_port
from tests.support.waiting import receive, until

pytestmark = pytest.mark.tier_test

SERVICE = f"named@{KENT}"
# Whose callers come from these addresses.
OF_MET, OF_NOBODY = "127.0.0.77", "127.0.0.200"


class Border:
    """Kent's service `named`, whose old address is at the edge now."""

    def __init__(self, made: Scene, target: Address) -> None:
        self.scene, self.kent, self.target = made, made.kent, target
        self.old: Address = (HOST, free_port())
        state = made.stage.folder / "state"
        state.mkdir(exist_ok=True)
        self.state = {"lanes": 1, "state": str(state)}
        self.configure()

    def configure(self, **keys: Any) -> None:
        """Write Kent's file anew."""
        export = {"also": [host_port(self.old[1])], "target": host_port(self.target[1]), **keys}
        callers = [{"organisation": MET, "networks": ["127.0.0.64/26"]}] if export["also"] else []
        self.scene.change(
            self.kent,
            node_table=self.state,
            exports=[self.scene.export("echo"), self.scene.export("named", **export)],
            callers=callers,
        )

    def call(self, source: str) -> socket.socket:
        """A caller who comes the old way."""
        return socket.create_connection(self.old, timeout=15, source_address=(source, 0))

    def calls(self, source: str, count: int = 1) -> None:
        for number in range(count):
            with self.call(source) as connection:
                said = b"%d" % number * 1_000
                connection.sendall(said)
                connection.shutdown(socket.SHUT_WR)
                assert b"".join(iter(lambda connection=connection: connection.recv(65_536), b"")) == said

    def is_served(self, source: str) -> bool:
        try:
            with self.call(source) as connection:
                connection.sendall(b"x")
                return receive(connection, 1) == b"x"
        except ConnectionResetError:
            return False

    @contextmanager
    def restored(self) -> Iterator[Border]:
        """As it was found at the end of the block. What it counts and logs is from the begin of that on."""
        self.before, self.since = self.kent.metrics(), self.kent.moment()
        with self.scene.restored():
            yield self

    def figure(self, name: str, organisation: str) -> float:
        series = f'{name}{{organisation="{organisation}",service="{SERVICE}"}}'
        before = self.before.get(series, 0) if name.endswith("_total") else 0
        return self.kent.metrics()[series] - before


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Border]:
    with Stage(tmp_path_factory.mktemp("border")) as stage, server(echo) as target:
        made = Border(Scene(stage, 1), target)
        stage.start()
        stage.await_well()
        yield made


@pytest.fixture
def border(shared: Border) -> Iterator[Border]:
    with shared.restored():
        yield shared


def test_each_organisation_is_counted_and_no_address_is_told(border: Border) -> None:
    border.calls(OF_MET, 5)
    border.calls(OF_NOBODY, 2)
    until(lambda: border.figure("strays_total", MET) == 5, 20)
    until(lambda: border.figure("strays_total", "others") == 2, 20)
    until(lambda: border.figure("stray_received_bytes_total", MET) == 5_000, 20)
    end = border.kent.await_log("stream.end", after=border.since, service=SERVICE, from_organisation=MET)
    assert (end["to_organisation"], end["direction"], end["outlet"], end["sent_bytes"]) == (
        KENT,
        "export",
        "also",
        1_000,
    )
    assert border.kent.await_log("stream.end", after=border.since, service=SERVICE, from_organisation="")
    until(lambda: all(each.used for each in border.kent.service("named").strays), 20)
    shown = command("quiet", "-c", border.kent.config)
    assert shown.returncode == 0, shown.stderr
    (line,) = [line for line in shown.stdout.splitlines() if f"from {MET}" in line]
    assert line.split()[:5] == [SERVICE, "from", MET, "0", "days"]
    told = border.kent.log_text + border.kent.asked("/metrics")[1] + border.kent.asked("/v1/status")[1] + shown.stdout
    assert OF_MET not in told
    assert OF_NOBODY not in told


def test_streams_go_on_through_reload_and_upgrade_and_counts_too(border: Border) -> None:
    with border.call(OF_MET) as lasting:
        lasting.sendall(b"before")
        assert receive(lasting, 6) == b"before"
        border.configure(max_streams=50)
        assert reload(border.kent).ok
        upgraded = border.kent.upgrade()
        assert upgraded.returncode == 0, upgraded.stderr
        lasting.sendall(b"after")
        assert receive(lasting, 5) == b"after"
        border.calls(OF_MET, 3)
        until(lambda: border.figure("strays_total", MET) == 4, 20)
        until(lambda: border.figure("stray_streams_active", MET) == 1, 20)
        # Without the listener the stream that is open goes on, and nobody new comes.
        border.configure(also=[])
        assert reload(border.kent).ok
        with pytest.raises(ConnectionRefusedError):
            border.call(OF_MET)
        lasting.sendall(b"still")
        assert receive(lasting, 5) == b"still"
    until(lambda: not border.kent.service("named").strays, 10)


def test_nobody_who_calls_during_an_upgrade_is_refused(border: Border) -> None:
    waiting = [border.call(OF_MET) for _ in range(20)]
    upgraded = border.kent.upgrade()
    assert upgraded.returncode == 0, upgraded.stderr
    for connection in waiting:
        with connection:
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
    assert not border.kent.log("stream.refused", border.since)


def test_what_is_no_more_than_an_export_takes_and_a_target_that_is_away(border: Border) -> None:
    border.configure(max_streams=2)
    assert reload(border.kent).ok
    open_ones = [border.call(OF_MET) for _ in range(2)]
    for connection in open_ones:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
    until(lambda: border.figure("stray_streams_active", MET) == 2, 20)
    with pytest.raises(ConnectionResetError), border.call(OF_NOBODY) as third:
        third.recv(1)
    for connection in open_ones:
        connection.close()
    until(lambda: border.figure("stray_streams_active", MET) == 0, 20)
    border.configure(target=host_port(free_port()))
    assert reload(border.kent).ok
    with pytest.raises(ConnectionResetError), border.call(OF_MET) as nowhere:
        nowhere.recv(1)
    found = json.loads(border.kent.asked("/v1/status")[1])
    (strays,) = [each["strays"] for each in found["services"] if each["name"] == SERVICE]
    assert {each["organisation"] for each in strays} == {MET, "others"}


def test_a_drain_shuts_the_old_address_too(border: Border) -> None:
    with border.call(OF_MET) as lasting:
        lasting.sendall(b"x")
        assert lasting.recv(1) == b"x"
        command("drain", "--wait", "0", "-c", border.kent.config)
        until(lambda: border.kent.status().condition == "draining", 20)
        with pytest.raises(ConnectionRefusedError):
            border.call(OF_MET)
        lasting.sendall(b"x")
        assert lasting.recv(1) == b"x"
    assert command("drain", "--undo", "-c", border.kent.config).returncode == 0
    border.calls(OF_MET)


def both_talk(border: Border) -> list[socket.socket]:
    """Two callers of the Met that are served; none, if one of them is refused."""
    with ExitStack() as stack, suppress(ConnectionResetError):
        made = [stack.enter_context(border.call(OF_MET)) for _ in range(2)]
        for connection in made:
            connection.sendall(b"x")
            assert receive(connection, 1) == b"x"
        stack.pop_all()
        return made
    return []


def test_one_organisation_has_its_own_limit_and_the_others_theirs(border: Border) -> None:
    border.configure(max_streams_per_organisation=2)
    assert reload(border.kent).ok
    # What has ended before is seen within a second.
    one, two = until(lambda: both_talk(border), 10)
    with one, two, border.call(OF_NOBODY) as other:
        other.sendall(b"x")
        assert receive(other, 1) == b"x"
        with pytest.raises(ConnectionResetError), border.call(OF_MET) as third:
            third.recv(1)
        with border.call(OF_NOBODY) as another:
            another.sendall(b"x")
            assert receive(another, 1) == b"x"
    # What has ended is seen within a second.
    until(lambda: border.is_served(OF_MET), 20)


def test_streams_over_the_gateway_come_first(border: Border) -> None:
    """They take from the same limits, and what they leave is for callers of their organisation."""
    keys = {"also": [host_port(border.old[1])], "target": host_port(border.target[1])}
    border.configure(also=[])
    border.scene.change(
        border.kent, exports=[border.scene.export("echo", max_streams=4, max_streams_per_organisation=2, **keys)]
    )
    border.scene.change(border.kent, callers=[{"organisation": MET, "networks": ["127.0.0.64/26"]}])
    assert reload(border.kent).ok
    with connect(border.scene.door) as one, connect(border.scene.door) as two:
        for connection in (one, two):
            connection.sendall(b"x")
            assert receive(connection, 1) == b"x"
        until(lambda: not border.is_served(OF_MET), 20)
        assert border.is_served(OF_NOBODY)
    until(lambda: border.is_served(OF_MET), 20)
