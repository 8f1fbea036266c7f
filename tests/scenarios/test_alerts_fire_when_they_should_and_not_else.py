"""The alerts that are shipped: each fires in the case that it is for, and is silent in the one beside."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.alert_rules import RULES, rules

pytestmark = pytest.mark.tier_all

AT = 'instance="kent-1"'
SERVICE = "custody@kent.police.example"
OUTLET = f'{AT},outlet="cjx",service="{SERVICE}"'
LINK = f'{AT},bearer="psn",direction="out",link="relay-1.hub.example"'
PAIR = f'{AT},direction="export",organisation="met.police.example",service="{SERVICE}"'
DRILL = f'{AT},kind="backup",subject="{SERVICE}"'
DAY = 86_400


@dataclass(frozen=True)
class Case:
    """Series as promtool writes them, with which an alert fires, and with which it is silent; and its labels then."""

    fires: dict[str, str]
    silent: dict[str, str]
    at: str
    labels: str


def one(name: str, labels: str, fires: str, silent: str, at: str = "30m", shown: str | None = None) -> Case:
    series = f"pcgrelay_{name}{{{labels}}}"
    return Case({series: fires}, {series: silent}, at, labels if shown is None else shown)


READY, DRAINING = f"pcgrelay_ready{{{AT}}}", f"pcgrelay_draining{{{AT}}}"
UP, SHARE = f"pcgrelay_outlet_up{{{OUTLET}}}", f"pcgrelay_outlet_share{{{OUTLET}}}"
MOVED, SETUPS = f"pcgrelay_outlet_moved_total{{{OUTLET}}}", f'pcgrelay_outlet_setups_total{{{OUTLET},outcome="up"}}'
ENDS, BEGAN = (
    f"pcgrelay_crl_next_update_timestamp_seconds{{{AT}}}",
    f"pcgrelay_crl_last_update_timestamp_seconds{{{AT}}}",
)
BUNDLE_ENDS, BUNDLE_BEGAN = (
    f"pcgrelay_realm_bundle_not_after_timestamp_seconds{{{AT}}}",
    f"pcgrelay_realm_bundle_not_before_timestamp_seconds{{{AT}}}",
)
USED, BUDGET = f"pcgrelay_memory_used_bytes{{{AT}}}", f"pcgrelay_memory_budget_bytes{{{AT}}}"
OPEN, MOST, BUILD = f"process_open_fds{{{AT}}}", f"process_max_fds{{{AT}}}", f'pcgrelay_build_info{{{AT},version="1"}}'
REFUSED = f'pcgrelay_refused_total{{{AT},reason="%s"}}'
DROPPED, SENT = f"pcgrelay_core_datagrams_dropped_%s_total{{{AT}}}", f"pcgrelay_core_datagrams_sent_total{{{AT}}}"
RECEIVED = f"pcgrelay_core_datagrams_received_total{{{AT}}}"
UDP_LANES, LINK_UP = f"pcgrelay_link_udp_lanes{{{LINK}}}", f"pcgrelay_link_up{{{LINK}}}"
OTHER = 'pcgrelay_build_info{instance="met-1",version="%s"}'

CASES = {
    "PcgrelayFailing": Case({READY: "0x60", DRAINING: "0x60"}, {READY: "0x60", DRAINING: "1x60"}, "30m", AT),
    "PcgrelayDegraded": one("degraded", AT, "1x60", "1x10 0x50"),
    "PcgrelayNeighbourAway": one("link_up", LINK, "0x60", "1x60"),
    "PcgrelayTwins": one("identity_twins", AT, "1x60", "0x60"),
    "PcgrelayAuditFailing": one("audit_failing", AT, "1x60", "0x60"),
    "PcgrelayAuditLost": one("audit_lost_total", AT, "0+1x60", "7x60"),
    "PcgrelayAuditForked": one("audit_witness_conflicts", AT, "1x60", "0x60"),
    "PcgrelayAuditUnwitnessed": one(
        "audit_witness_timestamp_seconds", f'{AT},witness="relay-1.hub.example"', f"-{2 * DAY}x60", "0x60", shown=AT
    ),
    "PcgrelayBackUpInUse": one("import_back_up_in_use", f'{AT},service="{SERVICE}"', "1x60", "0x60"),
    "PcgrelayRefusedByRule": one(
        "service_refused_total", f'{PAIR},reason="not-allowed"', "_x25 1x40", "5x60",
        shown=f'{AT},organisation="met.police.example",service="{SERVICE}"',
    ),
    "PcgrelayCertificateEndsSoon": one(
        "certificate_not_after_timestamp_seconds", f'{AT},kind="own"', f"{20 * DAY}x60", f"{40 * DAY}x60"
    ),
    "PcgrelayCertificateEnds": one(
        "certificate_not_after_timestamp_seconds", f'{AT},kind="own"', f"{5 * DAY}x60", f"{20 * DAY}x60"
    ),
    "PcgrelayListEnds": Case(
        {ENDS: f"{2 * 3600}x60", BEGAN: f"-{2 * DAY}x60"}, {ENDS: f"{DAY}x60", BEGAN: f"-{2 * DAY}x60"}, "30m", AT
    ),
    "PcgrelayListForged": Case(
        {REFUSED % "list_signature": "_x25 1x40"},
        {REFUSED % "list_signature": "5x60", REFUSED % "list_of_unknown_ca": "0+1x60"},
        "30m",
        f'{AT},reason="list_signature"',
    ),
    "PcgrelayListRefused": Case(
        {REFUSED % "list_of_unknown_ca": "0+1x60"},
        {REFUSED % "list_of_unknown_ca": "5x60", REFUSED % "list_older": "0+1x60", REFUSED % "revoked": "0+1x60"},
        "30m",
        f'{AT},reason="list_of_unknown_ca"',
    ),
    "PcgrelayListStays": one("crl_travels", f'{AT},ca="CN=Realm CA"', "0x60", "1x60"),
    "PcgrelayBundleEnds": Case(
        {BUNDLE_ENDS: f"{2 * 3600}x60", BUNDLE_BEGAN: f"-{2 * DAY}x60"},
        {BUNDLE_ENDS: f"{DAY}x60", BUNDLE_BEGAN: f"-{2 * DAY}x60"},
        "30m",
        AT,
    ),
    "PcgrelayBundleForged": Case(
        {REFUSED % "bundle_signature": "_x25 1x40"},
        {REFUSED % "bundle_signature": "5x60", REFUSED % "bundle_older": "0+1x60"},
        "30m",
        f'{AT},reason="bundle_signature"',
    ),
    "PcgrelayReloadRefused": one("config_last_reload_successful", AT, "0x60", "1x60"),
    "PcgrelayLogLost": one("log_lines_lost_total", AT, "0+1x60", "7x60"),
    "PcgrelayMemoryShort": Case({USED: "95x60", BUDGET: "100x60"}, {USED: "85x60", BUDGET: "100x60"}, "30m", AT),
    "PcgrelayDescriptorsShort": Case(
        {OPEN: "85x60", MOST: "100x60", BUILD: "1x60"}, {OPEN: "75x60", MOST: "100x60", BUILD: "1x60"}, "30m", AT
    ),
    "PcgrelayFramesDropped": one("core_frames_dropped_total", AT, "0+1200x60", "0+60x60"),
    "PcgrelayDatagramsDropped": Case(
        {DROPPED % "queue": "0+10x60", DROPPED % "age": "0+10x60", SENT: "0+1000x60"},
        {DROPPED % "queue": "0+4x60", DROPPED % "age": "0+4x60", SENT: "0+1000x60"},
        "30m",
        AT,
    ),
    "PcgrelayDatagramsBeyondRate": Case(
        {DROPPED % "rate": "0+30x60", SENT: "0+1000x60", RECEIVED: "0+1000x60"},
        {DROPPED % "rate": "0+15x60", SENT: "0+1000x60", RECEIVED: "0+1000x60"},
        "30m",
        AT,
    ),
    "PcgrelayDatagramsRefused": Case(
        {DROPPED % "limit": "0+400x60", DROPPED % "source": "0+400x60"},
        {DROPPED % "limit": "0+200x60", DROPPED % "source": "0+200x60"},
        "30m",
        AT,
    ),
    "PcgrelayUdpLanesDown": Case(
        {UDP_LANES: "0x60", LINK_UP: "1x60"}, {UDP_LANES: "0x10 1x50", LINK_UP: "1x60"}, "30m", LINK
    ),
    "PcgrelayVersionsDiffer": Case(
        {BUILD: "1x1500", OTHER % "2": "1x1500"}, {BUILD: "1x1500", OTHER % "1": "1x1500"}, "24h1m", ""
    ),
    "PcgrelayOutletFailing": Case({UP: "0x60", SHARE: "0.5x60"}, {UP: "0x60", SHARE: "0x60"}, "30m", OUTLET),
    "PcgrelayNoOutlet": one("service_up", f'{AT},direction="import",service="{SERVICE}"', "0x60", "1x60"),
    "PcgrelayLedOn": Case(
        {MOVED: "0+2x60", SETUPS: "0+100x60"}, {MOVED: "0+0.2x60", SETUPS: "0+100x60"}, "30m", OUTLET
    ),
    "PcgrelayStateUnwritten": one("state_unwritten", AT, "1x60", "0x60"),
    "PcgrelayStateLost": one("state_lost", AT, "1x60", "0x60"),
    "PcgrelaySupportEndsSoon": one(
        "outlet_supported_until_timestamp_seconds", OUTLET, f"{20 * DAY}x60", f"{40 * DAY}x60"
    ),
    "PcgrelaySupportEnds": one("outlet_supported_until_timestamp_seconds", OUTLET, f"{5 * DAY}x60", f"{20 * DAY}x60"),
    "PcgrelayRulesEndSoon": one("rules_ending", AT, "2x100", "0x100", at="90m"),
    "PcgrelayPolicyUnapproved": one("policy_unapproved", AT, "1x60", "0x60"),
    "PcgrelayPolicyNotKept": one("policy_kept", AT, "0x60", "1x60"),
    "PcgrelayChangeWaits": one(
        "approval_until_timestamp_seconds", f'{AT},text="change"', f"{DAY // 2}x60", f"{2 * DAY}x60"
    ),
    "PcgrelayFellBack": one("cutover_fell_back", f'{AT},service="{SERVICE}"', "0x25 1x35", "1x60"),
    "PcgrelayCutoverHeld": one("cutover_held", f'{AT},service="{SERVICE}"', "1x60", "0x60"),
    "PcgrelayCutoverTrouble": one("cutover_trouble", f'{AT},service="{SERVICE}"', "2x60", "0x60"),
    "PcgrelayDrillOverdue": one("drill_due_timestamp_seconds", DRILL, "0x60", f"{DAY}x60"),
    "PcgrelayDrillNotPassed": one(
        "drill_last_timestamp_seconds", f'{DRILL},result="failed"', "0x60", f"-{2 * DAY}x60"
    ),
    "PcgrelayExerciseSilent": one(
        "exercise_last_success_timestamp_seconds", OUTLET, f"-{2 * DAY}x60", "0x60"
    ),
}  # fmt: skip


def test_each_alert_has_both_cases() -> None:
    assert CASES.keys() == rules().keys()


def expected(name: str, labels: str) -> dict[str, Any]:
    """The alert as promtool has to find it."""
    pairs = dict(re.findall(r'(\w+)="([^"]*)"', labels))
    rule = rules()[name]
    told = {
        key: re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: pairs[match[1]], text).replace("{{ $value }}", "2")
        for key, text in rule.annotations.items()
    }
    return {"exp_labels": {**pairs, "severity": rule.severity}, "exp_annotations": told}


def checked(tmp_path: Path, series: dict[str, str], name: str, at: str, alerts: list[dict[str, Any]]) -> str:
    """What promtool says against it; nothing, if all is as expected."""
    values = [{"series": key, "values": text} for key, text in series.items()]
    test = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [
        {"interval": "1m", "input_series": values,
         "alert_rule_test": [{"eval_time": at, "alertname": name, "exp_alerts": alerts}]},
    ]}  # fmt: skip
    file = tmp_path / "test.yml"  # JSON is YAML
    file.write_text(json.dumps(test))
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, timeout=60, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_promtool_takes_the_rules() -> None:
    done = subprocess.run(
        ["promtool", "check", "rules", RULES], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", CASES)
def test_it_fires_in_its_case_and_is_silent_in_the_one_beside(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    assert checked(tmp_path, case.fires, name, case.at, [expected(name, case.labels)]) == ""
    assert checked(tmp_path, case.silent, name, case.at, []) == ""
