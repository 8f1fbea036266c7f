"""What a node answers about its approved policy. Other tools read this JSON: fields are only added."""

from __future__ import annotations

from msgspec import Struct

POLICY_PATH = "/v1/policy"


class PolicyFile(Struct, frozen=True, kw_only=True):
    """An approved policy with its files, from which its digest can be computed again."""

    digest: str = ""  # 64 hex digits
    taken: str = ""  # when, UTC
    by: str = ""  # who proposed it; nobody, where nothing widened
    change: str = ""
    approved: tuple[str, ...] = ()
    is_first: bool = False
    text: str = ""  # the configuration
    signers: str = ""
    trust: str = ""
    revoked: str = ""  # base64


class PolicyAnswer(Struct, frozen=True, kw_only=True):
    """The answer to GET /v1/policy."""

    active: bool = False  # whether changes have to be approved
    holds: PolicyFile = PolicyFile()
    before: PolicyFile | None = None  # none: there is no way back
    unapproved: str = ""  # what the files had at the start that nobody approved
    unwritten: str = ""  # why what holds could not be kept
    acts: dict[str, str] = {}  # acts that were refused, with the text that says what would be done
    held_by: tuple[str, ...] = ()  # of POST: who holds the change now
    reason: str = ""  # why a request was refused
    exit_code: int = 0
