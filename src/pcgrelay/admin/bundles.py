"""The realm's bundle that is in force at a node, for its status, metrics and troubles."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from msgspec import Struct

Sample = tuple[dict[str, str], float]
MEND = "pcgrelay ca bundle sign, then pcgrelay reload -c FILE at one node"


class BundleStatus(Struct, frozen=True, kw_only=True):
    """A bundle in force."""

    epoch: int
    source: str = ""  # the neighbour that brought it; empty: the file
    state: str = "good"  # good, ending, expired, not_yet_valid
    not_before: datetime
    not_after: datetime
    members: tuple[str, ...] | None = None  # none: it says nothing of them
    relays: tuple[str, ...] | None = None
    clearances: dict[str, str] | None = None
    minimum: str = ""  # the oldest version; empty: any
    is_below: bool = False  # this node's version is older
    is_member: bool = True  # this node's organisation is one
    unkept: str = ""  # why it is not in the folder of state


def bundle_sentences(status: BundleStatus | None) -> Iterator[str]:
    """Yield a sentence for everything that needs attention."""
    if status is None:
        return
    end, start = (f"{moment:%Y-%m-%d %H:%M} UTC" for moment in (status.not_after, status.not_before))
    if status.state == "ending":
        yield f"The realm's bundle (epoch {status.epoch}) ends on {end}; have the realm sign a new one."
    if status.state == "expired":
        yield f"The realm's bundle (epoch {status.epoch}) expired on {end}, and stays in force until there is a newer."
    if status.state == "not_yet_valid":
        yield f"The realm's bundle (epoch {status.epoch}) is valid from {start} only; look at this machine's clock."
    if not status.is_member:
        yield "This node's organisation is no member by the realm's bundle: neighbours refuse its links."
    if status.is_below:
        yield f"This node's version is below the realm's minimum ({status.minimum}); install a newer one."
    if status.unkept:
        yield f"The realm's bundle is not kept, and an older one could follow a restart ({status.unkept})"


def bundle_families(status: BundleStatus | None) -> Iterator[tuple[str, str, list[Sample]]]:
    """Yield name, help text and samples of each gauge."""
    there = [] if status is None else [status]
    yield (
        "realm_bundle_epoch",
        "Epoch of the realm's bundle in force, and whether the file or a neighbour brought it.",
        [({"source": "neighbour" if each.source else "file"}, float(each.epoch)) for each in there],
    )
    yield (
        "realm_bundle_not_before_timestamp_seconds",
        "From when the realm's bundle in force is valid; its age is the time since then.",
        [({}, each.not_before.timestamp()) for each in there],
    )
    yield (
        "realm_bundle_not_after_timestamp_seconds",
        "When the realm's bundle in force expires.",
        [({}, each.not_after.timestamp()) for each in there],
    )
    yield (
        "realm_bundle_below_minimum",
        "Whether this node's version is below the realm's minimum.",
        [({}, float(each.is_below)) for each in there],
    )


def bundle_lines(status: BundleStatus | None) -> Iterator[str]:
    """Yield what there is to say of it to a person, each at most 80 columns unless a name is long."""
    if status is None:
        return
    parts = (("members", status.members), ("relays", status.relays), ("clearances", status.clearances))
    said = ", ".join(f"{noun} {len(each)}" for noun, each in parts if each is not None)
    yield f"realm bundle {status.epoch} until {status.not_after:%Y-%m-%d}{f' ({said})' if said else ''}"
    if status.source:
        yield f"realm bundle {status.epoch} was brought by {status.source}"
