"""Access rules. Each decision uses the identity that TLS has proved, and the default is to refuse.

Rules are numbered from zero in the order of the configuration: the number is sent to the refused side and stands in
both logs, so that two operators on the telephone mean the same line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pcgrelay.config import ExportSettings, Paper, PolicySettings
from pcgrelay.config.settings import AllowTerms
from pcgrelay.model import Marking, NodeId, Priority, Role
from pcgrelay.policy.in_force import has_ended

RULE_NONE = 0xFFFF
MARKING_NUMBERS = {marking: number for number, marking in enumerate(Marking, 1)}


@dataclass(frozen=True, slots=True)
class Rule:
    """One export's allow list, as it is named in logs."""

    number: int
    service: str
    allow: tuple[str, ...]
    priority: Priority = Priority.NORMAL  # the highest class of a session over which it may be opened
    marking: int = 1  # of the service
    terms: tuple[AllowTerms, ...] = ()  # until when it allows some of these, and why
    paper: Paper | None = None  # until when it allows any

    @property
    def text(self) -> str:
        """The rule as a phrase for logs and messages, with the name that errors of the file have for its table."""
        allowed = ", ".join(map(self._words, self.allow)) if self.allow else "nobody"
        most = f" with priority {self.priority.title} at most" if self.priority else ""
        until = f" until {self.paper.until}" if self.paper is not None and self.paper.until is not None else ""
        return f"export[{self.number + 1}] ({self.service}) allows {allowed}{most}{until}"

    @property
    def name(self) -> str:
        """The rule without whom it allows, for the line of each stream that it allowed."""
        until = f", until {self.paper.until}" if self.paper is not None and self.paper.until is not None else ""
        return f"export[{self.number + 1}]{until}"

    def terms_of(self, organisation: str) -> AllowTerms | None:
        """Return what the rule says of an organisation beside its name, if it says anything."""
        return next((each for each in self.terms if each.organisation == organisation), None)

    def allows(self, organisation: str, now: datetime) -> bool:
        """Return whether it allows that organisation at this time."""
        if organisation not in self.allow or has_ended(self.paper, now):
            return False
        terms = self.terms_of(organisation)
        return terms is None or not terms.has_ended(now)

    def _words(self, organisation: str) -> str:
        terms = self.terms_of(organisation)
        said = [] if terms is None else [terms_text(terms), terms.reference]
        words = ", ".join(filter(None, said))
        return f"{organisation} ({words})" if words else organisation


def export_rules(exports: Sequence[ExportSettings]) -> tuple[Rule, ...]:
    """Return the rules of an exporting edge, in their order."""
    return tuple(
        Rule(
            number,
            str(export.service),
            export.allow,
            export.priority,
            MARKING_NUMBERS[export.marking],
            export.terms,
            export.paper,
        )
        for number, export in enumerate(exports)
    )


def terms_text(terms: AllowTerms) -> str:
    """Return until when something is allowed, as a phrase; empty: without end."""
    return "" if terms.until is None else f"until {terms.until:%Y-%m-%d %H:%M} UTC"


def granted(
    rules: Iterable[Rule],
    organisation: str,
    now: datetime,
    priority: int = Priority.NORMAL,
    cleared: int = MARKING_NUMBERS[Marking.SECRET],
) -> tuple[int, ...]:
    """Return the numbers of the exports that an organisation may open at this time in a session of that class.

    Names are compared as a whole, because a pattern could admit a newcomer. A class above that of the export is
    refused; otherwise each caller could declare its own traffic the most urgent. cleared: the highest marking that the
    organisation is cleared for.
    """
    return tuple(
        rule.number
        for rule in rules
        if rule.allows(organisation, now) and priority <= rule.priority and rule.marking <= cleared
    )


def link_refusal(policy: PolicySettings, peer: NodeId, expected: NodeId | None) -> str | None:
    """Return why a neighbour may not link, as one word, or None.

    A dialled neighbour must have the configured identity, and be of the realm; one that dials this node must be a
    member.
    """
    if expected is not None and peer != expected:
        return "unexpected_identity"
    if expected is not None:
        return None if policy.realm.has(peer.organisation) else "not_a_member"
    return None if policy.admits(peer.organisation) else "not_a_member"


def relay_refusal(policy: PolicySettings, peer: NodeId, role: Role) -> str | None:
    """Return why a neighbour may not have the role that it announced, as one word, or None."""
    return "not_a_relay" if role is Role.RELAY and not policy.may_relay(peer.organisation) else None


def reach_refusal(policy: PolicySettings, source: NodeId, destination: NodeId) -> str | None:
    """Return why a relay refuses a path between two edges, as one word, or None: both must be of its members."""
    for node in (source, destination):
        if not policy.admits(node.organisation):
            return "not_a_member"
    return None
