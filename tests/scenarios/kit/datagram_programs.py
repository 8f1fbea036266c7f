"""Servers and clients of UDP that nobody here wrote, on loopback, and a line of nodes between them."""

from __future__ import annotations

import getpass
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.scenarios.kit.nodes import HOST, Address, Line, Node, Stage, line
from tests.scenarios.kit.real_programs import START_S, program, run, running
from tests.support.waiting import until

ZONE = "names.example"
HOST_OF_ZONE = "192.0.2.7"
SYSTEM_NAME = "gate.kent.example"


@contextmanager
def datagram_line(
    folder: Path,
    topology: str,
    *services: str,
    keys: Mapping[str, Any] | None = None,
    streams: Sequence[str] = (),
    **tables: Any,
) -> Iterator[Line]:
    """Nodes that carry these services as datagrams, started and well. keys: of each of these exports and imports.

    streams: services of TCP beside them.
    """
    exported = {"protocol": "udp", **(keys or {})}
    imported = {**exported, "new_streams_per_second": 100_000}
    with Stage(folder) as stage:
        made = line(
            stage,
            topology,
            streams,
            odd_exports=dict.fromkeys(services, exported),
            odd_imports=dict.fromkeys(services, imported),
            **tables,
        )
        made.start()
        yield made


def drops(nodes: Line) -> dict[str, float]:
    """What all nodes of a line have dropped, by the counters of their cores."""
    found: dict[str, float] = {}
    for node in nodes.nodes:
        for name, value in node.metrics().items():
            if value and name.startswith(("core_datagrams_dropped_", "core_datagram_frames_")):
                found[f"{node.name} {name}"] = value
    return found


def ends(node: Node) -> list[dict[str, Any]]:
    """Lines of associations that ended: of each one, and of those together that made room for others."""
    return [*node.log("stream.end", protocol="udp"), *node.log("stream.evicted")]


@contextmanager
def dnsmasq(folder: Path, address: Address) -> Iterator[None]:
    """A name server that knows each name below ZONE."""
    folder.mkdir(exist_ok=True)
    log = folder / "dnsmasq.log"
    options = [
        "--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--bind-interfaces",
        f"--user={getpass.getuser()}", "--pid-file=", f"--port={address[1]}", f"--listen-address={address[0]}",
        f"--address=/{ZONE}/{HOST_OF_ZONE}", "--log-facility=-",
    ]  # fmt: skip
    with running(["dnsmasq", *options], log, address):
        yield


def dig(
    address: Address, count: int, folder: Path, *, source: str = HOST, tries: int = 1, seconds: float = 120.0
) -> int:
    """Ask for so many names, each once and from a port of its own, and answer how many answers were right.

    source: the address to ask from. Of several at once each needs its own: dig shares ports (SO_REUSEADDR), so the
    system may give two of them one port, and the answer to one comes to the other.
    """
    names = folder / "names"
    names.write_text("".join(f"n{number}.{ZONE} A\n" for number in range(count)))
    command = [
        "dig",
        "-b",
        source,
        f"@{address[0]}",
        "-p",
        str(address[1]),
        f"+tries={tries}",
        "+time=5",
        "+noall",
        "+answer",
        "-f",
        names,
    ]
    done = subprocess.run([program("dig"), *command[1:]], capture_output=True, timeout=seconds, check=False)
    # 9: there was no answer.
    assert done.returncode in (0, 9), done.stderr
    said = done.stdout.decode()
    found = re.findall(rf"^n(\d+)\.{re.escape(ZONE)}\.\s+\d+\s+IN\s+A\s+{re.escape(HOST_OF_ZONE)}$", said, re.MULTILINE)
    return len(set(found))


@contextmanager
def snmpd(folder: Path, address: Address) -> Iterator[None]:
    """An agent that says its name to whoever knows its community."""
    folder.mkdir(exist_ok=True)
    config = folder / "snmpd.conf"
    config.write_text(f"rocommunity public\nsysName {SYSTEM_NAME}\n")
    place = f"udp:{address[0]}:{address[1]}"
    command = ["env", f"SNMP_PERSISTENT_DIR={folder}", "/usr/sbin/snmpd", "-f", "-Lo", "-C", "-c", config, place]
    with running(command, folder / "log"):
        until(lambda: "NET-SNMP version" in (folder / "log").read_text(), START_S, "snmpd is ready")
        yield


def snmpget(door: Address, retries: int = 0) -> str:
    """Ask an agent for its name."""
    where = ["-v2c", "-c", "public", "-r", str(retries), "-t", "5", "-Oqv", "-m", "", f"{door[0]}:{door[1]}"]
    return run("snmpget", *where, "1.3.6.1.2.1.1.5.0").strip().strip('"')


@contextmanager
def rsyslogd(folder: Path, address: Address) -> Iterator[Path]:
    """A collector of lines; answers the file to which it writes what came."""
    folder.mkdir(exist_ok=True)
    config, out = folder / "rsyslog.conf", folder / "lines"
    config.write_text(
        f"""global(workDirectory="{folder}")
module(load="imudp")
input(type="imudp" address="{address[0]}" port="{address[1]}")
template(name="text" type="string" string="%msg%\\n")
action(type="omfile" file="{out}" template="text")
"""
    )
    with running(["rsyslogd", "-n", "-f", config, "-i", folder / "pid"], folder / "log"):
        until(lambda: _is_bound(address), START_S, "rsyslogd is ready")
        yield out


def _is_bound(address: Address) -> bool:
    return f":{address[1]:04X} " in Path("/proc/net/udp").read_text()


@contextmanager
def sipp_server(folder: Path, address: Address) -> Iterator[None]:
    """A phone that answers each call."""
    folder.mkdir(exist_ok=True)
    options = ["-sn", "uas", "-i", address[0], "-p", str(address[1]), "-nostdin"]
    with running(["sipp", *options], folder / "uas.log"):
        until(lambda: _is_bound(address), START_S, "sipp is ready")
        yield


def sipp_calls(door: Address, calls: int, lasts_ms: int) -> str:
    """Make so many calls; each one that fails is a failure."""
    options = ["-sn", "uac", "-i", door[0], "-m", str(calls), "-r", "10", "-d", str(lasts_ms), "-nostdin"]
    return run("sipp", *options, "-timeout", "60", "-timeout_error", f"{door[0]}:{door[1]}")
