"""Who may do what. Every question is answered from the identity that TLS has proved, and the answer is no by default.

Rules are numbered as the configuration lists them, from nought: the number goes to the refused side and into both logs,
so that two operators on the telephone speak of the same line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pcgrelay.config import ExportSettings, PolicySettings
from pcgrelay.model import Marking, NodeId, Priority, Role

RULE_NONE = 0xFFFF
MARKING_NUMBERS = {marking: number for number, marking in enumerate(Marking, 1)}
# A path keeps at least this in flight, or its flows stall at every round trip (protocol, section 8).
CAP_LEAST_BYTES = 131_072


@dataclass(frozen=True, slots=True)
class Rule:
    """One export's allow list, as it is named in logs."""

    number: int
    service: str
    allow: tuple[str, ...]
    priority: Priority = Priority.NORMAL  # the highest class of a session over which it may be opened

    @property
    def text(self) -> str:
        """The rule for a person."""
        allowed = ", ".join(self.allow) if self.allow else "nobody"
        most = f" with priority {self.priority.title} at most" if self.priority else ""
        return f"export {self.number} ({self.service}) allows {allowed}{most}"


def export_rules(exports: Sequence[ExportSettings]) -> tuple[Rule, ...]:
    """The rules of an exporting edge, in their order."""
    return tuple(
        Rule(number, str(export.service), export.allow, export.priority) for number, export in enumerate(exports)
    )


def granted(rules: Iterable[Rule], organisation: str, priority: int = Priority.NORMAL) -> tuple[int, ...]:
    """The exports that an organisation may open in a session of that class.

    Names are compared whole: a pattern could let in a newcomer. A class above that of the export is refused, or each
    caller could name its own traffic the most urgent.
    """
    return tuple(rule.number for rule in rules if organisation in rule.allow and priority <= rule.priority)


def link_refusal(policy: PolicySettings, peer: NodeId, expected: NodeId | None) -> str | None:
    """Why a neighbour may not link, in one word, or nothing. Whom we dial is named; who dials us must be a member."""
    if expected is not None:
        return None if peer == expected else "unexpected_identity"
    return None if policy.admits(peer.organisation) else "not_a_member"


def relay_refusal(policy: PolicySettings, peer: NodeId, role: Role) -> str | None:
    """Why a neighbour may not be what it says that it is, in one word, or nothing."""
    return "not_a_relay" if role is Role.RELAY and not policy.may_relay(peer.organisation) else None


def reach_refusal(policy: PolicySettings, source: NodeId, destination: NodeId) -> str | None:
    """Why a relay leads no path between two edges, in one word, or nothing: both must be of its members."""
    for node in (source, destination):
        if not policy.admits(node.organisation):
            return "not_a_member"
    return None


# Paths that all have a slow reader at once are rare, and the core holds the true bound: it drops the flows that would
# pass its budget, which then resume. So more is promised than is there, but not without end.
OVERCOMMIT = 4
# The first path gets this part of all, each later one this part of what is left, and at last the least cap: so one path
# is fast, and hundreds still fit.
SHARE = 64


@dataclass(frozen=True, slots=True)
class Budget:
    """What a relay promises to keep queued for all its paths together."""

    total_bytes: int
    reserved_bytes: int = 0

    @classmethod
    def of_memory(cls, memory_bytes: int) -> Budget:
        """The budget of a relay with so much memory in its data plane."""
        return cls(memory_bytes * OVERCOMMIT)

    def cap_granted(self, flows: int, cap: int, *, exactly: bool) -> int | None:
        """The cap that a new path gets, or nothing if there is no room.

        With exactly the answer is cap itself or nothing: a path that resumes has bytes in flight already.
        """
        left = (self.total_bytes - self.reserved_bytes) // (2 * flows)
        wanted = cap if exactly else min(cap, max(left // SHARE, CAP_LEAST_BYTES))
        return wanted if CAP_LEAST_BYTES <= wanted <= left else None

    def reserved(self, flows: int, cap: int) -> Budget:
        """The budget once a path with that cap is there."""
        return Budget(self.total_bytes, self.reserved_bytes + 2 * flows * cap)

    def released(self, flows: int, cap: int) -> Budget:
        """The budget once that path is gone."""
        return Budget(self.total_bytes, self.reserved_bytes - 2 * flows * cap)


def session_cap(memory_bytes: int, flows: int) -> int:
    """What an edge asks to have in flight for each flow of a session: a bandwidth-delay product of 16 MiB is plenty,
    and one session takes no more than an eighth of the memory."""
    return max(CAP_LEAST_BYTES, min(16 << 20, memory_bytes // 8 // flows))
