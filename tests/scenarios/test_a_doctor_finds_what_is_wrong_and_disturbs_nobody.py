"""`pcgrelay doctor` beside a running node: its streams, sessions and links stay, and a relay that is gone is named."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.kit.nodes import Node
from tests.scenarios.kit.reload_setup import command
from tests.scenarios.kit.two_relays import Pair, paired
from tests.support.waiting import receive, until

pytestmark = pytest.mark.tier_test


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with paired(tmp_path) as made:
        yield made


def examined(node: Node, code: int) -> list[dict[str, Any]]:
    done = command("doctor", "-c", node.config, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    findings: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    return findings


def test_a_doctor_finds_what_is_wrong_and_disturbs_nobody(pair: Pair) -> None:
    nodes = (pair.met, pair.kent, *pair.relays)
    until(lambda: pair.met.status().condition == "ready", 10)
    with socket.create_server(pair.target) as server, socket.create_connection(pair.door, 10) as client:
        far, _ = server.accept()
        far.settimeout(10)
        with far:
            for word in (b"one", b"two", b"three"):
                found = examined(pair.met, 0)
                assert [each for each in found if each["level"] == "error"] == []
                assert sum("accepts this node" in each["sentence"] for each in found) == 2
                assert any(each["sentence"] == "The node is running and ready." for each in found)
                client.sendall(word)
                assert receive(far, len(word)) == word
        # Nobody lost anything, and nobody is said to be there twice.
        for node in nodes:
            assert node.log("session.down") == node.log("identity.twins") == []
            until(lambda node=node: node.status().condition == "ready", 10, f"{node} is ready")
        assert {len(relay.status().links) for relay in pair.relays} == {2}
        assert pair.met.log("link.down") == []
    gone = pair.unused()
    gone.kill()
    until(lambda: pair.met.status().condition == "degraded", 10)
    found = examined(pair.met, 1)
    (error,) = [each for each in found if each["level"] == "error"]
    assert gone.dotted in error["where"]
    assert error["sentence"].startswith("Connection refused by ")
    assert error["mend"]
    assert any(gone.dotted in each["sentence"] for each in found if each["where"] == "node")
