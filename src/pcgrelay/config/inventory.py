"""The inventory: every service that must move from an old network, whether or not an edge imports it yet.

It is a file of its own, for it belongs to whoever plans the move and not to a node; `[node] inventory` says where it
is. It is refused like a configuration: with file, line, key and remedy.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
from msgspec import Struct

from pcgrelay.config.shape import shape_refusal, unknown_refusal
from pcgrelay.config.source import KeyPath, Source
from pcgrelay.model import ServiceName, check_label

SERVICES_MOST = 4_096
TEXT_MOST = 200
USERS_MOST = 100_000_000

EXAMPLES = {
    "service": "[[service]]",
    "service.name": 'name = "custody@kent.police.example"',
    "service.owner": 'owner = "j.smith@met.police.example"',
    "service.from": 'from = "cjx"',
    "service.critical": "critical = true",
    "service.users": "users = 1200",
}


class InventoryService(Struct, frozen=True, kw_only=True):
    """A service that must move."""

    name: ServiceName
    bearer: str  # the network that it moves from
    owner: str = ""
    critical: bool = False
    users: int | None = None  # how many people use it, if somebody knows


class Inventory(Struct, frozen=True, kw_only=True):
    """All of them."""

    path: Path
    sha256: str
    services: tuple[InventoryService, ...]

    def of_bearer(self, bearer: str) -> tuple[InventoryService, ...]:
        """Return what moves from a network."""
        return tuple(each for each in self.services if each.bearer == bearer)


class _ServiceTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    bearer: str = msgspec.field(name="from")
    owner: str = ""
    critical: bool = False
    users: int | None = None


class _FileTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    service: tuple[_ServiceTable, ...]


_KEYS = [field.encode_name for field in msgspec.structs.fields(_ServiceTable)]


def load_inventory(path: Path) -> Inventory:
    """Read an inventory. ConfigError: it is refused; the message names file, line, key and remedy."""
    return build_inventory(Source.read(path))


def parse_inventory(text: str, path: Path) -> Inventory:
    """Check a text as load_inventory does; path is named in messages."""
    return build_inventory(Source(path, text))


def build_inventory(source: Source) -> Inventory:
    """Return the inventory of a file that is valid TOML."""
    _refuse_unknown(source)
    try:
        tables = msgspec.convert(source.values, _FileTable, builtin_types=())
    except msgspec.ValidationError as error:
        raise shape_refusal(source, str(error), _example) from None
    if not tables.service:
        raise source.refusal(("service",), "there is none; write a [[service]] for each service that must move")
    if len(tables.service) > SERVICES_MOST:
        raise source.refusal(("service", SERVICES_MOST), f"{SERVICES_MOST} services are the most of one inventory")
    services: dict[ServiceName, InventoryService] = {}
    for index, table in enumerate(tables.service):
        service = _service(source, ("service", index), table)
        if service.name in services:
            where: KeyPath = ("service", index, "name")
            raise source.refusal(where, f"{service.name} stands in this inventory already; remove one")
        services[service.name] = service
    return Inventory(
        path=source.path, sha256=hashlib.sha256(source.text.encode()).hexdigest(), services=tuple(services.values())
    )


def _service(source: Source, where: KeyPath, table: _ServiceTable) -> InventoryService:
    _refuse_text(source, (*where, "owner"), table.owner)
    if table.users is not None and not 0 <= table.users <= USERS_MOST:
        raise source.refusal((*where, "users"), f"{table.users} is no number of people; write 0 to {USERS_MOST}")
    return InventoryService(
        name=_parsed(source, (*where, "name"), table.name),
        bearer=_label(source, (*where, "from"), table.bearer),
        owner=table.owner.strip(),
        critical=table.critical,
        users=table.users,
    )


def _parsed(source: Source, where: KeyPath, text: str) -> ServiceName:
    try:
        return ServiceName.parse(text)
    except ValueError as error:
        raise source.refusal(where, f"{error}; write for example: {_example(where)}") from None


def _label(source: Source, where: KeyPath, text: str) -> str:
    try:
        return check_label(text, "bearer")
    except ValueError as error:
        raise source.refusal(where, f"{error}; write for example: {_example(where)}") from None


def _refuse_text(source: Source, where: KeyPath, text: str) -> None:
    if len(text) > TEXT_MOST:
        raise source.refusal(where, f"this has {len(text)} characters, and {TEXT_MOST} is the most; write fewer")
    if not text.isprintable():
        raise source.refusal(where, "this has a character in it that cannot be seen; remove it")


def _refuse_unknown(source: Source) -> None:
    for name, value in source.values.items():
        if name != "service":
            noun = "table" if isinstance(value, dict | list) else "key"
            where: KeyPath = (name, 0) if isinstance(value, list) else (name,)
            raise source.refusal(where, f"this {noun} is unknown; all that there is in an inventory is [[service]]")
        if not isinstance(value, list):
            raise source.refusal((name,), "this table may occur several times; write [[service]]")
        for index, entry in enumerate(value):
            if not isinstance(entry, dict):
                raise source.refusal((name, index), "this must be a table; write [[service]] with its keys below")
            for key in entry:
                if key not in _KEYS:
                    raise unknown_refusal(source, (name, index, key), _KEYS, "key")


def _example(where: KeyPath) -> str:
    names = [part for part in where if isinstance(part, str)]
    return EXAMPLES.get(".".join(names[:2]), "")
