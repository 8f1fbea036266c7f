"""The lines of the log about approvals: what was taken and by whom it was approved, and what was refused.

They name people by the addresses of the list of signers, for that is what they are for; nothing of a key stands here.
"""

from __future__ import annotations

from typing import ClassVar

from pcgrelay.log.events import Record


class PolicyTaken(Record, frozen=True, kw_only=True):
    """Other files are in force, or are about to be."""

    EVENT: ClassVar[str] = "policy.taken"
    AUDIT: ClassVar[bool] = True
    before: str  # digest, 64 hex digits
    after: str
    widens: int
    narrows: int
    neutral: int
    lines: tuple[str, ...]  # what changed, at most LINES_MOST of it
    by: str = ""  # who proposed it; nobody, where nothing widened
    change: str = ""
    approved: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()  # fingerprints of those who approved
    uid: int | None = None  # who asked for it, as the kernel names them; nothing: a signal or a start


class PolicyFirst(PolicyTaken, frozen=True, kw_only=True):
    """Nothing was approved before, or the state folder is a new one."""

    EVENT: ClassVar[str] = "policy.first"
    LEVEL: ClassVar[str] = "warning"


class PolicyRefused(Record, frozen=True, kw_only=True):
    """A rule of approval does not allow what the files change; what was approved last stays in force."""

    EVENT: ClassVar[str] = "policy.refused"
    LEVEL: ClassVar[str] = "error"
    AUDIT: ClassVar[bool] = True
    reason: str  # of the closed list
    sentence: str
    uid: int | None = None


class PolicyUnapproved(Record, frozen=True, kw_only=True):
    """The node started with the approved copy, for its files have changes that nobody approved."""

    EVENT: ClassVar[str] = "policy.unapproved"
    LEVEL: ClassVar[str] = "error"
    AUDIT: ClassVar[bool] = True
    reason: str
    sentence: str
    holds: str  # digest of what is in force


class PolicyInForce(Record, frozen=True, kw_only=True):
    """What holds, and who had signed it: for an audit log that has no record of that approval, or not any more."""

    EVENT: ClassVar[str] = "policy.in_force"
    LEVEL: ClassVar[str] = "debug"
    AUDIT: ClassVar[bool] = True
    holds: str  # digest, 64 hex digits
    taken: str  # when it was approved, by this node's clock
    by: str = ""
    change: str = ""
    approved: tuple[str, ...] = ()


class PolicyRehashed(Record, frozen=True, kw_only=True):
    """This version computes another digest of the same approved files."""

    EVENT: ClassVar[str] = "policy.rehashed"
    AUDIT: ClassVar[bool] = True
    before: str
    after: str
    version: str


class PolicyHeld(Record, frozen=True, kw_only=True):
    """A signer holds a change, or lets it go."""

    EVENT: ClassVar[str] = "policy.held"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    sha256: str  # of the change
    by: str
    lifted: bool
    reason: str
    uid: int | None = None


class ApprovalActed(Record, frozen=True, kw_only=True):
    """An act was approved and is carried out now."""

    EVENT: ClassVar[str] = "approval.acted"
    AUDIT: ClassVar[bool] = True
    act: str
    sha256: str  # of the text that says what is done
    by: str
    change: str
    approved: tuple[str, ...]
    keys: tuple[str, ...]
    uid: int | None = None


class ApprovalRefused(Record, frozen=True, kw_only=True):
    """An act was not carried out, for it is not approved."""

    EVENT: ClassVar[str] = "approval.refused"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    act: str
    reason: str
    sentence: str
    uid: int | None = None
