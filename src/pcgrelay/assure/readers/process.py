"""K9, L1, N1, N2, N4, N9: the node's process as the kernel shows it, its sockets, and what strangers cost it."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import stat
import sys
from pathlib import Path

from pcgrelay.assure.facts import AdminSocket, FloodBounds, ListenerFact, Listeners, OpenPorts, Port, ProcessFacts
from pcgrelay.assure.readers.handshakes import offer_nothing
from pcgrelay.assure.readers.offers import tls_listeners
from pcgrelay.assure.scene import Scene
from pcgrelay.config import Address, Config
from pcgrelay.errors import PermissionProblem, RunError
from pcgrelay.files import reason_of
from pcgrelay.identity.handshake import HANDSHAKE_LIMIT_BYTES

PROC = Path("/proc")
IDLE_S = 0.5
CONTAINERS = ("docker", "libpod", "kubepods", "containerd", "crio", "machine.slice", "lxc")  # in names of groups
LISTENING = "0A"  # TCP_LISTEN of net/tcp_states.h, as /proc/net/tcp writes it
ELF_HEADERS = 1 << 4  # of the bits of coredump_filter
# linux/capability.h, in the order of their bits.
CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
    "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
    "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split()


# -- the process -----------------------------------------------------------------------------------------------------


async def read_process(scene: Scene) -> ProcessFacts:
    """K9 and L1."""
    return await asyncio.to_thread(_process, scene.pid())


def _process(pid: int) -> ProcessFacts:
    fields = status_fields(_read(pid, "status"))
    uid = int(fields["Uid"].split()[1])
    held = int(fields["CapEff"], 16) | int(fields["CapPrm"], 16)
    return ProcessFacts(
        uid=uid,
        capabilities=capability_names(held),
        bounding=capability_names(int(fields["CapBnd"], 16)),
        no_new_privileges=fields["NoNewPrivs"] == "1",
        seccomp=fields["Seccomp"] != "0",
        root_read_only=root_is_read_only(_read(pid, "mountinfo")),
        unit=unit_of(_read(pid, "cgroup")),
        core_limit_bytes=core_limit(_read(pid, "limits")),
        # The kernel gives the files of a process that may not be dumped to root (proc(5)).
        dumpable=uid == 0 or (PROC / str(pid)).stat().st_uid == uid,
        core_pipe=core_pipe((PROC / "sys/kernel/core_pattern").read_text()),
        core_memory=holds_memory(_read(pid, "coredump_filter")),
        swap=swap_areas((PROC / "swaps").read_text()),
        locked=_kilobytes(fields.get("VmLck", "0")) >= _kilobytes(fields.get("VmRSS", "1")),
    )


def _read(pid: int, name: str) -> str:
    try:
        return (PROC / str(pid) / name).read_text()
    except PermissionError:
        raise PermissionProblem(f"This user may not see {name} of the node's process; run this as root.") from None
    except OSError as error:
        raise RunError(f"The node's process cannot be seen ({reason_of(error)}).") from None


def status_fields(text: str) -> dict[str, str]:
    """Return the lines of /proc/PID/status by name."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, _, value in pairs}


def capability_names(bits: int) -> tuple[str, ...]:
    """Return the names of a set of capabilities; of one that is not known here, its number."""
    names = []
    for number in range(bits.bit_length()):
        if bits >> number & 1:
            names.append(f"CAP_{CAPABILITIES[number]}" if number < len(CAPABILITIES) else f"CAP_{number}")
    return tuple(names)


def root_is_read_only(mounts: str) -> bool:
    """Return whether the uppermost file system at / may not be written, from /proc/PID/mountinfo (proc(5))."""
    read_only = False
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[4] == "/":
            # The options of the mount, and behind the dash those of the file system.
            behind = fields[fields.index("-") + 1 :] if "-" in fields else []
            options = {*fields[5].split(","), *(behind[2].split(",") if len(behind) > 2 else ())}
            read_only = "ro" in options
    return read_only


