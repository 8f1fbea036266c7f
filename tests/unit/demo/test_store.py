"""The store of the demonstration: what it needs, and what is said of one that does not come."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from pcgrelay import demo
from pcgrelay.admin.fleet_answers import FLEET_PATH, FleetAnswer, FleetNode, FleetStatus
from pcgrelay.demo import folders, store
from pcgrelay.demo.node import Node
from pcgrelay.demo.store import ROOM_BYTES, fleet_seen
from pcgrelay.errors import RunError
from tests.support.fake_node import fake_node

RELAY = FleetNode(
    node="relay-1.hub.example",
    role="relay",
    version="0.1.0",
    condition="ready",
    ready=True,
    draining=False,
    streams=0,
    load_percent=1,
    certificate_end_s=1_803_800_566,
    reported_s=1_796_024_572.9,
    process="be7abff4273ed7d9",
)
LATE = replace(RELAY, node="relay-2.hub.example", ready=False, condition="starting")
LIVE = FleetStatus(store="etcd", live=True, since="2026-11-30T07:42:51Z")
SILENT = replace(LIVE, live=False, sentence="Nothing is heard of the fleet's store since noon.")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node("relay-1", True, tmp_path)


def test_room_for_the_logs_of_its_members_is_asked_for_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=ROOM_BYTES))
    monkeypatch.setattr(folders.tempfile, "tempdir", os.fspath(tmp_path))
    with pytest.raises(RunError, match=r"384 MiB are free here, and the demonstration wants 448 MiB"):
        demo.run(keep=False, with_fleet=True, as_json=False)
    assert list(tmp_path.iterdir()) == []


def test_a_fleet_is_seen_when_all_of_it_is_ready(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "POLL_S", 0.0)
    whole = FleetAnswer(status=LIVE, complete=True, nodes=(RELAY, replace(LATE, ready=True)))
    answers = [
        FleetAnswer(status=LIVE),
        FleetAnswer(status=LIVE, complete=True, nodes=(RELAY,)),
        FleetAnswer(status=LIVE, complete=True, nodes=(RELAY, LATE)),
        replace(whole, status=SILENT),
        whole,
    ]
    with fake_node(node.admin) as answering:
        answering.answers[FLEET_PATH] = list(answers)
        assert fleet_seen(node, 2) == whole
        assert len(answering.asked) == len(answers)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            FleetAnswer(status=LIVE, complete=True, nodes=(RELAY, LATE)),
            "After 0 s the store has 1 of 2 nodes as ready.",
        ),
        (
            FleetAnswer(status=SILENT, complete=True, nodes=(RELAY,)),
            f"After 0 s the store has 1 of 2 nodes as ready: {SILENT.sentence}",
        ),
    ],
)
def test_one_that_does_not_come_is_told(
    answer: FleetAnswer, sentence: str, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SHOWN_S", 0.0)
    with fake_node(node.admin) as answering:
        answering.answers[FLEET_PATH] = [answer]
        with pytest.raises(RunError) as refused:
            fleet_seen(node, 2)
    assert str(refused.value) == sentence
