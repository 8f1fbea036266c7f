"""N6, M2 and M6: what an edge of a throw-away organisation may do here, what is recorded of it, and what is not.

The probe is an ordinary edge of the realm on this machine, whose configuration [assure] probe names. Tests connect to
its imports as applications do. So what is tested is what any other organisation meets.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import stat
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pcgrelay import config as configuration
from pcgrelay.admin.client import read_page
from pcgrelay.admin.status import STATUS_PATH
from pcgrelay.assure.judgement import AskedError
from pcgrelay.assure.readers.records import log_folder, next_number, records_after
from pcgrelay.assure.record_facts import Marker, Observed, Privacy
from pcgrelay.assure.record_fields import open_fields, records
from pcgrelay.assure.rule_facts import Refusal
from pcgrelay.assure.scene import Scene
from pcgrelay.audit.segments import segments_of
from pcgrelay.config import Config, ImportSettings
from pcgrelay.errors import StatusProblem

STREAM_S = 2.0  # until the far side has answered, or refused
POLL_S = 0.05
GRACE_S = 1.0  # beyond the seconds of the profile, so that a late record is told from none
TAIL_BYTES = 4 << 20
ANSWER_MOST_BYTES = 64 << 10
PROC = Path("/proc")
JOURNAL = Path("/usr/bin/journalctl")
STREAM_END, STREAM_REFUSED = "stream.end", "stream.refused"
_BOTH = ("n", "ts", "id", "started", "service", "from_organisation", "to_organisation", "direction", "code", "cause")
FIELDS = {
    STREAM_END: (*_BOTH, "session", "sent_bytes", "received_bytes", "duration_ms", "suite", "group"),
    STREAM_REFUSED: _BOTH,
}
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Probe:
    """The probe, and what it asks of this node."""

    config: Config
    allowed: ImportSettings | None  # an import of what this node exports to it
    forbidden: ImportSettings | None  # and of what it exports to others alone

    @property
    def organisation(self) -> str:
        """Whose edge it is."""
        return self.config.node.id.organisation


@dataclass(frozen=True, slots=True)
class Spoken:
    """What became of one connection to an import."""

    answer: bytes
    ended: bool  # it was closed within the seconds
    reset: bool


def load_probe(scene: Scene) -> Probe:
    """Return the probe. AskedError: there is none. ConfigError: its configuration is refused."""
    path = scene.config.assure.probe
    if path is None:
        raise AskedError("no edge of a throw-away organisation is named ([assure] probe)")
    return probe_of(scene.config, configuration.load(path))


def probe_of(node: Config, probe: Config) -> Probe:
    """Return what of a probe's imports is exported to it, and what is exported to others alone."""
    mine = {each.service: each.allow for each in node.exports}
    asked = [each for each in probe.imports if each.service in mine and not each.listen.is_unix]
    organisation = probe.node.id.organisation
    return Probe(
        config=probe,
        allowed=next((each for each in asked if organisation in mine[each.service]), None),
        forbidden=next((each for each in asked if organisation not in mine[each.service]), None),
    )


# -- N6 and M2 -------------------------------------------------------------------------------------------------------


async def read_refusal(scene: Scene) -> Refusal:
    """N6."""
    probe = load_probe(scene)
    if probe.forbidden is None:
        return Refusal(service="", served=False, recorded=False)
    spoken, record, waited_s = await _seen(scene, probe, probe.forbidden, b"", STREAM_REFUSED)
    return Refusal(
        service=str(probe.forbidden.service),
        served=not spoken.ended or bool(spoken.answer),
        recorded=record is not None,
        rule=None if record is None else record.get("rule"),
        cause="" if record is None else str(record.get("cause", "")),
        waited_s=waited_s,
    )


async def read_observed(scene: Scene) -> Observed:
    """M2."""
    probe = load_probe(scene)
    if probe.allowed is None:
        raise StatusProblem("Nothing is exported to the probe's organisation; export a test service to it.")
    stream = await _seen(scene, probe, probe.allowed, b"\n", STREAM_END)
    refusal = None
    if probe.forbidden is not None:
        refusal = await _seen(scene, probe, probe.forbidden, b"", STREAM_REFUSED)
    missing = [
        f"{event}.{field}"
        for event, found in ((STREAM_END, stream), (STREAM_REFUSED, refusal))
        if found is not None and found[1] is not None
        for field in FIELDS[event]
        if field not in found[1]
    ]
    return Observed(
        stream_s=stream[2] if stream[1] is not None else None,
        refusal_s=refusal[2] if refusal is not None and refusal[1] is not None else None,
        missing=tuple(missing),
        refusal_tried=refusal is not None,
    )