def unit_of(groups: str) -> str:
    """Return the unit or container that a process is part of, from /proc/PID/cgroup (cgroups(7)); "": it has none.

    Sessions of people have scopes below user.slice, and what they start by hand is there too.
    """
    for line in groups.splitlines():
        path = line.split(":", 2)[-1]
        name = path.rpartition("/")[2]
        if "/user.slice/" not in f"{path}/" and (name.endswith(".service") or any(each in path for each in CONTAINERS)):
            return name
    return ""


def core_limit(limits: str) -> int | None:
    """Return the soft limit of a core dump, from /proc/PID/limits; None: there is none."""
    found = re.search(r"^Max core file size +(\S+)", limits, re.MULTILINE)
    if found is None or found[1] == "unlimited":
        return None
    return int(found[1])


def core_pipe(pattern: str) -> str:
    """Return the program that gets core dumps; "": they are files."""
    text = pattern.strip()
    return Path(text[1:].split()[0]).name if text.startswith("|") and text[1:].split() else ""


def holds_memory(core_filter: str) -> bool:
    """Return whether a core dump has memory, from /proc/PID/coredump_filter (core(5)); headers of files are none."""
    return int(core_filter, 16) & ~ELF_HEADERS != 0


def swap_areas(swaps: str) -> tuple[str, ...]:
    """Return the swap areas that are on, from /proc/swaps. One in memory (zram) is none."""
    names = [line.split()[0] for line in swaps.splitlines()[1:] if line.split()]
    return tuple(name for name in names if "/zram" not in name)


def _kilobytes(text: str) -> int:
    return int(text.split(maxsplit=1)[0])


# -- ports -----------------------------------------------------------------------------------------------------------


async def read_ports(scene: Scene) -> OpenPorts:
    """N2."""
    opened = await asyncio.to_thread(open_ports, scene.pid())
    return OpenPorts(open=opened, named=named_ports(scene.config), attempts=await offer_nothing(scene))


def open_ports(pid: int) -> tuple[Port, ...]:
    """Return the TCP ports at which a process listens. PermissionProblem: this user may not see that."""
    sockets = set()
    folder = PROC / str(pid) / "fd"
    try:
        names = os.listdir(folder)
    except PermissionError:
        raise PermissionProblem("This user may not see the sockets of the node's process; run this as root.") from None
    except OSError as error:
        raise RunError(f"The node's process cannot be seen ({reason_of(error)}).") from None
    for name in names:
        try:
            target = os.readlink(folder / name)
        except OSError:
            continue  # closed meanwhile
        if match := re.fullmatch(r"socket:\[(\d+)\]", target):
            sockets.add(match[1])
    found = set()
    for family in ("tcp", "tcp6"):
        try:
            text = (PROC / str(pid) / "net" / family).read_text()
        except FileNotFoundError:
            continue  # a system without IPv6
        found |= set(listening_ports(family, text, sockets))
    return tuple(sorted(found))


