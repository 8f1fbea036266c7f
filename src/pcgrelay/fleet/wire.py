"""Requests and answers of etcd's JSON gateway (etcd 3.4 and 3.5, /v3/), as far as they are used here.

The gateway is the mapping of proto3 to JSON: bytes are base64, which msgspec reads and writes as such, numbers of 64
bits are texts, and fields that are zero are left out.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import Struct

T = TypeVar("T")

RANGE, PUT, DELETE, TXN = "kv/range", "kv/put", "kv/deleterange", "kv/txn"
GRANT, KEEP_ALIVE, REVOKE = "lease/grant", "lease/keepalive", "lease/revoke"
WATCH, AUTHENTICATE = "watch", "auth/authenticate"


class Header(Struct, frozen=True):
    """The head of each answer. revision: of the whole store, which each write raises."""

    revision: int = 0


class KeyValue(Struct, frozen=True):
    """A key as the store has it. A deleted one has a key and a mod_revision only."""

    key: bytes = b""
    value: bytes = b""
    create_revision: int = 0
    mod_revision: int = 0
    lease: int = 0


class RangeAnswer(Struct, frozen=True):
    header: Header = Header()
    kvs: tuple[KeyValue, ...] = ()
    more: bool = False


class WriteAnswer(Struct, frozen=True):
    """The answer to a put, a deletion, a revocation or a transaction."""

    header: Header = Header()
    succeeded: bool = False  # of a transaction: the conditions held


class LeaseAnswer(Struct, frozen=True):
    """The answer to a grant. ttl_s: how long the lease lives from now; 0: there is none."""

    header: Header = Header()
    lease: int = msgspec.field(name="ID", default=0)
    ttl_s: int = msgspec.field(name="TTL", default=0)


class KeepAliveAnswer(Struct, frozen=True):
    result: LeaseAnswer = LeaseAnswer()


class TokenAnswer(Struct, frozen=True):
    token: str = ""


class WatchEvent(Struct, frozen=True):
    type: str = "PUT"
    kv: KeyValue = KeyValue()


class WatchResult(Struct, frozen=True):
    header: Header = Header()
    created: bool = False
    canceled: bool = False
    compact_revision: int = 0
    events: tuple[WatchEvent, ...] = ()


class ErrorBody(Struct, frozen=True):
    """A refusal. code: of gRPC; a stream of 3.4 has it under another name."""

    message: str = ""
    code: int = 0
    grpc_code: int = 0


class WatchLine(Struct, frozen=True):
    """One line of the answer to a watch."""

    result: WatchResult | None = None
    error: ErrorBody | None = None


def encode(body: dict[str, Any]) -> bytes:
    """Encode the body of a request."""
    return msgspec.json.encode(body)


def decode(data: bytes, kind: type[T]) -> T:
    """Decode an answer. ValueError: it is none of that kind."""
    try:
        return msgspec.json.decode(data, type=kind, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("the answer is none of the store's JSON interface") from None


def prefix_end(prefix: bytes) -> bytes:
    """Return the first key that is after all keys with that prefix, as a range wants it."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else b"\0"
