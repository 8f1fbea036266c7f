"""The metrics, read as strictly as anybody reads them: each sample is there once, whatever is configured."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pcgrelay.admin.metrics import metrics_text
from pcgrelay.admin.status import LinkStatus
from pcgrelay.views.status import numbered
from tests.support.healthy_status import HEALTHY
from tests.support.metric_samples import samples

WORDS = st.sampled_from(["a", "b", "kent-1.kent.police.example", 'odd"\\', "x\ny", "\x1b[2J", ""])
LINKS: st.SearchStrategy[Any] = st.builds(
    LinkStatus,
    peer=WORDS,
    bearer=WORDS,
    direction=st.sampled_from(["in", "out"]),
    state=st.sampled_from(["up", "down", "connecting", "draining", "away"]),
    address=WORDS,
    rtt_ms=st.none() | st.just(1.5),
)


@given(st.lists(LINKS, max_size=12), st.dictionaries(WORDS, st.integers(0, 9)))
def test_no_sample_is_there_twice(links: list[LinkStatus], refusals: dict[str, int]) -> None:
    told = replace(HEALTHY, links=numbered(links), refusals=refusals)
    found = samples(metrics_text(told, {"frames_sent_total": 3}))
    up = [labels for name, labels in found if name == "pcgrelay_link_up"]
    assert len(up) == len(links)
    assert sum(found[("pcgrelay_link_up", labels)] for labels in up) == sum(link.state == "up" for link in links)


def test_links_are_told_from_each_other_in_the_table_too() -> None:
    twice = numbered([HEALTHY.links[0]] * 3)
    assert [link.nth for link in twice] == [1, 2, 3]
