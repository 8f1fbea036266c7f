"""Codes that travel, and reasons that never do (protocol, section 10)."""

from enum import IntEnum


class Code(IntEnum):
    DONE = 0
    VIOLATION = 1
    LIMIT = 2
    BUSY = 3
    UNKNOWN = 4
    REFUSED = 5
    UNREACHABLE = 6
    TIMEOUT = 7
    ABORTED = 8
    DRAINING = 9
    EXPIRED = 10


class Reason(IntEnum):
    BAD_TAG = 1
    BAD_LENGTH = 2
    BAD_TYPE = 3
    BAD_FLAGS = 4
    BAD_FIELD = 5
    NOT_CONFIRMED = 6
    BAD_CONFIRM = 7
    BAD_EPOCH = 8
    BAD_NUMBER = 9
    BAD_RECORD = 10
    BAD_STREAM = 11
    BAD_STATE = 12
    CREDIT_EXCEEDED = 13
    BAD_CREDIT = 14
    BAD_FINAL = 15
    UNKNOWN_FLOW = 16
    GLITCHES = 17
    KEY_LIMIT = 18
    TOO_MANY_RESUMES = 19
    SILENT = 20
    PEER_CLOSED = 21
    SOCKET = 22
    CONFIRM_TIMEOUT = 23
    BUDGET = 24
    UNKNOWN_MIX = 25
    LOST_PATH = 26
    LOCAL_CLOSE = 27
    REPLACED = 28
    STREAM_IDS = 29
    BAD_PREAMBLE = 30
    MIX_OVERDUE = 31
    UNANSWERED_OPENS = 32


class Refused(Exception):
    """Something that the protocol does not allow, with its reason."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason.name}: {detail}" if detail else reason.name)
        self.reason = reason


class Budget:
    """So many at once, and so many more each second (section 8)."""

    def __init__(self, burst: int, each_second: int) -> None:
        self._burst = burst
        self._each_second = each_second
        self._left = float(burst)
        self._seen_at = 0.0

    def has(self, now: float) -> bool:
        self._left = min(self._burst, self._left + (now - self._seen_at) * self._each_second)
        self._seen_at = now
        return self._left >= 1

    def spend(self, now: float) -> None:
        if not self.has(now):
            raise Refused(Reason.GLITCHES)
        self._left -= 1
