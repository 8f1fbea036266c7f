"""Types that all parts of the control plane share: identities, service names, roles and suites.

Names are compared byte for byte everywhere, and decide who may do what. So each has exactly one spelling: lower case,
DNS-like labels, limited lengths. Any other spelling is refused here, and never corrected silently.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, IntEnum
from hashlib import sha256
from typing import Self

LABEL_LIMIT = 63  # RFC 1035 2.3.4
DOTTED_LIMIT = 253  # the text that fits into 255 bytes on the wire
# The longest certificate name that the grammar allows; a longer one is refused before it is parsed.
URI_LIMIT = len("spiffe://") + DOTTED_LIMIT + len("/org/") + DOTTED_LIMIT + len("/node/") + LABEL_LIMIT

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_URI = re.compile(r"spiffe://([^/]*)/org/([^/]*)/node/([^/]*)", re.ASCII)

LABEL_RULE = "1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit"
DOTTED_RULE = "names of a-z, 0-9 and - joined by dots, at most 253 characters"


class NameProblem(ValueError):
    """A name that violates the grammar; the text says which rule."""


class Role(IntEnum):
    """The role of a node. The numbers are part of the protocol (docs/protocol.md)."""

    EDGE = 1
    RELAY = 2

    @property
    def title(self) -> str:
        """The word for it in configuration, logs and tables."""
        return self.name.lower()


class Suite(IntEnum):
    """An AEAD for frames. The numbers are part of the protocol (docs/protocol.md)."""

    AES_256_GCM = 1
    AES_128_GCM = 2
    CHACHA20_POLY1305 = 3

    @property
    def title(self) -> str:
        """The name for it in configuration, logs and tables."""
        return self.name.replace("_", "-")

    @classmethod
    def from_title(cls, title: str) -> Self:
        """Return the suite with that name. NameProblem: there is none with exactly this spelling."""
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
    """The order among several links, or among several edges with a service. The numbers are part of the protocol."""

    PREFERRED = 1
    DEFAULT = 2
    BACK_UP = 3

    @property
    def title(self) -> str:
        """The word for it in configuration and tables."""
        return self.name.lower().replace("_", "-")


class Priority(IntEnum):
    """The order of service when a lane is full. The numbers are part of the protocol."""

    NORMAL = 0
    INTERACTIVE = 1
    CRITICAL = 2

    @property
    def title(self) -> str:
        """The word for it in configuration and tables."""
        return self.name.lower()


class Transport(IntEnum):
    """What a service carries: a stream of bytes, or datagrams. The numbers are part of the protocol."""

    STREAM = 0
    DATAGRAM = 1

    @property
    def title(self) -> str:
        """The word for it in configuration, logs and tables: the protocol of applications and targets."""
        return "udp" if self is Transport.DATAGRAM else "tcp"

    @classmethod
    def from_title(cls, title: str) -> Self:
        """Return the transport of a protocol that the configuration has accepted."""
        return cls.DATAGRAM if title == "udp" else cls.STREAM


def check_label(text: str, what: str) -> str:
    """Return the name of a node, service or bearer unchanged. NameProblem: it is not a single label."""
    _refuse_last_dot(text, what)
    if not _LABEL.fullmatch(text):
        raise NameProblem(f"{_quoted(text)} is no {what}: a {what} is {LABEL_RULE}")
    return text


def check_dotted(text: str, what: str) -> str:
    """Return the name of a realm or organisation unchanged. NameProblem: it is not labels joined by dots."""
    _refuse_last_dot(text, what)
    if len(text) > DOTTED_LIMIT or not all(_LABEL.fullmatch(label) for label in text.split(".")):
        raise NameProblem(f"{_quoted(text)} is no {what}: {_article(what)} is {DOTTED_RULE}")
    return text


def _refuse_last_dot(text: str, what: str) -> None:
    # DNS writes an absolute name like this. Here each name has one spelling.
    if text.endswith(".") and text.strip("."):
        raise NameProblem(f"{_quoted(text)} is no {what}: it ends with a dot, and names here do not; remove it")


def organisation_matches(pattern: str, organisation: str) -> bool:
    """Return whether a member pattern ("*", "*.police.example" or an exact name) includes that organisation.

    "*.x" includes everything below x, at any depth, but not x itself.
    """
    if pattern == "*":
        return True
    if pattern.startswith("*."):
        return organisation.endswith(pattern[1:]) and len(organisation) > len(pattern) - 1
    return pattern == organisation


def organisation_number(organisation: str) -> int:
    """Return the number by which the core knows an organisation: the same in every process, and never zero."""
    return int.from_bytes(sha256(organisation.encode()).digest()[:8]) or 1


@dataclass(frozen=True, slots=True, order=True)
class NodeId:
    """The identity of a node, as in its certificate. An existing object is valid."""

    realm: str
    organisation: str
    name: str

    def __post_init__(self) -> None:
        check_dotted(self.realm, "realm")
        check_dotted(self.organisation, "organisation")
        check_label(self.name, "node name")

    @property
    def uri(self) -> str:
        """The SPIFFE identity, as in the certificate."""
        return f"spiffe://{self.realm}/org/{self.organisation}/node/{self.name}"

    @property
    def dotted(self) -> str:
        """The short form within a realm: name.organisation."""
        return f"{self.name}.{self.organisation}"

    def __str__(self) -> str:
        return self.dotted

    @classmethod
    def from_uri(cls, uri: str) -> Self:
        """Parse a SPIFFE identity. NameProblem: another path, a port, a query, an escape or an upper-case letter."""
        match = _URI.fullmatch(uri) if len(uri) <= URI_LIMIT else None
        if match is None:
            raise NameProblem(f"{_quoted(uri)} is not of the form spiffe://REALM/org/ORGANISATION/node/NAME")
        return cls(*match.groups())

    @classmethod
    def from_dotted(cls, text: str, realm: str) -> Self:
        """Parse name.organisation. NameProblem: the organisation is missing, or a part is invalid."""
        name, dot, organisation = text.partition(".")
        if not dot:
            raise NameProblem(f"{_quoted(text)} is no node: a node is written NAME.ORGANISATION")
        return cls(realm, organisation, name)


@dataclass(frozen=True, slots=True, order=True)
class ServiceName:
    """A service and the organisation that owns it. An existing object is valid."""

    service: str
    organisation: str

    def __post_init__(self) -> None:
        check_label(self.service, "service name")
        check_dotted(self.organisation, "organisation")

    def __str__(self) -> str:
        return f"{self.service}@{self.organisation}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse name@organisation. NameProblem: the organisation is missing, or a part is invalid."""
        service, at, organisation = text.partition("@")
        if not at:
            raise NameProblem(f"{_quoted(text)} is no service: a service is written NAME@ORGANISATION")
        return cls(service, organisation)


def _quoted(text: str) -> str:
    """Return foreign text without control characters, quote marks or length that could spoil a log line."""
    shown = text if len(text) <= 80 else text[:77] + "..."
    return '"' + "".join(c if c.isprintable() and c != '"' else "?" for c in shown) + '"'


def _article(what: str) -> str:
    return ("an " if what[0] in "aeiou" else "a ") + what
