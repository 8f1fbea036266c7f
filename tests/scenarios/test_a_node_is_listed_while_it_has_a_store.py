"""A node with [fleet] is in the store, is not upgraded while it takes no work, and is gone without the table."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.kit.nodes import HOST, HUB, PCGRELAY, Stage
from tests.support.etcd_members import etcd_members
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test


def test_a_node_is_listed_while_it_has_a_store(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage, etcd_members(tmp_path / "store", stage.pki, 1) as store:
        alone: dict[str, Any] = {"role": "relay", "listens": [f"{HOST}:{free_port()}"]}
        node = stage.node(HUB, "relay-1", **alone, fleet={"store": "etcd", "endpoints": store.endpoints})
        node.start()

        def shown() -> subprocess.CompletedProcess[str]:
            return subprocess.run([PCGRELAY, "fleet", "-c", node.config], capture_output=True, text=True, check=False)

        until(lambda: json.loads(node.asked("/v1/fleet")[1])["nodes"], 20, "it is in the store", step_s=0.1)
        done = shown()
        # It has no neighbour, so it takes no work.
        assert done.returncode == 4
        assert re.search(rf"^relay-1\.{HUB} +relay +failing ", done.stdout, re.M), done.stdout
        command: list[str | Path] = [PCGRELAY, "fleet", "upgrade", "--one-by-one", "-c", node.config]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 6, done
        assert f"relay-1.{HUB} is failing: while a node does not take new work" in done.stderr
        stage.node(HUB, "relay-1", **alone)
        assert subprocess.run([PCGRELAY, "reload", "-c", node.config], check=False).returncode == 0
        done = shown()
        assert done.returncode == 1
        assert "no [fleet] in the node's configuration" in done.stderr
