"""The metrics of a node that has something in every family."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec.structs import replace

from pcgrelay.admin.bundles import BundleStatus
from pcgrelay.admin.clocks import ClockStatus
from pcgrelay.admin.core_help import CORE_HELP
from pcgrelay.admin.discovery import DiscoveryStatus
from pcgrelay.admin.fleet_answers import FleetStatus
from pcgrelay.admin.metrics import metrics_text
from pcgrelay.admin.status import (
    ApprovalsStatus,
    AuditStatus,
    CutoverLine,
    DrillDueStatus,
    DrillLastStatus,
    DrillsStatus,
    ListenerStatus,
    OutletStatus,
    StateStatus,
    StrayStatus,
    WitnessStatus,
)
from pcgrelay.admin.udp_lanes import UdpLanesStatus
from pcgrelay.admin.validity import CredentialsStatus, DateStatus, ListStatus
from pcgrelay.admin.waiting import WaitingStatus
from pcgrelay.dataplane.events import StreamEnd
from pcgrelay.figures import Durations
from pcgrelay.messages import Code
from pcgrelay.model import ServiceName
from pcgrelay.policy.rules import RULE_NONE
from pcgrelay.services.traffic import Traffic
from pcgrelay.views.traffic import TrafficText, handshake_text
from tests.support.healthy_status import HEALTHY

SERVICE = "custody@kent.police.example"
MET = "met.police.example"
NOW = datetime(2031, 1, 1, tzinfo=UTC)
CREDENTIALS = CredentialsStatus(
    dates=tuple(
        DateStatus(kind=kind, name="x", state="good", not_before=NOW, not_after=NOW) for kind in ("own", "trust", "crl")
    ),
    lists=(ListStatus(name="CN=CA", number=1, not_before=NOW, not_after=NOW),),
)
OUTLET = OutletStatus(
    name="cjx",
    kind="direct",
    state="ready",
    share=0.9,
    supported_until="2031-01-31",
    outcomes={"up": 3},
    shadows={"up": 1},
    exercised=True,
    exercise_success_s=1.0,
    quiet_days=1,
    quiet_since="2030-12-31",
)
DRILLS = DrillsStatus(
    dues=(DrillDueStatus(kind="backup", subject=SERVICE, due_s=1.0, overdue=True),),
    last=(DrillLastStatus(kind="backup", subject=SERVICE, result="failed", timestamp_s=1.0),),
)
UDP_LANES = UdpLanesStatus(up=1, lanes=2, rtt_ms=1.0)
LISTENERS = tuple(ListenerStatus(name=name) for name in ("listen", "also-1"))


def all_metrics_text() -> str:
    """The text of a scrape in which each family has a sample, with each label that it may have."""
    first = HEALTHY.services[0]
    imported = replace(first, name=SERVICE, outlets=(OUTLET,), listeners=LISTENERS)
    exported = replace(HEALTHY.services[1], strays=(StrayStatus(organisation=MET),))
    told = replace(
        HEALTHY,
        links=(*HEALTHY.links, replace(HEALTHY.links[0], address="192.0.2.1:7000", nth=2, udp=UDP_LANES)),
        discoveries=(DiscoveryStatus(discover="x", bearer="psn", wanted=2, up=2, relays=3, answered=True),),
        services=(imported, exported),
        cutovers=(CutoverLine(service=SERVICE, phase="soaking"),),
        state=StateStatus(folder=True),
        drills=DRILLS,
        clocks=(ClockStatus(peer="met-1.met.police.example", skew_s=1),),
        credentials=CREDENTIALS,
        bundle=BundleStatus(epoch=2, not_before=NOW, not_after=NOW),
        fleet=FleetStatus(store="etcd", live=True),
        refusals={"revoked": 1},
        approvals=ApprovalsStatus(
            active=True,
            waiting=(WaitingStatus(what="change", change="CR-1", until_timestamp_s=1.0, signatures=1, needs=2),),
        ),
        audit=AuditStatus(records=2, witnesses=(WitnessStatus(peer="relay-1.hub.example", timestamp_s=1.0),)),
    )
    traffic, custody = Traffic(), ServiceName.parse(SERVICE)
    for cause, code in (("done", 0), ("not-allowed", Code.REFUSED)):
        carried = 0 if code else 10
        traffic.count(StreamEnd(True, 0, 1, b"x", carried, carried, 9, code, cause, RULE_NONE, False), custody, MET)
    association = StreamEnd(
        True, 0, 1, b"x", 9, 9, 9, 0, "done", RULE_NONE, False, protocol="udp", sent_datagrams=1, dropped=(1,)
    )
    traffic.count(association, custody, MET)
    text = metrics_text(told, dict.fromkeys(CORE_HELP, 0)) + TrafficText(traffic).text({("import", SERVICE): 1})
    return text + handshake_text(Durations(), Durations())