def listening_ports(family: str, text: str, sockets: set[str]) -> list[Port]:
    """Return the ports of /proc/net/tcp or tcp6 that listen, and whose inodes are among `sockets`."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if fields[3] == LISTENING and fields[9] in sockets:
            host, _, number = fields[1].partition(":")
            found.append(Port(family=family, host=_host(host), number=int(number, 16)))
    return found


def _host(text: str) -> str:
    """An address as /proc/net writes it: words of four bytes, each in the order of this machine."""

    words = [int(text[index : index + 8], 16).to_bytes(4, sys.byteorder) for index in range(0, len(text), 8)]
    return str(ipaddress.ip_address(b"".join(words)))


def named_ports(config: Config) -> tuple[Port, ...]:
    """Return the TCP ports that a configuration names. The host of a name is "", which stands for any."""
    found = []
    for _, address in listeners_of(config):
        if not address.is_unix:
            host = address.host if address.is_number else ""
            found.append(Port(family="tcp6" if ":" in host else "tcp", host=host, number=address.port))
    return tuple(sorted(set(found)))


def listeners_of(config: Config) -> list[tuple[str, Address]]:
    """Return each listener of a configuration with its side and key: "wan listen[1].address"."""
    found = [(f"wan listen[{n}].address", each.address) for n, each in enumerate(config.listens, 1)]
    for n, imported in enumerate(config.imports, 1):
        keys = ["listen", *(f"also[{number}]" for number in range(1, len(imported.also) + 1))]
        found += [(f"lan import[{n}].{key}", address) for key, address in zip(keys, imported.listeners, strict=True)]
    for n, export in enumerate(config.exports, 1):
        found += [(f"lan export[{n}].also[{number}]", address) for number, address in enumerate(export.also, 1)]
    for name, reader in config.readers.items():
        if reader.listen is not None:
            found.append((f"reader {name}.listen", reader.listen))
    return found


# -- listeners, the admin socket, bounds -----------------------------------------------------------------------------


async def read_listeners(scene: Scene) -> Listeners:
    """N1."""
    found = []
    for name, address in listeners_of(scene.config):
        if address.is_unix:
            continue
        side, _, key = name.partition(" ")
        found.append(
            ListenerFact(
                side=side,
                key=key,
                host=address.host,
                is_loopback=address.is_loopback,
                is_wildcard=address.is_wildcard,
            )
        )
    return Listeners(listeners=tuple(found))


async def read_admin_socket(scene: Scene) -> AdminSocket:
    """N4."""
    return _admin_socket(scene.config.node.admin, scene.config.node.admin_group is not None)


def _admin_socket(path: Path, group_named: bool) -> AdminSocket:
    folder = path.parent.stat()
    try:
        status = path.stat()
    except FileNotFoundError:
        status = None
    owners = {0, os.geteuid() if status is None else status.st_uid}
    return AdminSocket(
        exists=status is not None,
        is_socket=status is not None and stat.S_ISSOCK(status.st_mode),
        mode=0 if status is None else stat.S_IMODE(status.st_mode),
        folder_mode=stat.S_IMODE(folder.st_mode),
        folder_owner_is_trusted=folder.st_uid in owners,
        group_named=group_named,
    )


async def read_flood_bounds(scene: Scene) -> FloodBounds:
    """N9: bounds of the configuration, and what refused strangers cost the control plane's thread meanwhile."""
    policy = scene.config.policy
    cpu_ms, refusals = None, 0
    if tls_listeners(scene.config):
        cpu_ms, refusals = await _measured(scene)
    return FloodBounds(
        half_open_total=policy.half_open_total,
        half_open_per_source=policy.half_open_per_source,
        handshake_bytes=HANDSHAKE_LIMIT_BYTES,
        memory_bytes=scene.config.node.memory_bytes,
        refusals=refusals,
        cpu_ms=cpu_ms,
    )


async def _measured(scene: Scene) -> tuple[float | None, int]:
    """Return the milliseconds of processor for each refused handshake, less what the node needs without them."""
    loop, pid = asyncio.get_running_loop(), scene.pid()
    marks = [(loop.time(), _processor_ns(pid))]
    await asyncio.sleep(IDLE_S)
    marks.append((loop.time(), _processor_ns(pid)))
    refusals = len(await offer_nothing(scene))
    marks.append((loop.time(), _processor_ns(pid)))
    (t0, c0), (t1, c1), (t2, c2) = marks
    idle = (c1 - c0) / (t1 - t0)
    return max(0.0, (c2 - c1 - idle * (t2 - t1)) / 1e6 / refusals), refusals


def _processor_ns(pid: int) -> int:
    """Return the time that the main thread, the control plane, has had (the first number of schedstat)."""
    return int(_read(pid, f"task/{pid}/schedstat").split()[0])
