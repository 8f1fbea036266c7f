"""What is said of a service of datagrams beside what is said of streams (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pcgrelay.admin.status import ServiceStatus


def datagram_lines(service: ServiceStatus) -> Iterator[str]:
    """Yield one line for a service of datagrams, of associations that have ended; none for one of streams."""
    if service.protocol == "tcp":
        return
    words = [f"{service.sent_datagrams:,} datagrams sent", f"{service.received_datagrams:,} received"]
    if service.dropped:
        words.append(f"dropped: {dropped_words(service.dropped)}")
    yield f"{service.protocol}: {', '.join(words)}"


def dropped_words(dropped: Mapping[str, int]) -> str:
    """Return how many datagrams were dropped and why, most first."""
    return ", ".join(f"{count:,} {cause}" for cause, count in sorted(dropped.items(), key=lambda each: -each[1]))
