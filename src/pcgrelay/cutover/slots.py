"""Shares of outlets as a table of 200 slots, which the core reads by one counter (pure).

The table is cut into blocks, and within each block the places are permuted. So the counts are exact whenever 200 have
been dealt, nearly exact at any time, and yet no rhythm of an application can hide behind the dealing: a comparison of
outlets is a fair experiment (randomised blocks: Fisher, The Design of Experiments, 1935).

With two outlets, the smaller share has one place at random in each block of 200 / count slots: after any number of
slots from the table's beginning both counts are within 1 of their share. More outlets are halved into two groups, and
each group again, so that four outlets are within 2. Counted from any other slot, these bounds double.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from math import floor, isfinite
from random import Random

from msgspec import Struct

SLOTS = 200
# What one slot is, in percent. Shares are multiples of it.
SHARE_UNIT_PERCENT = 0.5
# As many as the core has places for.
OUTLETS_MOST = 4


class SharesProblem(ValueError):
    """Shares that cannot be dealt; the text says why."""


class Dealing(Struct, frozen=True):
    """Shares and the table that was made for them."""

    shares: tuple[float, ...]  # percent, one for each outlet
    slots: bytes  # the outlet of each slot


def check_shares(shares: Sequence[float]) -> tuple[float, ...]:
    """Return shares in percent unchanged; refuse any that are no multiples of 0.5 or do not add up to 100."""
    if not 1 <= len(shares) <= OUTLETS_MOST:
        raise SharesProblem(f"there are {len(shares)} shares; an import has 1 to {OUTLETS_MOST} outlets")
    for share in shares:
        if not isfinite(share) or not 0 <= share <= 100 or not (share / SHARE_UNIT_PERCENT).is_integer():
            raise SharesProblem(f"{share:g} is no share: a share is a multiple of 0.5 from 0 to 100 percent")
    if sum(shares) != 100:
        raise SharesProblem(f"the shares add up to {sum(shares):g} percent and not to 100")
    return tuple(float(share) for share in shares)


def apportion(weights: Sequence[float], places: int = SLOTS) -> tuple[int, ...]:
    """Whole places for weights, by the largest remainder (Hamilton); equal remainders go to the earlier weight.

    Refuses negative weights, and weights of which none is above zero.
    """
    exact = [Fraction(weight) for weight in weights]
    total = sum(exact)
    if total <= 0 or min(exact) < 0:
        raise SharesProblem("weights must not be negative, and one of them must be above zero")
    quotas = [weight * places / total for weight in exact]
    counts = [floor(quota) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda index: counts[index] - quotas[index])
    for index in by_remainder[: places - sum(counts)]:
        counts[index] += 1
    return tuple(counts)


def deal(shares: Sequence[float], chance: Random, last: Dealing | None = None) -> Dealing:
    """The table for shares in percent. While the shares stay the same, so does the table."""
    checked = check_shares(shares)
    if last is not None and last.shares == checked:
        return last
    slots = bytearray(SLOTS)
    _place(slots, list(range(SLOTS)), list(enumerate(apportion(checked))), chance)
    return Dealing(checked, bytes(slots))


def _place(slots: bytearray, places: list[int], counts: list[tuple[int, int]], chance: Random) -> None:
    """Give places, in their order, to outlets with their counts, which add up to the number of places."""
    counts = [pair for pair in counts if pair[1]]
    if len(counts) == 1:
        for place in places:
            slots[place] = counts[0][0]
        return
    if not counts:
        return
    half = (len(counts) + 1) // 2
    groups = counts[:half], counts[half:]
    smaller, larger = sorted(groups, key=lambda group: sum(count for _, count in group))
    drawn = set(_draw(len(places), sum(count for _, count in smaller), chance))
    _place(slots, [place for at, place in enumerate(places) if at in drawn], smaller, chance)
    _place(slots, [place for at, place in enumerate(places) if at not in drawn], larger, chance)


def _draw(size: int, count: int, chance: Random) -> list[int]:
    """One place at random in each of so many blocks of nearly equal size."""
    bounds = [size * block // count for block in range(count + 1)]
    return [chance.randrange(low, high) for low, high in pairwise(bounds)]
