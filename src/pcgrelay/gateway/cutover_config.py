"""A configuration that would take away what a cut-over needs is refused."""

from __future__ import annotations

from collections.abc import Iterable

from pcgrelay.config import GATEWAY, Config
from pcgrelay.cutover.phases import Phase
from pcgrelay.errors import ConfigError
from pcgrelay.gateway.cutover import Cutover
from pcgrelay.model import ServiceName

MOVING = frozenset({Phase.SOAKING, Phase.PAUSED, Phase.ARRIVED})


def refuse_config(config: Config, cutovers: Iterable[Cutover]) -> None:
    """ConfigError: a service is being moved, and an outlet that it needs would be gone."""
    for cutover in cutovers:
        problem = _problem(config, cutover)
        if problem:
            raise ConfigError(f"{config.path}: {problem}.")


def _problem(config: Config, cutover: Cutover) -> str:
    """What speaks against it; empty: nothing. Whatever is missing already is nobody's to refuse."""
    plan, phase, outlets = cutover.plan, cutover.phase, cutover.outlets
    if outlets is None:
        return ""
    service = ServiceName.parse(plan.service)
    is_imported = any(entry.service == service for entry in config.imports)
    there = {GATEWAY, *(direct.name for direct in config.directs_of(service))} if is_imported else set()
    gone = {name for name in outlets.all_names if name not in there}
    if phase is Phase.BACK and cutover.progress.back_on in gone:
        return (
            f"all new streams of {plan.service} take {cutover.progress.back_on} since its cut-over went back, and this "
            "configuration would take that outlet away; leave it there, or start the cut-over again first"
        )
    if phase in MOVING and gone & {plan.old, plan.new}:
        what = f"its outlet {min(gone & {plan.old, plan.new})}" if is_imported else "its import"
        return (
            f"{plan.service} is being moved from {plan.old} to {plan.new}, and this configuration would take {what} "
            "away; go back first (pcgrelay cutover back), or finish it"
        )
    if phase in MOVING and not there & set(plan.back):
        return (
            f"{plan.service} is being moved from {plan.old} to {plan.new}, and this configuration would leave it none "
            f"of the outlets that it may fall back to ({', '.join(plan.back)}); leave one there, or finish it first"
        )
    return ""
