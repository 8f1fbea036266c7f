"""Each place where a node keeps anything: from its configuration, its folder of state, and the files that it has open.

What stands in a folder or is open, and is not known here, is shown too: a page that left it out would say too much.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from pcgrelay.admin.status import Status
from pcgrelay.config import Config
from pcgrelay.errors import PermissionProblem, RunError
from pcgrelay.files import reason_of
from pcgrelay.quantities import size
from pcgrelay.state.file import BEFORE

FILES_MOST = 20_000
OPEN_MOST = 64  # files that are shown
PROC = Path("/proc")
AUDIT = "audit"
STANDARD_ERROR = 2
UNKNOWN = "not known to pcgrelay: look at it"
# What an entry of the folder of state holds. A test holds this against the names in the sources.
STATE = {
    "approved": "the configuration that was approved last and the one before it, and the last changes, with "
    "signatures, lists of signers and revoked keys; acts that were carried out, and who holds a change: addresses of "
    "the staff who propose, sign and answer for rules",
    "cutover": "cut-overs: plan, phase, and the last decisions with the staff who took them; reports",
    "days.json": "on which days outlets and networks were used, in counts",
    "drills": "records of drills, with the staff who began them",
    "lock": "the number of the process that has the folder",
    "outlets.json": "shares of outlets, and the last changes of them with the staff who made them",
    "retired.json": "outlets that were closed, with the staff who closed them",
    "statements.json": "statements that a network is not used any more, with the staff who made them",
    "witness": "heads of the audit logs of other nodes: figures and hashes",
}


class Place(Struct, frozen=True, kw_only=True):
    """One place where something is kept."""

    where: str
    what: str
    whose: str
    how_long: str
    who: str  # may read it
    shown_by: str  # control


class OpenFile(Struct, frozen=True, kw_only=True):
    """A file on a disk that the node's process has open for writing."""

    descriptor: int
    path: str


def open_files(pid: int) -> tuple[OpenFile, ...]:
    """Return the files on a disk that a process has open for writing, by descriptor.

    PermissionProblem: this user may not see them. RunError: the process is gone.
    """
    folder = PROC / str(pid)
    found = []
    try:
        for name in os.listdir(folder / "fd"):
            try:
                is_file = stat.S_ISREG(os.stat(folder / "fd" / name).st_mode)
                flags = (folder / "fdinfo" / name).read_text()
                path = os.readlink(folder / "fd" / name)
            except FileNotFoundError:
                continue  # closed meanwhile
            if is_file and _is_written(flags) and not path.startswith("/memfd:"):
                found.append(OpenFile(descriptor=int(name), path=path))
    except PermissionError:
        raise PermissionProblem("This user may not see which files the node has open; run this as root.") from None
    except OSError as error:
        raise RunError(f"The node's process cannot be seen ({reason_of(error)}).") from None
    return tuple(sorted(found, key=lambda each: each.descriptor))


def _is_written(fdinfo: str) -> bool:
    """Whether a descriptor is open for writing, from /proc/PID/fdinfo/FD (proc(5)): flags in octal."""
    flags = next((line.split()[1] for line in fdinfo.splitlines() if line.startswith("flags:")), "0")
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY


def places(config: Config, status: Status | None, opened: Sequence[OpenFile] | None, kinds: int = 0) -> Iterator[Place]:
    """Yield each place, from the traffic outwards.

    opened: files that the node has open; None: they cannot be seen. kinds: how many kinds of records there are.
    """
    yield _memory(config, status)
    yield _log(config, opened, kinds)
    if config.audit is not None:
        yield Place(
            where=f"the audit log, STATE/{AUDIT}",
            what="decisions, with the staff who took them; streams as [audit] streams says: who used which service, "
            "when, and how many bytes",
            whose="the organisation that runs the node",
            how_long=f"{config.audit.keep_days} days; hashes for ever",
            who="the node's user and root",
            shown_by="M4, M5, M6",
        )
    if config.node.state is not None:
        yield from _state(config.node.state)
    yield from _others(config, opened)
    yield Place(
        where="the configuration, and the lists of signers that it names",
        what="addresses of services; owners of rules and signers as addresses of staff",
        whose="the organisation that runs the node",
        how_long="as the organisation keeps its changes",
        who="whoever may read these files",
        shown_by="N3",
    )
    yield _sockets(config)
    for caller in config.callers:
        yield Place(
            where="counts of callers who still come the old way",
            what=f"how many came from the networks of {caller.organisation}, and when the last did; no address is kept",
            whose=caller.organisation,
            how_long="day by day, as long as the state",
            who="the node's user and root",
            shown_by="M6",
        )


