"""How much worse the new outlet may be: "1 %", "10 % or 5 ms" (pure).

Of two amounts the greater one counts, value by value: "10 % or 5 ms" allows 5 ms more at 12 ms, and 20 ms at 200 ms.
"""

from __future__ import annotations

import re
from typing import Annotated, Self

from msgspec import Meta, Struct

from pcgrelay.ranges import Count

# More than this is a slip of the pen and no margin.
PERCENT_MOST = 1_000.0
ABSOLUTE_MOST_US = 60_000_000

_PERCENT = r"(\d{1,4}(?:\.\d{1,3})?) ?%"
_TIME = r"(\d{1,5}(?:\.\d{1,3})?) ?(us|ms|s)"
_MARGIN = re.compile(rf"(?:{_PERCENT})?(?: or )?(?:{_TIME})?", re.ASCII)
_UNITS_US = {"us": 1, "ms": 1_000, "s": 1_000_000}


class MarginProblem(ValueError):
    """Text that is no margin; it says which form there is."""


class Margin(Struct, frozen=True):
    """So much more is allowed: a share of the value, or an amount, whichever is more."""

    share: Annotated[float, Meta(ge=0.0, le=PERCENT_MOST / 100)] = 0.0  # 0.1 is 10 percent
    amount_us: Count = 0  # zero for what is no time

    def beyond(self, value_us: float) -> float:
        """The value with the margin upon it, in us."""
        return max(value_us * (1 + self.share), value_us + self.amount_us)

    def below(self, value: float) -> float:
        """The value with the margin taken off, for what is better the greater it is."""
        return max(0.0, value * (1 - self.share))

    def __str__(self) -> str:
        parts = [f"{self.share * 100:.7g} %"] if self.share or not self.amount_us else []
        if self.amount_us:
            parts.append(f"{self.amount_us / 1_000:.8g} ms")
        return " or ".join(parts)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "10 % or 5 ms", "10 %" or "5 ms"; refuses anything else, and what is beyond 1,000 % or 60 s."""
        match = _MARGIN.fullmatch(text)
        has_both = match is not None and match[1] is not None and match[2] is not None
        if match is None or not (match[1] or match[2]) or has_both != (" or " in text):
            raise MarginProblem(f'"{text}" is no margin, which is written 10 %, or 5 ms, or 10 % or 5 ms')
        percent = float(match[1] or 0)
        amount_us = round(float(match[2]) * _UNITS_US[match[3]]) if match[2] else 0
        if percent > PERCENT_MOST or amount_us > ABSOLUTE_MOST_US:
            raise MarginProblem(f'"{text}" is beyond 1,000 % or 60 s')
        return cls(percent / 100, amount_us)

    @classmethod
    def parse_share(cls, text: str, most_percent: float = 100.0) -> Self:
        """Read a margin that is a share alone, "1 %"; refuses an amount, and more than so many percent."""
        margin = cls.parse(text)
        if margin.amount_us:
            raise MarginProblem(f'"{text}" has a time in it, and this margin is a share, as in 1 %')
        if margin.share * 100 > most_percent:
            raise MarginProblem(f'"{text}" is more than {most_percent:g} %')
        return margin
