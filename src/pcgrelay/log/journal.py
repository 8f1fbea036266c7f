"""Whether standard error is the journal of systemd, and the priorities that it takes at the beginning of a line.

Without one the journal gives every line of a service the same priority, and `journalctl -p warning` shows none of them
(sd-daemon(3), systemd.exec(5): $JOURNAL_STREAM, SyslogLevelPrefix=).
"""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress

JOURNAL_SOCKET = "/run/systemd/journal/stdout"
# As syslog(3) numbers them: error, warning, informational, debug.
PRIORITIES = {"error": "<3>", "warning": "<4>", "info": "<6>", "debug": "<7>"}


def is_journal(descriptor: int) -> bool:
    """Return whether a descriptor leads to the journal.

    The environment names the stream by device and inode. After an upgrade it names that of another process, so a socket
    whose other end is the journal's own counts too.
    """
    with suppress(OSError):
        status = os.fstat(descriptor)
        if os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}":
            return True
        if not stat.S_ISSOCK(status.st_mode):
            return False
        with socket.fromfd(descriptor, socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            return bool(sock.getpeername() == JOURNAL_SOCKET)
    return False
