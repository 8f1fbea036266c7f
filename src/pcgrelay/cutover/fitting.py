"""Whether what was kept of a cut-over belongs to its plan (pure)."""

from __future__ import annotations

from pcgrelay.cutover.plan import Plan
from pcgrelay.cutover.state import CutoverState


def fits(plan: Plan, state: CutoverState) -> bool:
    """Whether a state that was read can be that of its plan; if not, nobody knows how far it was."""
    progress = state.progress
    return (
        plan.service == state.service
        and 0 <= progress.step < len(plan.steps)
        and progress.back_on in (None, *plan.back)
        and all(name == outlet.name for name, outlet in state.sums.items())
    )
