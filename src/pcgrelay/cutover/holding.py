"""When the new outlet is away: its share is 0 at once, and the cut-over falls back if that lasts or comes back (pure).

A relay that is restarted costs no cut-over; the third absence in one soak does, or 60 s of them. Only what the outlet
alone is to blame for counts: while what it would fall back to fails as well, the target is away, and it waits.
"""

from __future__ import annotations

from msgspec import structs

from pcgrelay.cutover.phases import Decision, Hold
from pcgrelay.health.damping import HOLD_MS

# So long it has to be well before it has its share again.
WELL_S = HOLD_MS / 1_000
# After the arrival a restart is waited for, so that it does not end the quiet.
PATIENCE_S = 2.0
COUNT_MOST = 3
TOTAL_MOST_S = 60.0


def after(
    hold: Hold, is_well: bool, back_succeeds: bool | None, now_s: float, passed_s: float, *, is_patient: bool
) -> tuple[Hold, list[Decision]]:
    """The hold after one more look, and what there is to say.

    back_succeeds: whether what it would fall back to was seen to succeed since this absence began; nothing: not known.
    """
    if not is_well:
        is_known = hold.away_since_s is not None
        since = hold.away_since_s if hold.away_since_s is not None else now_s
        total = hold.total_s + (passed_s if hold.is_held and back_succeeds else 0.0)
        hold = structs.replace(hold, away_since_s=since, well_since_s=None, total_s=total)
        if not hold.is_held and is_patient and now_s - since < PATIENCE_S:
            return hold, []
        told = [] if hold.is_held else [Decision("held", "The new outlet is away; its share is 0 for now.")]
        if back_succeeds and is_known and not hold.is_counted:
            # It alone is to blame. When the target goes, its last good set-ups say nothing of this absence.
            hold = structs.replace(hold, is_counted=True, count=hold.count + 1)
        return structs.replace(hold, is_held=True), told
    if not hold.is_held:
        return structs.replace(hold, away_since_s=None), []
    since = now_s if hold.well_since_s is None else hold.well_since_s
    hold = structs.replace(hold, away_since_s=None, well_since_s=since)
    if now_s - since < WELL_S:
        return hold, []
    what = "The new outlet is well again; the soak begins again."
    return structs.replace(hold, is_held=False, is_counted=False, well_since_s=None), [Decision("released", what)]


def exhausted(hold: Hold) -> str | None:
    """Why it is to fall back, or nothing."""
    if hold.count >= COUNT_MOST:
        return f"was away {COUNT_MOST} times in one soak"
    if hold.total_s >= TOTAL_MOST_S:
        return f"was away for {TOTAL_MOST_S:g} s"
    return None
