"""The alerts that are shipped name metrics that are there, with the labels that they have."""

from __future__ import annotations

import re
from pathlib import Path

from msgspec.structs import replace

from pcgrelay.admin.metrics import metrics_text
from pcgrelay.admin.status import (
    CutoverLine,
    DrillDueStatus,
    DrillLastStatus,
    DrillsStatus,
    OutletStatus,
    StateStatus,
)
from tests.support.healthy_status import HEALTHY
from tests.support.metric_samples import samples

ALERTS = Path(__file__).resolve().parents[3] / "docs" / "alerts.yml"
SERVICE = "custody@kent.police.example"
OUTLET = OutletStatus(
    name="cjx",
    kind="direct",
    state="ready",
    share=0.9,
    supported_until="2031-01-31",
    outcomes={"up": 3},
    exercised=True,
    exercise_success_s=1.0,
)
DRILLS = DrillsStatus(
    dues=(DrillDueStatus(kind="backup", subject=SERVICE, due_s=1.0, overdue=True),),
    last=(DrillLastStatus(kind="backup", subject=SERVICE, result="failed", timestamp_s=1.0),),
)


def rules() -> dict[str, str]:
    """The expression of each alert."""
    found = {}
    for text in re.split(r"^ *- alert: ", ALERTS.read_text(), flags=re.MULTILINE)[1:]:
        name, rest = text.split("\n", 1)
        expression = re.search(r"expr: (?:>-\n)?(.*?)\n *(?:for|labels):", rest, re.DOTALL)
        assert expression, name
        assert re.search(r"severity: (warning|critical)", rest), name
        assert re.search(r'summary: ".+\."', rest), name
        found[name] = " ".join(expression[1].split())
    return found


def labels_by_metric() -> dict[str, set[str]]:
    services = (replace(HEALTHY.services[0], name=SERVICE, outlets=(OUTLET,)),)
    told = replace(
        HEALTHY,
        services=services,
        cutovers=(CutoverLine(service=SERVICE, phase="soaking"),),
        state=StateStatus(folder=True),
        drills=DRILLS,
    )
    found: dict[str, set[str]] = {}
    for name, labels in samples(metrics_text(told, {})):
        found.setdefault(name, set()).update(label for label, _ in labels)
    return found


def test_alerts_name_metrics_and_labels_that_are_there() -> None:
    there, found = labels_by_metric(), rules()
    assert {
        "PcgrelayOutletFailing", "PcgrelayLedOn", "PcgrelayStateUnwritten", "PcgrelaySupportEndsSoon",
        "PcgrelaySupportEnds", "PcgrelayDrillOverdue", "PcgrelayDrillNotPassed", "PcgrelayExerciseSilent",
    } <= found.keys()  # fmt: skip
    for name, expression in found.items():
        metrics = re.findall(r"pcgrelay_\w+", expression)
        assert metrics, name
        for metric in metrics:
            assert metric in there, f"{name}: {metric}"
        for group in re.findall(r"(?:by|on) \(([^)]*)\)", expression):
            wanted = set(re.split(r", *", group)) - {"instance"}
            assert wanted <= there[metrics[0]], f"{name}: {wanted}"


def test_labels_of_the_words_are_those_of_the_metric() -> None:
    there = labels_by_metric()
    text = ALERTS.read_text()
    for block in text.split("- alert: ")[1:]:
        metric = re.search(r"pcgrelay_\w+", block)
        assert metric is not None
        used = set(re.findall(r"\$labels\.(\w+)", block)) - {"instance"}
        assert used <= there[metric[0]], block


def test_state_that_is_not_written_or_lost_is_a_metric() -> None:
    def told(state: StateStatus) -> dict[str, float]:
        found = samples(metrics_text(replace(HEALTHY, state=state), {}))
        return {name: value for (name, _), value in found.items() if name.startswith("pcgrelay_state_")}

    assert told(StateStatus()) == {}
    assert told(StateStatus(folder=True)) == {"pcgrelay_state_unwritten": 0, "pcgrelay_state_lost": 0}
    assert told(StateStatus(folder=True, lost=True, reason="full")) == {
        "pcgrelay_state_unwritten": 1,
        "pcgrelay_state_lost": 1,
    }
