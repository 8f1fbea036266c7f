"""Judging a back-up while it carries new streams (pure): by the same odds as a cut-over, with pairs of shadows beside.

The back-up is what a cut-over calls the new outlet. A failure of the target itself shows on both, and moves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pcgrelay.cutover.alarm import Alarm, Evidence, Pair, judge_alarm
from pcgrelay.cutover.odds import Failures
from pcgrelay.cutover.slots import SHARE_UNIT_PERCENT, SLOTS, apportion

# A back-up of whose set-ups more fail has not passed, even if the usual outlet does no better.
FAILED_SHARE_MOST = 0.01


def drill_shares(usual: Mapping[str, float], backup: str, share: float) -> dict[str, float]:
    """Shares with so much, in percent, for the back-up; the others have the rest in proportion, in steps of 0.5."""
    others = {name: each for name, each in usual.items() if name != backup and each > 0}
    share = max(share, usual.get(backup, 0.0))
    places = SLOTS - round(share / SHARE_UNIT_PERCENT)
    dealt = {backup: share}
    if others and places:
        counts = apportion(list(others.values()), places)
        dealt.update({name: count * SHARE_UNIT_PERCENT for name, count in zip(others, counts, strict=True) if count})
    return dealt


def usual_outlet(shares: Mapping[str, float], backup: str) -> str:
    """The outlet that has most of new streams beside the back-up."""
    return max((name for name in shares if name != backup), key=lambda name: shares[name], default="")


class BackupWatch:
    """The evidence for and against a back-up."""

    def __init__(self, backup: str, usual: str) -> None:
        self._backup = backup
        self._usual = usual
        self._evidence = Evidence()
        self.pairs_good = 0

    def setups(self, failures: Failures, clients: Iterable[int]) -> None:
        """Set-ups of applications that failed since the last look."""
        self._evidence = self._evidence.after_setups(failures, clients)

    def later(self, failures: Failures, clients: Iterable[int]) -> None:
        """Streams that ended early, or were cut."""
        self._evidence = self._evidence.after_later(failures, clients)

    def pair(self, pair: Pair) -> None:
        """One pair of shadows."""
        self._evidence = self._evidence.after_pair(pair)
        self.pairs_good += not pair.new_failed

    @property
    def alarm(self) -> Alarm:
        """Whether to stop now, and why."""
        return judge_alarm(self._evidence.facts, self._backup, self._usual)


def outcome_sentence(setups: int, failed: int, shadows: int, usual_failed: int) -> tuple[bool, str]:
    """Whether a back-up that was not stopped has passed, and why."""
    if not setups and not shadows:
        return False, "nothing was set up over it, so nobody knows whether it works"
    tried = setups + failed
    if tried and failed > FAILED_SHARE_MOST * tried:
        also = f"; {usual_failed:,} failed on the usual outlet too" if usual_failed else ""
        return False, f"{failed:,} of {tried:,} set-ups failed{also}"
    if not setups:
        return True, f"no application asked for a stream, and {shadows:,} connections of its own got through"
    return True, f"{setups:,} of {tried:,} set-ups got through"
