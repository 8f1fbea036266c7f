"""`pcgrelay explain` at edges and relays: rule, ways hop by hop, health, suites, and what speaks against each way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.kit.nodes import Node
from tests.scenarios.kit.reload_setup import Scene, command, explained, reload, scene
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("explain"), relays=2) as made:
        until(lambda: len(explained(made.met, f"echo@{made.kent.organisation}")["ways"]) == 2, 20)
        yield made


def asked(node: Node, subject: str, code: int = 0) -> dict[str, Any]:
    done = command("explain", subject, "-c", node.config, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def is_settled(realm: Scene, service: str) -> bool:
    first, second = explained(realm.met, service)["ways"]
    return bool(first["chosen"] and first["health"] == "ok" and second["why_not"].startswith("no better than"))


def test_an_import(realm: Scene) -> None:
    service = f"echo@{realm.kent.organisation}"
    until(lambda: is_settled(realm, service), 10, "both ways are well, and one was chosen")
    answer = asked(realm.met, service)
    used = realm.relay_used()
    chosen, other = answer["ways"]
    assert (answer["kind"], answer["open"], answer["health"]) == ("import", True, "ok")
    assert answer["verdict"] == f"A new stream goes to {realm.kent.dotted} at once."
    assert chosen["hops"] == [used.dotted, realm.kent.dotted]
    assert (chosen["chosen"], chosen["why_not"], chosen["link"]) == (True, "", "up")
    assert (chosen["suite"], chosen["group"]) == ("AES-256-GCM", "X25519MLKEM768")
    assert other["chosen"] is False
    assert other["why_not"] == f"no better than {used.dotted}, which the session leads through"
    assert (chosen["health"], chosen["precedence"], chosen["weight"], chosen["paths"]) == ("ok", "default", 100, 1)
    (edge,) = answer["edges"]
    assert (edge["edge"], edge["share"], edge["why_not"]) == (realm.kent.dotted, 1.0, "")
    (session,) = answer["sessions"]
    assert session["hops"] == [used.dotted, realm.kent.dotted]
    assert (session["peer"], session["state"], session["via"]) == (realm.kent.dotted, "up", used.dotted)
    assert (session["suite"], session["group"]) == ("AES-256-GCM", "X25519MLKEM768")


def test_the_output_for_people(realm: Scene) -> None:
    done = command("explain", f"echo@{realm.kent.organisation}", "-c", realm.met.config)
    assert done.returncode == 0
    assert f"{realm.relay_used().dotted} > {realm.kent.dotted}" in done.stdout
    assert "not taken: no better than" in done.stdout
    assert "Rule: import[1]" in done.stdout


def test_an_export_by_its_short_name(realm: Scene) -> None:
    answer = asked(realm.kent, "echo")
    assert answer["kind"] == "export"
    assert answer["rule"] == f"export[1] (echo@{realm.kent.organisation}) allows {realm.met.organisation}"
    assert answer["verdict"] == f"A new stream of {realm.met.organisation} is connected to the target."
    (session,) = answer["sessions"]
    assert (session["peer"], session["may_open"]) == (realm.met.dotted, True)
    # The relays on the way are known from the request itself.
    assert session["hops"] == [realm.relay_used().dotted, realm.met.dotted]
    assert answer["offer"] == "default, weight 100, priority normal"


def test_a_relay_for_an_edge_and_for_a_service(realm: Scene) -> None:
    relay = realm.relays[0]
    for subject, kind in ((realm.kent.dotted, "edge"), (f"echo@{realm.kent.organisation}", "service")):
        answer = asked(relay, subject)
        assert (answer["kind"], answer["open"]) == (kind, True)
        assert answer["rule"] == f"members: * takes in {realm.kent.organisation}"
        assert [way["hops"] for way in answer["ways"]] == [[realm.kent.dotted]]


def test_what_is_not_known_is_said(realm: Scene) -> None:
    done = command("explain", "nothing@nowhere.example", "-c", realm.met.config)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"there are: echo@{realm.kent.organisation}." in done.stderr
    answer = asked(realm.relays[0], "edge-9.nowhere.example", 3)
    assert answer["verdict"] == "New paths are refused: no neighbour tells of it."


def test_a_draining_relay_and_one_that_is_gone(realm: Scene) -> None:
    used = realm.relay_used()
    assert command("drain", "-c", used.config, "--wait", "10").returncode == 0
    answer = asked(realm.met, f"echo@{realm.kent.organisation}")
    assert [way["why_not"] for way in answer["ways"]] == ["", "the neighbour drains"]
    assert "drains" in asked(used, realm.kent.dotted, 3)["verdict"]
    assert command("drain", "-c", used.config, "--undo").returncode == 0
    realm.stage.await_well()


def test_a_service_that_is_withdrawn(realm: Scene) -> None:
    realm.change(realm.kent, exports=[realm.export("echo", target="127.0.0.1:9", probe="connect")])
    assert reload(realm.kent).ok
    service = f"echo@{realm.kent.organisation}"
    until(lambda: realm.met.service("echo").state == "down", 10)
    answer = asked(realm.met, service, 3)
    assert {way["why_not"] for way in answer["ways"]} == {"its target does not answer there"}
    assert asked(realm.kent, "echo", 3)["verdict"].startswith(
        "The service is withdrawn: connection refused by 127.0.0.1:"
    )
    realm.change(realm.kent, exports=[realm.export("echo")])
    assert reload(realm.kent).ok
    until(lambda: realm.met.service("echo").state == "ready", 10)


def test_only_the_folder_of_the_realm_is_needed(realm: Scene, tmp_path: Path) -> None:
    done = command("explain", "echo", "-c", tmp_path / "none.toml")
    assert done.returncode == 78
