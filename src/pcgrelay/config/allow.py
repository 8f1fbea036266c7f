"""The entries of `allow` of [[export]]: names, and tables that say until when, why and by which decision."""

from __future__ import annotations

from datetime import UTC

from pcgrelay.config import schema
from pcgrelay.config.fields import TEXT_MOST, parsed
from pcgrelay.config.settings import AllowTerms
from pcgrelay.config.source import KeyPath, Source
from pcgrelay.model import check_dotted


def allowed(
    source: Source, where: KeyPath, entries: tuple[str | schema.AllowTable, ...]
) -> tuple[tuple[str, ...], tuple[AllowTerms, ...]]:
    """Return the organisations in the order of the file, and the terms of those that have any."""
    names: list[str] = []
    terms: list[AllowTerms] = []
    for index, entry in enumerate(entries):
        at = (*where, "allow", index)
        name = entry if isinstance(entry, str) else entry.organisation
        # A pattern here would admit organisations that nobody at this edge has considered.
        parsed(source, at, name, lambda text: check_dotted(text, "organisation"))
        if name in names:
            raise source.refusal(at, f"{name} stands here twice; remove one")
        names.append(name)
        if isinstance(entry, schema.AllowTable):
            terms.append(_terms(source, at, entry))
    return tuple(names), tuple(terms)


def _terms(source: Source, at: KeyPath, entry: schema.AllowTable) -> AllowTerms:
    for key, text in (("reason", entry.reason), ("reference", entry.reference)):
        if len(text) > TEXT_MOST or not text.isprintable():
            problem = f"{key} is one line of at most {TEXT_MOST} characters, for status and log; write less"
            raise source.refusal(at, problem)
    until = None if entry.until is None else entry.until.astimezone(UTC)
    return AllowTerms(organisation=entry.organisation, until=until, reason=entry.reason, reference=entry.reference)
