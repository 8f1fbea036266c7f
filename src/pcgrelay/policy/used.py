"""Texts that were used. Each is good for once, whatever the clock of the machine has done since (pure).

A text is remembered by its SHA-256 as long as there is room. Time alone forgets none: a clock that was set forward may
be set back, and then the text would be in its time again. If there is no room, the one that was to be taken first is
forgotten, and from then on no text is good that had to be taken up to that moment, used or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from msgspec import Struct

from pcgrelay.errors import RunError
from pcgrelay.policy.change import LIFE_MOST, time_shown

USED_MOST = 1_024


class UsedTexts(Struct, frozen=True):
    """What is known of them. Times are as a text has them, which sorts as they do."""

    texts: Mapping[str, str] = {}  # by SHA-256: until when each was to be taken
    forgotten: str = ""  # of texts that were to be taken up to this moment nothing is known any more

    def why_not(self, sha256: str, until: datetime) -> str:
        """Why a text is not good, as what is said of it; empty: it was not used.

        until: the moment before which it is to be taken.
        """
        if sha256 in self.texts:
            return "was used already, and is good for once"
        if time_shown(until.astimezone(UTC)) <= self.forgotten:
            return f"may have been used already: nothing is known any more of texts up to {self.forgotten}"
        return ""

    def using(self, sha256: str, until: datetime, now: datetime) -> UsedTexts:
        """Return them with one more.

        RunError: there are too many whose time is not over; none of these is forgotten.
        """
        texts, forgotten = dict(self.texts), self.forgotten
        while len(texts) >= USED_MOST:
            first = min(texts.values())
            if first > time_shown(now.astimezone(UTC)):
                raise RunError(
                    f"More than {USED_MOST} approved texts were used within {LIFE_MOST.days} days; wait until some are "
                    "too old."
                )
            forgotten = max(forgotten, first)
            texts = {key: each for key, each in texts.items() if each > forgotten}
        return UsedTexts({**texts, sha256: time_shown(until.astimezone(UTC))}, forgotten)

    def without(self, sha256: str) -> UsedTexts:
        """Return them without one that was not used after all."""
        return UsedTexts({key: until for key, until in self.texts.items() if key != sha256}, self.forgotten)
