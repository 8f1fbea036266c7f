"""Texts that wait for signatures, or to be taken, in the status of a node: no person is named here."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import Struct


class WaitingStatus(Struct, frozen=True, kw_only=True):
    """One text beside the configuration that can still be taken."""

    what: str  # change, or the name of an act
    change: str  # its number where changes are kept, as CR-1042
    until_timestamp_s: float  # it has to be taken before
    signatures: int  # that lie beside it; they are verified when it is taken
    needs: int
    held: bool = False  # a signer holds it


def waiting_words(each: WaitingStatus) -> str:
    """Return the words for a text that waits."""
    until = datetime.fromtimestamp(each.until_timestamp_s, UTC)
    has = f"{each.signatures} of {each.needs} {'signature' if each.needs == 1 else 'signatures'}"
    held = "; held" if each.held else ""
    return f"{each.what} {each.change} waits: {has}, until {until:%Y-%m-%d %H:%M} UTC{held}"
