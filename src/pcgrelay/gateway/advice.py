"""Advice on a cut-over: which of the roles that its plan asks have given it, noted by a person and written at once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from pcgrelay.cutover.state import KeptAdvice
from pcgrelay.errors import PcgrelayError, UsageProblem
from pcgrelay.gateway.actor import Actor
from pcgrelay.gateway.cutover import Cutover
from pcgrelay.gateway.cutovers import Cutovers
from pcgrelay.gateway.role import NodeParts
from pcgrelay.log.cutover_events import CutoverAdvised
from pcgrelay.printable import printable


async def note_advice(
    cutovers: Cutovers, cutover: Cutover, said: Mapping[str, str], actor: Actor, node: NodeParts
) -> bool:
    """Note that a role has given its advice, or has withdrawn it. PcgrelayError: refused, and nothing has changed.

    said: role; on, a date, today unless told; withdraw, "1" if so. Answers whether anything has changed.
    """
    role, is_withdrawn = _role(cutover, said.get("role", "")), said.get("withdraw") == "1"
    now = node.clock.wall()
    on = _day(said.get("on", ""), now.date())
    before = cutover.state.advice
    advice = None
    if not is_withdrawn:
        at = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        advice = KeptAdvice(role=role, on=on, at=at, uid=actor.uid, by=actor.by, reason=actor.reason)
    elif all(each.role.casefold() != role.casefold() for each in before):
        return False
    if advice is None:
        await _write(cutovers, cutover, role, advice)
    else:
        # A role's advice is given by somebody who has it.
        async with node.approvals.acting("advice", f"{cutover.service} {role}", actor, role):
            await _write(cutovers, cutover, role, advice)
    node.emit(
        CutoverAdvised(
            service=cutover.service,
            role=role,
            on=on.isoformat(),
            withdrawn=is_withdrawn,
            uid=actor.uid,
            by=actor.by,
            reason=actor.reason,
        )
    )
    return True


async def _write(cutovers: Cutovers, cutover: Cutover, role: str, advice: KeptAdvice | None) -> None:
    before = cutover.state.advice
    cutover.state = cutover.state.with_advice(role, advice)
    try:
        await cutovers.write_now(cutover)
    except PcgrelayError:
        cutover.state = cutover.state.with_advice(role, _of(role, before))
        raise


def _of(role: str, advice: tuple[KeptAdvice, ...]) -> KeptAdvice | None:
    return next((each for each in advice if each.role.casefold() == role.casefold()), None)


def _role(cutover: Cutover, text: str) -> str:
    """A role as the plan has it. UsageProblem: the plan asks no such role."""
    roles = cutover.plan.report.advice
    found = next((role for role in roles if role.casefold() == text.strip().casefold()), None)
    if found is None:
        asked = f"it asks: {', '.join(map(printable, roles))}" if roles else "it asks for none ([report] advice)"
        raise UsageProblem(f'The plan of {cutover.service} asks no "{printable(text)[:80]}" for advice; {asked}.')
    return found


def _day(text: str, today: date) -> date:
    if not text:
        return today
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise UsageProblem(f'--on "{printable(text)[:40]}" is no date; write it as 2020-01-30.') from None
    if day > today:
        raise UsageProblem(f"--on {day} lies ahead (today is {today}); advice is noted when it was given.")
    return day
