"""`pcgrelay outlet`: what people see of outlets, what programs get, and how a request is sent and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pcgrelay.admin.answers import OutletAnswer, OutletList
from pcgrelay.admin.status import OutletStatus, OutletTimes
from pcgrelay.cli import outlet as command
from tests.support.command_line import Invoke, invoker, node_written

GATEWAY = OutletStatus(
    name="gateway",
    kind="gateway",
    state="away",
    reason="a session is being set up",
    share=0.005,
    next=2,
    away_since="2026-11-29T02:00:00Z",
    outcomes={"up": 0, "away": 90},
    moved_total=90,
)
CJX = OutletStatus(
    name="cjx",
    kind="direct",
    state="ready",
    share=0.995,
    next=1,
    bearer="cjx",
    marking="OFFICIAL",
    supported_until="2020-01-31",
    supported=False,
    streams_active=1_088,
    outcomes={"up": 1_239, "refused": 3, "silent": 1},
    setup=OutletTimes(count=1_239, sum_s=14.0, median_ms=11.9, p95_ms=14.2),
)
SHOWN = OutletAnswer(service="custody@kent.police.example", serving=True, outlets=(GATEWAY, CJX), configured="cjx")


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Invoke:
    return invoker(capsys, monkeypatch)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is asked of the node; tests set what it answers."""
    seen: list[tuple[str, str]] = []

    def ask(admin: Path, method: str, path: str, kind: type[Any], timeout_s: float = 0.0) -> Any:
        seen.append((method, path))
        return ANSWERS[kind]

    monkeypatch.setattr(command, "ask", ask)
    return seen


ANSWERS: dict[type[Any], Any] = {}


def run(invoke: Invoke, path: Path, *words: str) -> tuple[int, str, str]:
    result = invoke("outlet", *words, "-c", str(path))
    return result.code, result.out, result.err


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return node_written(tmp_path)


def test_outlets_are_shown(invoke: Invoke, path: Path, asked: list[tuple[str, str]]) -> None:
    ANSWERS[OutletAnswer] = SHOWN
    code, out, _ = run(invoke, path, "custody")
    assert (code, asked) == (0, [("GET", "/v1/outlet?service=custody")])
    lines = out.splitlines()
    assert lines[:2] == [
        "custody@kent.police.example",
        "Nobody has set shares: new streams take cjx, as [[import]] says",
    ]
    assert lines[3].split() == ["gateway", "0.5", "%", "away", "2", "0", "0", "90", "90", "-", "-"]
    assert "  a session is being set up, since 2026-11-29T02:00:00Z" in lines
    assert "  failed: 3 refused, 1 silent" in lines
    assert "  over cjx, for OFFICIAL, supported until 2020-01-31, which is over: no back-up any more" in lines
    ANSWERS[OutletAnswer] = replace(
        SHOWN, serving=False, set=True, set_at="then", set_by="root (me)", set_reason="INC-77"
    )
    code, out, _ = run(invoke, path, "custody")
    assert code == 3
    assert "Shares were set then by root (me): INC-77" in out
    assert "No outlet takes a stream: applications are refused." in out


def test_who_decides_is_said(invoke: Invoke, path: Path, asked: list[tuple[str, str]]) -> None:
    held = "custody is being moved by the cut-over CR-1042; pause it or go back first."
    ANSWERS[OutletAnswer] = replace(SHOWN, set=True, set_at="then", decided_by="cut-over", why_not_by_hand=held)
    _, out, _ = run(invoke, path, "custody")
    assert out.splitlines()[1] == f"Shares are decided by a cut-over. {held}"
    ANSWERS[OutletAnswer] = replace(SHOWN, decided_by="configuration")
    assert "Nobody has set shares" in run(invoke, path, "custody")[1]


def test_all_imports_with_outlets_are_listed(invoke: Invoke, path: Path, asked: list[tuple[str, str]]) -> None:
    ANSWERS[OutletList] = OutletList(services=(SHOWN, replace(SHOWN, service="pnd@kent.police.example")))
    code, out, _ = run(invoke, path)
    assert (code, asked) == (0, [("GET", "/v1/outlet")])
    assert out.count("Nobody has set shares") == 2
    ANSWERS[OutletList] = OutletList()
    assert run(invoke, path)[:2] == (0, "No import has an outlet beside the gateway; [[direct]] adds one.\n")


def test_shares_are_moved(invoke: Invoke, path: Path, asked: list[tuple[str, str]]) -> None:
    ANSWERS[OutletAnswer] = replace(
        SHOWN, changed=True, set_at="then", before={"cjx": 100.0}, warnings=("gateway is away.",)
    )
    code, out, _ = run(invoke, path, "custody", "cjx=99.5", "gateway=0.5", "--reason", "CR 1&2", "--by", "me")
    assert code == 0
    assert asked == [("POST", "/v1/outlet?service=custody&shares=cjx%3D99.5%2Cgateway%3D0.5&reason=CR+1%262&by=me")]
    assert out == (
        "New streams of custody@kent.police.example take cjx 99.5 %, gateway 0.5 % since then (before: cjx 100 %).\n"
        "Streams that are open stay where they are: 1,088 on cjx.\n"
        "Note: gateway is away.\n"
    )
    ANSWERS[OutletAnswer] = replace(SHOWN, set_at="then")
    assert "already, since then; nothing has changed." in run(invoke, path, "custody", "cjx=99.5")[1]


def test_a_refusal_has_its_own_code(invoke: Invoke, path: Path, asked: list[tuple[str, str]]) -> None:
    ANSWERS[OutletAnswer] = OutletAnswer(service="custody", reason="It may not be.", exit_code=6)
    assert run(invoke, path, "custody", "cjx=10") == (6, "", "pcgrelay: It may not be.\n")
    code, out, _ = run(invoke, path, "custody", "cjx=10", "--json")
    assert code == 6
    assert json.loads(out)["reason"] == "It may not be."


def test_a_share_without_a_service_is_no_service(invoke: Invoke, path: Path, asked: list[tuple[str, str]]) -> None:
    code, _, err = run(invoke, path, "gateway=10")
    assert (code, asked) == (2, [])
    assert "write: pcgrelay outlet SERVICE gateway=10 -c FILE" in err
