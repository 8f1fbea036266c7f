"""The table of metrics in docs/operations.md is that of the node: each name, type, label and meaning."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from tests.support.alert_rules import ROOT
from tests.support.all_metrics import all_metrics_text

OF_THE_CORE = "pcgrelay_core_"
OF_A_HISTOGRAM = {"le"}


def rows_of_the_node() -> dict[str, tuple[str, str, str]]:
    """Type, labels and meaning of each family by its name, but for those of the core."""
    found = {}
    for family in text_string_to_metric_families(all_metrics_text()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if name.startswith(OF_THE_CORE):
            continue
        assert family.samples, f"{name}: give it a sample in tests/support/all_metrics.py"
        labels = sorted({label for each in family.samples for label in each.labels} - OF_A_HISTOGRAM)
        found[name] = (family.type, ", ".join(labels), family.documentation)
    return found


def rows_of_the_page() -> dict[str, tuple[str, str, str]]:
    page = (ROOT / "docs" / "operations.md").read_text()
    section = page.partition("\n## Metrics\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) ?\| (.+) \|$", section, re.MULTILINE)
    assert len(rows) == len({name for name, *_ in rows})
    return {name: (kind, labels, meaning) for name, kind, labels, meaning in rows}


def test_the_table_has_each_metric_and_no_other_one() -> None:
    page, node = rows_of_the_page(), rows_of_the_node()
    written = {name: "| `{}` | {} | {} | {} |".format(name, *row) for name, row in node.items()}
    missing = [text for name, text in written.items() if page.get(name) != node[name]]
    assert missing == [], "\n".join(missing)
    assert page.keys() - node.keys() == set()


def test_the_table_is_in_the_order_of_the_node() -> None:
    assert list(rows_of_the_page()) == list(rows_of_the_node())
