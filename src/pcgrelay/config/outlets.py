"""The rules of [[bearer]] and [[direct]]: networks, and the outlets of an import beside the gateway."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from pcgrelay.config import schema
from pcgrelay.config.datagrams import refuse_of_streams
from pcgrelay.config.fields import bearer_name, parsed, probe_words, sources, target_address
from pcgrelay.config.paper import paper
from pcgrelay.config.settings import GATEWAY, BearerSettings, Config, DirectSettings
from pcgrelay.config.source import KeyPath, Source, shown_path
from pcgrelay.config.values import Address
from pcgrelay.model import Marking, ServiceName, Transport, check_label

# What the data plane holds for an import, beside the gateway.
DIRECTS_MOST = 3
# What one slot of the data plane is (cutover/slots).
SHARE_UNIT_PERCENT = 0.5
# Each has figures of its own in the data plane.
IMPORTS_WITH_DIRECTS_MOST = 256


def bearers(source: Source, tables: Sequence[schema.BearerTable]) -> tuple[BearerSettings, ...]:
    """Return what is known of networks."""
    return tuple(
        BearerSettings(
            name=parsed(source, ("bearer", index, "name"), table.name, lambda text: check_label(text, "bearer")),
            marking=Marking(table.marking),
            supported_until=table.supported_until,
        )
        for index, table in enumerate(tables)
    )


def directs(
    source: Source, tables: Sequence[schema.DirectTable], carried: Mapping[str, Transport]
) -> tuple[DirectSettings, ...]:
    """Return the direct outlets of all imports. carried: what each import carries, by its service."""
    return tuple(
        _direct(source, ("direct", index), table, carried.get(table.service, Transport.STREAM))
        for index, table in enumerate(tables)
    )


def _direct(source: Source, where: KeyPath, table: schema.DirectTable, transport: Transport) -> DirectSettings:
    name = parsed(source, (*where, "name"), table.name, lambda text: check_label(text, "outlet"))
    if name == GATEWAY:
        problem = f'"{GATEWAY}" is the outlet that each import has, over links; choose another name'
        raise source.refusal((*where, "name"), problem)
    send, expect = probe_words(source, where, table)
    target = target_address(source, (*where, "address"), table.address)
    if transport is Transport.DATAGRAM:
        refuse_of_streams(source, where, table, target)
    probe = table.probe or ("connect" if transport is Transport.STREAM else "none")
    return DirectSettings(
        service=parsed(source, (*where, "service"), table.service, ServiceName.parse),
        name=name,
        target=target.over(transport),
        bearer=bearer_name(source, where, table.bearer),
        connect_timeout_ms=table.connect_timeout_ms,
        sources=sources(source, (*where, "source"), table.source, target),
        probe=probe != "none",
        probe_send=send,
        probe_expect=expect,
        probe_interval_ms=table.probe_interval_ms,
        paper=paper(source, where, table),
    )


def refuse_outlets(source: Source, config: Config, listeners: Mapping[KeyPath, Address]) -> None:
    """Apply the rules between [[import]] and [[direct]]. listeners: all of this node, by their place in the file."""
    imported = {entry.service for entry in config.imports}
    seen: dict[tuple[ServiceName, str | Address], int] = {}
    counts: Counter[ServiceName] = Counter()
    for index, direct in enumerate(config.directs):
        where: KeyPath = ("direct", index)
        if direct.service not in imported:
            problem = f"{direct.service} is not imported here; add an [[import]] of it, or remove this table"
            raise source.refusal((*where, "service"), problem)
        for key, value in (("name", direct.name), ("address", direct.target)):
            first = seen.setdefault((direct.service, value), index)
            if first != index:
                problem = f"direct[{first + 1}] has this {key} for {direct.service} already; change or remove one"
                raise source.refusal((*where, key), problem)
        _refuse_loop(source, (*where, "address"), direct.target, listeners)
        counts[direct.service] += 1
        if counts[direct.service] > DIRECTS_MOST:
            problem = f"{direct.service} has {DIRECTS_MOST} direct outlets already, which is the most; remove one"
            raise source.refusal(where, problem)
        if len(counts) > IMPORTS_WITH_DIRECTS_MOST:
            problem = f"{IMPORTS_WITH_DIRECTS_MOST} imports have direct outlets already, which is the most; remove one"
            raise source.refusal(where, problem)
    for index, entry in enumerate(config.imports):
        names = [GATEWAY, *(direct.name for direct in config.directs_of(entry.service))]
        if entry.outlet not in names:
            problem = (
                f"{entry.service} has no outlet {_quoted(entry.outlet)}; there are: {', '.join(names)}; "
                "name one of them, or add a [[direct]] of that name"
            )
            raise source.refusal(("import", index, "outlet"), problem)
        if entry.exercise:
            _refuse_exercise(source, ("import", index, "exercise"), entry.exercise, has_backup=len(names) > 1)


def _refuse_exercise(source: Source, where: KeyPath, percent: float, *, has_backup: bool) -> None:
    """Refuse an exercise that could not be dealt, or that has nothing to exercise."""
    if not (percent / SHARE_UNIT_PERCENT).is_integer():
        problem = f"{percent:g} percent cannot be dealt; write a multiple of {SHARE_UNIT_PERCENT:g}, as exercise = 1"
        raise source.refusal(where, problem)
    if not has_backup:
        raise source.refusal(where, "there is no outlet beside the gateway; add a [[direct]], or remove this line")


def _refuse_loop(source: Source, where: KeyPath, target: Address, listeners: Mapping[KeyPath, Address]) -> None:
    """Refuse a target that is a listener of this node: each connection would go round and round."""
    for at, address in listeners.items():
        if address == target:
            problem = f"{target} is a listener of this very node ({shown_path(at)}); write where the service itself is"
            raise source.refusal(where, problem)


def _quoted(text: str) -> str:
    return f'"{text[:80]}"'
