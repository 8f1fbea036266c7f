"""Numbers with their units, as people read them (pure)."""

from __future__ import annotations


def size(count: int) -> str:
    """Format bytes: 512 B, 1.5 KiB, 20 MiB."""
    if count < 1024:
        return f"{count} B"
    value = float(count)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1024
        # One decimal only for short numbers; 1023.96 must not become 1024.
        if value < 1023.5:
            return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
    return f"{value / 1024:.1f} PiB"


def duration(seconds: float) -> str:
    """Format a long time by its two largest units: 3 d 4 h, 12 min 5 s."""
    left = int(seconds)
    parts: list[str] = []
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, length)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"
