"""Why a target does not answer its probe: one word of a closed list, and a phrase for people (pure).

The words are those of the ends of streams (docs/operations.md), because a stream to that target would end by the same
cause.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from pcgrelay.net.sockets import SourceError

REFUSED = "target-refused"
SILENT = "target-silent"
RESET = "target-reset"
ANSWER = "target-answer"
UNRESOLVED = "target-unresolved"
UNREACHABLE = "target-unreachable"
NO_LOCAL_PORT = "no-local-port"
FORBIDDEN = "connect-forbidden"
DESCRIPTORS = "descriptors"
NO_SOURCE = "no-source-address"
CAUSES = (REFUSED, SILENT, RESET, ANSWER, UNRESOLVED, UNREACHABLE, NO_LOCAL_PORT, FORBIDDEN, DESCRIPTORS, NO_SOURCE)

# Longer words of a probe are cut in what people read.
WORD_MOST = 40

_BY_NUMBER = {
    errno.ECONNREFUSED: (REFUSED, "connection refused by {where}"),
    errno.ECONNRESET: (RESET, "{where} reset the connection"),
    errno.EPIPE: (RESET, "{where} reset the connection"),
    errno.ENOENT: (REFUSED, "{where} does not exist"),
    errno.EADDRNOTAVAIL: (NO_LOCAL_PORT, "this machine has no local address or port for a connection to {where}"),
    errno.EACCES: (FORBIDDEN, "this machine forbids connections to {where}"),
    errno.EPERM: (FORBIDDEN, "this machine forbids connections to {where}"),
    errno.EMFILE: (DESCRIPTORS, "no descriptor is left for a connection to {where}"),
    errno.ENFILE: (DESCRIPTORS, "no descriptor is left for a connection to {where}"),
    errno.ETIMEDOUT: (SILENT, "no answer from {where}"),
}


@dataclass(frozen=True, slots=True)
class TargetFailure:
    """Why a target does not answer."""

    cause: str  # of CAUSES
    detail: str  # a phrase without a full stop


class ProbeError(OSError):
    """A probe failed; it knows why."""

    def __init__(self, failure: TargetFailure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


def failure_of(error: OSError, where: str, deadline_ms: int) -> TargetFailure:
    """Return why an attempt failed. where: the address that was tried. TimeoutError is an OSError."""
    if isinstance(error, SourceError):
        return TargetFailure(NO_SOURCE, str(error).rstrip("."))
    if isinstance(error, ProbeError):
        return error.failure
    if isinstance(error, TimeoutError) and error.errno is None:
        return TargetFailure(SILENT, f"no answer from {where} in {deadline_ms / 1000:g} s")
    cause, words = _BY_NUMBER.get(error.errno or 0, (UNREACHABLE, "{where} cannot be reached"))
    if cause == UNREACHABLE and error.strerror:
        words += f" ({error.strerror[:1].lower()}{error.strerror[1:]})"
    return TargetFailure(cause, words.format(where=where))


def answer_lacks(expect: bytes, where: str) -> TargetFailure:
    """Return the failure of a target that answers, but not what is expected."""
    word = expect.decode("utf-8", "backslashreplace")
    shown = "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in word)
    shown = shown if len(shown) <= WORD_MOST else f"{shown[:WORD_MOST]}..."
    return TargetFailure(ANSWER, f"the answer of {where} lacks {shown}")


def no_such_name(name: str) -> TargetFailure:
    """Return the failure of a target whose name does not exist."""
    return TargetFailure(UNRESOLVED, f"no such name: {name}")


def no_name_service(name: str) -> TargetFailure:
    """Return the failure of a target whose name could never be looked up."""
    return TargetFailure(UNRESOLVED, f"the name service does not answer for {name}")
