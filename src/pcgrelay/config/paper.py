"""Who allowed a rule: its owner, reason, change and last day, and the rules of [approvals]."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

from pcgrelay.config import schema
from pcgrelay.config.fields import TEXT_MOST, file_path
from pcgrelay.config.settings import ApprovalsSettings, Config, Paper
from pcgrelay.config.shape import example_for
from pcgrelay.config.source import KeyPath, Source

ROLES_MOST = 16
# A literal address: of what RFC 5322 takes, without the signs that make a pattern of it in a file of signers.
_PERSON = re.compile(r"[A-Za-z0-9._+=-]{1,64}@[A-Za-z0-9.-]{1,190}", re.ASCII)
_KEYS = tuple(schema.PAPER)
# The moment after the last day has to be a date too.
_UNTIL_MOST = date(9999, 12, 30)


def paper(source: Source, where: KeyPath, table: schema.RuleTable) -> Paper | None:
    """Return what a table says of who allowed it; None: nothing."""
    if all(getattr(table, key) is None for key in _KEYS):
        return None
    if table.owner is not None and not _PERSON.fullmatch(table.owner):
        problem = f"this is no address of a person or a role; write for example: {schema.PAPER['owner']}"
        raise source.refusal((*where, "owner"), problem)
    for key in ("reason", "change"):
        text = getattr(table, key)
        if text is not None and not (0 < len(text) <= TEXT_MOST and text.strip() and text.isprintable()):
            problem = f"this is one line of 1 to {TEXT_MOST} characters; write for example: {schema.PAPER[key]}"
            raise source.refusal((*where, key), problem)
    if table.until is not None and table.until > _UNTIL_MOST:
        raise source.refusal((*where, "until"), f"{_UNTIL_MOST} is the latest; write for example: until = 2027-03-31")
    return Paper(owner=table.owner or "", reason=table.reason or "", change=table.change or "", until=table.until)


def policy_paper(source: Source, table: schema.PolicyTable) -> Paper | None:
    """Return what [policy.paper] says of members and relays."""
    where = ("policy", "paper")
    found = None if table.paper is None else paper(source, where, table.paper)
    if table.paper is not None and found is None:
        raise source.refusal(where, f"there is none of {_listed(_KEYS)} in it; add them, or remove this table")
    return found


def approvals(source: Source, table: schema.ApprovalsTable | None) -> ApprovalsSettings | None:
    """Return what [approvals] says; None: nobody approves changes."""
    if table is None:
        return None
    at: KeyPath = ("approvals", "roles")
    if len(table.roles) > ROLES_MOST:
        raise source.refusal(at, f"these are {len(table.roles)} roles, and {ROLES_MOST} is the most; write fewer")
    for role, persons in table.roles.items():
        if not (0 < len(role) <= 64 and role.isascii() and role.isprintable() and role.strip() == role):
            problem = f"a role is named by 1 to 64 characters of ASCII; write for example: {example_for(at)}"
            raise source.refusal(at, problem)
        if not persons or len(set(persons)) != len(persons) or not all(map(_PERSON.fullmatch, persons)):
            problem = f'"{role}" is a list of different addresses; write for example: {example_for(at)}'
            raise source.refusal(at, problem)
    return ApprovalsSettings(
        signers=file_path(source, ("approvals", "signers"), table.signers),
        needs=table.needs,
        roles=tuple(sorted((role, tuple(sorted(persons))) for role, persons in table.roles.items())),
        revoked=None if table.revoked is None else file_path(source, ("approvals", "revoked"), table.revoked),
        holds=table.holds,
        most_days=table.most_days,
    )


def papers(config: Config) -> Iterator[tuple[KeyPath, Paper | None]]:
    """Yield what each rule of a configuration says of who allowed it, with its place in the file."""
    if config.policy.members or config.policy.relays or config.policy.paper:
        yield ("policy", "paper"), config.policy.paper
    of_tables = {
        "listen": [entry.paper for entry in config.listens],
        "link": [entry.paper for entry in config.links],
        "export": [entry.paper for entry in config.exports],
        "import": [entry.paper for entry in config.imports],
        "direct": [entry.paper for entry in config.directs],
    }
    for table, found in of_tables.items():
        for index, each in enumerate(found):
            yield (table, index), each


def refuse_unsigned(source: Source, config: Config) -> None:
    """Refuse a rule that does not say who allowed it, where changes have to be approved."""
    if config.approvals is None:
        return
    for where, found in papers(config):
        missing = [key for key in _KEYS if found is None or not getattr(found, key)]
        if missing:
            lines = ", ".join(schema.PAPER[key] for key in missing)
            verb = "is" if len(missing) == 1 else "are"
            problem = f"{_listed(missing)} {verb} missing, which each rule has where there is [approvals]"
            place = " below [policy.paper]" if where == ("policy", "paper") else ""
            raise source.refusal(where, f"{problem}; write for example{place}: {lines}")


def _listed(names: list[str] | tuple[str, ...]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
