"""A rehearsal as it is told."""

from __future__ import annotations

from collections import Counter

from pcgrelay.admin.cutover_answers import Rehearsal, RehearsedOutlet
from pcgrelay.cutover.gate import TITLES
from pcgrelay.cutover.questions import Outcome
from pcgrelay.cutover.samples import Limits, Samples
from pcgrelay.gateway.cutover_rehearsal import Rehearsed
from pcgrelay.gateway.edge import EdgeRole
from pcgrelay.services.outlets import ImportOutlets
from pcgrelay.services.services import Imported
from pcgrelay.views.cutover import findings_of, session_of


def rehearsal_answer(
    edge: EdgeRole, imported: Imported, outlets: ImportOutlets, names: tuple[str, str], rehearsed: Rehearsed
) -> Rehearsal:
    """What is told of a rehearsal over the old outlet and the new one."""
    facts, service = rehearsed.verdict.facts, str(imported.settings.service)
    old = _outlet(edge, imported, outlets, names[0], facts.old.shadow, rehearsed)
    new = _outlet(edge, imported, outlets, names[1], facts.new.shadow, rehearsed)
    has_failed = new.up * old.tried < old.up * new.tried
    bad = [each for each in rehearsed.verdict.findings if each.outcome is Outcome.BAD]
    can_begin = new.up > 0 and not has_failed and not bad
    unjudged = [TITLES[each.question] for each in rehearsed.verdict.findings if each.outcome is Outcome.OPEN]
    if can_begin and unjudged:
        sentence = (
            f"It can begin: nothing speaks against it. {new.tried:,} connections are too few to judge all of it "
            f"({', '.join(unjudged)}); the gate does, before each step."
        )
    elif can_begin:
        sentence = "It can begin."
    elif not new.up:
        sentence = f"It cannot begin: no connection over {new.name} was set up; see pcgrelay explain {service}."
    elif has_failed:
        sentence = f"It should not begin: {new.tried - new.up} of {new.tried} failed over {new.name}."
    else:
        sentence = f"It should not begin: {rehearsed.verdict.sentence}"
    return Rehearsal(
        service=service,
        old=old,
        new=new,
        took_s=round(rehearsed.took_s, 1),
        findings=findings_of(rehearsed.verdict, Limits(streams=1)),
        can_begin=can_begin,
        sentence=sentence,
        exit_code=0 if can_begin else 6,
    )


def _outlet(
    edge: EdgeRole, imported: Imported, outlets: ImportOutlets, name: str, samples: Samples, rehearsed: Rehearsed
) -> RehearsedOutlet:
    direct = outlets.directs.get(name)
    until = None if direct is None else direct.bearer.supported_until
    session = None if direct is not None else session_of(edge, imported)
    return RehearsedOutlet(
        name=name,
        tried=samples.tried,
        up=samples.tried - samples.failed,
        outcomes=dict(Counter(end.outcome for end in rehearsed.ends[name])),
        setup_median_ms=_ms(samples.setup.quantile(0.5)),
        setup_p95_ms=_ms(samples.setup.quantile(0.95)),
        answer_median_ms=_ms(samples.answer.quantile(0.5)),
        answers=samples.answer.total,
        bearer="" if direct is None else direct.settings.bearer,
        marking="" if direct is None else direct.bearer.marking.value,
        supported_until="" if until is None else until.isoformat(),
        suite="" if session is None or session.suite is None else session.suite.title,
        group="" if session is None else session.group,
    )


def _ms(value_us: float | None) -> float | None:
    return None if value_us is None else round(value_us / 1_000, 3)
