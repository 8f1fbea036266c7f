"""A relay or a network is lost on purpose, under live traffic: nobody notices, and all is as before at its end."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.kit.drill_setup import Callers, Realm, drilled
from tests.scenarios.kit.nodes import KENT
from tests.scenarios.kit.reload_setup import applications
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test
TIMES = 3


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Realm]:
    with drilled(tmp_path) as made:
        yield made


def held_under_traffic(realm: Realm, kind: str, times: int) -> None:
    with applications(realm.scene.door, 4) as witnesses, Callers(realm.scene.door) as callers:
        for _ in range(times):
            used = realm.used()
            bearer = next(link.bearer for link in realm.met.status().links if link.peer == used.dotted)
            subject = used.dotted if kind == "relay-loss" else bearer
            record = realm.held(kind, subject, "--for", "1s")
            assert record["result"] == "passed", record
            assert record["streams_kept"] == record["streams"] >= 4
            assert record["pause_longest_ms"] is not None
            assert record["pause_longest_ms"] < 5_000
            assert record["new_streams"] > 0
            assert record["new_refused"] == 0
            assert record["back_ms"] is not None
            # The links are there again, and the path is another one than before.
            assert all(link.state == "up" for link in realm.met.status().links)
            until(lambda used=used: realm.used() is not used, 10)
            name = record["id"]
            assert f"{kind}-{subject}" in name
            assert (realm.state / "drills" / f"{name}.json").exists()
        for witness in witnesses:
            witness.check()
    assert callers.faults == []
    assert realm.met.log("drill.ended", result="passed")
    assert [each["result"] for each in realm.listed()["records"]] == ["passed"] * times


def test_a_relay_is_lost_and_no_stream_with_it(realm: Realm) -> None:
    held_under_traffic(realm, "relay-loss", TIMES)


@pytest.mark.tier_all
def test_a_network_is_lost_and_no_stream_with_it(realm: Realm) -> None:
    held_under_traffic(realm, "bearer-loss", TIMES)


@pytest.mark.tier_all
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["relay-loss", "bearer-loss"])
def test_twenty_losses_and_no_stream_with_them(realm: Realm, kind: str) -> None:
    held_under_traffic(realm, kind, 20)


def test_a_drill_is_refused_that_would_lose_something(realm: Realm) -> None:
    other = next(relay for relay in realm.relays if relay is not realm.used())
    other.kill()
    until(lambda: sum(link.state == "up" for link in realm.met.status().links) == 1, 15)
    used = realm.used()
    with applications(realm.scene.door, 2):
        until(lambda: realm.met.status().streams.active >= 2)
        refused = realm.drill("relay-loss", used.dotted, "--for", "1s", "--yes")
        assert refused.returncode == 6
        assert f"no other way: to or from kent-1.{KENT}" in refused.stderr
        assert f"new streams of echo@{KENT} would have nowhere to go" in refused.stderr
        # The one with a back-up over the old network is not among them.
        assert f"named@{KENT}" not in refused.stderr
        assert realm.listed()["records"] == []
        # Even so: what waits goes on once the relay is back, if that is soon enough.
        record = realm.held("relay-loss", used.name, "--for", "1s", "--even-so", "--reason", "INC-77")
        assert record["result"] == "failed"
        assert "found no other path" in record["sentence"]
        assert record["even_so"]
        assert record["streams_kept"] == record["streams"] >= 2
        begun = realm.met.await_log("drill.begun", even_so=True)
        assert (begun["reason"], begun["uid"]) == ("INC-77", os.geteuid())


@pytest.mark.tier_all
def test_one_drill_at_a_time_and_no_upgrade_and_a_stop_at_once(realm: Realm) -> None:
    used = realm.used()
    with Callers(realm.scene.door) as callers, realm.holding("relay-loss", used.dotted, "--for", "50s") as process:
        second = realm.drill("bearer-loss", "psn", "--yes")
        assert second.returncode == 6
        assert f"the drill relay-loss {used.dotted} is under way" in second.stderr
        upgrade = realm.met.upgrade()
        assert upgrade.returncode != 0
        running = realm.listed()["running"]
        assert running["subject"] == used.dotted
        until(lambda: not any(link.peer == used.dotted and link.state == "up" for link in realm.met.status().links))
        stopped = realm.drill("stop", "--by", "night shift", "--json")
        assert stopped.returncode == 0, stopped.stderr
        record = json.loads(stopped.stdout)
        assert (record["result"], record["sentence"]) == ("stopped", "stopped by night shift")
        assert process.wait(10) == 1
    assert callers.faults == []
    assert realm.listed()["running"] is None
    assert realm.drill("stop").returncode == 1
    # And a person who changes their mind.
    with realm.holding("relay-loss", realm.used().dotted, "--for", "50s") as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 130
    assert realm.listed()["records"][-1]["result"] == "stopped"


@pytest.mark.tier_all
def test_a_node_that_dies_in_a_drill_is_as_before_and_says_that_it_was_broken(realm: Realm) -> None:
    used = realm.used()
    with realm.holding("relay-loss", used.dotted, "--for", "50s"):
        until(lambda: not any(link.peer == used.dotted and link.state == "up" for link in realm.met.status().links))
        realm.met.kill()
    realm.met.start()
    until(lambda: realm.met.is_well() and len(realm.met.status().links) == 2, 15)
    (record,) = realm.listed()["records"]
    assert record["result"] == "broken"
    assert realm.met.await_log("drill.ended", result="broken")
    shown = realm.drill("report", record["id"])
    assert shown.returncode == 0
    assert "Broken: the node ended while it ran" in shown.stdout
    # Once only.
    realm.met.stop()
    realm.met.start()
    assert [each["result"] for each in realm.listed()["records"]] == ["broken"]
    assert not realm.met.log("drill.ended")


WRONG = [
    (("relay-loss", "relay-9.hub.example"), 1, "No link with relay-9.hub.example is up here; there are links with"),
    (("bearer-loss", "moon"), 1, "No link over moon is up here; there are: psn, psnp"),
    (("relay-loss", "../../etc"), 1, "write for example relay-1.hub.example"),
    (("relay-loss", "relay-1", "--for", "0s"), 2, "is no time"),
    (("relay-loss", "relay-1", "--for", "2d"), 2, "is too long"),
    (("report", "2026-01-01-backup-x"), 1, "There is no drill"),
]


def test_what_is_asked_wrongly_changes_nothing(realm: Realm) -> None:
    for words, code, said in WRONG:
        yes = () if words[0] == "report" else ("--yes",)
        refused = realm.drill(*words, *yes)
        assert refused.returncode == code, refused.stdout + refused.stderr
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr
    # Without a terminal nobody is asked.
    refused = realm.drill("relay-loss", "relay-1")
    assert refused.returncode == 2
    assert "add --yes" in refused.stderr
    assert realm.listed()["records"] == []
    assert not (realm.state / "drills").exists()
