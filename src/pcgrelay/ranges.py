"""Ranges of the numbers that files of state and reports hold, checked where they are read (pure).

A number beyond its range was never written by a node: the file is refused as any other that cannot be used. What is
computed from numbers within them does not overflow.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

# Of events: a thousand a second for thirty years.
Count = Annotated[int, Meta(ge=0, le=10**12)]
# More than a node at 100 Gbit/s moves in twenty years.
Bytes = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Seconds = Annotated[float, Meta(ge=0.0, le=1e12)]
# A Unix time that a date can be made of: before the year 10000.
Timestamp = Annotated[int, Meta(ge=0, lt=253_402_300_800)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
