"""Judges of the process and its machine: K9, L1, L2, N1, N2, N4, N9."""

from __future__ import annotations

from collections.abc import Iterator

from pcgrelay.assure.facts import (
    AdminSocket,
    FloodBounds,
    ListenerFact,
    Listeners,
    OpenPorts,
    Port,
    ProcessFacts,
    SecretSearch,
)
from pcgrelay.assure.judgement import Judgement, asked, failed, judge_all, listed, passed
from pcgrelay.assure.parameters import Parameters
from pcgrelay.core_dumps import NO_DUMP_BYTES

CAPABILITIES = ("CAP_NET_BIND_SERVICE",)  # for ports below 1024
# Programs that apply the limit themselves.
HEEDS_LIMIT = ("systemd-coredump", "apport")
PRIVATE, SHARED = 0o600, 0o660  # of the admin socket: without, and with a group that may read
SIDES = {"wan": "links", "lan": "applications", "reader": "readers"}


def memory_stays_in_memory(facts: ProcessFacts, parameters: Parameters) -> Judgement:
    """K9: no core dump holds a key, and no swap area."""
    expected = "no core dumps, and no swap or locked memory"
    wrong = list(_dumped(facts)) if facts.dumpable else []
    if facts.swap and not facts.locked:
        noun = "swap area is" if len(facts.swap) == 1 else "swap areas are"
        wrong.append(f"{len(facts.swap)} {noun} on, and the memory is not locked")
    swap = "memory is locked" if facts.swap else "no swap"
    return judge_all(wrong, f"no core dumps, {swap}", expected)


def _dumped(facts: ProcessFacts) -> Iterator[str]:
    limit = facts.core_limit_bytes
    if limit not in (0, NO_DUMP_BYTES):
        yield f"core dumps are on ({'no limit' if limit is None else f'up to {limit:,} bytes'})"
    elif limit == 0 and facts.core_pipe and not facts.core_pipe.startswith(HEEDS_LIMIT):
        # core(5): the kernel does not apply the limit to a dump that it gives to a program, but for the limit 1.
        yield f"core dumps go to {facts.core_pipe}, whatever the limit"
    if facts.core_memory:
        yield "a core dump would hold memory (coredump_filter)"


def process_has_no_rights(facts: ProcessFacts, parameters: Parameters) -> Judgement:
    """L1: user, capabilities, NoNewPrivs, seccomp, the root file system.

    What a person starts in a shell has no unit that could confine it: then a person says why it is run so.
    """
    expected = "not root, no capability but CAP_NET_BIND_SERVICE, NoNewPrivs, seccomp, read-only root"
    wrong = list(_rights(facts))
    if wrong and not facts.unit and not (facts.no_new_privileges or facts.seccomp or facts.root_read_only):
        why = "it was started by hand, without a unit or container that confines it"
        return asked(f"{why}: {listed(wrong)}", expected)
    return judge_all(wrong, f"user {facts.uid}, confined", expected)


def _rights(facts: ProcessFacts) -> Iterator[str]:
    if facts.uid == 0:
        yield "it runs as root"
    if spare := [each for each in facts.capabilities if each not in CAPABILITIES]:
        more = f" and {len(spare) - 3} more" if len(spare) > 3 else ""
        yield f"it has {', '.join(spare[:3])}{more}"
    if not facts.no_new_privileges:
        yield "NoNewPrivs is off"
    if not facts.seccomp:
        yield "seccomp is off"
    if not facts.root_read_only:
        yield "its root file system can be written"


def secrets_are_wiped(facts: SecretSearch, parameters: Parameters) -> Judgement:
    """L2: no secret is found, and the search finds one that is kept."""
    expected = "a secret that the data plane took is found nowhere in the memory of the process that gave it"
    if not facts.control_found or not facts.secrets:
        return failed("the search found not even the one that was kept on purpose", expected)
    if facts.found:
        return failed(f"{facts.found} copies of {facts.secrets} secrets were found", expected)
    return passed(f"0 copies of {facts.secrets} secrets in {facts.searched_bytes >> 20:,} MiB", expected)


def sides_do_not_meet(facts: Listeners, parameters: Parameters) -> Judgement:
    """N1: no address has listeners of two sides. Loopback is this machine's own side, and meets nothing."""
    expected = "listeners for links, applications and readers are on different addresses"
    outside = [each for each in facts.listeners if not each.is_loopback]
    wrong = [
        f"{one.key} ({SIDES[one.side]}) and {other.key} ({SIDES[other.side]}) meet"
        for number, one in enumerate(outside)
        for other in outside[number + 1 :]
        if one.side != other.side and _meet(one, other)
    ]
    inside = len(facts.listeners) - len(outside)
    return judge_all(wrong, f"{len(outside)} listeners apart, {inside} on loopback", expected)


def _meet(one: ListenerFact, other: ListenerFact) -> bool:
    return one.host == other.host or one.is_wildcard or other.is_wildcard


def no_other_port_is_open(facts: OpenPorts, parameters: Parameters) -> Judgement:
    """N2: each open port is named, and no unauthenticated peer was told anything."""
    expected = "only the ports of the configuration are open, and without a certificate nothing is told"
    wrong = [f"port {each.number} is open" for each in facts.open if not _is_named(each, facts.named)]
    wrong += [
        f"{each.listener} sent {each.told_bytes} bytes to a peer without a certificate"
        for each in facts.attempts
        if each.told_bytes
    ]
    return judge_all(wrong, f"{len(facts.open)} ports, each of the configuration", expected, "")


def _is_named(port: Port, named: tuple[Port, ...]) -> bool:
    return any(each.number == port.number and each.host in ("", port.host) for each in named)


def admin_socket_is_private(facts: AdminSocket, parameters: Parameters) -> Judgement:
    """N4: mode of the socket, and who may change its folder."""
    expected = "mode 0600 (0660 with [node] admin_group), in a folder that nobody else may write"
    if not facts.exists or not facts.is_socket:
        return failed("there is no admin socket", expected, "start the node")
    wrong = []
    if facts.mode not in ((PRIVATE, SHARED) if facts.group_named else (PRIVATE,)):
        wrong.append(f"its mode is {facts.mode:04o}")
    if facts.folder_mode & 0o022 and not facts.folder_mode & 0o1000:
        wrong.append(f"others may write its folder (mode {facts.folder_mode:04o})")
    if not facts.folder_owner_is_trusted:
        wrong.append("its folder belongs to another user")
    return judge_all(wrong, f"mode {facts.mode:04o}", expected)


def floods_are_bounded(facts: FloodBounds, parameters: Parameters) -> Judgement:
    """N9: all unfinished handshakes together fit into the node's memory, and one source gets a part of them."""
    most = facts.half_open_total * facts.handshake_bytes
    expected = "all unfinished handshakes together need less than the node's memory, and one source gets a part"
    wrong = []
    if most >= facts.memory_bytes:
        wrong.append(f"{facts.half_open_total:,} of them may need {most >> 20:,} MiB of {facts.memory_bytes >> 20:,}")
    if facts.half_open_per_source >= facts.half_open_total > 1:
        wrong.append("one source may have all of them")
    cost = "" if facts.cpu_ms is None else f"; a refused one costs {facts.cpu_ms:.1f} ms of a processor"
    return judge_all(wrong, f"{most >> 20:,} MiB of {facts.memory_bytes >> 20:,} at most{cost}", expected)
