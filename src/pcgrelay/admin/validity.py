"""From when until when a node's certificates and lists are good, as its status, its metrics and its troubles say it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from msgspec import Struct

Sample = tuple[dict[str, str], float]


class DateStatus(Struct, frozen=True, kw_only=True):
    """One thing with dates: a certificate that is shown, a CA that is trusted, or the lists of one CA."""

    kind: str  # own, trust, crl
    name: str
    state: str  # good, ending, expired, not_yet_valid
    not_before: datetime
    not_after: datetime
    sentence: str = ""  # what a person is told; empty if it is good
    is_grave: bool = False  # for its sake nobody is let in


class CredentialsStatus(Struct, frozen=True, kw_only=True):
    """What [identity] names, by the files that were read last."""

    refusal: str = ""  # why this node would not let in itself, in one word, as refusals has it
    dates: tuple[DateStatus, ...] = ()


def validity_sentences(status: CredentialsStatus) -> Iterator[tuple[str, bool]]:
    """What needs attention, and whether it is grave."""
    told = [(date.sentence, date.is_grave) for date in status.dates if date.sentence]
    yield from told
    if status.refusal and not any(is_grave for _, is_grave in told):
        why = status.refusal.replace("_", " ")
        yield f"Neighbours with files like this node's refuse its certificate ({why}); run: pcgrelay check", True


def validity_families(status: CredentialsStatus) -> Iterator[tuple[str, str, list[Sample]]]:
    """Name, meaning and samples of each gauge: of each kind the end that comes first."""
    ends: dict[str, float] = {}
    for date in status.dates:
        end = date.not_after.timestamp()
        ends[date.kind] = min(end, ends.get(date.kind, end))
    yield (
        "certificate_not_after_timestamp_seconds",
        "When the first certificate of that kind ends.",
        [({"kind": kind}, ends[kind]) for kind in ("own", "trust") if kind in ends],
    )
    lists: list[Sample] = [({}, ends["crl"])] if "crl" in ends else []
    yield "crl_next_update_timestamp_seconds", "When the first revocation list is out of date.", lists


def validity_line(status: CredentialsStatus) -> str:
    """All ends in one line for a person, the first of each kind; empty if the node tells none."""
    words = {"own": "certificate", "trust": "trust", "crl": "revocation list"}
    ends = {kind: min((date.not_after for date in status.dates if date.kind == kind), default=None) for kind in words}
    return ", ".join(f"{words[kind]} until {end:%Y-%m-%d}" for kind, end in ends.items() if end is not None)
