"""Validity of a node's certificates and revocation lists, for its status, metrics and troubles."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from msgspec import Struct

Sample = tuple[dict[str, str], float]


class DateStatus(Struct, frozen=True, kw_only=True):
    """One dated item: a certificate of the node, a trusted CA, or the lists of one CA."""

    kind: str  # own, trust, crl, crl_file (a list of the file, in whose place one of a neighbour is in force)
    name: str
    state: str  # good, ending, expired, not_yet_valid
    not_before: datetime
    not_after: datetime
    sentence: str = ""  # for the operator; empty if the state is good
    is_grave: bool = False  # nobody can link because of it


class ListStatus(Struct, frozen=True, kw_only=True):
    """A revocation list in force that has a number."""

    name: str  # of the CA
    number: int
    source: str = ""  # the neighbour that brought it; empty: the file
    entries: int = 0
    not_before: datetime
    not_after: datetime | None = None
    travels: bool = True  # neighbours are told of it; else it is too large


class CredentialsStatus(Struct, frozen=True, kw_only=True):
    """The files of [identity], as they were last read."""

    refusal: str = ""  # why this node would refuse itself, in one word, as in refusals
    dates: tuple[DateStatus, ...] = ()
    lists: tuple[ListStatus, ...] = ()


def validity_sentences(status: CredentialsStatus) -> Iterator[tuple[str, bool]]:
    """Yield a sentence for everything that needs attention, and whether it is grave."""
    told = [(date.sentence, date.is_grave) for date in status.dates if date.sentence]
    yield from told
    if status.refusal and not any(is_grave for _, is_grave in told):
        why = status.refusal.replace("_", " ")
        yield f"Neighbours with files like this node's refuse its certificate ({why}); run: pcgrelay check", True


def validity_families(status: CredentialsStatus) -> Iterator[tuple[str, str, list[Sample]]]:
    """Yield name, help text and samples of each gauge: for each kind the earliest end."""
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
    first = min((date for date in status.dates if date.kind == "crl"), key=lambda date: date.not_after, default=None)
    yield (
        "crl_last_update_timestamp_seconds",
        "When that list was made.",
        [] if first is None else [({}, first.not_before.timestamp())],
    )
    yield (
        "crl_number",
        "Number of the revocation list in force of each CA, and whether the file or a neighbour brought it.",
        [
            ({"ca": each.name, "source": "neighbour" if each.source else "file"}, float(each.number))
            for each in status.lists
        ],
    )
    yield (
        "crl_travels",
        "Whether neighbours are told of the list in force of each CA; not of one over 1 MiB.",
        [({"ca": each.name}, float(each.travels)) for each in status.lists],
    )


def brought_lines(status: CredentialsStatus) -> Iterator[str]:
    """Yield a line for each list in force that a neighbour has brought, or that no neighbour is told of."""
    for each in status.lists:
        if each.source:
            yield f"list {each.number} of {each.name}, brought by {each.source}"
        elif not each.travels:
            yield f"list {each.number} of {each.name} is over 1 MiB and does not travel: put it at each node"


def validity_line(status: CredentialsStatus) -> str:
    """Return the earliest end of each kind in one line; empty if the node reports none."""
    words = {"own": "certificate", "trust": "trust", "crl": "revocation list"}
    ends = {kind: min((date.not_after for date in status.dates if date.kind == kind), default=None) for kind in words}
    return ", ".join(f"{words[kind]} until {end:%Y-%m-%d}" for kind, end in ends.items() if end is not None)
