"""The clock, the audit log, what records can hold, alerts: read from real files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from msgspec import Struct
from msgspec.structs import replace

from pcgrelay import config
from pcgrelay.admin.clocks import ClockStatus
from pcgrelay.admin.status import Status
from pcgrelay.assure.judgement import FAILED, PASSED, AskedError, NotHereError
from pcgrelay.assure.judges import record as judges
from pcgrelay.assure.parameters import MonitoringParameters, Parameters
from pcgrelay.assure.readers import alerts, record
from pcgrelay.assure.record_facts import Alerts, ClockFacts
from pcgrelay.assure.record_fields import FIELDS, open_fields, records
from pcgrelay.assure.scene import Scene
from tests.support.alert_rules import RULES, rules
from tests.support.audit_logs import AuditLog
from tests.support.documented_config import documented, written
from tests.support.healthy_status import HEALTHY
from tests.support.pki import RealmPki

P = Parameters()
NOW = datetime(2026, 11, 3, 0, 1, tzinfo=UTC)


@dataclass
class Clock:
    now: datetime = NOW

    def wall(self) -> datetime:
        return self.now


class StillScene(Scene):
    said: Status = HEALTHY

    def status(self) -> Status:
        return self.said


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> RealmPki:
    return RealmPki(tmp_path_factory.mktemp("realm"))


def scene_at(folder: Path, pki: RealmPki, now: datetime = NOW, **audit: object) -> Scene:
    values = documented()
    values["node"]["state"] = str(folder / "state")
    values["identity"]["trust"] = str(pki.trust)
    values["audit"] = audit
    path = folder / "kent-1.toml"
    path.write_text(written(values))
    return StillScene(config.load(path), P, folder, clock=Clock(now))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made(pki: RealmPki, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    log = AuditLog(folder / "audit", 100)
    ts = f"{pki.ca_certificate.not_valid_before_utc:%Y-%m-%d}T23:59:59.000Z"
    log.tell_keys(pki.issue("kent.police.example", "kent-1"), ts)
    log.tell_witness(pki.issue("hub.example", "relay-1"), ts)
    log.grow(250)
    log.sign(is_witnessed=True)
    log.grow(20)
    return folder / "audit"


@pytest.fixture
def log(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "state" / "audit")
    return tmp_path / "state" / "audit"


def bit_flipped(log: Path) -> None:
    path = log / "log" / "000000000100.jsonl"
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)


def end_cut(log: Path) -> None:
    (log / "log" / "000000000200.jsonl").unlink()


@pytest.mark.parametrize(
    ("fault", "later", "said"),
    [
        (lambda log: None, timedelta(), ""),
        (lambda log: None, timedelta(minutes=10), "20 records are not signed, and the checkpoint is 6"),
        (bit_flipped, timedelta(), "was changed"),
        (end_cut, timedelta(), "its end was cut off"),
    ],
)
async def test_the_log_is_examined(
    log: Path, tmp_path: Path, pki: RealmPki, fault: Callable[[Path], None], later: timedelta, said: str
) -> None:
    fault(log)
    judgement = judges.log_is_whole(await record.read_log(scene_at(tmp_path, pki, NOW + later)), P)
    assert judgement.outcome == (FAILED if said else PASSED), judgement
    assert said in judgement.observed


async def test_a_witness_that_is_away_is_found(log: Path, tmp_path: Path, pki: RealmPki) -> None:
    facts = await record.read_log(scene_at(tmp_path, pki, NOW + timedelta(hours=30)))
    assert [each.name for each in facts.witnesses]
    assert "the last witness saw it 30 hours ago" in judges.log_is_whole(replace(facts, unsigned=0), P).observed


async def test_a_log_of_another_realm_shows_nothing(log: Path, tmp_path: Path) -> None:
    other = RealmPki(tmp_path / "other")
    assert judges.log_is_whole(await record.read_log(scene_at(tmp_path, other)), P).outcome == FAILED


async def test_without_an_audit_log_there_is_none_to_examine(tmp_path: Path, pki: RealmPki) -> None:
    scene = scene_at(tmp_path, pki)
    scene.config = replace(scene.config, audit=None)
    for read in (record.read_log, record.read_kept):
        with pytest.raises(NotHereError):
            await read(scene)


@pytest.mark.parametrize(
    ("fault", "audit", "said"),
    [
        (lambda log: None, {}, ""),
        (lambda log: None, {"keep_days": 30}, "they are kept for 30 days"),
        (lambda log: (log / "log" / "000000000000.jsonl").chmod(0o666), {}, "may write audit/log/000000000000.jsonl"),
        (lambda log: log.chmod(0o777), {}, "others may write audit"),
        (lambda log: (log / "log" / "000000000000.jsonl").unlink(), {}, "records were removed, and the oldest is 0"),
    ],
)
async def test_records_are_kept(
    log: Path, tmp_path: Path, pki: RealmPki, fault: Callable[[Path], None], audit: dict[str, object], said: str
) -> None:
    fault(log)
    judgement = judges.records_are_kept(await record.read_kept(scene_at(tmp_path, pki, **audit)), P)
    assert judgement.outcome == (FAILED if said else PASSED), judgement
    assert said in judgement.observed


# -- the clock -------------------------------------------------------------------------------------------------------


async def test_the_state_of_the_clock_is_found_in_the_log(log: Path, tmp_path: Path, pki: RealmPki) -> None:
    scene = scene_at(tmp_path, pki)
    assert (await record.read_clock(scene)).recorded_s is None
    with (log / "log" / "000000000200.jsonl").open("a") as sink:
        sink.write('{"n":272,"ts":"2026-11-03T00:00:30.000Z","event":"clock.state","peers":2}\n')
    assert isinstance(scene, StillScene)
    scene.said = replace(HEALTHY, clocks=(ClockStatus(peer="met-1", skew_s=40, large=True),))
    found = await record.read_clock(scene)
    assert (found.recorded_s, found.peers, found.skewed) == (30.0, 1, ("met-1",))


GOOD = ClockFacts(synchronised=True, error_ms=4.0, recorded_s=600.0)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (GOOD, ""),
        (replace(GOOD, synchronised=False), "is not synchronised"),
        (replace(GOOD, error_ms=16_000.0), "may be wrong by 16,000 ms"),
        (replace(GOOD, skewed=("met-1",)), "the clock of met-1 differs"),
        (replace(GOOD, recorded_s=None), "no record says how the clock is"),
        (replace(GOOD, recorded_s=7_300.0), "2 hours old"),
    ],
)
def test_clocks(facts: ClockFacts, said: str) -> None:
    judgement = judges.clock_is_kept(facts, P)
    assert judgement.outcome == (FAILED if said else PASSED)
    assert said in judgement.observed


# -- what records can hold -------------------------------------------------------------------------------------------


def test_each_field_of_each_record_says_what_it_holds() -> None:
    assert [field for each in records() for field in open_fields(each)] == []


def test_no_word_is_kept_for_a_field_that_is_gone() -> None:
    # `profile` is of the record that seals a pack.
    assert FIELDS.keys() - {"profile"} - {field for each in records() for field in each.__struct_fields__} == set()


def test_a_field_for_free_text_is_found() -> None:
    # No Record, or every test that follows would meet it.
    class Patched(Struct, frozen=True, kw_only=True):
        EVENT: ClassVar[str] = "stream.patched"
        service: str
        note: str
        payload: bytes
        notes: dict[str, list[str]]
        count: int | None = None

    assert list(open_fields(Patched)) == ["stream.patched.note", "stream.patched.payload", "stream.patched.notes"]


# -- alerts ----------------------------------------------------------------------------------------------------------


def test_the_alerts_that_are_shipped_name_metrics_that_exist() -> None:
    found = alerts.alerts_of("rules.yml", RULES.read_text(), alerts.known_metrics(), *alerts.complaint_of(RULES))
    assert found == Alerts(file="rules.yml", alerts=len(rules()), checked_by="promtool")
    assert judges.alerts_are_sound(found, P).outcome == PASSED


def test_a_metric_that_is_gone_is_found() -> None:
    text = RULES.read_text().replace("pcgrelay_link_up", "pcgrelay_link_gone", 1)
    found = alerts.alerts_of("rules.yml", text, alerts.known_metrics())
    assert found.unknown == ("pcgrelay_link_gone",)
    assert "no node has pcgrelay_link_gone" in judges.alerts_are_sound(found, P).observed


def test_rules_that_promtool_refuses_are_found(tmp_path: Path) -> None:
    path = tmp_path / "pcgrelay.yml"
    path.write_text(RULES.read_text().replace("expr: pcgrelay_degraded == 1", "expr: pcgrelay_degraded =="))
    found = alerts.alerts_of(path.name, path.read_text(), set(), *alerts.complaint_of(path))
    assert judges.alerts_are_sound(found, P).outcome == FAILED
    assert "pcgrelay.yml" in found.complaint
    assert str(tmp_path) not in found.complaint


async def test_without_rules_a_person_is_asked(tmp_path: Path, pki: RealmPki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "PLACES", ())
    with pytest.raises(AskedError):
        await alerts.read_alerts(scene_at(tmp_path, pki))
    assert Parameters(monitoring=MonitoringParameters(rules="x.yml")).monitoring.rules == "x.yml"
