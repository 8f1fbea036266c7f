"""No core dump of this process: keys, and what a key could be recovered from, stay in memory."""

from __future__ import annotations

import resource
from contextlib import suppress

# The kernel writes no file below 4,096 bytes, and gives a program that collects dumps none if the limit is exactly 1;
# with 0 that program would get one (coredump_pipe() in the kernel's fs/coredump.c; core(5) has the rule without 1).
NO_DUMP_BYTES = 1
# Of all kinds of memory (core(5)) none, so that a dump which comes about all the same has registers alone.
NO_MEMORY = "0"
FILTER = "/proc/self/coredump_filter"


def switch_off() -> None:
    """Have the kernel write no core dump of this process and its children, and no memory into one.

    The process stays dumpable (PR_SET_DUMPABLE), or its own user could not see its files in /proc; see
    docs/decisions/0018-no-core-dumps.md. A sandbox that forbids this only takes a precaution away: the control K9 of
    `pcgrelay assure` shows what became of it.
    """
    with suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        least = NO_DUMP_BYTES if hard == resource.RLIM_INFINITY else min(NO_DUMP_BYTES, hard)
        resource.setrlimit(resource.RLIMIT_CORE, (least, least))
    with suppress(OSError), open(FILTER, "w", encoding="ascii") as file:
        file.write(NO_MEMORY)