async def _seen(
    scene: Scene, probe: Probe, imported: ImportSettings, payload: bytes, event: str
) -> tuple[Spoken, Record | None, float]:
    """Connect to an import of the probe; return what came of it, its record at this node, and after how long."""
    folder = log_folder(scene)
    number = await asyncio.to_thread(next_number, folder)
    spoken = await speak(imported, payload)

    def is_mine(record: Record) -> bool:
        wanted = (event, str(imported.service), probe.organisation)
        return (record.get("event"), record.get("service"), record.get("from_organisation")) == wanted

    most_s = scene.parameters.monitoring.recorded_most_s + GRACE_S
    record, waited_s = await _awaited(folder, number, is_mine, most_s)
    return spoken, record, waited_s


async def _awaited(
    folder: Path, number: int, is_mine: Callable[[Record], bool], most_s: float
) -> tuple[Record | None, float]:
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        found = next(filter(is_mine, await asyncio.to_thread(records_after, folder, number)), None)
        waited_s = round(loop.time() - began, 3)
        if found is not None or waited_s > most_s:
            return found, waited_s
        await asyncio.sleep(POLL_S)


async def speak(imported: ImportSettings, payload: bytes) -> Spoken:
    """Connect to an import as an application does, send something, and read until the far side closes."""
    answer = b""
    try:
        async with asyncio.timeout(STREAM_S):
            reader, writer = await asyncio.open_connection(imported.listen.host, imported.listen.port)
    except (ConnectionRefusedError, TimeoutError):
        raise StatusProblem(
            f"The probe does not listen at {imported.listen}; start it: pcgrelay run -c PROBE"
        ) from None
    except OSError:
        # It was accepted, and reset before it could be used: so quick is a refusal.
        return Spoken(answer, True, True)
    try:
        async with asyncio.timeout(STREAM_S):
            writer.write(payload)
            if payload:
                writer.write_eof()
            while len(answer) < ANSWER_MOST_BYTES and (more := await reader.read(4_096)):
                answer += more
        return Spoken(answer, True, False)
    except TimeoutError:
        return Spoken(answer, False, False)
    except OSError:
        return Spoken(answer, True, True)
    finally:
        writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(STREAM_S):
                await writer.wait_closed()


# -- M6 --------------------------------------------------------------------------------------------------------------


async def read_privacy(scene: Scene) -> Privacy:
    """M6: the schema of all records; and with a probe, a marker that is sent through and searched for."""
    kinds = records()
    marker: Marker | None = None
    if scene.config.assure.probe is not None:
        probe = load_probe(scene)
        marker = None if probe.allowed is None else await _marked(scene, probe.allowed)
    return Privacy(
        records=len(kinds),
        fields=sum(len(each.__struct_fields__) for each in kinds),
        open_fields=tuple(field for each in kinds for field in open_fields(each)),
        marker=marker,
    )


async def _marked(scene: Scene, imported: ImportSettings) -> Marker:
    marker = f"pcgrelay-marker-{secrets.token_hex(16)}".encode()
    spoken = await speak(imported, marker + b"\n")
    # Whatever writes the end of the stream has a second; then everything is searched.
    await asyncio.sleep(GRACE_S)
    places = await asyncio.to_thread(_places, scene)
    return Marker(
        sent_bytes=len(marker) + 1,
        came_back=spoken.ended and not spoken.reset,
        searched=tuple(places),
        hits=tuple(name for name, content in places.items() if marker in content),
    )


def _places(scene: Scene) -> dict[str, bytes]:
    """Return what the node has told lately, by where: metrics, status, log and audit log."""
    admin, found = scene.config.node.admin, {}
    for name, path in (("metrics", "/metrics"), ("status", STATUS_PATH)):
        found[name] = read_page(admin, path).body
    if (log := _log_of(scene.pid())) is not None:
        found["log"] = log
    state = scene.config.node.state
    if state is not None and scene.config.audit is not None:
        found["audit log"] = b"".join(_tail(each.path) for each in segments_of(log_folder(scene))[-2:])
    return found


def _log_of(pid: int) -> bytes | None:
    """Return the end of the node's log: of the file that its standard error is, or of the journal. None: neither."""
    path = PROC / str(pid) / "fd" / "2"
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
        if is_file:
            return _tail(path)
        is_socket = stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return None
    if not is_socket or not os.access(JOURNAL, os.X_OK):
        return None
    command = [os.fspath(JOURNAL), "-q", "-o", "cat", "--since", "-1min", f"_PID={pid}"]
    with suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(command, capture_output=True, timeout=STREAM_S, check=True).stdout
    return None


def _tail(path: Path) -> bytes:
    with open(path, "rb") as source:
        source.seek(max(0, os.fstat(source.fileno()).st_size - TAIL_BYTES))
        return source.read(TAIL_BYTES)
