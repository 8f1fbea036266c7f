"""A pack of evidence made of examples: one control of each outcome, and a node that was never started."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pcgrelay.admin.status import LinkStatus, NodeStatus, SessionStatus, Status
from pcgrelay.assure.catalogue import Profile, load_controls, load_profile
from pcgrelay.assure.facts import Listeners, OpenPorts, Port
from pcgrelay.assure.pack import Evidence
from pcgrelay.assure.runner import Result, Run
from pcgrelay.assure.tests import TESTS
from pcgrelay.config import parse

STARTED = datetime(2026, 11, 3, 10, 12, 44, tzinfo=UTC)
# No part of a pack may hold these.
SECRETS = ("192.0.2.77", "10.99.1.5", "10.98.0.0", "/var/lib/hidden", "hidden-owner", "PING-HIDDEN")
CONFIG = """\
[node]
name = "kent-1"
organisation = "kent.police.example"
realm = "police.example"
role = "edge"
admin = "/var/lib/hidden/kent-1.sock"
[identity]
certificate = "/var/lib/hidden/kent-1.pem"
key = "/var/lib/hidden/kent-1.key"
trust = "/var/lib/hidden/ca.pem"
[[bearer]]
name = "psn"
marking = "OFFICIAL-SENSITIVE"
[[link]]
peer = "relay-1.hub.example"
address = "192.0.2.77:7400"
bearer = "psn"
[[export]]
service = "custody"
target = "10.99.1.5:5432"
allow = ["met.police.example"]
marking = "OFFICIAL-SENSITIVE"
probe = "expect"
probe_send = "PING-HIDDEN"
probe_expect = "PONG"
also = ["10.99.1.5:15432"]
[[import]]
service = "pnd@met.police.example"
listen = "10.99.1.5:15433"
[[caller]]
organisation = "met.police.example"
networks = ["10.98.0.0/16"]
"""
STATUS = Status(
    node=NodeStatus(
        identity="spiffe://police.example/org/kent.police.example/node/kent-1",
        role="edge",
        uptime_s=5.0,
        version="0.1.0",
    ),
    links=(
        LinkStatus(
            peer="relay-1.hub.example", bearer="psn", direction="out", address="192.0.2.77:7400", state="up",
            suite="AES-256-GCM", group="X25519MLKEM768", authenticated_s=4.0,
        ),
    ),
    sessions=(
        SessionStatus(
            peer="met-1.met.police.example", via="relay-1.hub.example", direction="in", state="up", marking=1,
            suite="AES-256-GCM", group="X25519MLKEM768", flows=1,
        ),
    ),
)  # fmt: skip


def profile() -> Profile:
    return load_profile("ncsc-official", load_controls(TESTS))


def result(id: str = "K1", outcome: str = "passed", **changes: object) -> Result:
    values = {
        "id": id,
        "title": f"Title of {id}",
        "test": "a_test",
        "outcome": outcome,
        "observed": "3 of | them",
        "expected": "4 of them",
        "cure": "get one more",
        "sources": ("CAF 4.0 B2.a",),
        "started": STARTED,
        "seconds": 0.5,
        **changes,
    }
    return Result(**values)  # type: ignore[arg-type]


RESULTS = (
    result("K1", "passed"),
    result("N1", "failed"),
    result("N2", "broken"),
    result("A1", "told", question="Who answers for it?"),
    result("R1", "not here"),
)


def evidence(folder: Path, results: tuple[Result, ...] = RESULTS) -> Evidence:
    path = folder / "kent-1.toml"
    path.write_text(CONFIG)
    ports = OpenPorts(open=(Port(family="tcp", host="10.99.1.5", number=15433),), named=())
    return Evidence(
        config=parse(CONFIG, path),
        profile=profile(),
        run=Run(results=results, facts={"N2": ports, "N1": Listeners(listeners=())}, seconds=2.5),
        started=STARTED,
        marking="OFFICIAL-SENSITIVE",
        status=STATUS,
        ways=(("relay-1.hub.example", "met-1.met.police.example"),),
        os_release="ID=debian\nVERSION_ID=12\n",
    )
