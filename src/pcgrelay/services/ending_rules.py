"""Entries of `allow` that run out: looked at once a second, told once, and followed by new tables.

Which are known and which were told is handed over, so that an end in the pause of an upgrade is told after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pcgrelay.handover.node import RuleEndHandover
from pcgrelay.log.events import Emit, time_text
from pcgrelay.log.service_events import RuleEnded
from pcgrelay.policy.rules import Rule


class EndingRules:
    """Which entries have ended. What had ended when they were first looked at is no news, in any process."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._known: set[tuple[str, str, datetime]] = set()  # of all that have an end
        self._ended: set[tuple[str, str, datetime]] = set()

    def look(self, rules: Iterable[Rule], now: datetime) -> bool:
        """Return whether other entries have ended than at the last look; new ones are told."""
        known, ended = set(), set()
        for rule in rules:
            for terms in rule.terms:
                if terms.until is None:
                    continue
                key = (rule.service, terms.organisation, terms.until)
                known.add(key)
                if not terms.has_ended(now):
                    continue
                ended.add(key)
                if key in self._known and key not in self._ended:
                    self._emit(
                        RuleEnded(
                            service=rule.service,
                            organisation=terms.organisation,
                            until=time_text(terms.until),
                            reason=terms.reason,
                            reference=terms.reference,
                        )
                    )
        # Back too: the clock was set, and what had ended has not.
        changed = ended & known != self._ended & known
        self._known, self._ended = known, ended
        return changed

    # -- a hand-over -------------------------------------------------------------------------------------------

    def to_handover(self) -> tuple[RuleEndHandover, ...]:
        """Return what is known and told, for the new process."""
        return tuple(
            RuleEndHandover(service=service, organisation=organisation, until=until, told=key in self._ended)
            for key in sorted(self._known)
            for service, organisation, until in [key]
        )

    def restore(self, handover: Iterable[RuleEndHandover]) -> None:
        """Go on from there: the next look tells what has ended since."""
        for each in handover:
            key = (each.service, each.organisation, each.until)
            self._known.add(key)
            if each.told:
                self._ended.add(key)
