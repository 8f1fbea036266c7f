"""An audit log of a real node: its disk is full for a while, its end is cut off, its process is replaced."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, PCGRELAY, Node, Stage
from tests.support.applications import echo, server
from tests.support.ports import free_port
from tests.support.waiting import receive, until
from tests.support.written_logs import lines_of, records_of

pytestmark = pytest.mark.tier_test

WAIT_S = 30.0
CLIENTS = 4


class Realm:
    """An edge that exports a service, a relay, and an edge that imports it; each with an audit log."""

    def __init__(self, stage: Stage, target: tuple[str, int]) -> None:
        self.stage = stage
        self.door = (HOST, free_port())
        listen = f"{HOST}:{free_port()}"
        links = [{"peer": f"relay-1.{HUB}", "address": listen}]
        self.relay = stage.relay("relay-1", listens=[listen], **self._audited("relay-1"))
        export = {"service": "custody", "target": f"{target[0]}:{target[1]}", "allow": [MET]}
        self.kent = stage.node(KENT, "kent-1", links=links, exports=[export], **self._audited("kent-1"))
        entry = {"service": f"custody@{KENT}", "listen": f"{HOST}:{self.door[1]}"}
        self.met = stage.node(MET, "met-1", links=links, imports=[entry], **self._audited("met-1"))

    def _audited(self, name: str) -> dict[str, Any]:
        state = self.stage.folder / f"state-{name}"
        state.mkdir(mode=0o700)
        return {"node_table": {"state": str(state)}, "audit": {"keep_days": 400}}

    def folder(self, node: Node) -> Path:
        return self.stage.folder / f"state-{node.name}" / "audit"

    def use(self, count: int) -> None:
        for _ in range(count):
            with socket.create_connection(self.door, timeout=WAIT_S) as client:
                client.sendall(b"hello")
                assert receive(client, 5) == b"hello"

    def verified(self, node: Node, code: int = 0) -> dict[str, Any]:
        words = [PCGRELAY, "audit", "verify", "--json", "-c", str(node.config)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        got: dict[str, Any] = json.loads(done.stdout)
        return got


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Realm]:
    with Stage(tmp_path) as stage, server(echo) as target:
        made = Realm(stage, target)
        stage.start()
        stage.await_well()
        yield made


def audit_of(node: Node) -> Any:
    found = node.status().audit
    assert found is not None
    return found


def test_neighbours_witness_one_another(realm: Realm) -> None:
    realm.use(3)
    for node in (realm.kent, realm.met, realm.relay):
        until(lambda node=node: any(each.size for each in audit_of(node).witnesses), WAIT_S, f"{node} is witnessed")
        assert node.metrics()["audit_failing"] == 0
    assert {each.peer for each in audit_of(realm.relay).witnesses} == {realm.kent.dotted, realm.met.dotted}
    realm.kent.stop()
    got = realm.verified(realm.kent)
    assert (got["verdict"], got["problems"]) == ("whole", [])


@pytest.mark.tier_all
def test_a_full_disk_costs_no_stream_and_leaves_one_hole(realm: Realm) -> None:
    kent, folder = realm.kent, realm.folder(realm.kent)
    realm.use(3)
    until(lambda: len(lines_of(folder)) > 6, WAIT_S, "the streams are on record")
    (segment,) = (folder / "log").glob("*.jsonl")
    hard = resource.prlimit(kent.pid, resource.RLIMIT_FSIZE)
    # Every file is full at this size, for this process: the log of lines too.
    resource.prlimit(kent.pid, resource.RLIMIT_FSIZE, (segment.stat().st_size + 200, hard[1]))
    realm.use(10)
    until(lambda: audit_of(kent).failing, WAIT_S, "the disk is full")
    realm.use(10)
    until(lambda: audit_of(kent).lost_total >= 10, WAIT_S, "records are lost")
    resource.prlimit(kent.pid, resource.RLIMIT_FSIZE, hard)
    until(lambda: not audit_of(kent).failing, WAIT_S, "there is room again")
    realm.use(2)
    lost = audit_of(kent).lost_total
    kent.stop()
    (hole,) = [record for record in records_of(folder) if record["event"] == "audit.lost"]
    assert (hole["count"], hole["reason"]) == (lost, "full")
    got = realm.verified(kent)
    assert got["verdict"] == "whole"


def test_a_log_that_was_cut_is_signed_again_only_as_another(realm: Realm) -> None:
    kent, folder = realm.kent, realm.folder(realm.kent)
    realm.use(5)
    until(lambda: any(each.size for each in audit_of(kent).witnesses), WAIT_S, "it is witnessed")
    kent.stop()
    (segment,) = (folder / "log").glob("*.jsonl")
    segment.write_bytes(b"".join(line + b"\n" for line in lines_of(folder)[:-3]))
    realm.verified(kent, 8)
    realm.stage.start(kent)
    until(lambda: audit_of(kent).refusing, WAIT_S, "it signs nothing")
    assert "was cut, or a back-up was put back" in audit_of(kent).refusing
    # It serves all the same, and says that something is grave.
    until(lambda: kent.status().condition == "failing", WAIT_S, "that is grave")
    until(lambda: realm.met.service(f"custody@{KENT}").state == "ready", WAIT_S, "it serves")
    realm.use(2)
    words = [PCGRELAY, "audit", "restart", "--reason", "CR-1042", "-c", str(kent.config)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    until(lambda: kent.status().condition == "ready", WAIT_S, "all is well")
    realm.use(2)
    # The neighbour that witnessed the old one tells of it.
    until(lambda: realm.relay.log("witness.new_log"), WAIT_S, "the witness tells of a new log")
    kent.stop()
    records = records_of(folder)
    assert [record["event"] for record in records[:3]] == ["audit.keys", "audit.restarted", "audit.lost"]
    assert (records[1]["reason"], records[1]["uid"]) == ("CR-1042", os.getuid())
    assert realm.verified(kent)["verdict"] == "whole"


@pytest.mark.tier_all
def test_an_upgrade_goes_on_with_the_log(realm: Realm) -> None:
    kent, folder = realm.kent, realm.folder(realm.kent)
    realm.use(3)
    for _ in range(2):
        done = kent.upgrade()
        assert done.returncode == 0, done.stderr
        realm.use(2)
    until(lambda: sum(record["event"] == "stream.end" for record in records_of(folder)) == 7, WAIT_S, "all streams")
    kent.stop()
    events = [record["event"] for record in records_of(folder)]
    assert events.count("handover.taken") == 2
    assert events.count("audit.keys") == 1
    assert "audit.lost" not in events
    assert "audit.torn" not in events
    assert events[-1] == "node.stopped"
    assert realm.verified(kent)["verdict"] == "whole"


def test_upgrades_under_load_lose_no_record_and_double_none(realm: Realm) -> None:
    kent, folder, ended = realm.kent, realm.folder(realm.kent), threading.Event()
    counts, failed = [0] * CLIENTS, [0] * CLIENTS

    def work(number: int) -> None:
        while not ended.is_set():
            try:
                realm.use(1)
                counts[number] += 1
            except (ConnectionError, AssertionError):
                # On a machine that is busy enough, the far edge may have no route while the control connection is made
                # again. Other scenarios are about that.
                failed[number] += 1
                time.sleep(0.05)

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(work, number) for number in range(CLIENTS)]
        try:
            for each in range(1, 4):
                until(lambda each=each: sum(counts) >= 40 * each, WAIT_S, "streams go through")
                done = kent.upgrade()
                assert done.returncode == 0, done.stderr
            until(lambda: sum(counts) >= 160, WAIT_S, "streams go through")
        finally:
            ended.set()
        for client in clients:
            client.result()
    until(lambda: kent.status().streams.active == 0, WAIT_S, "no stream is open")
    kent.stop()
    records = records_of(folder)
    ends = [record["id"] for record in records if record["event"] == "stream.end"]
    assert len(set(ends)) == len(ends)
    assert sum(counts) <= len(ends) <= sum(counts) + sum(failed)
    events = [record["event"] for record in records]
    assert events.count("handover.taken") == 3
    assert "audit.lost" not in events
    assert realm.verified(kent)["verdict"] == "whole"
