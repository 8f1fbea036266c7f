"""How the audit log stands, in one line."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pcgrelay.admin.audit_line import audit_line
from pcgrelay.admin.status import AuditStatus, WitnessStatus

NOW_S = 1_793_664_000.0
RELAY = WitnessStatus(peer="relay-1.hub.example", size=8_800, timestamp_s=NOW_S - 125)
WELL = AuditStatus(records=8_841, signed=8_840, signed_timestamp_s=NOW_S - 40, witnesses=(RELAY,))


@pytest.mark.parametrize(
    ("audit", "line"),
    [
        (WELL, "8,841 records; 8,840 signed 40 s ago; witnessed by relay-1.hub.example 2 min 5 s ago"),
        (AuditStatus(records=1), "1 record; none signed yet; witnessed by nobody yet"),
        (
            replace(WELL, signed_timestamp_s=0.0, witnesses=()),
            "8,840 signed by the process before; witnessed by nobody",
        ),
        (replace(WELL, witnesses=(replace(RELAY, size=0),)), "witnessed by nobody yet"),
        (replace(WELL, refusing="It was cut."), "8,841 records; not signed any more; "),
        (replace(WELL, lost_total=1_212, queue=65_536), "; 1,212 lost since the start; 65,536 not written yet"),
        # A clock that was set back.
        (replace(WELL, signed_timestamp_s=NOW_S + 9), "8,840 signed 0 s ago"),
    ],
)
def test_what_it_says(audit: AuditStatus, line: str) -> None:
    assert line in audit_line(audit, NOW_S)


def test_the_youngest_of_many_witnesses_are_named() -> None:
    many = tuple(replace(RELAY, peer=f"relay-{n}.hub.example", timestamp_s=NOW_S - 60 * n) for n in range(9, 0, -1))
    line = audit_line(replace(WELL, witnesses=many), NOW_S)
    assert line.endswith("relay-1.hub.example 1 min 0 s ago, relay-2.hub.example 2 min 0 s ago, relay-3.hub.example "
                         "3 min 0 s ago and 6 more")  # fmt: skip
