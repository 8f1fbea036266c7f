"""Name queries move from the old network to the gateway under steady queries, and go back when that way dies."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.kit.cut_over import SERVICE, gateway_is_ready_at, told_of
from tests.scenarios.kit.datagram_programs import HOST_OF_ZONE, ZONE, dig, dnsmasq
from tests.scenarios.kit.echo_witness import host_port
from tests.scenarios.kit.nodes import HOST, Address, Stage
from tests.scenarios.kit.reload_setup import Scene, command
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = [pytest.mark.tier_test, pytest.mark.timeout(300)]

QUERIES = 50
IDLE_S = 2


def escaped(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)


LABELS = b"".join(bytes([len(label)]) + label.encode() for label in f"probe.{ZONE}".split("."))
QUESTION = escaped(b"\x12\x34\x01\x00\x00\x01" + bytes(6) + LABELS + b"\x00\x00\x01\x00\x01")
ANSWER = escaped(bytes(map(int, HOST_OF_ZONE.split("."))))
PLAN = f"""\
[cutover]
service = "{SERVICE}"
from = "cjx"
to = "gateway"
back = ["cjx"]
steps = [50, 100]
soak = "SOAK"
deadline = 2150-01-01

[gate]
streams = 30
failures = "10 %"
setup = "100 % or 900 ms"
answer = "100 % or 900 ms"

