"""What a node may say of itself: nothing that cannot be shown, whoever signed it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pcgrelay.fleet.lock import Holder
from pcgrelay.fleet.report import NodeReport, read_body
from pcgrelay.fleet.values import SignedValue
from pcgrelay.model import NodeId

KENT = "kent.police.example"
REPORT: dict[str, Any] = {"process": "1", "role": "edge", "version": "0.1.0", "at_s": 1.0}
HOLDER: dict[str, Any] = {"node": f"kent-1.{KENT}", "act": "drain"}


def read(kind: type[Any], body: object) -> Any:
    signer = NodeId("police.example", KENT, "kent-1")
    data = msgspec.msgpack.encode(body)
    return read_body(SignedValue(key="nodes/x/y", body=data, epoch=1, signer=signer, revision=1), kind)


@pytest.mark.parametrize(
    "wrong",
    [
        {"certificate_end_s": 253_402_300_800},  # no date of Python's
        {"certificate_end_s": -1},
        {"at_s": float("inf")},
        {"at_s": float("nan")},
        {"streams": -1},
        {"condition": "x" * 65},
        {"order_reason": "x" * 301},
    ],
)
def test_a_report_that_cannot_be_shown_is_none(wrong: dict[str, object]) -> None:
    assert read(NodeReport, REPORT) is not None
    assert read(NodeReport, {**REPORT, **wrong}) is None


def test_a_holder_has_a_time_that_is_one_or_none_at_all() -> None:
    """An older version does not say since when."""
    assert read(Holder, HOLDER).words == f"kent-1.{KENT} (drain)"
    words = read(Holder, {**HOLDER, "by": "jo", "since_s": 1_796_034_665}).words
    assert words == f"kent-1.{KENT} (drain, by jo, since 2026-11-30 10:31:05 UTC)"
    assert read(Holder, {**HOLDER, "since_s": 1 << 60}) is None
