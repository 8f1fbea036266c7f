"""The changes of a new configuration, and which of them need a restart (pure)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeVar

import msgspec

from pcgrelay.config.settings import ApprovalsSettings, Config, Limits, Paper, PolicySettings
from pcgrelay.config.values import Address

T = TypeVar("T", bound=msgspec.Struct)

# Keys of [node] that the data plane, the sockets or the identity of a running node depend on.
_FIXED: dict[str, Callable[[Config], object]] = {
    "name": lambda config: config.node.id.name,
    "organisation": lambda config: config.node.id.organisation,
    "realm": lambda config: config.node.id.realm,
    "role": lambda config: config.node.role,
    "workers": lambda config: config.node.workers,
    "memory": lambda config: config.node.memory_bytes,
    "admin": lambda config: config.node.admin,
    "admin_group": lambda config: config.node.admin_group,
    "state": lambda config: config.node.state,
}
_WRITTEN = {
    "post_quantum_required": "post_quantum",
    "every_s": "every",
    "lasts_s": "for",
    "calendar": "window",
    "sources": "source",
    "prefixes": "sources",
    "kept_streams": "streams",
    "terms": "allow",
    "streams": "max_streams",
    "per_organisation": "max_streams_per_organisation",
    "per_source": "max_streams_per_source",
    "new_per_second": "new_streams_per_second",
    "idle_s": "idle_timeout_s",
    "duration_s": "max_duration_s",
    "rate_bytes": "rate",
    "organisation_streams": "max_streams_per_organisation",
    "organisation_new_per_second": "new_streams_per_second",
}


def sized_as(old: Config, new: Config) -> Config:
    """Return the new configuration with the old one's sizes where both leave them to the machine.

    A processor quota that was changed meanwhile is not a change of the file, and needs no restart.
    """
    mine, node = old.node, new.node
    if mine.workers_by_machine and node.workers_by_machine:
        lanes = mine.workers if node.lanes_by_machine else node.lanes
        node = msgspec.structs.replace(node, workers=mine.workers, lanes=lanes)
    return msgspec.structs.replace(new, node=node)


def restart_reason(old: Config, new: Config) -> str | None:
    """Return why the new configuration needs a restart, as a sentence, or None."""
    keys = [f"node.{key}" for key, value in _FIXED.items() if value(old) != value(new)]
    if not keys:
        return None
    verb = "has" if len(keys) == 1 else "have"
    return f"{new.path}: {' and '.join(keys)} {verb} changed, which a running node cannot take; restart it."


def differences(old: Config, new: Config) -> tuple[str, ...]:
    """Return the changes as short phrases, in the order of the file; the contents of named files are not compared."""
    return (
        *_of_table("node", old.node, new.node, ("lanes", "udp_lanes", "inventory")),
        *_of_table("identity", old.identity, new.identity, ("certificate", "key", "trust", "crl")),
        *_of_table("policy", old.policy, new.policy, new.policy.__struct_fields__),
        *_of_entries("bearer", old.bearers, new.bearers, lambda entry: entry.name),
        *_of_entries("listen", old.listens, new.listens, lambda entry: entry.address),
        *_of_entries("link", old.links, new.links, lambda entry: entry.title),
        *_of_entries("export", old.exports, new.exports, lambda entry: entry.service),
        *_of_entries("import", old.imports, new.imports, lambda entry: entry.service),
        *_of_entries("direct", old.directs, new.directs, lambda entry: f"{entry.name} of {entry.service}"),
        *_of_entries("drill", old.drills, new.drills, lambda entry: f"{entry.kind} {entry.subject}".rstrip()),
        *_of_entries("caller", old.callers, new.callers, lambda entry: entry.organisation),
        *_of_table("log", old.log, new.log, new.log.__struct_fields__),
        *_of_optional("audit", old.audit, new.audit),
        *_of_table("assure", old.assure, new.assure, new.assure.__struct_fields__),
        *_of_table("realm", old.realm, new.realm, new.realm.__struct_fields__),
        *_of_table("metrics", old.metrics, new.metrics, new.metrics.__struct_fields__),
        *_of_table("page", old.page, new.page, new.page.__struct_fields__),
        *_of_approvals(old.approvals, new.approvals),
        *_of_optional("fleet", old.fleet, new.fleet),
    )


def _of_approvals(old: ApprovalsSettings | None, new: ApprovalsSettings | None) -> list[str]:
    if old is None or new is None:
        return [] if old is new else [f"approvals {'removed' if new is None else 'added'}"]
    return _of_table("approvals", old, new, new.__struct_fields__)


def _changed_keys(old: msgspec.Struct, new: msgspec.Struct, keys: Iterable[str]) -> list[str]:
    found = []
    for key in keys:
        before, after = getattr(old, key), getattr(new, key)
        if isinstance(before, Address) and isinstance(after, Address) and before.transport != after.transport:
            found += ["protocol"] if str(before) == str(after) else ["protocol", key]
        elif _follows(key, before, after):
            continue
        elif before != after and isinstance(after, Limits):
            found += _changed_keys(before, after, after.__struct_fields__)
        elif before != after and key == "paper" and not isinstance(new, PolicySettings):
            found += _changed_keys(before or Paper(), after or Paper(), Paper.__struct_fields__)
        elif before != after:
            found.append(_WRITTEN.get(key, key))
    return list(dict.fromkeys(found))


def _follows(key: str, before: Any, after: Any) -> bool:
    """Return whether a key differs only because the protocol of its service does."""
    if key == "also":
        return list(map(str, before)) == list(map(str, after))
    return key == "wait_ms" and not (before and after)


def _of_table(table: str, old: msgspec.Struct, new: msgspec.Struct, keys: Iterable[str]) -> list[str]:
    return [f"{table}.{key} changed" for key in _changed_keys(old, new, keys)]


def _of_optional(table: str, old: msgspec.Struct | None, new: msgspec.Struct | None) -> list[str]:
    if old is not None and new is not None:
        return _of_table(table, old, new, new.__struct_fields__)
    return [] if old is new else [f"{table} {'added' if old is None else 'removed'}"]


def _of_entries(table: str, old: Iterable[T], new: Iterable[T], key: Callable[[Any], Hashable]) -> list[str]:
    before, after = {key(entry): entry for entry in old}, {key(entry): entry for entry in new}
    found = [f"{table} {name} removed" for name in before if name not in after]
    for name, entry in after.items():
        if name not in before:
            found.append(f"{table} {name} added")
        elif before[name] != entry:
            keys = _changed_keys(before[name], entry, entry.__struct_fields__)
            keys = ["address" if (table, key) == ("direct", "target") else key for key in keys]
            found.append(f"{table} {name} changed ({', '.join(keys)})")
    return found