[shadow]
pace = "60 / min"
send = '{QUESTION}'
expect = '{ANSWER}'
"""


class Digging:
    """Asks for names all the time, each once and from a port of its own, and counts what was not answered."""

    def __init__(self, door: Address, folder: Path) -> None:
        self.asked = 0
        self.answered = 0
        self._door, self._folder = door, folder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            answered = dig(self._door, QUERIES, self._folder)
            self.asked += QUERIES
            self.answered += answered

    def __enter__(self) -> Digging:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()


class Names:
    """Kent's name servers: the new one behind the gateway, the old one on the old network."""

    def __init__(self, scene: Scene, folder: Path) -> None:
        self.scene, self.met, self.folder = scene, scene.met, folder
        self.door: Address = (HOST, free_port())
        self.old_door: Address = (HOST, free_port())
        self.new: Address = (HOST, free_port())
        self.old: Address = (HOST, free_port())
        state = folder / "state"
        state.mkdir()
        keys: dict[str, Any] = {"protocol": "udp", "idle_timeout_s": IDLE_S}
        named = scene.export("named", target=host_port(self.new[1]), **keys)
        scene.change(scene.kent, exports=[scene.export("echo"), named])
        entry = {"service": SERVICE, "listen": host_port(self.door[1]), "outlet": "cjx", **keys}
        entry["also"] = [host_port(self.old_door[1])]
        direct = {"service": SERVICE, "name": "cjx", "address": host_port(self.old[1]), "bearer": "cjx"}
        scene.change(
            scene.met,
            node_table={"lanes": 1, "state": str(state)},
            imports=[scene.entry("echo", scene.door), {**entry, "new_streams_per_second": 100_000}],
            directs=[{**direct, "probe": "expect", "probe_send": QUESTION, "probe_expect": ANSWER}],
            bearers=[{"name": "cjx", "marking": "OFFICIAL"}],
        )

    def command(self, *words: str) -> str:
        done = command(*words, "-c", self.met.config)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, soak: str) -> None:
        file = self.folder / "named.plan.toml"
        file.write_text(PLAN.replace("SOAK", soak))
        self.command("cutover", "start", str(file))

    def await_phase(self, phase: str, share: int, seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while (told := told_of(self.met, SERVICE))["phase"] != phase or told["share"] != share:
            assert time.monotonic() < deadline, (told["phase"], told["share"], told["why"], told["findings"])
            time.sleep(0.1)
        return told

    def outlet(self, name: str) -> Any:
        return next(each for each in self.met.service("named").outlets if each.name == name)

    def used(self, name: str) -> int:
        """How often an outlet, or a further listener, was used on the last day that it was."""
        told = json.loads(self.command("quiet", "--json"))["outlets"]
        (found,) = [each for each in told if name in (each["outlet"], each["listener"])]
        return int(found["used_connections"])


@contextmanager
def names(folder: Path) -> Iterator[Names]:
    with Stage(folder) as stage:
        made = Names(Scene(stage, 1), folder)
        with dnsmasq(folder / "old", made.old):
            stage.start()
            stage.await_well()
            until(lambda: made.outlet("cjx").state == "ready", 20)
            yield made


def test_queries_move_and_none_is_lost(tmp_path: Path) -> None:
    with ExitStack() as stack:
        made = stack.enter_context(names(tmp_path))
        stack.enter_context(dnsmasq(tmp_path / "new", made.new))
        until(lambda: gateway_is_ready_at(made.met, "named"), 20)
        with Digging(made.door, tmp_path) as digging:
            until(lambda: digging.answered >= QUERIES, 30, "the old network answers")
            assert made.outlet("gateway").outcomes["up"] == 0
            rehearsal = made.command(
                "cutover", "rehearse", "named", "--count", "10", "--send", QUESTION, "--expect", ANSWER
            )
            assert "set up         10 of 10" in rehearsal
            made.start("2s")
            told = made.await_phase("arrived", 100, 90)
            assert told["lost"] == 0
            # Nothing but shadows takes the old network any more, and what was open there has ended by itself.
            until(lambda: made.outlet("cjx").streams_active == 0, 20, "associations there are over")
            before, seen = made.outlet("cjx"), digging.answered
            until(lambda: digging.answered >= seen + 4 * QUERIES, 30, "the gateway answers")
            after = made.outlet("cjx")
        assert (after.outcomes, after.sent_bytes) == (before.outcomes, before.sent_bytes)
        # So its day record says, and an old address that is asked once more has one of its own.
        until(lambda: made.used("cjx") == sum(after.outcomes.values()), 20, step_s=0.5)
        assert made.used("also-1") == 0
        assert dig(made.old_door, 1, tmp_path) == 1
        until(lambda: made.used("also-1") == 1, 20, step_s=0.5)
        assert made.used("cjx") == sum(after.outcomes.values())
        assert made.outlet("gateway").outcomes["up"] > 0
        assert digging.answered == digging.asked
        assert [each["what"] for each in told["decisions"]] == ["started", "stepped", "arrived"]


def test_they_go_back_when_the_new_way_dies_and_none_is_lost(tmp_path: Path) -> None:
    """Kent's machine says that nothing listens there: each query is led on, and soon none goes there."""
    with ExitStack() as stack:
        made = stack.enter_context(names(tmp_path))
        server = stack.enter_context(ExitStack())
        server.enter_context(dnsmasq(tmp_path / "new", made.new))
        until(lambda: gateway_is_ready_at(made.met, "named"), 20)
        with Digging(made.door, tmp_path) as digging:
            made.start("10m")
            made.await_phase("soaking", 50, 20)
            until(lambda: made.outlet("gateway").outcomes["up"] >= QUERIES, 30)
            server.close()
            told = made.await_phase("back", 0, 20)
            seen = digging.answered
            until(lambda: digging.answered >= seen + QUERIES, 30)
        # One whose association was answered and open is not led on; dig begins another for each question.
        assert digging.asked - digging.answered <= made.outlet("gateway").cut_total + 1
        assert made.outlet("gateway").moved_total > 0
        assert told["decisions"][-1]["what"] == "fell_back"


def test_a_drill_of_the_back_up_is_noticed_by_nobody(tmp_path: Path) -> None:
    """New associations take the gateway for a while, after pairs of questions of the node's own."""
    with ExitStack() as stack:
        made = stack.enter_context(names(tmp_path))
        server = stack.enter_context(ExitStack())
        server.enter_context(dnsmasq(tmp_path / "new", made.new))
        until(lambda: gateway_is_ready_at(made.met, "named"), 20)
        words = ["drill", "backup", "named", "--for", "2s", "--yes", "--json"]
        with Digging(made.door, tmp_path) as digging:
            until(lambda: digging.answered >= QUERIES, 30)
            record = json.loads(made.command(*words))
            assert record["result"] == "passed", record
            backup, usual = record["outlets"]
            assert (backup["name"], usual["name"]) == ("gateway", "cjx")
            assert backup["setups"] >= QUERIES
            assert backup["failed"] == 0
            assert backup["shadows"] >= 12
            until(lambda: made.outlet("cjx").share == 1.0, 10)
            # dig may ask from a port whose association is still open there.
            until(lambda: made.outlet("gateway").streams_active == 0, 20, "associations there are over")
            server.close()
            # A back-up that is dead is found out before an application goes there.
            again = json.loads(command(*words, "-c", made.met.config).stdout)
            assert again["result"] == "failed", again
            assert "No application had gone there" in again["sentence"]
        assert digging.answered == digging.asked


def test_a_plan_without_a_question_is_refused_by_name(tmp_path: Path) -> None:
    with names(tmp_path) as made, dnsmasq(tmp_path / "new", made.new):
        until(lambda: gateway_is_ready_at(made.met, "named"), 20)
        words = ["cutover", "plan", "named", "--from", "cjx", "--deadline", "2150-01-01"]
        done = command(*words, "-c", made.met.config)
        assert done.returncode == 78
        assert "carries datagrams (udp), and only an answer shows that one has arrived" in done.stderr
        assert "shadow" in made.command(*words, "--send", QUESTION, "--expect", ANSWER)
        done = command("cutover", "rehearse", "named", "-c", made.met.config)
        assert done.returncode == 2
        assert "say with --send what to send" in done.stdout + done.stderr
