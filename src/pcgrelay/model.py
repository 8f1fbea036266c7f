"""The words that every part of the control plane shares: who a node is, what a service is called, roles and suites.

Names are compared byte for byte all over the system, and they decide who may do what. So there is one spelling of each:
lower case, DNS-like labels, bounded lengths. Whatever is spelt otherwise is refused here and never mended silently.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, IntEnum
from hashlib import sha256
from typing import Self

LABEL_LIMIT = 63  # RFC 1035 2.3.4
DOTTED_LIMIT = 253  # what 255 bytes on the wire leave for text
# The longest certificate name that the grammar allows; whatever is longer is refused before it is looked into.
URI_LIMIT = len("spiffe://") + DOTTED_LIMIT + len("/org/") + DOTTED_LIMIT + len("/node/") + LABEL_LIMIT

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_URI = re.compile(r"spiffe://([^/]*)/org/([^/]*)/node/([^/]*)", re.ASCII)

LABEL_RULE = "1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit"
DOTTED_RULE = "names of a-z, 0-9 and - joined by dots, at most 253 characters"


class NameProblem(ValueError):
    """A name that breaks the grammar; the text says which rule."""


class Role(IntEnum):
    """What a node is. The numbers stand in the protocol."""

    EDGE = 1
    RELAY = 2

    @property
    def title(self) -> str:
        """The word for it in configuration, logs and tables."""
        return self.name.lower()


class Suite(IntEnum):
    """An AEAD for frames. The numbers stand in the protocol."""

    AES_256_GCM = 1
    AES_128_GCM = 2
    CHACHA20_POLY1305 = 3

    @property
    def title(self) -> str:
        """The name for it in configuration, logs and tables."""
        return self.name.replace("_", "-")

    @classmethod
    def from_title(cls, title: str) -> Self:
        """The suite with that name; refuses any other spelling."""
        for suite in cls:
            if suite.title == title:
                return suite
        raise NameProblem(f"{title!r} is no suite; there are {', '.join(suite.title for suite in cls)}")


class Marking(Enum):
    """The security classification of what a service carries, lowest first."""

    OFFICIAL = "OFFICIAL"
    OFFICIAL_SENSITIVE = "OFFICIAL-SENSITIVE"
    SECRET = "SECRET"  # noqa: S105  (a marking, not a password)


class Precedence(IntEnum):
    """Which of several ways, or of several edges with a service, is taken first. The numbers stand in the protocol."""

    PREFERRED = 1
    DEFAULT = 2
    BACK_UP = 3

    @property
    def title(self) -> str:
        """The word for it in configuration and tables."""
        return self.name.lower().replace("_", "-")


class Priority(IntEnum):
    """What is served first when a lane is full. The numbers stand in the protocol."""

    NORMAL = 0
    INTERACTIVE = 1
    CRITICAL = 2

    @property
    def title(self) -> str:
        """The word for it in configuration and tables."""
        return self.name.lower()


def check_label(text: str, what: str) -> str:
    """Return a node's, service's or bearer's name unchanged; refuse one that is not a single label."""
    _refuse_last_dot(text, what)
    if not _LABEL.fullmatch(text):
        raise NameProblem(f"{_quoted(text)} is no {what}: a {what} is {LABEL_RULE}")
    return text


def check_dotted(text: str, what: str) -> str:
    """Return a realm's or organisation's name unchanged; refuse one that is not labels joined by dots."""
    _refuse_last_dot(text, what)
    if len(text) > DOTTED_LIMIT or not all(_LABEL.fullmatch(label) for label in text.split(".")):
        raise NameProblem(f"{_quoted(text)} is no {what}: {_article(what)} is {DOTTED_RULE}")
    return text


def _refuse_last_dot(text: str, what: str) -> None:
    # As DNS writes a whole name. Here there is one spelling of each.
    if text.endswith(".") and text.strip("."):
        raise NameProblem(f"{_quoted(text)} is no {what}: it ends with a dot, and names here do not; remove it")


def organisation_matches(pattern: str, organisation: str) -> bool:
    """Whether a member pattern ("*", "*.police.example" or an exact name) takes that organisation in.

    "*.x" takes in what lies below x, at any depth, and not x itself.
    """
    if pattern == "*":
        return True
    if pattern.startswith("*."):
        return organisation.endswith(pattern[1:]) and len(organisation) > len(pattern) - 1
    return pattern == organisation


def organisation_number(organisation: str) -> int:
    """A number under which the core knows an organisation: the same in every process, and never zero."""
    return int.from_bytes(sha256(organisation.encode()).digest()[:8]) or 1


@dataclass(frozen=True, slots=True, order=True)
class NodeId:
    """A node, as its certificate names it. One that exists is well spelt."""

    realm: str
    organisation: str
    name: str

    def __post_init__(self) -> None:
        check_dotted(self.realm, "realm")
        check_dotted(self.organisation, "organisation")
        check_label(self.name, "node name")

    @property
    def uri(self) -> str:
        """The SPIFFE identity, as it stands in the certificate."""
        return f"spiffe://{self.realm}/org/{self.organisation}/node/{self.name}"

    @property
    def dotted(self) -> str:
        """The short form within a realm: name.organisation."""
        return f"{self.name}.{self.organisation}"

    def __str__(self) -> str:
        return self.dotted

    @classmethod
    def from_uri(cls, uri: str) -> Self:
        """Read a SPIFFE identity; refuses any other path, a port, a query, an escape or an upper-case letter."""
        match = _URI.fullmatch(uri) if len(uri) <= URI_LIMIT else None
        if match is None:
            raise NameProblem(f"{_quoted(uri)} is not of the form spiffe://REALM/org/ORGANISATION/node/NAME")
        return cls(*match.groups())

    @classmethod
    def from_dotted(cls, text: str, realm: str) -> Self:
        """Read name.organisation; refuses a bare name."""
        name, dot, organisation = text.partition(".")
        if not dot:
            raise NameProblem(f"{_quoted(text)} is no node: a node is written NAME.ORGANISATION")
        return cls(realm, organisation, name)


@dataclass(frozen=True, slots=True, order=True)
class ServiceName:
    """A service and the organisation that owns it. One that exists is well spelt."""

    service: str
    organisation: str

    def __post_init__(self) -> None:
        check_label(self.service, "service name")
        check_dotted(self.organisation, "organisation")

    def __str__(self) -> str:
        return f"{self.service}@{self.organisation}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read name@organisation; refuses a bare name."""
        service, at, organisation = text.partition("@")
        if not at:
            raise NameProblem(f"{_quoted(text)} is no service: a service is written NAME@ORGANISATION")
        return cls(service, organisation)


def _quoted(text: str) -> str:
    """Show foreign text without control characters, quote marks or length that could spoil a log line."""
    shown = text if len(text) <= 80 else text[:77] + "..."
    return '"' + "".join(c if c.isprintable() and c != '"' else "?" for c in shown) + '"'


def _article(what: str) -> str:
    return ("an " if what[0] in "aeiou" else "a ") + what
