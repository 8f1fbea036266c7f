"""Keys step by bytes, frames and time, and links and sessions are renewed by fresh handshakes, and nobody notices."""

from __future__ import annotations

import hashlib
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.kit.echo_witness import Echo, host_port
from tests.scenarios.kit.nodes import HOST, Address, Node, Stage
from tests.scenarios.kit.real_programs import nginx, program
from tests.scenarios.kit.reload_setup import Scene, applications
from tests.support.ports import free_port

pytestmark = pytest.mark.tier_test

MIB = 1 << 20
BODY_BYTES = 48 * MIB
SOON = {"members": ["*"], "renewal_interval_s": 1, "renewal_age_s": 60}
RENEWALS = 2


def curl(url: str, digests: list[str]) -> None:
    command = [program("curl"), "--silent", "--show-error", "--fail", "--max-time", "60", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        digest = hashlib.sha256()
        while piece := process.stdout.read(MIB):
            digest.update(piece)
    digests.append(digest.hexdigest() if process.returncode == 0 else f"curl ended with {process.returncode}")


def download(url: str, digests: list[str]) -> None:
    """Two at once, to their end."""
    loads = [threading.Thread(target=curl, args=(url, digests), daemon=True) for _ in range(2)]
    for load in loads:
        load.start()
    for load in loads:
        load.join(60)


def generations(node: Node) -> list[int]:
    """Renewals of each link and session of a node."""
    status = node.status()
    return [entry.generation for entry in (*status.links, *status.sessions)]


def staged(stage: Stage, target: Address, door: Address) -> Scene:
    """A second service, `web`, and for each node another limit of its own keys."""
    realm = Scene(stage, 1)
    (relay,) = realm.relays
    lanes = {"lanes": 2}
    realm.change(relay, node_table=lanes, policy={**SOON, "rekey_frames": 16})
    exports = [realm.export("echo"), {**realm.export("web"), "target": host_port(target[1])}]
    realm.change(realm.kent, node_table=lanes, exports=exports, policy={**SOON, "rekey_bytes": "64KiB"})
    imports = [realm.entry("echo", realm.door), realm.entry("web", door)]
    realm.change(realm.met, node_table=lanes, imports=imports, policy={**SOON, "rekey_s": 1})
    return realm


def test_nothing_is_lost_and_no_stream_ends(tmp_path: Path, figure: Callable[[str], None]) -> None:
    (tmp_path / "web").mkdir()
    body = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(BODY_BYTES // 32))
    (tmp_path / "web" / "body").write_bytes(body)
    target, door = (HOST, free_port()), (HOST, free_port())
    digests: list[str] = []
    with Stage(tmp_path) as stage:
        realm = staged(stage, target, door)
        stage.start()
        stage.await_well()
        with (
            nginx(tmp_path / "nginx", tmp_path / "web", target),
            Echo(realm.target),
            applications(realm.door, 3) as witnesses,
        ):
            began = time.monotonic()
            while not digests or any(min(generations(node)) < RENEWALS for node in realm.nodes):
                assert time.monotonic() - began < 30, [generations(node) for node in realm.nodes]
                download(f"http://{host_port(door[1])}/body", digests)
        assert set(digests) == {hashlib.sha256(body).hexdigest()}
        steps = {}
        for node in realm.nodes:
            figures = node.metrics()
            steps[node.name], mixed = (int(figures[f"core_rekeys{kind}_total"]) for kind in ("", "_mixed"))
            # Each direction of a lane and of a flow steps with each renewal, and by its limits besides.
            assert mixed >= RENEWALS * 4
            assert steps[node.name] > mixed
            for event in ("lane.down", "link.down", "link.control_lost", "session.down", "session.stalled"):
                assert not node.log(event), (node, event)
            assert not node.log("renewal.failed")
            assert not node.log("node.failure")
        for node in (realm.met, realm.kent):
            status = node.status()
            (link,), (session,) = status.links, status.sessions
            assert link.authenticated_s is not None
            assert 0 <= link.authenticated_s < 10
            assert 0 <= session.authenticated_s < 10
            assert (session.state, link.state) == ("up", "up")
            assert node.log("link.renewed", generation=1)
            assert node.log("session.renewed", generation=1)
    worst_ms = max(witness.worst_s for witness in witnesses) * 1000
    rounds = sum(witness.rounds for witness in witnesses)
    figure(f"steps {steps}; {len(digests)} downloads of {BODY_BYTES // MIB} MiB whole")
    figure(f"{rounds} exchanges, the slowest {worst_ms:.0f} ms")
