"""What a cut-over's state means for a script, and in a word for people (pure)."""

from __future__ import annotations

from pcgrelay.admin.cutover_answers import CutoverStatus
from pcgrelay.errors import RuleProblem, StatusProblem

ATTENTION = 4

EXIT_CODES = """\b
Exit codes:
   0  it goes its way
   1  there is no such cut-over
   3  there is nowhere to fall back to, its state is lost, or no answer
   4  it is late or held, or something needs attention
   6  it fell back
"""


def code_of(status: CutoverStatus) -> int:
    """The exit code that says how a cut-over is."""
    if status.reason:
        return status.exit_code or 1
    if status.nowhere or status.phase == "lost":
        return StatusProblem.exit_code
    if status.phase == "back":
        return RuleProblem.exit_code
    return ATTENTION if status.late or status.held or status.troubles else 0


def style_of(status: CutoverStatus) -> str:
    """The colour of its state."""
    if status.nowhere or status.phase in ("lost", "back"):
        return "bold red"
    if status.held or status.late:
        return "bold yellow"
    return {"arrived": "green", "quiet": "green", "retired": "green", "paused": "yellow"}.get(status.phase, "")


def phase_word(status: CutoverStatus) -> str:
    """Its phase in a word; held is one for people."""
    return "held" if status.held and status.phase == "soaking" else status.phase
