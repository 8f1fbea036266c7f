"""The metrics of services: complete, read by Prometheus' parser, and written anew only where something changed."""

from __future__ import annotations

import time

from pcgrelay.dataplane.events import StreamEnd
from pcgrelay.figures import Durations
from pcgrelay.messages import Code
from pcgrelay.model import ServiceName
from pcgrelay.policy.rules import RULE_NONE
from pcgrelay.services.traffic import Traffic
from pcgrelay.views import traffic as module
from pcgrelay.views.traffic import TrafficText, handshake_text
from tests.support.metric_samples import samples

KENT, MET = "kent.police.example", "met.police.example"
CUSTODY = ServiceName("custody", KENT)


def end(*, opener: bool = False, code: int = 0, cause: str = "done", us: int = 5_000, first_us: int = 0) -> StreamEnd:
    carried = 0 if code else 10
    return StreamEnd(opener, 0, 1, b"x", carried, 2 * carried, us, code, cause, RULE_NONE, False, first_us=first_us)


def read(text: str, name: str, **labels: str) -> float:
    return samples(text)[(f"pcgrelay_{name}", frozenset(labels.items()))]


def test_a_pair_has_its_figures() -> None:
    traffic = Traffic()
    traffic.count(end(), CUSTODY, MET)
    traffic.count(end(code=Code.LIMIT, cause="limit"), CUSTODY, MET)
    text = TrafficText(traffic).text({("export", str(CUSTODY)): 3})
    pair = {"direction": "export", "service": str(CUSTODY), "organisation": MET}
    assert read(text, "service_streams_total", **pair) == 1
    assert read(text, "service_sent_bytes_total", **pair) == 10
    assert read(text, "service_received_bytes_total", **pair) == 20
    assert read(text, "service_refused_total", reason="limit", **pair) == 1
    assert read(text, "service_streams_active", direction="export", service=str(CUSTODY)) == 3
    assert "service_first_byte_seconds_bucket" not in text


def test_datagrams_and_what_was_dropped_have_families_of_their_own() -> None:
    traffic, dropped = Traffic(), (2, 0, 0, 0, 0, 0, 0, 3)
    ended = StreamEnd(
        False, 0, 1, b"x", 9, 9, 9, 0, "done", RULE_NONE, False,
        protocol="udp", sent_datagrams=5, received_datagrams=7, dropped=dropped,
    )  # fmt: skip
    for _ in range(2):
        traffic.count(ended, CUSTODY, MET)
    traffic.count(end(), CUSTODY, KENT)
    text = TrafficText(traffic).text({})
    pair = {"direction": "export", "service": str(CUSTODY), "organisation": MET}
    assert read(text, "service_sent_datagrams_total", **pair) == 10
    assert read(text, "service_received_datagrams_total", **pair) == 14
    assert read(text, "service_dropped_datagrams_total", cause="queue", **pair) == 4
    assert read(text, "service_dropped_datagrams_total", cause="unreachable", **pair) == 6
    assert f'datagrams_total{{direction="export",organisation="{KENT}"' not in text  # which carried streams


def test_histograms_are_cumulative_and_end_with_all() -> None:
    traffic = Traffic()
    for us, first in ((900, 100), (5_000, 200), (10**12, 10**9)):
        traffic.count(end(opener=True, us=us, first_us=first), CUSTODY, KENT)
    text = TrafficText(traffic).text({})
    at = {"direction": "import", "service": str(CUSTODY)}
    assert read(text, "service_life_seconds_bucket", le="0.001024", **at) == 1
    assert read(text, "service_life_seconds_bucket", le="0.016384", **at) == 2
    assert read(text, "service_life_seconds_bucket", le="68719.476736", **at) == 2
    assert read(text, "service_life_seconds_bucket", le="+Inf", **at) == 3
    assert read(text, "service_life_seconds_count", **at) == 3
    assert read(text, "service_first_byte_seconds_bucket", le="0.000128", **at) == 1
    assert read(text, "service_first_byte_seconds_bucket", le="0.000256", **at) == 2
    assert read(text, "service_first_byte_seconds_sum", **at) == 1_000.0003


def test_handshakes_of_both_kinds() -> None:
    links = Durations()
    links.add(20_000)
    text = handshake_text(links, Durations())
    assert read(text, "handshake_seconds_count", kind="link") == 1
    assert read(text, "handshake_seconds_count", kind="session") == 0


def test_only_what_changed_is_written_anew() -> None:
    traffic = Traffic()
    for number in range(5):
        traffic.count(end(), CUSTODY, f"force-{number}.police.example")
    view = TrafficText(traffic)
    first = view.text({})
    written = []
    pair_lines = module.pair_lines
    module.pair_lines = lambda key, row: (written.append(key), pair_lines(key, row))[1]  # type: ignore[assignment]
    try:
        assert view.text({}) == first
        assert written == []
        traffic.count(end(), CUSTODY, "force-3.police.example")
        assert view.text({}) != first
        assert [key[2] for key in written] == ["force-3.police.example"]
        traffic.keep("export", [])
        assert "force-3" not in view.text({})
    finally:
        module.pair_lines = pair_lines


def test_a_thousand_services_of_fifty_organisations() -> None:
    """The time is told and not judged: it is the machine's."""
    traffic = Traffic()
    services = [ServiceName(f"service-{number}", KENT) for number in range(1_000)]
    for service in services:
        for number in range(50):
            traffic.count(end(), service, f"force-{number}.police.example")
    view, active = TrafficText(traffic), {("export", str(service)): 1 for service in services}
    took = []
    for _ in range(3):
        began = time.process_time()
        text = view.text(active)
        took.append(1_000 * (time.process_time() - began))
    # Each organisation beyond the bound is there under another name, so no stream is missing.
    found = samples(text)
    assert sum(value for (name, _), value in found.items() if name == "pcgrelay_service_streams_total") == 50_000
    print(f"{len(traffic.rows)} rows, {len(found)} samples: {took[0]:.0f} ms at first, then {took[-1]:.0f} ms")
