"""N3, N5, N8 and L4: rules and their paper, changes that were approved, and between which networks rules lead."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

from pcgrelay.assure.judgement import NotHereError
from pcgrelay.assure.readers.records import log_folder, newest_records
from pcgrelay.assure.rule_facts import (
    BearerPair,
    ChangeFact,
    Changes,
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
from pcgrelay.policy.change import Change, parse_change
from pcgrelay.policy.clearances import clearances_of
from pcgrelay.policy.digest import digest_on_disk
from pcgrelay.policy.signatures import CHANGE_NAMESPACE, Signature, Verified, verify
from pcgrelay.policy.signed_text import Misspelt
from pcgrelay.policy.signers import parse_signers, read_signers
from pcgrelay.state.approved import CHANGE, REVOKED, SIGNERS, Approved, ApprovedStore

PAPER = ("owner", "reason", "change", "until")
# Records of a change that was taken, and of digests that another version computes.
TAKEN = ("policy.taken", "policy.first")
REHASHED = "policy.rehashed"


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
    taken = newest_records(folder, TAKEN, most) if folder else []
    rehashed = newest_records(folder, (REHASHED,), most) if folder else []
    store = ApprovedStore(state)
    newest, before = store.read(), store.before()
    kept: list[ChangeFact] = []
    for copy, judges in ((newest, before), (before, None)):
        if copy is not None and CHANGE in copy.files:
            records = None if folder is None else taken
            kept.append(_kept(copy, judges, records, [str(each.get("before")) for each in rehashed], scene.folder))
    known = {digest for copy in (newest, before) if copy is not None for digest in (_after(copy), copy.pointer.digest)}
    told = [_told(each) for each in taken if each.get("after") not in known and each.get("widens", 0)]
    told = told[: most - len(kept)]
    return Changes(approvals=True, needs=approvals.needs, changes=(*kept, *told), only_log=len(told))


def _kept(
    copy: Approved,
    judges: Approved | None,
    records: Sequence[Mapping[str, Any]] | None,
    rehashed: Sequence[str],
    folder: Path,
) -> ChangeFact:
    """One change whose text is kept. judges: what held before it, whose signers decide."""
    pointer = copy.pointer
    try:
        change = parse_change(copy.files[CHANGE])
    except Misspelt:
        return ChangeFact(number=pointer.change, taken=pointer.taken, whole=False)
    signers = (judges or copy).files if not pointer.is_first else copy.files
    people = parse_signers(signers[SIGNERS], copy.path / SIGNERS)
    found = _verified(copy, signers, folder)
    keys = tuple(sorted({each.fingerprint for each in found.good}))
    mine = [each for each in records or () if each.get("after") == change.after]
    return ChangeFact(
        number=change.head.change,
        taken=pointer.taken,
        by=next((each.fingerprint for each in people if each.principal == change.head.by), ""),
        signers=keys,
        bad=tuple(each.flaw.value for each in found.bad),
        whole=change.after in (pointer.digest, *rehashed),
        recorded=records is None or any(set(each.get("keys", ())) <= set(keys) and each.get("keys") for each in mine),
    )


def _verified(copy: Approved, signers: Mapping[str, bytes], folder: Path) -> Verified:
    prefix = f"{CHANGE}."
    names = [name for name in copy.files if name.startswith(prefix) and name.endswith(".sig")]
    signatures = [Signature(name[len(prefix) : -len(".sig")], copy.files[name]) for name in sorted(names)]
    listed = signers[SIGNERS]
    people = parse_signers(listed, copy.path / SIGNERS)
    # Judged at the moment at which the change was taken, as the node did.
    when = datetime.fromisoformat(copy.pointer.taken).astimezone(UTC)
    revoked = signers.get(REVOKED, b"")
    return verify(copy.files[CHANGE], signatures, CHANGE_NAMESPACE, (listed, people), revoked, when, folder)


def _after(copy: Approved) -> str:
    try:
        change: Change = parse_change(copy.files.get(CHANGE, b""))
    except Misspelt:
        return ""
    return change.after


def _told(record: Mapping[str, Any]) -> ChangeFact:
    """One change of which the log alone says who signed it."""
    return ChangeFact(
        number=str(record.get("change", "")), taken=str(record.get("ts", "")), signers=tuple(record.get("keys", ()))
    )


# -- networks (N5) ---------------------------------------------------------------------------------------------------


async def read_transit(scene: Scene) -> Transit:
    """N5: by the tables themselves, for each pair of bearers of this node's links and listeners."""
    config = scene.config
    bearers = bearers_of(config)
    if len(bearers) < 2:
        raise NotHereError("this node uses one network, so nothing leads from one to another")
    return transit_of(config)


def transit_of(config: Config) -> Transit:
    """Return all pairs of bearers. An edge forwards nothing."""
    bearers, clearances = bearers_of(config), clearances_of(config)
    forwards = config.node.role is Role.RELAY
    named = frozenset(config.policy.transit or ())
    return Transit(
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
            if CHANGE_NAMESPACE in each.namespaces
        ),
    )
