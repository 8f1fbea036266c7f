"""Services that are unknown, not allowed, or away: the application is not left waiting, and the log says why."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.kit.nodes import KENT, PATHS, Line, Stage, line
from tests.scenarios.kit.socket_steps import read_exactly, refused_after, wire
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

PROMPT_S = 2.0
GRACE_S = 5.0


@pytest.fixture(scope="module", params=PATHS)
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """Services for everybody, for another organisation, and for nobody."""
    exports = {"private": {"allow": ["surrey.police.example"]}, "closed": {"allow": []}}
    with Stage(tmp_path_factory.mktemp("guarded")) as stage:
        made = line(stage, request.param, ["echo"], odd_exports=exports)
        made.start()
        yield made


@pytest.mark.parametrize(
    ("service", "rule"),
    [("private", "export[2] (private@kent.police.example) allows surrey.police.example"), ("closed", "export[3]")],
)
def test_a_service_that_the_organisation_may_not_use(guarded: Line, service: str, rule: str) -> None:
    before = guarded.exporter.service(service).refused_total
    since = [edge.moment() for edge in (guarded.importer, guarded.exporter)]
    reasons = {guarded.importer: "stream_refused", guarded.exporter: "stream_not-allowed"}
    counted = {edge: edge.status().refusals.get(reason, 0) for edge, reason in reasons.items()}
    assert refused_after(guarded.door(service)) < PROMPT_S
    common = {"service": f"{service}@{KENT}", "code": "refused"}
    here = guarded.importer.await_log("stream.refused", after=since[0], direction="import", remote=True, **common)
    there = guarded.exporter.await_log(
        "stream.refused", after=since[1], direction="export", cause="not-allowed", **common
    )
    # Both name the same rule by its number; only its owner knows what it says.
    assert here["rule"] == there["rule"]
    assert there["rule_text"].startswith(rule)
    assert "rule_text" not in here
    assert there["from_organisation"] == guarded.importer.organisation
    until(lambda: guarded.exporter.service(service).refused_total == before + 1)
    until(lambda: all(edge.status().refusals.get(reasons[edge]) == counted[edge] + 1 for edge in reasons))


def test_a_service_that_nobody_offers(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        made = line(stage, "edge-relay-edge", ["echo"], odd_exports={"missing": None})
        made.start(but=["missing"])
        # A node that is just up gives others some seconds to come; from then on it knows.
        until(lambda: made.importer.service("missing").state == "down", what="the service is known to be missing")
        assert refused_after(made.door("missing")) < PROMPT_S
        fields = {"service": f"missing@{KENT}", "cause": "no-route", "code": "unreachable"}
        made.importer.await_log("stream.refused", direction="import", **fields)
        until(lambda: made.importer.status().refusals.get("stream_no-route") == 1)
        # It was refused here; the other edge never heard of it.
        assert not made.exporter.log("stream.refused")


def test_a_service_whose_exporter_went_away_and_came_back(path: Line) -> None:
    since = path.importer.moment()
    path.exporter.kill()
    # An importer that is just up would let its applications wait for some seconds.
    until(lambda: path.importer.service("echo").state == "down", PROMPT_S + GRACE_S, "the service is withdrawn")
    before = path.importer.service("echo").refused_total
    assert refused_after(path.door("echo")) < PROMPT_S
    fields = {"service": f"echo@{KENT}", "cause": "no-route", "code": "unreachable"}
    path.importer.await_log("stream.refused", after=since, **fields)
    until(lambda: path.importer.service("echo").refused_total == before + 1)
    if not path.relays:
        path.importer.await_log("link.down", after=since, peer=path.exporter.dotted)

    path.exporter.start()
    path.stage.await_well(*path.nodes)
    with wire(path) as (client, server):
        client.sendall(b"back again")
        assert read_exactly(server, 10) == b"back again"
    path.await_quiet()
