"""The page for a data protection impact assessment: each place where anything is kept, and whose.

It is made from what there is: the kinds of records of the log and their fields, the folder of state, the configuration.
"""

from __future__ import annotations

import importlib
import itertools
import pkgutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from msgspec import Struct, structs

import pcgrelay.log
from pcgrelay.admin.status import Status
from pcgrelay.config import Config
from pcgrelay.log.events import Record
from pcgrelay.quantities import size
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
FILES_MOST = 20_000
# Fields of records that say something about a person or a machine, and what; all others are names of nodes,
# organisations, services and networks, figures, times, and sentences that pcgrelay makes itself.
ABOUT = {
    "by": "how somebody who acted on the node named themselves",
    "uid": "the number of the user who acted, as the kernel says",
    "reason": "in records of acts: why, as whoever acted wrote it; else one word of a closed list",
    "observer": "who stated that an old network is not used any more",
    "source": "address of a machine of a network that was refused before it was authenticated; never an application's",
}


class Place(Struct, frozen=True, kw_only=True):
    """One place where something is kept."""

    where: str
    what: str
    whose: str
    how_long: str
    who: str  # may read it
    shown_by: str  # control


def dpia(config: Config, status: Status | None, now: datetime, marking: str, *, is_shown: bool) -> str:
    """Return the page as Markdown. is_shown: control M6 has passed in this run."""
    return render(
        "dpia.md",
        node=config.node.id.dotted,
        marking=marking,
        now=now,
        first=SENTENCE if is_shown else UNSHOWN,
        places=list(places(config, status)),
        fields=list(fields_about_people()),
        kinds=len(record_kinds()),
    )


def places(config: Config, status: Status | None) -> Iterator[Place]:
    """Yield each place, from the traffic outwards."""
    budget = size(config.node.memory_bytes)
    used = f", {size(status.memory.used_bytes)} in use" if status else ""
    yield Place(
        where=f"memory of the data plane, {budget} at most{used}",
        what="what applications say to each other, between two system calls or until the far edge has acknowledged it",
        whose="the applications and services that use the gateway",
        how_long="milliseconds, as a rule; to the end of the stream at most",
        who="nobody: it is in no file, record, metric or answer",
        shown_by="K9, L2, M6",
    )
    access = "with a line for each stream" if config.log.access else "without lines for single streams"
    yield Place(
        where="the log: standard error of the node, which its unit gives to the journal",
        what=f"{len(record_kinds())} kinds of records about links, sessions, rules and streams, {access}",
        whose="the organisation that runs the node",
        how_long="as the journal of the machine is set",
        who="root, and members of systemd-journal",
        shown_by="M6",
    )
    if config.audit is not None:
        yield Place(
            where="the audit log, STATE/audit",
            what="decisions, and streams as [audit] streams says: who used which service, when, and how many bytes",
            whose="the organisation that runs the node",
            how_long=f"{config.audit.keep_days} days; hashes for ever",
            who="the node's user and root",
            shown_by="M4, M5, M6",
        )
    if config.node.state is not None:
        for name, count in state_contents(config.node.state):
            yield Place(
                where=f"STATE/{name}",
                what=f"{_counted(count)}: what outlasts the process (shares, cut-overs, drills, days without use)",
                whose="the organisation that runs the node",
                how_long="until it is replaced",
                who="the node's user and root",
                shown_by="M6",
            )
    yield Place(
        where="the configuration, and the lists of signers that it names",
        what="addresses of services; owners of rules and signers as addresses of staff",
        whose="the organisation that runs the node",
        how_long="as the organisation keeps its changes",
        who="whoever may read these files",
        shown_by="N3",
    )
    group = " and a group that it names" if config.node.admin_group is not None else ""
    yield Place(
        where="the admin socket" + "".join(f", the listener of [{name}]" for name in config.readers),
        what="figures and names of nodes, organisations and services, as they are now",
        whose="the organisation that runs the node",
        how_long="nothing is kept",
        who=f"the node's user{group}" + ("; readers with a certificate" if config.readers else ""),
        shown_by="N4",
    )
    for caller in config.callers:
        yield Place(
            where="counts of callers who still come the old way",
            what=f"how many came from the networks of {caller.organisation}, and when the last did; no address is kept",
            whose=caller.organisation,
            how_long="day by day, as long as the state",
            who="the node's user and root",
            shown_by="M6",
        )


def state_contents(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield each entry of the folder of state, but the audit log, with the number of files in it."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.name == "audit" or entry.name.startswith("."):
            continue
        if not entry.is_dir():
            yield entry.name, 1
            continue
        files = (each for each in entry.rglob("*") if each.is_file())
        yield f"{entry.name}/", sum(1 for _ in itertools.islice(files, FILES_MOST))


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
            events = [event for event in events if event in acts]
        if events:
            yield name, what, ", ".join(events)


def _counted(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"
