"""Records as lines of the audit log: {"n":8841273,"ts":"2026-11-03T02:14:07.113Z","event":"stream.end",...}.

The number stands in the line, so that the order is signed. All but the number is made when the record is queued for
another process; the number is given where the line is appended.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from pcgrelay.audit.segments import LINE_MOST_BYTES
from pcgrelay.log.events import Record, time_text
from pcgrelay.printable import json_bytes, json_printable

NUMBER_MOST_BYTES = len('{"n":9223372036854775807,')
BODY_MOST_BYTES = LINE_MOST_BYTES - NUMBER_MOST_BYTES


class Queued(Struct, frozen=True, gc=False):
    """A record that waits to be written."""

    record: Record
    moment: datetime  # in UTC
    policy: str  # the short digest of the approved policy that held; empty: there are no approvals
    suppressed: int = 0  # similar records that were left out since the last


def body_of(queued: Queued, most: int = BODY_MOST_BYTES) -> bytes:
    """Encode all of a line but its number: it follows the comma, and has no end.

    A record that would be too long loses the ends of its longest texts and lists, and says so ("cut":true).
    """
    head: dict[str, Any] = {"ts": time_text(queued.moment), "event": queued.record.EVENT}
    if queued.policy:
        head["policy"] = queued.policy
    record = queued.record
    if queued.suppressed:
        if hasattr(record, "suppressed"):
            record = msgspec.structs.replace(record, suppressed=record.suppressed + queued.suppressed)
        else:
            head["suppressed"] = queued.suppressed
    body = _joined(json_bytes(head), json_bytes(record))
    return body if len(body) <= most else _cut(head, msgspec.to_builtins(record), most)


def line_of(number: int, body: bytes) -> bytes:
    """Return the line without its end."""
    return b'{"n":%d,%b' % (number, body)


def number_is(line: bytes, number: int) -> bool:
    """Whether a line is a whole record with that number, as this module writes them."""
    try:
        msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        return line.startswith(b'{"n":%d,"ts":"' % number) and line.decode().isprintable()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def time_in(line: bytes) -> str:
    """The time of a line, as text; empty if it has none."""
    _, found, rest = line[:128].partition(b'"ts":"')
    return rest.partition(b'"')[0].decode("ascii", "replace") if found else ""


def _joined(head: bytes, fields: bytes) -> bytes:
    text = head[1:] if fields == b"{}" else head[1:-1] + b"," + fields[1:]
    return json_printable(text.decode()).encode()


def _cut(head: dict[str, Any], fields: dict[str, Any], most: int) -> bytes:
    head = {**head, "cut": True}
    while True:
        body = _joined(json_bytes(head), json_bytes(fields))
        if len(body) <= most:
            return body
        name = max(fields, key=lambda each: len(json_bytes(fields[each])))
        fields[name] = _half(fields[name])


def _half(value: Any) -> Any:
    """The first half of a text, a list or a table."""
    if isinstance(value, dict):
        return dict(list(value.items())[: len(value) // 2])
    return value[: len(value) // 2]
