"""New streams take the back-up for a while, on purpose: nobody notices, whether it works or not."""

from __future__ import annotations

import json
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.kit.drill_setup import NEW, OLD, SERVICE, Callers, Realm, Target, drilled
from tests.scenarios.kit.nodes import Stage
from tests.scenarios.kit.reload_setup import applications, command, reload
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test
TIMES = 3


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Realm]:
    with drilled(tmp_path) as made:
        yield made


def held_under_traffic(realm: Realm, times: int) -> None:
    with Callers(realm.door, greets=True) as callers, applications(realm.scene.door, 2):
        for _ in range(times):
            callers.since()
            record = realm.held("backup", "named", "--for", "1s")
            assert record["result"] == "passed", record
            backup, usual = record["outlets"]
            assert (backup["name"], usual["name"]) == ("cjx", "gateway")
            assert backup["setups"] >= 10
            assert backup["failed"] == 0
            assert backup["shadows"] >= 12
            assert backup["setup_median_ms"] > 0
            assert realm.shares() == {"gateway": 100.0, "cjx": 0.0}
            heard = callers.since()
            assert heard[OLD] >= backup["setups"] - 2
    assert callers.faults == []
    assert [each["result"] for each in realm.listed()["records"]] == ["passed"] * times


def test_a_back_up_that_works_is_used_and_left_again(realm: Realm) -> None:
    held_under_traffic(realm, TIMES)


@pytest.mark.tier_all
@pytest.mark.timeout(600)
def test_twenty_drills_and_nobody_notices(realm: Realm) -> None:
    held_under_traffic(realm, 20)


@pytest.mark.tier_all
def test_a_part_of_new_streams_and_no_hand_in_it_meanwhile(realm: Realm) -> None:
    with Callers(realm.door, greets=True) as callers, realm.holding("backup", SERVICE, "--for", "50s", "--share", "25"):
        until(lambda: realm.shares() == {"gateway": 75.0, "cjx": 25.0}, 20)
        callers.since()
        until(lambda: callers.heard.get(OLD, 0) >= 5 and callers.heard.get(NEW, 0) >= 15, 15)
        by_hand = command("outlet", "named", "cjx=50", "-c", realm.met.config)
        assert by_hand.returncode == 6
        assert "the drill backup" in by_hand.stderr
        assert "as a drill decides" in command("explain", SERVICE, "-c", realm.met.config).stdout
        assert realm.drill("stop").returncode == 0
        assert realm.shares() == {"gateway": 100.0, "cjx": 0.0}
    assert callers.faults == []


@pytest.mark.parametrize("backup", ["cjx", pytest.param("gateway", marks=pytest.mark.tier_all)])
def test_a_back_up_that_breaks_ends_the_drill_and_no_connection_is_lost(tmp_path: Path, backup: str) -> None:
    usual = "cjx" if backup == "gateway" else "gateway"
    with drilled(tmp_path, outlet=usual) as realm, Callers(realm.door, greets=True) as callers:
        with realm.holding("backup", "named", "--for", "50s") as process:
            until(lambda: realm.shares()[backup] == 100.0, 20)
            with callers.paused():
                (realm.new if backup == "gateway" else realm.old).refuse()
            broken = time.monotonic()
            until(lambda: realm.shares()[backup] == 0.0, 20)
            assert time.monotonic() - broken < 5
            stdout, _ = process.communicate(timeout=20)
        record = json.loads(stdout)
        assert record["result"] == "failed"
        assert process.returncode == 1
        # By pairs, or by set-ups alone when more of them came first.
        assert f"failed on {backup}" in record["sentence"]
        assert record["odds"] >= 1_000
        failed = record["outlets"][0]
        # All that failed was led on.
        assert failed["moved"] == failed["failed"] > 0
        callers.since()
        until(lambda: sum(callers.heard.values()) >= 20, 10)
        assert set(callers.since()) == {NEW if backup == "cjx" else OLD}
        assert callers.faults == []
        # The next one is over before an application goes there. Only where the machine is so busy that its own
        # connections fail by the usual outlet too, it takes an application to tell, which is led on.
        for _ in range(3):
            again = realm.held("backup", "named", "--for", "50s")
            assert again["result"] == "failed"
            assert again["outlets"][0]["moved"] == again["outlets"][0]["failed"]
            if "No application had gone there" in again["sentence"]:
                break
        assert "No application had gone there" in again["sentence"]
        assert again["outlets"][0]["setups"] == again["outlets"][0]["failed"] == 0
    assert callers.faults == []


