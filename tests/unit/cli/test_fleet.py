"""`pcgrelay fleet`: what people see, what programs get, and what is refused before anything is done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from pcgrelay.admin.fleet_answers import FLEET_PATH, FleetAnswer, FleetNode, FleetStatus
from pcgrelay.cli import fleet as module
from tests.support.command_line import Answer, Invoke, invoker
from tests.support.fake_node import FakeNode, fake_node, node_named
from tests.support.pki import RealmPki, write_config

KENT = "kent.police.example"
EDGE = FleetNode(
    node=f"kent-1.{KENT}",
    role="edge",
    version="0.1.0",
    condition="ready",
    ready=True,
    draining=False,
    streams=12_345,
    load_percent=7,
    certificate_end_s=1_803_800_566,
    reported_s=1_796_024_572.9,
    process="be7abff4273ed7d9",
)
RELAY = replace(EDGE, node="relay-1.hub.example", role="relay", condition="draining", ready=False, draining=True)
LIVE = FleetStatus(store="etcd", live=True, since="2026-11-30T07:42:51Z")
SILENT = replace(LIVE, live=False, reason="deadline", sentence="Nothing is heard of the fleet's store since noon.")
ANSWER = FleetAnswer(status=LIVE, complete=True, nodes=(EDGE,))


class Shown:
    """A fake node, and the command about it."""

    def __init__(self, node: FakeNode, path: Path, call: Invoke) -> None:
        self.node = node
        self.path = path
        self._call = call

    def __call__(self, *answers: FleetAnswer, words: tuple[str, ...] = ()) -> Answer:
        self.node.answers[FLEET_PATH] = list(answers)
        return self._call("fleet", "-c", self.path, *words)


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Invoke:
    monkeypatch.setattr(module, "POLL_S", 0.0)
    return invoker(capsys, monkeypatch)


@pytest.fixture
def shown(invoke: Invoke, tmp_path: Path) -> Iterator[Shown]:
    path = node_named(tmp_path / "kent-1.toml", "kent-1")
    with fake_node(tmp_path / "kent-1.sock") as node:
        yield Shown(node, path, invoke)


def test_the_table_has_each_node_and_fits_a_screen(shown: Shown) -> None:
    answer = shown(ANSWER)
    assert answer.code == 0
    head, line, last = answer.out.splitlines()
    assert head.split() == ["NODE", "ROLE", "STATE", "VERSION", "STREAMS", "LOAD", "VALID", "UNTIL"]
    assert line.split() == [f"kent-1.{KENT}", "edge", "ready", "0.1.0", "12,345", "7", "%", "2027-02-28"]
    assert last == "1 node, 1 of them ready."
    assert max(map(len, answer.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (replace(ANSWER, nodes=(EDGE, RELAY)), "2 nodes, 1 of them ready."),
        (replace(ANSWER, status=SILENT), SILENT.sentence),
        (replace(ANSWER, status=SILENT, nodes=()), "0 nodes, 0 of them ready."),
    ],
)
def test_what_needs_somebody_has_a_code_of_its_own(shown: Shown, answer: FleetAnswer, words: str) -> None:
    found = shown(answer)
    assert found.code == 4
    assert words in found.out


def test_it_waits_until_the_node_has_loaded_everything(shown: Shown) -> None:
    found = shown(replace(ANSWER, complete=False, nodes=()), replace(ANSWER, complete=False, nodes=()), ANSWER)
    assert (found.code, len(shown.node.asked)) == (0, 3)


def test_who_changes_nodes_is_named(shown: Shown) -> None:
    assert "are being changed by kent-1 (upgrade, by jo)." in shown(replace(ANSWER, lock="kent-1 (upgrade, by jo)")).out


def test_without_a_store_there_is_a_sentence(shown: Shown) -> None:
    found = shown(FleetAnswer(reason="There is no [fleet] in the node's configuration.", exit_code=1))
    assert (found.code, found.out) == (1, "")
    assert found.err == "pcgrelay: There is no [fleet] in the node's configuration.\n"


def test_programs_get_all_of_it(shown: Shown) -> None:
    found = json.loads(shown(replace(ANSWER, nodes=(EDGE, RELAY)), words=("--json",)).out)
    assert [each["node"] for each in found["nodes"]] == [EDGE.node, RELAY.node]
    assert found["status"]["live"]


def test_a_file_has_to_be_named(invoke: Invoke) -> None:
    found = invoke("fleet")
    assert found.code == 2
    assert "pcgrelay fleet -c FILE" in found.err


def test_an_upgrade_says_that_it_is_one_by_one_and_needs_a_store(invoke: Invoke, tmp_path: Path) -> None:
    files = RealmPki(tmp_path).issue(KENT, "kent-1")
    path = write_config(tmp_path / "kent-1.toml", files, KENT, "kent-1", listens=["127.0.0.1:7400"])
    found = invoke("fleet", "upgrade", "-c", path)
    assert found.code == 2
    assert "--one-by-one" in found.err
    found = invoke("fleet", "upgrade", "--one-by-one", "-c", path)
    assert found.code == 78
    assert "there is no [fleet]" in found.err


def test_an_upgrade_without_an_answer_of_the_store_does_nothing(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pcgrelay.fleet.client.REQUEST_S", 0.3)
    files = RealmPki(tmp_path).issue(KENT, "kent-1")
    table = {"store": "etcd", "endpoints": ["https://127.0.0.1:1"]}
    path = write_config(tmp_path / "kent-1.toml", files, KENT, "kent-1", listens=["127.0.0.1:7400"], fleet=table)
    found = invoke("fleet", "upgrade", "--one-by-one", "-c", path)
    assert found.code == 1
    assert found.err == "pcgrelay: The store of the fleet: no member of it takes a connection.\n"
