"""What the text of each field of a record is. A field that is not named here may hold anything, and M6 fails.

Numbers and truth values hold no text. Names are checked against the alphabet of names before anything is done with
them, and words come from closed lists, so neither can carry a sentence. The rest was written by this program or by
those who operate it.
"""

from __future__ import annotations

import importlib
import pkgutil
import types
import typing
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from pcgrelay import log
from pcgrelay.log.events import Record

NAME = "name"  # of a node, organisation, service, network or outlet: letters, digits, dots, dashes
WORD = "word"  # of a closed list, or a version
SENTENCE = "sentence"  # made by this program from names, words and figures
TIME = "time"
DIGEST = "digest"  # of something, a key or a signature, in hexadecimal digits or base64
OPERATOR = "operator"  # written by who operates this node: in its configuration, or at its admin socket
CERTIFICATE = "certificate"  # of a certificate that a CA of the realm has signed
ADDRESS = "address"  # of an unauthenticated neighbour, where nothing else is known of it
FILE = "file"  # a path on this machine

_FIELDS = {
    NAME: "bearer destination edge exporters from_organisation listener name nearest node observer on organisation "
    "origin outlet peer service source subject to_organisation via shares",
    WORD: "act cause code direction dropped error group kind limit minimum phase priority protocol purpose result role "
    "suite tls_suite version part what where",
    SENTENCE: "changes detail lines mend policy problem reason rule rule_text rules sentence",
    TIME: "days not_after not_before since started taken until",
    DIGEST: "certificates cosigner ed25519 holds id keys known_root ml_dsa_44 old_root root serial sha256 signature "
    "told_root",
    OPERATOR: "approved by change discover profile reference",
    CERTIFICATE: "claims",
    FILE: "file folder",
    # Digests of a policy, or shares by outlet.
    "digest or names": "after before",
}
FIELDS = {field: kind for kind, fields in _FIELDS.items() for field in fields.split()}
_PLAIN = (bool, int, float, type(None))


def records() -> list[type[Record]]:
    """Return all kinds of record that have an event."""
    for module in pkgutil.iter_modules(log.__path__):
        importlib.import_module(f"{log.__name__}.{module.name}")
    found: list[type[Record]] = []
    waiting: list[type[Record]] = [Record]
    while waiting:
        for each in waiting.pop().__subclasses__():
            waiting.append(each)
            if hasattr(each, "EVENT"):
                found.append(each)
    return sorted(set(found), key=lambda each: each.EVENT)


def open_fields(record: type[Struct]) -> Iterator[str]:
    """Yield the fields of a record that may hold any text, by their full names."""
    for field in msgspec.structs.fields(record):
        if not _is_closed(field.type, field.name):
            yield f"{getattr(record, 'EVENT', record.__name__)}.{field.name}"


def _is_closed(kind: Any, name: str) -> bool:
    if kind in _PLAIN:
        return True
    if kind is str:
        return name in FIELDS
    origin, parts = typing.get_origin(kind), [each for each in typing.get_args(kind) if each is not Ellipsis]
    if origin in (types.UnionType, typing.Union, tuple, list, dict, frozenset):
        return bool(parts) and all(_is_closed(each, name) for each in parts)
    return False
