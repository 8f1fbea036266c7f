"""Families of metrics as prometheus-client has them: made from facts that the node already counts, written by the
library.

Nothing is counted here. Each scrape makes its families anew, so that what is gone from the node is gone from the
metrics too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from pcgrelay.admin.status import OutletTimes
from pcgrelay.printable import printable

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "pcgrelay_"

Samples = Iterable[tuple[Mapping[str, str], float]]
Times = Iterable[tuple[Mapping[str, str], OutletTimes]]

# process_cpu_seconds_total, process_resident_memory_bytes, process_open_fds and so on; each scrape reads /proc.
_PROCESS = ProcessCollector(registry=None)


class Families(Collector):
    """The families of one scrape."""

    def __init__(self) -> None:
        self._found: list[Metric] = []

    def family(self, name: str, kind: str, meaning: str, samples: Samples) -> None:
        """Add a family. name: without the prefix; that of a counter ends in _total. kind: gauge or counter."""
        found = Metric(PREFIX + (name.removesuffix("_total") if kind == "counter" else name), meaning, kind)
        for labels, value in samples:
            found.add_sample(PREFIX + name, _printable(labels), float(value))
        self._found.append(found)

    def histogram(self, name: str, meaning: str, ends_s: tuple[float, ...], samples: Times) -> None:
        """Add a histogram. ends_s: the upper ends of its buckets, without the last, which is infinite."""
        found = Metric(PREFIX + name, meaning, "histogram")
        for at, times in samples:
            labels = _printable(at)
            for end, number in zip(ends_s, times.below or (0,) * len(ends_s), strict=True):
                found.add_sample(f"{PREFIX}{name}_bucket", {**labels, "le": repr(end)}, number)
            found.add_sample(f"{PREFIX}{name}_bucket", {**labels, "le": "+Inf"}, times.count)
            found.add_sample(f"{PREFIX}{name}_sum", labels, times.sum_s)
            found.add_sample(f"{PREFIX}{name}_count", labels, times.count)
        self._found.append(found)

    def collect(self) -> Iterable[Metric]:
        """Return all families, as a registry asks for them."""
        return self._found

    def text(self) -> str:
        """Return these families and those of the process in the text format."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        registry.register(_PROCESS)
        return generate_latest(registry).decode()


def _printable(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: printable(value) for name, value in labels.items()}
