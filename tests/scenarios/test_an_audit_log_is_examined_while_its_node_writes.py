"""An auditor with a copy of a node's log, or beside the node: it is examined, asked and proved by the real command."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.kit.nodes import HOST, KENT, MET, PCGRELAY, Node, Stage
from tests.support.applications import echo, server
from tests.support.ports import free_port
from tests.support.waiting import receive, until

pytestmark = pytest.mark.tier_test

SERVICE = f"custody@{KENT}"
STREAMS = 12
WAIT_S = 30.0


class Realm:
    """An edge with an audit log that exports a service, and one that imports it."""

    def __init__(self, stage: Stage, target: tuple[str, int]) -> None:
        self.stage = stage
        self.folder = stage.folder / "state" / "audit"
        self.folder.parent.mkdir(mode=0o700)
        self.door = (HOST, free_port())
        listen = f"{HOST}:{free_port()}"
        self.node = stage.node(
            KENT,
            "kent-1",
            listens=[listen],
            exports=[{"service": "custody", "target": f"{target[0]}:{target[1]}", "allow": [MET]}],
            node_table={"state": str(self.folder.parent)},
            audit={"keep_days": 400},
        )
        stage.node(
            MET,
            "met-1",
            links=[{"peer": f"kent-1.{KENT}", "address": listen}],
            imports=[{"service": SERVICE, "listen": f"{HOST}:{self.door[1]}"}],
        )

    def start(self, *nodes: Node) -> None:
        self.stage.start(*nodes)
        self.stage.await_well()

    def ends(self) -> int:
        """How many ends of streams are on record."""
        segments = (self.folder / "log").glob("*.jsonl")
        return sum(segment.read_bytes().count(b'"event":"stream.end"') for segment in segments)

    def use(self, count: int) -> None:
        before = self.ends()
        for _ in range(count):
            with socket.create_connection(self.door, timeout=WAIT_S) as client:
                client.sendall(b"hello")
                assert receive(client, 5) == b"hello"
        until(lambda: self.ends() == before + count, WAIT_S, "all of them are on record")


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    with Stage(tmp_path_factory.mktemp("realm")) as stage, server(echo) as target:
        made = Realm(stage, target)
        made.start()
        made.use(STREAMS)
        yield made


def audit(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PCGRELAY, "audit", *words], capture_output=True, text=True, timeout=60, check=False)


def test_a_query_is_on_record_in_the_log_that_it_reads(realm: Realm) -> None:
    node = realm.node
    answer = audit("query", "--service", SERVICE, "--reason", "R-1", "--json", "-c", node.config)
    assert (answer.returncode, answer.stderr) == (0, "")
    got = json.loads(answer.stdout)
    (usage,) = got["usages"]
    assert (usage["organisation"], usage["streams"], usage["refused"]) == (MET, STREAMS, 0)
    assert usage["group"] == "X25519MLKEM768"
    lines = (realm.folder / "log" / "000000000000.jsonl").read_bytes().split(b"\n")
    record = json.loads(lines[got["on_record"]])
    assert (record["event"], record["reason"], record["service"]) == ("audit.queried", "R-1", SERVICE)
    shown = audit("query", "--service", "custody", "--marking", "OFFICIAL", "-c", node.config).stdout.splitlines()
    assert shown[-2].startswith("This query is record ")


def test_it_is_whole_when_the_node_has_stopped_and_while_it_writes_on(realm: Realm, tmp_path: Path) -> None:
    node = realm.node
    node.stop()
    answer = audit("verify", "-c", node.config)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert f"certificate of spiffe://police.example/org/{KENT}/node/kent-1" in answer.stdout
    assert "not signed yet" not in answer.stdout
    realm.start(node)
    realm.use(3)
    # Beside a node that writes, what it has signed is whole, and the rest is said to be not signed yet.
    for _ in range(5):
        answer = audit("verify", "--json", "-c", node.config)
        got = json.loads(answer.stdout)
        assert (answer.returncode, got["verdict"], got["problems"]) == (0, "whole", [])
        assert got["size"] > got["signed_size"]


def test_a_copy_is_proved_and_changed_elsewhere(realm: Realm, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(realm.folder, tmp_path / "copy"))
    policy = tmp_path / "realm.policy"
    policy.write_text(audit("policy", copy, "--trust", realm.stage.pki.trust).stdout)
    lines = (copy / "log" / "000000000000.jsonl").read_bytes().split(b"\n")
    number = next(at for at, each in enumerate(lines) if b'"event":"stream.end"' in each)
    proof = tmp_path / "stream.tlog-proof"
    proof.write_text(audit("prove", str(number), "--log", copy).stdout)
    answer = audit("check", proof, "--policy", policy, "--json")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert json.loads(answer.stdout)["record"]["from_organisation"] == MET
    lines[number] = lines[number].replace(MET.encode(), b"met.police.exampl3")
    (copy / "log" / "000000000000.jsonl").write_bytes(b"\n".join(lines))
    answer = audit("verify", copy, "--policy", policy)
    assert answer.returncode == 8
    assert answer.stdout.startswith(f"Record {number:,} was changed (segment 000000000000.jsonl, line {number + 1:,})")
