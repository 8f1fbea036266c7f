"""The rules of [metrics] and [page]: where somebody may read over TCP, and who."""

from __future__ import annotations

from pcgrelay.config import schema
from pcgrelay.config.fields import parsed, refuse_twice
from pcgrelay.config.settings import ReaderSettings
from pcgrelay.config.source import Source
from pcgrelay.config.values import Address
from pcgrelay.model import NodeId, check_dotted

ALLOWED_MOST = 256


def reader(source: Source, name: str, table: schema.ReaderTable | None, own: NodeId) -> ReaderSettings:
    """Return what a table says; without one nothing listens. name: of the table."""
    if table is None:
        return ReaderSettings()
    listen = parsed(source, (name, "listen"), table.listen, Address.parse)
    if table.allow is None:
        return ReaderSettings(listen=listen, allow=() if listen.is_loopback else (own.organisation,))
    if listen.is_loopback:
        problem = f"everybody on this machine may read at {listen}, so nobody is asked who they are; remove this"
        raise source.refusal((name, "allow"), problem)
    if not 1 <= len(table.allow) <= ALLOWED_MOST:
        problem = f"these are {len(table.allow)}, and there are 1 to {ALLOWED_MOST}; name who may read"
        raise source.refusal((name, "allow"), problem)
    for index, text in enumerate(table.allow):
        parsed(source, (name, "allow", index), text, lambda text: _allowed(text, own))
    refuse_twice(source, name, "allow", table.allow)
    return ReaderSettings(listen=listen, allow=table.allow)


def _allowed(text: str, own: NodeId) -> str:
    """Return an organisation or a SPIFFE name of this realm unchanged. ValueError: it is neither."""
    if not text.startswith("spiffe:"):
        return check_dotted(text, "organisation")
    if NodeId.from_uri(text).realm != own.realm:
        raise ValueError(f"{text} is of another realm than this node ({own.realm})")
    return text
