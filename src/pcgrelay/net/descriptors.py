"""Who may have the last descriptors of this process.

The system limits them, and gives the least free number: a number says how many are in use. From the top, each part of
the reserve is for fewer: streams end below all of it, strangers who connect to a listener at a half of it, members and
readers at a quarter. What is left is for the admin socket, look-ups and files, so that a node that is full can be
asked, reloaded and mended.
"""

from __future__ import annotations

import resource

# Root may have any number; a node has no more than this, because kernel tables grow with it.
MOST = 1 << 20
KEPT_LEAST, KEPT_MOST = 256, 4_096
KEPT_SHARE = 32
STRANGERS_END, MEMBERS_END = 2, 4  # parts of the reserve that remain above


def descriptor_limit() -> int:
    """Return how many descriptors this process may have now."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST if soft == resource.RLIM_INFINITY else min(soft, MOST)


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files as far as the system allows; return the limit in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        return most
    return MOST if soft == resource.RLIM_INFINITY else soft


def descriptors_of_streams(limit: int) -> int:
    """Return how many descriptors there are for streams and everything else that is open; the rest is the reserve."""
    kept = min(max(limit // KEPT_SHARE, KEPT_LEAST), KEPT_MOST)
    return max(limit - kept, limit // 2)


def is_for_strangers(number: int) -> bool:
    """Whether a descriptor may be that of a connection of which nothing is known."""
    return number < _end(STRANGERS_END)


def is_for_members(number: int) -> bool:
    """Whether a descriptor may be that of a neighbour, or of somebody who reads."""
    return number < _end(MEMBERS_END)


def _end(part: int) -> int:
    limit = descriptor_limit()
    return limit - (limit - descriptors_of_streams(limit)) // part
