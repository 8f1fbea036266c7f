"""`pcgrelay status --realm`: what people see of a realm, small or large, and what programs get."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pcgrelay.admin.realm_answers import EDGES_EACH, REALM_PATH, RealmAnswer, RealmEdge, RealmRelay
from pcgrelay.cli.realm import EDGES_SHOWN
from tests.support.command_line import Invoke, invoker
from tests.support.fake_node import Asked, FakeNode, fake_node, node_named

RELAYS = tuple(
    RealmRelay(
        relay=f"relay-{number}.hub.national-police.example", link="up" if number < 3 else "", edges=80, services=800
    )
    for number in range(1, 51)
)  # fmt: skip
SMALL = RealmAnswer(
    node="relay-1.hub.example",
    role="relay",
    version="0.1.0",
    relays=(RealmRelay(relay="relay-1.hub.example", edges=1, services=2),
            RealmRelay(relay="relay-2.hub.example", link="draining", draining=True)),
    edges=(
        RealmEdge(edge="kent-1.kent.police.example", relays=("relay-1.hub.example",), said=True, services=2),
        RealmEdge(edge="met-1.met.police.example", relays=("relay-1.hub.example",), hops=1, services=1, draining=True),
    ),
    edges_total=2,
    services_total=3,
)  # fmt: skip


class Large(FakeNode):
    """A realm of 2,000 edges, page by page."""

    def answer_to(self, asked: Asked) -> RealmAnswer:
        self.asked.append(asked)
        organisation, offset = asked.query["organisation"], int(asked.query["offset"])
        edges = [
            RealmEdge(
                edge=f"edge-{number:04}.force-{number % 40}.police.example",
                relays=(RELAYS[number % 50].relay, RELAYS[(number + 1) % 50].relay),
                said=True, services=10, hops=1,
            )
            for number in range(2_000)
            if organisation in ("", f"force-{number % 40}.police.example")
        ]  # fmt: skip
        return RealmAnswer(
            node="relay-1.hub.example", role="relay", version="0.1.0", organisation=organisation, relays=RELAYS,
            edges=tuple(edges[offset : offset + EDGES_EACH]), offset=offset, edges_total=len(edges),
            services_total=10 * len(edges),
        )  # fmt: skip


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Invoke:
    monkeypatch.setenv("COLUMNS", "80")
    return invoker(capsys, monkeypatch)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return node_named(tmp_path / "relay-1.toml", "relay-1")


@pytest.fixture
def small(file: Path) -> Iterator[FakeNode]:
    with fake_node(file.with_suffix(".sock")) as node:
        node.answers[REALM_PATH] = SMALL
        yield node


@pytest.fixture
def large(file: Path) -> Iterator[Large]:
    node = Large()
    with fake_node(file.with_suffix(".sock")) as real:
        real.answer_to = node.answer_to  # type: ignore[method-assign]
        yield node


def test_a_small_realm(invoke: Invoke, file: Path, small: FakeNode) -> None:
    answer = invoke("status", "-c", file, "--realm")
    assert answer.code == 0
    assert "known by gossip; what this node cannot see is not here" in answer.out
    assert "2 relays; 2 edges, which offer 3 services" in answer.out
    lines = [line.rstrip() for line in answer.out.splitlines()]
    assert "kent-1.kent.police.example     0         2  -" in lines
    assert "  at relay-1.hub.example" in lines
    assert "  (by the paths; it does not say)" in lines
    assert max(map(len, lines)) <= 80


def test_an_edge_that_knows_a_part_says_so(invoke: Invoke, file: Path, small: FakeNode) -> None:
    small.answers[REALM_PATH] = msgspec.structs.replace(SMALL, role="edge", interest=True)
    assert "knows no others" in invoke("status", "-c", file, "--realm").out


def test_a_large_realm_is_summed_by_relay_and_cut(invoke: Invoke, file: Path, large: Large) -> None:
    answer = invoke("status", "-c", file, "--realm")
    lines = answer.out.splitlines()
    assert "50 relays; 2,000 edges, which offer 20,000 services" in lines
    assert f"Edges ({EDGES_SHOWN} of 2,000)" in lines
    assert lines[-1].startswith("More: --organisation NAME")
    assert max(map(len, lines)) <= 80
    assert len(large.asked) == 1


def test_one_organisation_is_listed_whole(invoke: Invoke, file: Path, large: Large) -> None:
    answer = invoke("status", "-c", file, "--realm", "--organisation", "force-7.police.example")
    assert "Edges of force-7.police.example (50 of 50)" in answer.out
    assert "force-8" not in answer.out
    assert "More:" not in answer.out


def test_programs_get_all_of_it(invoke: Invoke, file: Path, large: Large) -> None:
    answer = invoke("status", "-c", file, "--realm", "--json")
    realm = msgspec.json.decode(answer.out, type=RealmAnswer)
    assert len(realm.edges) == realm.edges_total == 2_000
    assert len({each.edge for each in realm.edges}) == 2_000
    assert [asked.query["offset"] for asked in large.asked] == ["0", "500", "1000", "1500"]


def test_wrong_options_are_refused(invoke: Invoke, file: Path) -> None:
    assert "--organisation is for --realm." in invoke("status", "-c", file, "--organisation", "kent.example").err
    wrong = invoke("status", "-c", file, "--realm", "--organisation", "Kent Police")
    assert wrong.code == invoke("status", "-c", file, "--nonsense").code
    assert "--organisation" in wrong.err
    assert invoke("status", "-c", file, "--realm").code == 3
