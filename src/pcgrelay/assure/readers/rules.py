"""N3, N5, N8 and L4: rules and their paper, changes that were approved, and between which networks rules lead."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

from pcgrelay.admin.assure_answers import TRANSIT_PATH, TransitAnswer
from pcgrelay.admin.client import ask
from pcgrelay.assure.judgement import NotHereError
from pcgrelay.assure.readers.records import begins_at, log_folder, newest_records
from pcgrelay.assure.rule_facts import (
    BearerPair,
    ChangeFact,
    Changes,
    LiveTransit,
    RuleFact,
    Rules,
    SignerFact,
    SignerFacts,
    Transit,
)
from pcgrelay.assure.scene import Scene
from pcgrelay.config import Config
from pcgrelay.config.paper import papers
from pcgrelay.model import Role
from pcgrelay.policy.change import parse_change
from pcgrelay.policy.clearances import clearances_of
from pcgrelay.policy.digest import digest_on_disk
from pcgrelay.policy.revoked import fingerprints
from pcgrelay.policy.signatures import CHANGE_NAMESPACE, Signature, read_revoked, verify
from pcgrelay.policy.signed_text import Misspelt
from pcgrelay.policy.signers import parse_signers, read_signers
from pcgrelay.state.approved import CHANGE, REVOKED, SIGNERS, Approved, ApprovedStore, Pointer
from pcgrelay.state.changes import Taken

PAPER = ("owner", "reason", "change", "until")
# Records of a change that was taken, and of digests that another version computes.
TAKEN, FIRST = ("policy.taken", "policy.first"), "policy.first"
REHASHED = "policy.rehashed"
SECONDS = 19  # letters of a time up to its seconds; the log has milliseconds too
RECORDS_MOST = 1_000  # of policies that were taken, those that needed nobody too


# -- rules (N3) ------------------------------------------------------------------------------------------------------


async def read_rules(scene: Scene) -> Rules:
    """N3."""
    return await asyncio.to_thread(_rules, scene)


def _rules(scene: Scene) -> Rules:
    config = scene.config
    kept = _approved(config)
    return Rules(
        today=scene.clock.wall().date(),
        rules=tuple(rule_facts(config)),
        approvals=config.approvals is not None,
        approved=kept.pointer.digest if kept else "",
        holds=digest_on_disk(config),
    )


def rule_facts(config: Config) -> Iterator[RuleFact]:
    """Yield what each rule says of who allowed it."""
    for where, paper in papers(config):
        name = f"{where[0]}[{where[1] + 1}]" if isinstance(where[1], int) else ".".join(map(str, where))
        missing = tuple(key for key in PAPER if paper is None or not getattr(paper, key))
        yield RuleFact(where=name, missing=missing, until=None if paper is None else paper.until)


def _approved(config: Config) -> Approved | None:
    return None if config.node.state is None else ApprovedStore(config.node.state).read()


# -- changes (L4) ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Signed:
    """One change whose text is kept. signers, revoked: of the policy that held before it, which judged it."""

    digest: str  # of the policy that is kept with it
    number: str
    taken: str
    text: bytes
    signatures: tuple[Signature, ...]
    signers: bytes
    revoked: bytes
    where: Path
    after: str = ""  # the digest to which it leads, as its text says; "": the text is none


async def read_changes(scene: Scene) -> Changes:
    """L4: those whose text is kept are verified by ssh-keygen; of those before them the log says who signed."""
    return await asyncio.to_thread(_changes, scene)


def _changes(scene: Scene) -> Changes:
    approvals, state = scene.config.approvals, scene.config.node.state
    if approvals is None or state is None:
        return Changes(approvals=False)
    most = scene.parameters.rules.changes
    try:
        folder: Path | None = log_folder(scene)
    except NotHereError:
        folder = None
    taken = newest_records(folder, TAKEN, RECORDS_MOST) if folder else []
    rehashed = [str(each.get("before")) for each in newest_records(folder, (REHASHED,), RECORDS_MOST)] if folder else []
    named = [each for each in taken if each.get("widens", 0) or each.get("event") == FIRST][:most]
    held, archived = _texts(ApprovedStore(state))
    if folder is not None:
        # Those that the log does not name were taken before it begins.
        names = {_named(record) for record in named}
        archived = [each for each in archived if (each.after, each.number) in names]
    begins = begins_at(folder) if folder else ""
    kept = []
    for each in (*held, *archived):
        # A log that began later, or keeps nothing from so long ago, says nothing of it.
        is_before = folder is None or each.taken[:SECONDS] < begins[:SECONDS]
        kept.append(_verified(each, None if is_before else taken, rehashed))
    known = {(digest, each.number) for each in (*held, *archived) for digest in (each.after, each.digest)}
    told = [_told(each) for each in named if _named(each) not in known]
    newest = sorted((*kept, *told), key=lambda each: each.taken[:SECONDS], reverse=True)[:most]
    return Changes(
        approvals=True,
        needs=approvals.needs,
        changes=tuple(newest),
        only_log=sum(each.is_told for each in newest),
    )


def _named(record: Mapping[str, Any]) -> tuple[str, str]:
    """What a change leads to, and its number: a policy may be gone back to, by another change."""
    return str(record.get("after", "")), str(record.get("change", ""))


def _texts(store: ApprovedStore) -> tuple[list[_Signed], list[_Signed]]:
    """Return the change of what holds and of what held before, and those before them that are kept, newest first."""
    newest, before = store.read(), store.before()
    archived = [
        _signed(each.taken.digest, each.taken, each.files, each.files, each.path) for each in store.changes.read()
    ]
    judges = {each.text: each for each in reversed(archived)}
    held: list[_Signed] = []
    for copy, last in ((newest, before), (before, None)):
        if copy is None or CHANGE not in copy.files:
            continue
        own = copy.files if copy.pointer.is_first or last is None else last.files
        found = _signed(copy.pointer.digest, copy.pointer, copy.files, own, copy.path)
        if other := judges.get(found.text):
            found = replace(found, signers=other.signers, revoked=other.revoked)
        held.append(found)
    texts = {each.text for each in held}
    # One may be kept twice, if it was written again; the newest counts.
    older = {each.text: each for each in reversed(archived) if each.text not in texts}
    return held, list(older.values())[::-1]


def _signed(
    digest: str, taken: Pointer | Taken, files: Mapping[str, bytes], judges: Mapping[str, bytes], where: Path
) -> _Signed:
    prefix, text = f"{CHANGE}.", files.get(CHANGE, b"")
    names = [name for name in sorted(files) if name.startswith(prefix) and name.endswith(".sig")]
    try:
        after = parse_change(text).after
    except Misspelt:
        after = ""
    return _Signed(
        digest=digest,
        number=taken.change,
        taken=taken.taken,
        text=text,
        signatures=tuple(Signature(name[len(prefix) : -len(".sig")], files[name]) for name in names),
        signers=judges.get(SIGNERS, b""),
        revoked=judges.get(REVOKED, b""),
        where=where,
        after=after,
    )


def _verified(each: _Signed, records: Sequence[Mapping[str, Any]] | None, rehashed: Sequence[str]) -> ChangeFact:
    if not each.after:
        return ChangeFact(number=each.number, taken=each.taken, whole=False)
    change = parse_change(each.text)
    people = parse_signers(each.signers, each.where / SIGNERS)
    # Judged at the moment at which the change was taken, as the node did.
    when = datetime.fromisoformat(each.taken).astimezone(UTC)
    found = verify(each.text, each.signatures, CHANGE_NAMESPACE, (each.signers, people), each.revoked, when)
    keys = tuple(sorted({one.fingerprint for one in found.good}))
    mine = [one for one in records or () if one.get("after") == each.after]
    return ChangeFact(
        number=change.head.change,
        taken=each.taken,
        by=next((one.fingerprint for one in people if one.principal == change.head.by), ""),
        signers=keys,
        bad=tuple(one.flaw.value for one in found.bad),
        whole=each.after in (each.digest, *rehashed),
        recorded=records is None or any(set(one.get("keys", ())) <= set(keys) and one.get("keys") for one in mine),
    )


def _told(record: Mapping[str, Any]) -> ChangeFact:
    """One change of which the log alone says who signed it."""
    return ChangeFact(
        number=str(record.get("change", "")),
        taken=str(record.get("ts", "")),
        signers=tuple(record.get("keys", ())),
        is_told=True,
    )


# -- networks (N5) ---------------------------------------------------------------------------------------------------


async def read_transit(scene: Scene) -> Transit:
    """N5: by the tables of the file, for each pair of bearers of links and listeners, and by the running node.

    A relay says which paths stand, and makes its choice for ways that nobody has asked for.
    """
    config = scene.config
    bearers = bearers_of(config)
    if len(bearers) < 2:
        raise NotHereError("this node uses one network, so nothing leads from one to another")
    live = await asyncio.to_thread(ask, config.node.admin, "GET", TRANSIT_PATH, TransitAnswer)
    return transit_of(config, live)


def transit_of(config: Config, live: TransitAnswer) -> Transit:
    """Return all pairs of bearers, and what the running node leads and would lead. An edge forwards nothing."""
    bearers, clearances = bearers_of(config), clearances_of(config)
    forwards = config.node.role is Role.RELAY
    named = frozenset(config.policy.transit or ())
    paths: Counter[tuple[str, str]] = Counter()
    for row in live.paths:
        paths[row.came, row.goes] += row.count
    led = {(each.came, each.goes): each.count for each in live.led}
    return Transit(
        forwards=live.forwards,
        live=tuple(
            LiveTransit(
                came=came,
                goes=goes,
                named=(min(came, goes), max(came, goes)) in named,
                paths=paths[came, goes],
                led=led.get((came, goes), 0),
            )
            for came, goes in sorted({*paths, *led})
            if came != goes
        ),
        asked=live.asked,
        refused=sum(live.refused.values()),
        bearers=bearers,
        pairs=tuple(
            BearerPair(
                one=one,
                other=other,
                allowed=forwards and clearances.may_transit(one, other),
                named=(min(one, other), max(one, other)) in named,
            )
            for one, other in combinations(bearers, 2)
        ),
    )


def bearers_of(config: Config) -> tuple[str, ...]:
    """Return the names of the networks of links and listeners, sorted."""
    return tuple(sorted({each.bearer for each in config.links} | {each.bearer for each in config.listens}))


# -- signers (L3) ----------------------------------------------------------------------------------------------------


async def read_people(scene: Scene) -> SignerFacts:
    """L3."""
    return await asyncio.to_thread(_people, scene)


def _people(scene: Scene) -> SignerFacts:
    approvals = scene.config.approvals
    if approvals is None:
        raise NotHereError("nobody has to approve a change of this node ([approvals])")
    _, people = read_signers(approvals.signers)
    gone = frozenset[str]() if approvals.revoked is None else fingerprints(read_revoked(approvals.revoked))
    return SignerFacts(
        today=scene.clock.wall().date(),
        needs=approvals.needs,
        signers=tuple(
            SignerFact(
                person=each.principal,
                until=None if each.valid_before is None else each.valid_before.date(),
                roles=tuple(role for role, persons in approvals.roles if each.principal in persons),
            )
            for each in people
            if CHANGE_NAMESPACE in each.namespaces and each.fingerprint not in gone
        ),
    )
