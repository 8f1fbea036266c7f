"""How a change of one value is judged: whether it allows more than before, less, or neither.

What nobody has thought of widens: each judge answers WIDENS unless it knows better. The words are printable ASCII, one
line, because people sign them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from enum import StrEnum
from typing import Any

from msgspec import Struct

from pcgrelay.model import Marking, Priority, organisation_matches

# A value as the file has it: text, number, truth, date or None, and lists and tables of these.
Value = Any


class Kind(StrEnum):
    """What a difference does to what is allowed."""

    WIDENS = "WIDENS"
    NARROWS = "NARROWS"
    NEUTRAL = "NEUTRAL"


class Difference(Struct, frozen=True):
    """One difference between two policies, as people read and sign it."""

    kind: Kind
    sentence: str

    def __str__(self) -> str:
        return f"{self.kind:<9} {self.sentence}"


# Of a key, its old and its new value, which differ.
Judge = Callable[[str, Value, Value], Iterator[Difference]]

_MARKINGS = [marking.value for marking in Marking]
_PRIORITIES = [priority.title for priority in sorted(Priority)]


def shown(value: Value) -> str:
    """Return a value in printable ASCII."""
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(map(shown, value))
    if isinstance(value, dict):
        return ", ".join(f"{shown(key)} = ({shown(each)})" for key, each in value.items())
    return "".join(each if " " <= each <= "~" and each != "\\" else _escaped(each) for each in str(value))


def _escaped(character: str) -> str:
    if character.isascii():
        return f"\\x{ord(character):02x}"
    return character.encode("ascii", "backslashreplace").decode()


def changed(key: str, old: Value, new: Value) -> str:
    """Return the words for another value."""
    return f"{key} {shown(new)} (was {shown(old)})"


def widens(key: str, old: Value, new: Value) -> Iterator[Difference]:
    """Another value is another thing: nobody has allowed it."""
    yield Difference(Kind.WIDENS, changed(key, old, new))


def neutral(key: str, old: Value, new: Value) -> Iterator[Difference]:
    """Nothing is allowed or refused by it."""
    yield Difference(Kind.NEUTRAL, changed(key, old, new))


def _ordered(rank: Callable[[Value], Any], unbounded: str = "") -> Judge:
    """A greater one allows more. unbounded: what people call a value that bounds nothing."""

    def judge(key: str, old: Value, new: Value) -> Iterator[Difference]:
        before, after = rank(old), rank(new)
        kind = Kind.WIDENS if after > before else Kind.NARROWS if after < before else Kind.NEUTRAL
        words = [(each or unbounded) if unbounded else each for each in (old, new)]
        yield Difference(kind, changed(key, *words))

    return judge


rises = _ordered(lambda value: value)
falls = _ordered(lambda value: -value)
limit = _ordered(lambda value: value or float("inf"), "no limit")  # 0
until = _ordered(lambda value: value or date.max, "no end")  # none
marking = _ordered(_MARKINGS.index)
record = _ordered(["all", "refused", "totals"].index)  # what is kept of streams: with less, less is seen
priority = _ordered(lambda value: len(_PRIORITIES) if value is None else _PRIORITIES.index(value))


def present(key: str, old: Value, new: Value) -> Iterator[Difference]:
    """Something that refuses, as a revocation list: without it more is allowed; its path says nothing."""
    kind = Kind.NARROWS if old is None else Kind.WIDENS if new is None else Kind.NEUTRAL
    yield Difference(kind, changed(key, old, new))


def opened(key: str, old: Value, new: Value) -> Iterator[Difference]:
    """Something that lets in, as a listener: without it less is allowed."""
    yield Difference(Kind.NARROWS if new is None else Kind.WIDENS, changed(key, old, new))


def falls_to(key: str, old: Value, new: Value, weaker: Value) -> Iterator[Difference]:
    """One of two values, of which one is the weaker."""
    yield Difference(Kind.WIDENS if new == weaker else Kind.NARROWS, changed(key, old, new))


def mode(key: str, old: Value, new: Value) -> Iterator[Difference]:
    """Rights in octal: those that are new widen."""
    more = int(new, 8) & ~int(old, 8)
    yield Difference(Kind.WIDENS if more else Kind.NARROWS, changed(key, old, new))


def members(key: str, old: Value, new: Value) -> Iterator[Difference]:
    """A list without an order: what is added widens."""
    yield from _sets(key, old, new)


def suites(key: str, old: Value, new: Value) -> Iterator[Difference]:
    """A list whose order is a preference: what is added widens, and so does another order of what stays."""
    yield from _sets(key, old, new)
    before, after = [each for each in old if each in new], [each for each in new if each in old]
    if before != after:
        yield Difference(Kind.WIDENS, f"{key} in another order: {shown(new)}")


def _sets(key: str, old: Sequence[str], new: Sequence[str]) -> Iterator[Difference]:
    for each in sorted(set(new) - set(old)):
        yield Difference(Kind.WIDENS, f"{key} {shown(each)} added")
    for each in sorted(set(old) - set(new)):
        yield Difference(Kind.NARROWS, f"{key} {shown(each)} removed")


def patterns(key: str, old: Value, new: Value) -> Iterator[Difference]:
    """Patterns of organisations; None: any. One that another covers already changes nothing."""
    if old is None or new is None:
        yield Difference(Kind.WIDENS if new is None else Kind.NARROWS, _any_words(key, old, new))
        return
    for each in sorted(set(new) - set(old)):
        kind = Kind.NEUTRAL if any(_covers(other, each) for other in old) else Kind.WIDENS
        yield Difference(kind, f"{key} {each} added")
    for each in sorted(set(old) - set(new)):
        kind = Kind.NEUTRAL if any(_covers(other, each) for other in new) else Kind.NARROWS
        yield Difference(kind, f"{key} {each} removed")


def networks(key: str, old: Value, new: Value) -> Iterator[Difference]:
    """Networks whose datagrams are taken; None: everybody's."""
    if old is None or new is None:
        yield Difference(Kind.WIDENS if new is None else Kind.NARROWS, _any_words(key, old, new))
        return
    yield from _sets(key, old, new)


