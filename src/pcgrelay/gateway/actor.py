"""Who asks for something at the admin socket."""

from __future__ import annotations

import pwd
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks: the user that the kernel names, and what they say of themselves."""

    uid: int
    by: str = ""
    reason: str = ""


def user_name(uid: int) -> str:
    """Return the name of a user, or a phrase with its number if the system knows none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