def _memory(config: Config, status: Status | None) -> Place:
    used = f", {size(status.memory.used_bytes)} in use" if status else ""
    return Place(
        where=f"memory of the data plane, {size(config.node.memory_bytes)} at most{used}",
        what="what applications say to each other, between two system calls or until the far edge has acknowledged it",
        whose="the applications and services that use the gateway",
        how_long="milliseconds, as a rule; to the end of the stream at most",
        who="nobody: it is in no file, record, metric or answer",
        shown_by="K9, L2, M6",
    )


def _log(config: Config, opened: Sequence[OpenFile] | None, kinds: int) -> Place:
    access = "with a line for each stream" if config.log.access else "without lines for single streams"
    is_file = any(each.descriptor == STANDARD_ERROR for each in opened or ())
    return Place(
        where="the log: standard error of the node, "
        + ("which is a file" if is_file else "which its unit gives to the journal"),
        what=f"{kinds} kinds of records about links, sessions, rules and streams, {access}",
        whose="the organisation that runs the node",
        how_long="until somebody removes the file" if is_file else "as the journal of the machine is set",
        who="whoever may read the file" if is_file else "root, and members of systemd-journal",
        shown_by="M6",
    )


def _state(folder: Path) -> Iterator[Place]:
    for name, count in state_contents(folder):
        known = STATE.get(name.rstrip("/").removesuffix(BEFORE), UNKNOWN)
        yield Place(
            where=f"STATE/{name}",
            what=f"{'1 file' if count == 1 else f'{count:,} files'}: {known}",
            whose="the organisation that runs the node",
            how_long="until it is replaced",
            who="the node's user and root",
            shown_by="M6",
        )


def _others(config: Config, opened: Sequence[OpenFile] | None) -> Iterator[Place]:
    """Files that the node has open for writing and that stand nowhere else on this page."""
    if opened is None:
        yield _other("files that the node has open", "this user may not see them: run this as root")
        return
    state = None if config.node.state is None else f"{config.node.state.resolve()}/"
    standard = {each.path for each in opened if each.descriptor <= STANDARD_ERROR}
    others = sorted({each.path for each in opened} - standard)
    for path in [each for each in others if state is None or not each.startswith(state)][:OPEN_MOST]:
        # The folder is of this machine, and not for whoever reads the page.
        yield _other(f"a file that the node has open for writing: {Path(path).name}", UNKNOWN)


def _other(where: str, what: str) -> Place:
    return Place(where=where, what=what, whose="not known", how_long="not known", who="not known", shown_by="none")


def _sockets(config: Config) -> Place:
    group = " and a group that it names" if config.node.admin_group is not None else ""
    signers = "" if config.approvals is None else "; what was approved last, with the addresses of who signed"
    return Place(
        where="the admin socket" + "".join(f", the listener of [{name}]" for name in config.readers),
        what=f"figures and names of nodes, organisations and services, as they are now{signers}",
        whose="the organisation that runs the node",
        how_long="nothing is kept",
        who=f"the node's user{group}" + ("; readers with a certificate" if config.readers else ""),
        shown_by="N4",
    )


def state_contents(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield each entry of the folder of state, but the audit log, with the number of files in it."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.name == AUDIT or entry.name.startswith("."):
            continue
        if not entry.is_dir():
            yield entry.name, 1
            continue
        files = (each for each in entry.rglob("*") if each.is_file())
        yield f"{entry.name}/", sum(1 for _ in itertools.islice(files, FILES_MOST))
