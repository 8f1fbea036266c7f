"""The alerts that are shipped name metrics that are there, with the labels that they have."""

from __future__ import annotations

import json
import re

from msgspec.structs import replace

from pcgrelay.admin.metrics import metrics_text
from pcgrelay.admin.status import StateStatus
from tests.support.alert_rules import ROOT, rules
from tests.support.all_metrics import all_metrics_text
from tests.support.healthy_status import HEALTHY
from tests.support.metric_samples import samples


def labels_by_metric() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, labels in samples(all_metrics_text()):
        found.setdefault(name, set()).update(label for label, _ in labels)
    return found


def test_alerts_name_metrics_and_labels_that_are_there() -> None:
    there, found = labels_by_metric(), rules()
    assert {
        "PcgrelayOutletFailing", "PcgrelayLedOn", "PcgrelayStateUnwritten", "PcgrelaySupportEndsSoon",
        "PcgrelaySupportEnds", "PcgrelayDrillOverdue", "PcgrelayDrillNotPassed", "PcgrelayExerciseSilent",
    } <= found.keys()  # fmt: skip
    for name, expression in ((name, rule.expression) for name, rule in found.items()):
        metrics = re.findall(r"(?:pcgrelay|process)_\w+", expression)
        assert metrics, name
        for metric in metrics:
            assert metric in there, f"{name}: {metric}"
        for group in re.findall(r"(?:by|on) \(([^)]*)\)", expression):
            wanted = set(re.split(r", *", group)) - {"instance"}
            assert wanted <= there[metrics[0]], f"{name}: {wanted}"


def test_labels_of_the_words_are_those_of_the_metric() -> None:
    there = labels_by_metric()
    for name, rule in rules().items():
        metric = re.search(r"(?:pcgrelay|process)_\w+", rule.expression)
        assert metric is not None
        used = set(re.findall(r"\$labels\.(\w+)", rule.annotations["summary"])) - {"instance"}
        assert used <= there[metric[0]], name


def test_each_alert_has_a_heading_that_its_link_leads_to() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    section = page.partition("\n## Alerts\n")[2].partition("\n## ")[0]
    headings = re.findall(r"^### (\w+)$", section, re.MULTILINE)
    assert headings == list(rules())
    for name, rule in rules().items():
        assert rule.annotations["runbook_url"] == f"docs/operations.md#{name.lower()}"
        assert rule.annotations["summary"].endswith(".")


def test_the_board_asks_for_metrics_and_labels_that_are_there() -> None:
    board = json.loads((ROOT / "contrib" / "grafana" / "pcgrelay.json").read_text())
    (source,) = [each for each in board["templating"]["list"] if each["type"] == "datasource"]
    there = labels_by_metric()
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    expressions += [each["query"] for each in board["templating"]["list"] if each["type"] == "query"]
    assert len(expressions) > 15
    for expression in expressions:
        metrics = re.findall(r"(?:pcgrelay|process)_\w+", expression)
        assert metrics, expression
        assert [metric for metric in metrics if metric not in there] == [], expression
        for group in re.findall(r"by \(([^)]*)\)", expression):
            wanted = set(re.split(r", *", group)) - {"instance"}
            assert wanted <= there[metrics[0]], expression
    for panel in board["panels"]:
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == f"${{{source['name']}}}", panel["title"]
            assert panel["title"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


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
