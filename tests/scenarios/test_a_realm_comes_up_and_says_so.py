"""Every topology comes up by itself, and what it says of itself is true."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.scenarios.kit.nodes import HOST, KENT, PCGRELAY, TOPOLOGIES, Line, Stage
from tests.support.ports import free_port

pytestmark = pytest.mark.tier_test


def test_every_link_and_service_is_ready_and_hybrid(path: Line) -> None:
    assert len(path.relays) == TOPOLOGIES[path.topology]
    for node in path.nodes:
        links = node.status().links
        assert links
        assert {(link.state, link.suite, link.group) for link in links} == {("up", "AES-256-GCM", "X25519MLKEM768")}
    imports = path.importer.status().services
    assert {service.name for service in imports} == {f"{name}@{KENT}" for name in path.services}
    assert {(service.state, service.routes[0].state) for service in imports} == {("ready", "ready")}


def test_the_status_command_agrees(path: Line) -> None:
    for node in path.nodes:
        done = subprocess.run(
            [PCGRELAY, "status", "-c", node.config, "--json"], capture_output=True, timeout=20, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")
        answer = json.loads(done.stdout)
        assert answer["node"]["identity"].endswith(f"/org/{node.organisation}/node/{node.name}")
        assert {link["state"] for link in answer["links"]} == {"up"}


def test_nothing_but_the_ready_line_stands_on_standard_output(path: Line) -> None:
    for node in path.nodes:
        assert node.output.count("\n") == 1
        assert node.output.startswith(f"pcgrelay: {node.log('node.ready')[0]['role']} {node.dotted} is ready")


def test_a_node_does_not_even_read_whom_else_the_machine_trusts(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        relay = stage.relay("relay-1", listens=[f"{HOST}:{free_port()}"])
        # Whoever opens it waits for ever.
        authorities = tmp_path / "authorities"
        os.mkfifo(authorities)
        relay.environment["SSL_CERT_FILE"] = str(authorities)
        relay.start()
