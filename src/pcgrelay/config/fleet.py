"""The rules of [fleet]: the store that nodes of a realm share."""

from __future__ import annotations

import re
from pathlib import Path

from pcgrelay.config import schema
from pcgrelay.config.fields import file_path, parsed, refuse_twice
from pcgrelay.config.settings import FleetSettings
from pcgrelay.config.shape import example_for
from pcgrelay.config.source import Source
from pcgrelay.config.values import Address

ENDPOINTS_MOST = 9
HTTPS = "https://"
_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)


def fleet(source: Source, table: schema.FleetTable | None) -> FleetSettings | None:
    """Return where the store is, and as whom it is asked; nothing: there is none."""
    if table is None:
        return None
    where = ("fleet", "endpoints")
    if not 1 <= len(table.endpoints) <= ENDPOINTS_MOST:
        problem = (
            f"these are {len(table.endpoints)}, and there are 1 to {ENDPOINTS_MOST}; name each member of the store"
        )
        raise source.refusal(where, problem)
    endpoints = tuple(parsed(source, (*where, i), text, _endpoint) for i, text in enumerate(table.endpoints))
    refuse_twice(source, "fleet", "endpoints", endpoints)
    for one, other in (("certificate", "key"), ("key", "certificate"), ("user", "password"), ("password", "user")):
        if getattr(table, one) is not None and getattr(table, other) is None:
            example = example_for(("fleet", other))
            raise source.refusal(("fleet", one), f"it needs {other} beside it; write for example: {example}")
    if table.user is not None and not _USER.fullmatch(table.user):
        problem = "a user of the store is 1 to 64 letters, digits and . _ @ -"
        raise source.refusal(("fleet", "user"), f"{problem}; write for example: {example_for(('fleet', 'user'))}")

    def path(key: str, text: str | None) -> Path | None:
        return None if text is None else file_path(source, ("fleet", key), text)

    return FleetSettings(
        store=table.store,
        endpoints=endpoints,
        certificate=path("certificate", table.certificate),
        key=path("key", table.key),
        trust=path("trust", table.trust),
        user=table.user or "",
        password=path("password", table.password),
    )


def _endpoint(text: str) -> str:
    """Return the address of a member as it is used. ValueError: it is none."""
    if not text.startswith(HTTPS):
        raise ValueError(f'"{text}" is no member of a store, which is written https://HOST:PORT')
    address = Address.parse(text.removeprefix(HTTPS))
    if address.is_wildcard:
        raise ValueError(f"{address} stands for all addresses of a machine, so nothing can be reached there")
    return f"{HTTPS}{address}"
