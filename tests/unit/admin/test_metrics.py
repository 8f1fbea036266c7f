"""The metrics, read as strictly as anybody reads them: each sample is there once, whatever is configured."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pcgrelay.admin.core_help import CORE_HELP
from pcgrelay.admin.metrics import metrics_text
from pcgrelay.admin.service_metrics import ServicesText
from pcgrelay.admin.status import LinkStatus, OutletStatus, OutletTimes
from pcgrelay.dataplane.adapter import native_core
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


OUTLET = OutletStatus(
    name="cjx",
    kind="direct",
    state="ready",
    share=0.9,
    supported_until="2031-01-31",
    outcomes={"up": 3, "silent": 1},
    shadows={"up": 2},
    moved_total=1,
    sent_bytes=9,
    setup=OutletTimes(count=3, sum_s=0.5, below=(0, 1, *[3] * 18)),
)


def test_outlets_have_families_of_their_own() -> None:
    services = (replace(HEALTHY.services[0], name="custody@kent.police.example", outlets=(OUTLET,)),)
    found = samples(metrics_text(replace(HEALTHY, services=services), {}))
    at = {("service", "custody@kent.police.example"), ("outlet", "cjx")}

    def value(name: str, **labels: str) -> float:
        return found[(f"pcgrelay_outlet_{name}", frozenset({*at, *labels.items()}))]

    assert value("share") == 0.9
    assert value("up") == 1
    assert value("setups_total", outcome="silent") == 1
    assert value("shadows_total", outcome="up") == 2
    assert value("moved_total") == 1
    assert value("sent_bytes_total") == 9
    # The day itself is one of support: 2031-02-01T00:00:00Z.
    assert value("supported_until_timestamp_seconds") == 1_927_670_400
    assert value("setup_seconds_bucket", le="0.000128") == 0
    assert value("setup_seconds_bucket", le="0.000256") == 1
    assert value("setup_seconds_bucket", le="67.108864") == 3
    assert value("setup_seconds_bucket", le="+Inf") == value("setup_seconds_count") == 3
    assert value("setup_seconds_sum") == 0.5
    assert value("answer_seconds_bucket", le="+Inf") == 0


def test_each_counter_of_the_core_says_what_it_means() -> None:
    core = native_core().Core(workers=1, memory_bytes=16 << 20, role=1)
    try:
        told = {name for name in core.counters() if not name.startswith("refused_")}
    finally:
        core.stop()
    assert told == CORE_HELP.keys()


def test_the_process_has_its_figures() -> None:
    found = samples(metrics_text(HEALTHY, {}))
    for name in ("cpu_seconds_total", "resident_memory_bytes", "open_fds", "max_fds", "start_time_seconds"):
        assert found[(f"process_{name}", frozenset())] > 0


def test_the_lines_of_services_that_are_kept_say_what_is_so_now() -> None:
    """From scrape to scrape the same text as one that is made afresh."""
    kept = ServicesText()
    imported, exported = HEALTHY.services
    away = replace(imported.routes[0], state="away")
    rounds = [
        HEALTHY.services,
        (replace(imported, state="down"), exported),
        (replace(imported, routes=(away, imported.routes[1])), replace(exported, state="down")),
        (replace(imported, routes=imported.routes[:1]),),
        (),
        HEALTHY.services,
    ]
    for services in rounds:
        told = replace(HEALTHY, services=services)
        text = kept.text(told)
        assert text == ServicesText().text(told)
        found = samples(text)
        assert sum(name == "pcgrelay_service_up" for name, _ in found) == len(services)
    on_back_up = samples(kept.text(replace(HEALTHY, services=rounds[2])))
    at = frozenset({("service", imported.name)})
    assert on_back_up["pcgrelay_import_back_up_in_use", at] == 1
