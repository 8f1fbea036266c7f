"""Who may do what. Every question is answered from the identity that TLS has proved, and the answer is no by default.

Rules are numbered as the configuration lists them, from zero: the number goes to the refused side and into both logs,
so that two operators on the telephone speak of the same line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pcgrelay.config import ExportSettings, PolicySettings
from pcgrelay.model import Marking, NodeId, Priority, Role

RULE_NONE = 0xFFFF
MARKING_NUMBERS = {marking: number for number, marking in enumerate(Marking, 1)}


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
