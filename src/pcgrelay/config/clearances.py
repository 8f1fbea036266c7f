"""Keys of [policy] about markings: what organisations are cleared for, between which bearers a relay forwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pcgrelay.config.fields import parsed
from pcgrelay.config.shape import nearest
from pcgrelay.config.source import KeyPath, Source
from pcgrelay.model import Marking, check_dotted, check_label

_CLEARANCES: KeyPath = ("policy", "clearances")
_MARKINGS = tuple(marking.value for marking in Marking)


def clearances(source: Source, table: Mapping[str, str] | None) -> tuple[tuple[str, Marking], ...] | None:
    """Return what organisations are cleared for, sorted by name. None: the file does not say."""
    if table is None:
        return None
    if not table:
        raise source.refusal(_CLEARANCES, "name at least one organisation, or remove this line")
    return tuple((_organisation(source, name), _marking(source, name, table[name])) for name in sorted(table))


def _organisation(source: Source, name: str) -> str:
    # Exact names alone: a pattern would clear a newcomer.
    return parsed(source, _CLEARANCES, name, lambda text: check_dotted(text, "organisation"))


def _marking(source: Source, name: str, word: str) -> Marking:
    if word not in _MARKINGS:
        guess = nearest(word, _MARKINGS)
        remedy = f"the nearest is {guess}" if guess else f"there are: {', '.join(_MARKINGS)}"
        raise source.refusal(_CLEARANCES, f'"{word[:80]}" is no marking that {name} could be cleared for; {remedy}')
    return Marking(word)


def transit(source: Source, pairs: Sequence[Sequence[str]] | None) -> tuple[tuple[str, str], ...] | None:
    """Return the pairs of bearers between which a relay forwards, each sorted. None: the file does not say."""
    if pairs is None:
        return None
    found: dict[tuple[str, str], int] = {}
    for index, pair in enumerate(pairs):
        where: KeyPath = ("policy", "transit", index)
        names = sorted(parsed(source, where, name, lambda text: check_label(text, "bearer")) for name in pair)
        if len(names) != 2 or names[0] == names[1]:
            problem = 'each entry names two different bearers; write for example: transit = [["psn", "internet"]]'
            raise source.refusal(where, problem)
        first = found.setdefault((names[0], names[1]), index)
        if first != index:
            raise source.refusal(where, f"these two are in entry {first + 1} already; remove one of the two")
    return tuple(found)
