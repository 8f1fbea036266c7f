"""Who asks for something at the admin socket."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks: the user that the kernel names, and what they say of themselves."""

    uid: int
    by: str = ""
    reason: str = ""