@pytest.mark.tier_all
def test_a_service_that_is_down_on_both_sides_is_not_held_against_the_back_up(realm: Realm) -> None:
    realm.new.refuse()
    realm.old.refuse()
    record = realm.held("backup", "named", "--for", "2s")
    assert record["result"] == "failed"
    assert "nothing was set up over it" in record["sentence"]
    assert record["odds"] < 1_000


@pytest.mark.tier_all
def test_a_node_that_dies_meanwhile_deals_as_before_when_it_starts(realm: Realm) -> None:
    with realm.holding("backup", "named", "--for", "50s"):
        until(lambda: realm.shares()["cjx"] == 100.0, 20)
        realm.met.kill()
    realm.met.start()
    # Not before it has a session: until then connections are led on to the old network.
    until(lambda: [route.state for route in realm.met.service("named").routes] == ["ready"], 15)
    assert realm.shares() == {"gateway": 100.0, "cjx": 0.0}
    (record,) = realm.listed()["records"]
    assert (record["kind"], record["result"]) == ("backup", "broken")
    with Callers(realm.door, greets=True) as callers:
        until(lambda: callers.good >= 10, 10)
    assert set(callers.heard) == {NEW}


def test_a_service_without_a_back_up_has_no_drill(realm: Realm) -> None:
    none = realm.drill("backup", "echo", "--yes")
    assert none.returncode == 1
    assert "has one outlet, the gateway, and so no back-up" in none.stderr
    assert realm.drill("backup", "nothing", "--yes").returncode == 1
    assert realm.drill("backup", "named", "--share", "33.3", "--yes").returncode == 2
    assert realm.drill("backup", "named", "--share", "0", "--yes").returncode == 2
    # A probe that fails is known before.
    realm.old.refuse()
    realm.configure()
    tables = realm.scene.tables(realm.met)
    realm.scene.change(realm.met, directs=[{**tables["directs"][0], "probe": "connect", "probe_interval_ms": 200}])
    assert reload(realm.met).ok
    until(lambda: {o.name: o.state for o in realm.met.service("named").outlets}["cjx"] == "away", 15)
    away = realm.drill("backup", "named", "--yes")
    assert away.returncode == 1
    assert "cjx: it does not answer its probe" in away.stderr
    assert realm.listed()["records"] == []


@pytest.mark.tier_all
def test_a_back_up_of_the_files_is_restored_elsewhere_and_the_node_keeps_the_record(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage, Target(OLD) as old:
        state = tmp_path / "state"
        state.mkdir(mode=0o700)
        met = stage.node(
            "met.police.example",
            "met-1",
            node_table={"state": str(state)},
            imports=[{"service": SERVICE, "listen": f"127.0.0.1:{free_port()}", "outlet": "cjx"}],
            directs=[{"service": SERVICE, "name": "cjx", "address": f"127.0.0.1:{old.address[1]}"}],
            drills=[{"kind": "restore", "every": "30d"}],
        )
        stage.start()
        assert "The drill restore was never held." in command("status", "-c", met.config).stdout
        made = tmp_path / "backup.tgz"
        with tarfile.open(made, "w:gz") as tar:
            for path in [met.config, tmp_path / met.dotted, tmp_path / "ca", state]:
                tar.add(path, arcname=str(path))
        restored = command("drill", "restore", made, "-c", met.config, "--by", "night shift")
        assert restored.returncode == 0, restored.stdout + restored.stderr
        assert "Passed: check finds no error" in restored.stdout
        listed = json.loads(command("drill", "list", "--json", "-c", met.config).stdout)
        assert [(each["result"], each["by"]) for each in listed["records"]] == [("passed", "night shift")]
        assert "The drill restore" not in command("status", "-c", met.config).stdout
        met.config.write_text(met.config.read_text() + "# since then\n")
        failed = command("drill", "restore", made, "-c", met.config)
        assert failed.returncode == 1
        assert "configuration           differs" in failed.stdout
        assert (
            json.loads(command("drill", "list", "--json", "-c", met.config).stdout)["records"][-1]["result"] == "failed"
        )
        met.stop()
        alone = command("drill", "restore", made, "-c", met.config)
        assert alone.returncode == 1
        assert "No record is kept: " in alone.stdout
        wrong = command("drill", "restore", met.config, "-c", met.config)
        assert wrong.returncode == 78
        assert "no tar archive" in wrong.stderr
