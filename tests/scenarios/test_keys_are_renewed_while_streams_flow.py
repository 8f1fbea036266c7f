"""Keys step by bytes, frames and time, and links and sessions are renewed by fresh handshakes, and nobody notices."""

from __future__ import annotations

import hashlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from changes import applications
from programs import nginx, program
from stage import Line, Node, Stage, line, until
from witness import Echo

MIB = 1 << 20
BODY_BYTES = 48 * MIB
SOON = {"members": ["*"], "renewal_interval_s": 1, "renewal_age_s": 60}
LIMITS = [{"rekey_frames": 16}, {"rekey_bytes": "64KiB"}, {"rekey_s": 1}]


def curl(url: str, digests: list[str]) -> None:
    command = [program("curl"), "--silent", "--show-error", "--fail", "--max-time", "60", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        digest = hashlib.sha256()
        while piece := process.stdout.read(MIB):
            digest.update(piece)
    digests.append(digest.hexdigest() if process.returncode == 0 else f"curl ended with {process.returncode}")


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Callable[..., Line]]:
    with ExitStack() as stack:

        def made(policy: dict[str, object]) -> Line:
            stage = stack.enter_context(Stage(tmp_path / "stage"))
            found = line(stage, "edge-relay-edge", ["web", "echo"], policy=policy, node_table={"lanes": 2})
            found.start()
            return found

        (tmp_path / "stage").mkdir()
        yield made


def generations(node: Node) -> list[int]:
    """Renewals of each link and session of a node."""
    status = node.status()
    return [entry.generation for entry in (*status.links, *status.sessions)]


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: next(iter(limit)))
def test_nothing_is_lost_and_no_stream_ends(
    realm: Callable[..., Line], limit: dict[str, object], tmp_path: Path, figure: Callable[[str], None]
) -> None:
    path = realm({**SOON, **limit})
    (tmp_path / "web").mkdir()
    body = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(BODY_BYTES // 32))
    (tmp_path / "web" / "body").write_bytes(body)
    wanted = hashlib.sha256(body).hexdigest()
    host, port = path.door("web")
    digests: list[str] = []
    rounds = 0
    with (
        nginx(tmp_path / "nginx", tmp_path / "web", path.target("web")),
        Echo(path.target("echo")),
        applications(path.door("echo"), 3) as witnesses,
    ):
        began = time.monotonic()
        while time.monotonic() - began < 4 or any(min(generations(node)) < 3 for node in path.nodes):
            assert time.monotonic() - began < 30, [generations(node) for node in path.nodes]
            loads = [
                threading.Thread(target=curl, args=(f"http://{host}:{port}/body", digests), daemon=True)
                for _ in range(2)
            ]
            for load in loads:
                load.start()
            for load in loads:
                load.join(60)
            rounds += 2
    assert digests == [wanted] * rounds
    figures = {node.dotted: node.metrics() for node in path.nodes}
    for node in path.nodes:
        steps, mixed = (figures[node.dotted][f"core_rekeys{kind}_total"] for kind in ("", "_mixed"))
        # Each direction of a lane and of a flow steps with each renewal, and by its limits besides.
        assert mixed >= 3 * 2 * (2 if node in path.relays else 1)
        assert steps > mixed
        for event in ("lane.down", "link.down", "link.control_lost", "session.down", "session.stalled"):
            assert not node.log(event), (node, event)
        assert not node.log("renewal.failed")
        assert not node.log("node.failure")
    steps = [int(figures[node.dotted]["core_rekeys_total"]) for node in path.nodes]
    worst_ms = max(witness.worst_s for witness in witnesses) * 1000
    figure(f"steps {steps}, {rounds} downloads of {BODY_BYTES // MIB} MiB whole, slowest exchange {worst_ms:.0f} ms")


def test_the_status_says_how_long_ago_both_ends_proved_who_they_are(realm: Callable[..., Line]) -> None:
    path = realm(SOON)
    until(lambda: all(min(generations(node)) >= 1 for node in path.nodes), 15)
    for node in (path.importer, path.exporter):
        status = node.status()
        (link,), (session,) = status.links, status.sessions
        assert 0 <= session.authenticated_s < 10
        assert link.authenticated_s is not None
        assert 0 <= link.authenticated_s < 10
        assert {session.state, link.state} == {"up"}
        assert node.await_log("link.renewed")["generation"] >= 1
        assert node.await_log("session.renewed")["generation"] >= 1
