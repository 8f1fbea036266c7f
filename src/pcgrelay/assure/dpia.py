"""The page for a data protection impact assessment: each place where anything is kept, and whose.

It is made from what there is: the kinds of records of the log and their fields, the folder of state, the configuration.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from datetime import datetime

from msgspec import structs

import pcgrelay.log
from pcgrelay.admin.status import Status
from pcgrelay.assure.places import OpenFile, places
from pcgrelay.config import Config
from pcgrelay.log.events import Record
from pcgrelay.rendering import render

# The words of the decision paper; printed only if the search for a marker found none.
SENTENCE = (
    "There is no personal data stored or processed directly by the gateway itself; any impact assessment resides with "
    "the applications and services that use it."
)
UNSHOWN = (
    "It has not been shown that the gateway keeps no personal data: control M6 has not passed. Until it has, this page "
    "cannot say so."
)
SHOWN_BY = "M6"
# Fields of records that say something about a person or a machine, and what; all others are names of nodes,
# organisations, services and networks, figures, times, and sentences that pcgrelay makes itself.
ABOUT = {
    "by": "how somebody who acted on the node named themselves, or the address of who proposed a change",
    "approved": "addresses of those who signed a change or an act",
    "keys": "fingerprints of the keys with which they signed",
    "lines": "what a change of policy says: also addresses of signers, and of who has a role, where these change",
    "policy": "the same, where a reload is told",
    "sentence": "who signed a change, and who may yet",
    "uid": "the number of the user who acted, as the kernel says",
    "reason": "in records of acts: why, as whoever acted wrote it; in config.refused as `sentence`; else one word",
    "observer": "who stated that an old network is not used any more",
    "source": "address of a machine of a network that was refused before it was authenticated; never an application's",
}
# Besides the records of acts, which have the user's number.
ALSO = {("reason", "config.refused")}
# Where a field of that name is about a person or an unknown machine; elsewhere it names nodes, or is made from figures.
ONLY = {"sentence": ("policy.", "approval."), "source": ("handshake.",)}


def dpia(
    config: Config,
    status: Status | None,
    opened: Sequence[OpenFile] | None,
    now: datetime,
    marking: str,
    *,
    is_shown: bool,
) -> str:
    """Return the page as Markdown.

    opened: files that the node has open; None: they cannot be seen. is_shown: control M6 has passed in this run.
    """
    return render(
        "dpia.md",
        node=config.node.id.dotted,
        marking=marking,
        now=now,
        first=SENTENCE if is_shown else UNSHOWN,
        places=list(places(config, status, opened, len(record_kinds()))),
        fields=list(fields_about_people()),
        kinds=len(record_kinds()),
    )


def record_kinds() -> list[type[Record]]:
    """Return all kinds of records that a node can write, by event."""
    for module in pkgutil.iter_modules(pcgrelay.log.__path__):
        importlib.import_module(f"pcgrelay.log.{module.name}")
    found: list[type[Record]] = []
    waiting = list(Record.__subclasses__())
    while waiting:
        each = waiting.pop()
        waiting += each.__subclasses__()
        if hasattr(each, "EVENT") and each.__module__.startswith("pcgrelay."):
            found.append(each)
    return sorted(found, key=lambda kind: kind.EVENT)


def fields_about_people() -> Iterator[tuple[str, str, str]]:
    """Yield each field that says something about a person or a machine: its name, what it is, and in which records."""
    for name, what in ABOUT.items():
        events = [kind.EVENT for kind in record_kinds() if name in (each.name for each in structs.fields(kind))]
        if name in ("by", "reason"):
            # Written by a person only where one acts; elsewhere these are words of closed lists.
            acts = {kind.EVENT for kind in record_kinds() if "uid" in (each.name for each in structs.fields(kind))}
            events = [event for event in events if event in acts or (name, event) in ALSO]
        events = [event for event in events if event.startswith(ONLY.get(name, ("",)))]
        if events:
            yield name, what, ", ".join(events)
