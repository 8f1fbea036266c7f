"""What may stand in Part 1 of a report: no address, no host, no person, no label of the configuration (pure).

A text can be published only as a `Published`, and only a `Scanner` makes one. No rule finds the name of a person in
free text; so Part 1 takes no free text but the few lines of the plan that are written for it.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterable

from msgspec import Struct

from pcgrelay.errors import ConfigError

# Shorter labels are words of any sentence.
LABEL_LEAST = 3
# Every import has this outlet, and everybody knows it.
EVERYWHERE = frozenset({"gateway"})

_MAIL = re.compile(r"\S@\S")
_LINK = re.compile(r"\w://|\bwww\.", re.IGNORECASE)
# Labels of two and more characters, the last of letters: neither "s.31" nor "e.g." is one.
_HOST = re.compile(r"(?<![\w.-])(?:[^\W_](?:[\w-]*[^\W_]))(?:\.[^\W_][\w-]*[^\W_])*\.[^\W\d_]{2,}(?![\w-])")
_NUMBERS = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]\d)")
_COLONS = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_HARDWARE = re.compile(r"(?<![0-9A-Fa-f])(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}(?![0-9A-Fa-f])")


class Published(Struct, frozen=True):
    """A text in which nothing was found; a Scanner makes it."""

    text: str

    def __str__(self) -> str:
        return self.text


class Scanner:
    """Looks for what must not be published."""

    def __init__(self, names: Iterable[str]) -> None:
        """names: labels of the configuration, whole or dotted."""
        folded = {_folded(name) for name in names}
        parts = {part for name in folded for part in (name, name.partition(".")[0])}
        parts -= EVERYWHERE
        self._names = sorted(each for each in parts if len(each) >= LABEL_LEAST and re.search(r"[^\W\d_]", each))

    def found(self, text: str) -> str:
        """Return what must not be published, in words; "" if there is nothing."""
        return patterns_found(text) or self._label_in(_folded(text))

    def published(self, what: str, text: str) -> Published:
        """Return the text as one that may be published. ConfigError: it may not; what says where it stands."""
        if found := self.found(text):
            raise ConfigError(
                f"{what}: Part 1 is published, and here stands {found}; write it without, or give the report a title "
                "of its own with --title."
                if what == "report.title"
                else f"{what}: Part 1 is published, and here stands {found}; write it without."
            )
        return Published(text)

    def _label_in(self, folded: str) -> str:
        for name in self._names:
            if re.search(rf"(?<![\w]){re.escape(name)}(?![\w])", folded):
                return f'"{name}", a name of the configuration'
        return ""


def patterns_found(text: str) -> str:
    """Return an address, a host or the like that stands in a text, in words; "" if there is none."""
    text = unicodedata.normalize("NFKC", text)
    if _MAIL.search(text):
        return "a mail address or the name of a service"
    if _LINK.search(text):
        return "a link"
    if _NUMBERS.search(text):
        return "an IP address"
    if _HARDWARE.search(text) or any(_is_address(match[0]) for match in _COLONS.finditer(text)):
        return "an address"
    if match := _HOST.search(text):
        return f'the name of a host ("{match[0][:80]}")'
    return ""


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text.strip("."))
    except ValueError:
        return False
    return True


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
