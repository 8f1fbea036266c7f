"""Two people approve what widens, with real keys and real processes; nobody else widens anything."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.kit.echo_witness import Echo, host_port
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, PCGRELAY, Node, Stage
from tests.support.ports import free_port
from tests.support.signing import Person, listed, make_people, revoke
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

BY = ("--by", "j.smith@kent.police.example", "--change", "CR-1042", "--reason", "Joint operation")


class Approved:
    """Kent, whose changes are approved, and the Met beside it, which wants to use its export."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.people = make_people(stage.folder / "keys", "j.smith", "a.jones", "b.khan", "c.lee")
        self.signers, self.revoked = stage.folder / "allowed_signers", stage.folder / "krl"
        self.signers.write_text(listed(self.people))
        self.state = stage.folder / "state"
        self.state.mkdir(mode=0o700)
        self.target, self.door, self.port = free_port(), free_port(), free_port()
        self.approvals: dict[str, Any] = {"signers": str(self.signers), "needs": 2, "holds": True}
        self.kent = self.write(HUB)
        link = {"peer": f"kent-1.{KENT}", "address": host_port(self.port)}
        entry = {"service": f"echo@{KENT}", "listen": host_port(self.door)}
        self.met = stage.node(MET, "met-1", links=[link], imports=[entry])

    @property
    def change(self) -> Path:
        return self.kent.config.with_suffix(".change")

    def write(self, *allow: str) -> Node:
        until_ = (datetime.now(UTC) + timedelta(days=90)).date()
        paper = {"owner": "j.smith@kent.police.example", "reason": "Joint", "change": "CR-1", "until": until_}
        export = {"service": "echo", "target": host_port(self.target), "allow": list(allow), **paper}
        return self.stage.node(
            KENT, "kent-1", listens=[{"address": host_port(self.port), **paper}], exports=[export],
            policy={"paper": paper}, approvals=self.approvals, audit={"streams": "refused"},
            node_table={"state": str(self.state)},
        )  # fmt: skip

    def run(self, *words: object, code: int = 0) -> str:
        done = subprocess.run(
            [PCGRELAY, *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
            check=False, env={"COLUMNS": "80", "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def ask(self, command: str, *words: object, code: int = 0) -> str:
        return self.run(command, *words, "-c", self.kent.config, code=code)

    def seen(self, command: str) -> str:
        """What a command says of this node, whatever its code: a busy machine may need somebody too."""
        done = subprocess.run(
            [PCGRELAY, command, "-c", self.kent.config], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=60, check=False, env={"COLUMNS": "80", "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        return done.stdout

    def sign(self, person: Person, *words: object, code: int = 0) -> str:
        return self.run("approve", self.change, "--key", person.key, "--yes", *words, code=code)

    def on_record(self, *events: str) -> bool:
        """Whether the audit log has a record of each of these kinds."""
        data = b"".join(path.read_bytes() for path in (self.state / "audit").rglob("*") if path.is_file())
        return all(f'"{event}"'.encode() in data for event in events)

    def serves(self) -> bool:
        """Whether an application of the Met gets an answer."""
        with suppress(OSError), socket.create_connection((HOST, self.door), timeout=5) as sock:
            sock.sendall(b"hello")
            return sock.recv(5) == b"hello"
        return False


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Approved]:
    with Stage(tmp_path) as stage:
        yield Approved(stage)


def test_a_change_goes_its_way_and_back(scene: Approved) -> None:
    smith, jones, khan, lee = scene.people
    # The first policy: without two signatures the node does not start.
    assert "approve --first" in scene.ask("run", code=78)
    scene.run("approve", "--first", "-c", scene.kent.config, *BY, "--key", jones.key, "--yes")
    assert "Compare" not in scene.ask("run", code=78)
    said = scene.run("approve", "--first", "-c", scene.kent.config, "--key", khan.key, "--yes")
    assert said.count("SHA256:") >= 2
    scene.stage.start(scene.kent, scene.met)
    assert scene.kent.log("policy.first")
    with Echo((HOST, scene.target)):
        scene.stage.await_well(scene.met)
        assert not scene.serves()

        # Somebody edits the file, and nothing comes of it.
        scene.write(HUB, MET)
        assert f"allow {MET} added" in scene.ask("reload", code=6)
        assert "1 widens" in scene.ask("plan")
        text = scene.ask("plan", *BY)
        assert f"WIDENS    export echo: allow {MET} added" in text
        assert max(map(len, scene.change.read_text().splitlines())) <= 80
        assert "does not sign it" in scene.sign(smith, code=6)
        scene.sign(jones)
        assert "has 1 (a.jones). Ask one of: b.khan, c.lee." in scene.ask("apply", scene.change, code=6)

        # Who has doubts holds it, and lifts that when they are gone.
        scene.sign(khan)
        assert "Held by c.lee" in scene.ask("hold", scene.change, "--reason", "no DPIA", "--key", lee.key)
        assert "c.lee" in scene.ask("apply", scene.change, code=6)
        scene.ask("hold", scene.change, "--lift", "--reason", "there is one", "--key", lee.key)
        said = scene.ask("apply", scene.change)
        assert "Taken: 1 widens. Approved by a.jones, b.khan. Policy " in said
        until(scene.serves, 15, "the Met is served")

        # An upgrade and a restart serve by what was approved, whatever somebody wrote into the file.
        scene.write(HUB, MET, "essex.police.example")
        assert scene.kent.upgrade().returncode == 0
        scene.kent.await_log("policy.unapproved")
        assert any("nobody approved" in line for line in scene.ask("status", code=3).splitlines())
        scene.kent.stop()
        scene.kent.start()
        assert scene.kent.log("policy.unapproved")
        until(scene.serves, 15, "the Met is served after a restart")

        # Back again: that narrows, so nobody has to sign it.
        assert scene.on_record("policy.first", "policy.taken", "policy.refused", "policy.held", "policy.unapproved")
        scene.write(HUB, MET)
        scene.ask("reload")
        assert "NARROWS" in scene.ask("undo")
        until(lambda: not scene.serves(), 15, "the Met is refused again")


def test_a_key_that_was_revoked_signs_no_more(scene: Approved) -> None:
    _, jones, khan, lee = scene.people
    scene.run("approve", "--first", "-c", scene.kent.config, *BY, "--key", jones.key, "--yes")
    scene.run("approve", "--first", "-c", scene.kent.config, "--key", khan.key, "--yes")
    scene.stage.start(scene.kent)
    # Revoking narrows: it is in force at once.
    revoke(scene.revoked, khan)
    scene.approvals["revoked"] = str(scene.revoked)
    scene.write(HUB)
    scene.change.unlink()
    scene.ask("reload")
    scene.write(HUB, MET)
    scene.ask("plan", *BY)
    scene.sign(jones)
    scene.sign(khan)
    assert "the key is revoked" in scene.ask("apply", scene.change, code=6)
    scene.sign(lee)
    assert "Approved by a.jones, c.lee" in scene.ask("apply", scene.change)
    assert scene.kent.log("policy.taken")[-1]["approved"] == [jones.address, lee.address]


@pytest.mark.tier_all
def test_in_a_hurry_what_narrows_is_taken_although_something_else_waits(scene: Approved) -> None:
    _, jones, khan, _ = scene.people
    scene.write(HUB, MET)
    scene.run("approve", "--first", "-c", scene.kent.config, *BY, "--key", jones.key, "--yes")
    scene.run("approve", "--first", "-c", scene.kent.config, "--key", khan.key, "--yes")
    scene.stage.start(scene.kent, scene.met)
    started = time.time()
    assert scene.ask("plan") == "Nothing differs from what was approved last.\n"
    with Echo((HOST, scene.target)):
        scene.stage.await_well(scene.met)
        until(scene.serves, 15, "the Met is served")
        # A text of the very second in which the policy was taken may be the one that was taken: it is written anew.
        until(lambda: time.time() >= int(started) + 1)
        # Somebody waits for signatures, and everybody sees that.
        scene.write(HUB, MET, "essex.police.example")
        scene.ask("plan", *BY)
        signature = scene.sign(jones).splitlines()[-1].partition(": ")[2]
        waits = "change CR-1042 waits: 1 of 2 signatures, until "
        until(lambda: waits in scene.seen("status"), 30, "the status shows the change that waits")
        assert waits in scene.seen("doctor")
        said = scene.ask("plan", *BY)
        assert Path(signature).exists(), said  # the same text: nobody has to sign again
        # And then a door has to be closed, now.
        scene.write(HUB, "essex.police.example")
        said = scene.ask("reload", code=6)
        assert "To take now what narrows, put the rest back as it was approved: pcgrelay undo --edits" in said
        assert "stays beside them as FILE.undone" in scene.ask("undo", "--edits")
        until(scene.serves, 15, "the Met is served")
        scene.write(HUB)
        assert "No signature is needed" in scene.ask("plan")
        scene.ask("reload")
        until(lambda: not scene.serves(), 15, "the Met is refused")
        until(lambda: "waits" not in scene.seen("status"), 30, "what begins elsewhere waits no more")
    assert not any(
        "owner" in json.dumps(each) and "j.smith@" in json.dumps(each) for each in scene.kent.log("config.reloaded")
    )
