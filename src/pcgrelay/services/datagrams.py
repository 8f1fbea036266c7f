"""What the core is told of services of datagrams (pure): times, limits, and whose datagrams are taken."""

from __future__ import annotations

from pcgrelay.config import ExportSettings, ImportSettings
from pcgrelay.config.datagrams import idle_times, limits_in_force
from pcgrelay.dataplane.adapter import ExportDatagrams, ImportDatagrams
from pcgrelay.dataplane.events import DROP_CAUSES
from pcgrelay.model import Transport
from pcgrelay.quantities import size


def export_datagrams(export: ExportSettings) -> ExportDatagrams | None:
    """Return what the core needs to know of an export of datagrams; None for one of streams."""
    if export.transport is Transport.STREAM:
        return None
    idle_s, silent_s = idle_times(export)
    return idle_s * 1_000, silent_s * 1_000, export.wait_ms


def import_datagrams(entry: ImportSettings) -> ImportDatagrams | None:
    """The same of an import."""
    if entry.transport is Transport.STREAM:
        return None
    idle_s, silent_s = idle_times(entry)
    limits = limits_in_force(entry)
    prefixes = tuple((str(each.network_address), each.prefixlen) for each in entry.prefixes)
    bounds = (limits.streams, limits.per_source, limits.new_per_second)
    return idle_s * 1_000, silent_s * 1_000, entry.wait_ms, *bounds, prefixes


def datagram_words(entry: ExportSettings | ImportSettings) -> str:
    """Return how long associations last and how many there may be, for people; nothing for streams."""
    if entry.transport is Transport.STREAM:
        return ""
    idle_s, silent_s = idle_times(entry)
    words = [f"an association ends after {idle_s:,} s without a datagram"]
    if silent_s != idle_s:
        words.append(f"after {silent_s:,} s if none was ever answered")
    words.append(f"what waited {entry.wait_ms} ms is dropped")
    if entry.limits.rate_bytes:
        words.append(f"at most {size(entry.limits.rate_bytes)} in a second each way")
    if isinstance(entry, ImportSettings):
        limits = limits_in_force(entry)
        words.append(f"at most {limits.streams:,} associations, {limits.per_source:,} of one source")
        words.append(f"{limits.new_per_second:,} new ones in a second")
        words.append(f"from {', '.join(map(str, entry.prefixes))}" if entry.prefixes else "from everybody")
    return "; ".join(words)


def dropped_by_cause(dropped: tuple[int, ...]) -> dict[str, int]:
    """Return the counts that are not zero, by their causes."""
    return {cause: count for cause, count in zip(DROP_CAUSES, dropped, strict=False) if count}