def clearances(key: str, old: Value, new: Value) -> Iterator[Difference]:
    """Markings by organisation; None: all have the highest. One that is not named has the lowest."""
    if old is None or new is None:
        yield Difference(Kind.WIDENS if new is None else Kind.NARROWS, _any_words(key, old, new))
        return
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name, _MARKINGS[0]), new.get(name, _MARKINGS[0])
        if before != after:
            yield from marking(f"{key} {name}", before, after)
        elif (name in old) != (name in new):
            yield Difference(Kind.NEUTRAL, f"{key} {name} {'added' if name in new else 'removed'}")


def transit(key: str, old: Value, new: Value) -> Iterator[Difference]:
    """Pairs of bearers. None: any pair or no pair, as other tables have it, so that only an empty list is less."""
    if new is None or old is None:
        words = ["not listed" if each is None else each or "no pair" for each in (old, new)]
        yield Difference(Kind.NARROWS if new == [] else Kind.WIDENS, changed(key, *words))
        return
    yield from _sets(key, old, new)


def _any_words(key: str, old: Value, new: Value) -> str:
    return f"{key} {'any' if new is None else shown(new)} (was {'any' if old is None else shown(old)})"


def _covers(pattern: str, other: str) -> bool:
    """Return whether a pattern admits everything that the other one admits."""
    if pattern in ("*", other):
        return True
    if other == "*":
        return False
    # What stands below x.y stands below y too.
    below = other.startswith("*.")
    return organisation_matches(pattern, f"x{other[1:]}" if below else other) and (
        pattern.startswith("*.") or not below
    )


def allowed(key: str, old: Value, new: Value) -> Iterator[Difference]:
    """Entries of `allow`, by organisation, each with its terms."""
    for name in sorted(new.keys() - old.keys()):
        terms = new[name]
        said = [f"{term} {shown(terms[term])}" for term in ("until", "reason", "reference") if term in terms]
        yield Difference(Kind.WIDENS, f"{key} {name} added{''.join(f', {each}' for each in said)}")
    for name in sorted(old.keys() - new.keys()):
        yield Difference(Kind.NARROWS, f"{key} {name} removed")
    for name in sorted(old.keys() & new.keys()):
        for term, judge in (("until", _moment), ("reason", widens), ("reference", widens)):
            before, after = old[name].get(term), new[name].get(term)
            if before != after:
                yield from judge(f"{key} {name}: {term}", before, after)


# Moments in UTC, as ISO 8601 writes them, which sorts as they do; "~" is beyond each of them.
_moment = _ordered(lambda value: value or "~", "no end")
