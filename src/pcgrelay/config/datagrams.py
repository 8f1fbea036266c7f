"""Services of datagrams (`protocol = "udp"`): the keys that they alone have, and those that only streams have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import structs

from pcgrelay.config import schema
from pcgrelay.config.fields import parsed
from pcgrelay.config.settings import Config, ExportSettings, ImportSettings, Limits
from pcgrelay.config.source import KeyPath, Source
from pcgrelay.config.values import Address, Network, memory_bytes, parse_network
from pcgrelay.model import Transport

# What holds unless the file says otherwise.
WAIT_MS = 200  # what one datagram may wait for room
ASSOCIATIONS = 4_096  # of an import: the one that is used least recently makes room for the next
ASSOCIATIONS_OF_SOURCE = 256
# Sources of datagrams are forged without effort: more than this in a second is not believed. An exporting edge has some
# 28,000 local ports, each of which rests for 60 s after an association: that is what these bear for ever.
NEW_PER_SECOND = 400
IDLE_S = 120  # RFC 4787, REQ-5
IDLE_NAMES_S = 10  # of port 53, where each question comes from another port
SILENT_S = 300  # of an association in which nothing was ever answered, as of syslog
NAMES_PORT = 53
# Less lets the longest datagram through once in a minute; more is beyond what the data plane moves.
RATE_LEAST_BYTES = 1 << 10
RATE_MOST_BYTES = 1 << 30
# As many as the data plane holds for an import.
PREFIXES_MOST = 64
# What has a meaning for datagrams alone.
_OF_DATAGRAMS = ("wait_ms", "rate", "sources", "max_streams_per_source")
_NO_CONNECT = (
    'UDP has no connection that a probe could try; write probe = "expect" with a datagram in probe_send, or "none"'
)
_NO_UNIX = "datagrams go to a host and a port, not to a unix socket; write HOST:PORT"


def export_transport(source: Source, where: KeyPath, table: schema.ExportTable, target: Address) -> Transport:
    """Return what an export carries. ConfigError: a key that does not go with it."""
    transport = Transport.from_title(table.protocol)
    if transport is Transport.STREAM:
        _refuse_of_datagrams(source, where, table)
        return transport
    if target.is_unix:
        raise source.refusal((*where, "target"), _NO_UNIX)
    _refuse(source, where, {
        "proxy": (table.proxy is not None, "a datagram has no header that could say who calls; remove this line"),
        "also": (bool(table.also), "callers who come the old way are served by streams alone; remove this line"),
        "probe": (table.probe == "connect", _NO_CONNECT),
    })  # fmt: skip
    return transport


def import_transport(
    source: Source, where: KeyPath, table: schema.ImportTable, listeners: Mapping[KeyPath, Address]
) -> Transport:
    """Return what an import carries. listeners: by place in the table. ConfigError: a key that does not go with it."""
    transport = Transport.from_title(table.protocol)
    if transport is Transport.STREAM:
        _refuse_of_datagrams(source, where, table)
        return transport
    for place, address in listeners.items():
        if address.is_unix:
            raise source.refusal((*where, *place), _NO_UNIX)
    _refuse(source, where, {
        "careful": (not table.careful, "a datagram is sent at once, whatever the far side answers; remove this line"),
    })  # fmt: skip
    return transport


def carried_as(tables: Sequence[schema.ImportTable]) -> dict[str, Transport]:
    """Return what each import carries, by its service as it is written."""
    return {table.service: Transport.from_title(table.protocol) for table in tables}


def refuse_of_streams(source: Source, where: KeyPath, table: schema.DirectTable, target: Address) -> None:
    """Refuse what a direct outlet of an import of datagrams cannot have."""
    if target.is_unix:
        raise source.refusal((*where, "address"), _NO_UNIX)
    _refuse(source, where, {"probe": (table.probe == "connect", _NO_CONNECT)})


def limits_in_force(entry: ExportSettings | ImportSettings) -> Limits:
    """Return the limits of a service, with those that its file leaves to the program."""
    limits = entry.limits
    if entry.transport is Transport.STREAM:
        return limits
    idle_s = idle_times(entry)[0]
    if isinstance(entry, ExportSettings):
        return structs.replace(limits, idle_s=idle_s)
    return structs.replace(
        limits,
        streams=limits.streams or ASSOCIATIONS,
        per_source=limits.per_source or ASSOCIATIONS_OF_SOURCE,
        new_per_second=limits.new_per_second or NEW_PER_SECOND,
        idle_s=idle_s,
    )


def idle_times(entry: ExportSettings | ImportSettings) -> tuple[int, int]:
    """Return after how many seconds without a datagram an association ends, and one that never was answered."""
    if entry.limits.idle_s:
        return entry.limits.idle_s, entry.limits.idle_s
    address = entry.target if isinstance(entry, ExportSettings) else entry.listen
    return (IDLE_NAMES_S, IDLE_NAMES_S) if address.port == NAMES_PORT else (IDLE_S, SILENT_S)


def rate_bytes(source: Source, where: KeyPath, text: str | None) -> int:
    """Return how many bytes a service may carry in a second, in each direction; 0: no limit."""
    if text is None:
        return 0
    count = parsed(source, (*where, "rate"), text, memory_bytes)
    if not RATE_LEAST_BYTES <= count <= RATE_MOST_BYTES:
        problem = f"{text} in a second is out of bounds; write 1KiB to 1GiB, or remove this line for no limit"
        raise source.refusal((*where, "rate"), problem)
    return count


def prefixes(source: Source, where: KeyPath, texts: tuple[str, ...] | None) -> tuple[Network, ...]:
    """Return the networks from which an import takes datagrams; nothing: from all."""
    if texts is None:
        return ()
    if not texts:
        problem = 'there is none, so nobody is served; write for example: sources = ["10.1.0.0/16"]'
        raise source.refusal(where, problem)
    if len(texts) > PREFIXES_MOST:
        problem = f"these are {len(texts)} networks, and {PREFIXES_MOST} is the most; write larger ones"
        raise source.refusal(where, problem)
    found = tuple(parsed(source, (*where, place), text, parse_network) for place, text in enumerate(texts))
    for place, each in enumerate(found):
        if each in found[:place]:
            raise source.refusal((*where, place), f"{each} stands here twice; remove one")
    return found


def refuse_datagram_loops(source: Source, config: Config) -> None:
    """Refuse what would lead datagrams round in a circle."""
    listeners = {address for entry in config.imports for address in entry.listeners}
    for index, export in enumerate(config.exports):
        if export.transport is Transport.DATAGRAM and export.target in listeners:
            problem = f"{export.target} is a listener of this very node; write where the service itself is"
            raise source.refusal(("export", index, "target"), problem)


def _refuse_of_datagrams(source: Source, where: KeyPath, table: Any) -> None:
    for key in _OF_DATAGRAMS:
        if getattr(table, key, None) is not None:
            raise source.refusal((*where, key), 'streams have no such key; remove this line, or write protocol = "udp"')


def _refuse(source: Source, where: KeyPath, wrong: Mapping[str, tuple[bool, str]]) -> None:
    for key, (is_wrong, problem) in wrong.items():
        if is_wrong:
            raise source.refusal((*where, key), problem)
