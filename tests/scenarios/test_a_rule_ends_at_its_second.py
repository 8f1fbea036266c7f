"""After the last day of a rule nothing of it goes on: streams, outlets, links, listeners, in the next process too."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.kit.clocked import Clocked
from tests.scenarios.kit.echo_witness import Echo
from tests.scenarios.kit.nodes import HOST, KENT, MET, Address, Node, Stage
from tests.scenarios.kit.reload_setup import command, reload
from tests.scenarios.kit.socket_steps import connect
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

SERVICE = f"echo@{KENT}"
OLD = f"old@{KENT}"
LATE_S = 1.5  # a second, and what a busy machine takes
APPLICATION, TARGET = b"a", b"t"
BEFORE_S = 3


class Ended:
    """Waits in a thread for the end of a stream, so that several ends are timed at once."""

    def __init__(self, door: Address, first: bytes = b"x") -> None:
        self.sock = connect(door)
        self.sock.sendall(first)
        assert self.sock.recv(1) == first
        self.at: float | None = None
        self._thread = threading.Thread(target=self._wait, daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        self.sock.settimeout(60)
        try:
            self.sock.recv(1)
        except ConnectionError:
            self.at = time.time()
        except OSError:
            pass

    def late_s(self, midnight: float) -> float:
        """How long after midnight it was reset."""
        self._thread.join(20)
        assert self.at is not None
        return self.at - midnight


class HalfEnded(Ended):
    """The same for a stream of which one direction has ended, and that goes on in the other."""

    def __init__(self, door: Address, first: bytes) -> None:
        """first: who ends its direction, APPLICATION or TARGET."""
        self.first = first
        super().__init__(door, first)

    def _wait(self) -> None:
        self.sock.settimeout(60)
        try:
            if self.first == APPLICATION:
                self.sock.shutdown(socket.SHUT_WR)
                while self.sock.recv(1):
                    pass
            else:
                assert self.sock.recv(1) == b""
                while True:
                    self.sock.sendall(b"more")
                    time.sleep(0.02)
        except ConnectionError:
            self.at = time.time()
        except OSError:
            pass


class Halves:
    """A target that ends its direction if the first byte says so, and else speaks on when the other side has ended."""

    def __init__(self, address: Address) -> None:
        self._door = socket.create_server(address)
        self._held: list[socket.socket] = []

    def __enter__(self) -> Halves:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._door, *self._held):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._door.accept()
                self._held.append(sock)
                threading.Thread(target=self._talk, args=(sock,), daemon=True).start()

    def _talk(self, sock: socket.socket) -> None:
        with suppress(OSError):
            if not (first := sock.recv(1)):
                return
            sock.sendall(first)
            if first == TARGET:
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(1 << 16):
                    pass
            else:
                while sock.recv(1 << 16):
                    pass
                while True:
                    sock.sendall(b"more")
                    time.sleep(0.02)


@contextmanager
def opened(*doors: Address) -> Iterator[list[Ended]]:
    found = [Ended(door) for door in doors]
    try:
        yield found
    finally:
        for each in found:
            each.sock.close()


def is_refused(door: Address) -> bool:
    try:
        with connect(door) as client:
            client.sendall(b"x")
            return client.recv(1) == b""
    except OSError:
        return True


class Day:
    """Two edges on the last day of rules, and the clock of both."""

    def __init__(self, folder: Path, stage: Stage) -> None:
        self.stage = stage
        self.last = datetime.now(UTC).date()
        self.port, self.target = free_port(), (HOST, free_port())
        self.door, self.old_door, self.old_way = ((HOST, free_port()) for _ in range(3))
        self.kent = self.write_kent()
        self.met = self.write_met()
        self.clocks = [Clocked(node, folder) for node in (self.kent, self.met)]
        midnight = datetime.combine(self.last + timedelta(days=1), datetime.min.time(), UTC)
        self._left_s = (midnight - datetime.now(UTC)).total_seconds()
        self.midnight = 0.0  # when it is midnight for them, by the clock of the test

    def rule(self, **keys: Any) -> dict[str, Any]:
        return {**keys, "until": self.last, "change": "CR-1042", "owner": "j.smith@kent.police.example"}

    def write_kent(self, **policy: Any) -> Node:
        export = {"service": "echo", "target": f"{HOST}:{self.target[1]}", "allow": [MET]}
        return self.stage.node(
            KENT, "kent-1", listens=[f"{HOST}:{self.port}"], crl=False, policy=policy,
            exports=[self.rule(**export, also=[f"{HOST}:{self.old_way[1]}"])],
        )  # fmt: skip

    def write_met(self, *, link: bool = False) -> Node:
        dial = {"peer": f"kent-1.{KENT}", "address": f"{HOST}:{self.port}"}
        direct = {"service": OLD, "name": "cjx", "address": f"{HOST}:{self.target[1]}", "probe": "none"}
        return self.stage.node(
            MET, "met-1", links=[self.rule(**dial) if link else dial], crl=False,
            imports=[
                {"service": SERVICE, "listen": f"{HOST}:{self.door[1]}"},
                {"service": OLD, "listen": f"{HOST}:{self.old_door[1]}", "outlet": "cjx"},
            ],
            directs=[self.rule(**direct)],
        )  # fmt: skip

    def evening(self) -> None:
        """Let it be some seconds before midnight for both nodes."""
        offset_s = int(self._left_s + (self.midnight_base - time.time()) - BEFORE_S)
        for clock in self.clocks:
            clock.set(offset_s)
        self.midnight = self.midnight_base + self._left_s - offset_s

    def start(self) -> None:
        self.midnight_base = time.time()
        midnight = datetime.combine(self.last + timedelta(days=1), datetime.min.time(), UTC)
        self._left_s = midnight.timestamp() - self.midnight_base
        self.stage.start()
        until(lambda: not is_refused(self.door) and not is_refused(self.old_door), 20, "both ways are open")


@contextmanager
def day(folder: Path, target: Callable[[Address], AbstractContextManager[object]] = Echo) -> Iterator[Day]:
    with Stage(folder) as stage:
        found = Day(folder, stage)
        with target(found.target):
            found.start()
            yield found


def troubles(node: Node) -> str:
    done = command("status", "-c", node.config)
    return done.stdout


def explained(node: Node, *words: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(command("explain", *words, "-c", node.config, "--json").stdout)
    return answer


def test_live_streams_of_each_kind_end_within_a_second(tmp_path: Path, figure: Callable[[str], None]) -> None:
    with day(tmp_path) as scene:
        assert f"export echo ends today, on {scene.last} (UTC)." in troubles(scene.kent)
        scene.kent.await_log("rule.ending", days=1)
        with opened(scene.door, scene.old_door, scene.old_way) as streams:
            scene.evening()
            late = [each.late_s(scene.midnight) for each in streams]
        figure("reset after midnight: " + ", ".join(f"{each:.2f} s" for each in late))
        assert all(-0.2 <= each <= LATE_S for each in late), late
        expired = scene.kent.await_log("rule.expired")
        assert (expired["rule"], expired["until"], expired["change"]) == ("export echo", str(scene.last), "CR-1042")
        assert "j.smith" not in json.dumps([*scene.kent.log(), *scene.met.log()])
        scene.kent.await_log("stream.end", cause="not-allowed")
        assert scene.met.await_log("rule.expired")["rule"] == f"direct cjx of {OLD}"
        assert all(is_refused(door) for door in (scene.door, scene.old_door, scene.old_way))
        ended = f"the rule ended {scene.last}"
        assert ended in explained(scene.kent, "echo")["verdict"]
        assert ended in explained(scene.kent, "echo", "--from", MET)["verdict"]
        assert f"export echo ended on {scene.last} (UTC) and allows nothing any more." in troubles(scene.kent)
        # The process after it says nothing of what is old news, and allows nothing either.
        with pytest.MonkeyPatch.context() as patch:
            for name, value in scene.kent.environment.items():
                patch.setenv(name, value)
            assert scene.kent.upgrade().returncode == 0
        assert is_refused(scene.door)
        assert is_refused(scene.old_way)
        assert len([line for line in scene.kent.log() if line["event"] == "rule.expired"]) == 1
        # A clock that was wrong gives back what it took. That of the neighbour first: by a clock that is ahead the
        # exporter's next entry, which has the service again, would be too old, and another one is a minute away.
        for clock in reversed(scene.clocks):
            clock.set(0)
        scene.kent.await_log("rule.returned")
        until(lambda: not any(map(is_refused, (scene.door, scene.old_door, scene.old_way))), 20, "all is open again")


@pytest.mark.tier_all
def test_streams_of_which_one_direction_has_ended_end_as_soon(tmp_path: Path, figure: Callable[[str], None]) -> None:
    with day(tmp_path, Halves) as scene:
        doors = (scene.door, scene.old_door, scene.old_way)
        streams = [HalfEnded(door, first) for door in doors for first in (APPLICATION, TARGET)]
        # An upgrade in between: what came back after it ends as well.
        with pytest.MonkeyPatch.context() as patch:
            for name, value in scene.met.environment.items():
                patch.setenv(name, value)
            assert scene.met.upgrade().returncode == 0
        scene.evening()
        late = [each.late_s(scene.midnight) for each in streams]
        for each in streams:
            each.sock.close()
        figure("reset after midnight, half-closed: " + ", ".join(f"{each:.2f} s" for each in late))
        assert all(-0.2 <= each <= LATE_S for each in late), late
        # Neighbours are told of the export no more, so nobody begins a session for it.
        until(
            lambda: [each.state for each in scene.met.status().services if each.name == SERVICE] == ["down"],
            5, "nobody offers it",
        )  # fmt: skip


@pytest.mark.tier_all
def test_a_link_ends_with_its_rule_and_comes_back_with_a_later_one(tmp_path: Path) -> None:
    with day(tmp_path) as scene:
        scene.write_met(link=True)
        assert reload(scene.met).ok
        with opened(scene.door) as (stream,):
            scene.evening()
            scene.met.await_log("rule.expired", 20, rule=f"link kent-1.{KENT} at {HOST}:{scene.port}")
            until(lambda: not scene.met.status().links, 20, "the link is gone")
            assert time.time() - scene.midnight < LATE_S + 2
            assert stream.sock.fileno() >= 0
        scene.write_met()
        assert reload(scene.met).ok
        until(lambda: [link.state for link in scene.met.status().links] == ["up"], 20, "the link is back")


@pytest.mark.tier_all
def test_members_end_with_the_paper_of_the_policy(tmp_path: Path) -> None:
    with day(tmp_path) as scene:
        scene.write_kent(paper=scene.rule(reason="The realm"))
        assert reload(scene.kent).ok
        scene.evening()
        scene.kent.await_log("rule.expired", 20, rule="policy members and relays")
        scene.kent.await_log("link.down", 5, reason="not_a_member")
        until(lambda: not [link for link in scene.kent.status().links if link.state == "up"], 20, "no link is left")
        socket.create_connection((HOST, scene.port), 5).close()


def test_a_node_starts_and_reloads_with_a_file_of_rules_that_have_ended(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        scene = Day(tmp_path, stage)
        scene.last = scene.last - timedelta(days=30)
        for write in (scene.write_kent, scene.write_met):
            write()
        stage.start()
        assert is_refused(scene.door)
        assert reload(scene.kent).ok
        assert command("check", "-c", scene.kent.config).returncode in (1, 4)
        assert not [line for line in scene.kent.log() if line["event"] in ("rule.expired", "failure")]
