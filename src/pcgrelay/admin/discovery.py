"""Relays that DNS leads to, as status shows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct


class DiscoveryStatus(Struct, frozen=True, kw_only=True):
    """One [[link]] with discover."""

    discover: str  # the name that is looked up
    bearer: str
    wanted: int  # links
    up: int
    relays: int  # that DNS leads to, as far as is known
    answered: bool | None = None  # whether the last look-up was answered; None: there was none yet
    absent: bool = False  # the answer was that there is no record


def discovery_sentences(discoveries: Iterable[DiscoveryStatus]) -> Iterator[str]:
    """Yield what is wrong. Links that are down have sentences of their own."""
    for each in discoveries:
        if each.absent:
            yield f"DNS has no relays at {each.discover}; {each.up} of {each.wanted} links to such are up."
        elif each.answered is False:
            yield f"DNS does not answer for {each.discover}; {each.up} of {each.wanted} links to its relays are up."
        elif each.answered and each.relays < each.wanted:
            there = "one relay" if each.relays == 1 else f"{each.relays} relays"
            yield f"DNS has only {there} at {each.discover}, and {each.wanted} links are wanted."


def discovery_line(each: DiscoveryStatus) -> str:
    """Return one of them as a phrase."""
    if each.answered is None:
        answer = "no answer yet"
    elif not each.answered:
        answer = "no answer"
    else:
        answer = "no records" if each.absent else "answered"
    relays = "1 relay" if each.relays == 1 else f"{each.relays} relays"
    return f"{each.discover}: {answer}, {relays} known, {each.up} of {each.wanted} links up"
