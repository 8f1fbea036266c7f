"""One state of a cut-over for all edges of an organisation that move the same service (pure).

One edge at a time has the *seat* of a service: a key of the store under a lease. It alone makes steps forward. Each
decision is a record with an epoch that rises by one, written by a guarded transaction (only if the store still has the
record that the writer knows, and for a step forward only if the writer still has the seat). All edges take what is
newer and nothing else.

                     seat, live store                        any edge, at any time
    SOAKING k ----------------------> SOAKING k+1, ARRIVED       ---> BACK, PAUSED
    none, BACK -----(start)---------> SOAKING 0 of the next run  (one run never leaves BACK)

What follows from it, whatever the store or other edges do:

- Two edges never deal different shares by one epoch. An edge whose new outlet is away, or that went back by its own
  alarm, deals less than the epoch says, and never more.
- A step forward needs a live store and the seat. While the store is silent every edge keeps what it has.
- A step back waits for nothing: it is in force at its edge at once, and is written as soon as the store answers.
- A run is joined by a start at each edge, with whatever approval that edge asks for. Nobody starts a cut-over at
  another edge, nor starts one again that went back.

A store that was emptied, or that was set back, is told again what the edges know; until it was told for a while, no
step forward is made.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from msgspec import Meta, Struct, structs

from pcgrelay.cutover.phases import Phase
from pcgrelay.cutover.samples import Outlet
from pcgrelay.ranges import Count

# More decisions than anybody makes. Whoever may sign for the organisation can end the counting here, and no more.
EPOCH_MOST = 1 << 40
# After the store was found behind: so long every edge has to tell it what it knows, before the next step forward.
RESTORE_S = 10.0
# Beyond each step of a plan.
ARRIVED_RANK = 1 << 20
# Phases that edges share. An edge is quiet, and retires its outlet, by itself: the others know it as arrived.
SHARED = frozenset({Phase.SOAKING, Phase.PAUSED, Phase.BACK, Phase.ARRIVED})

TEXT_MOST = 4_096
Text = Annotated[str, Meta(max_length=TEXT_MOST)]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class SharedState(Struct, frozen=True, kw_only=True):
    """A decision, as it is written. Shares follow from plan, phase and step."""

    service: Annotated[str, Meta(max_length=512)]
    plan_sha256: Digest
    run: Annotated[int, Meta(ge=1, le=EPOCH_MOST)]  # starts so far
    epoch: Annotated[int, Meta(ge=1, le=EPOCH_MOST)]
    phase: Phase
    step: Count  # index into the plan's steps
    seat: Count = 0  # the fencing token under which it was written; 0: a step back, or one that changes no share
    node: Annotated[str, Meta(max_length=512)]  # who wrote it
    at: Annotated[str, Meta(max_length=32)]  # wall time of the writer, UTC
    what: Annotated[str, Meta(max_length=32)]  # as in the log
    sentence: Text
    by: Text = ""
    reason: Text = ""

    @property
    def essence(self) -> tuple[str, int, Phase, int]:
        """What two records of one epoch have to agree on."""
        return self.plan_sha256, self.run, self.phase, self.step

    @property
    def is_under_way(self) -> bool:
        """Whether the new outlet has a share."""
        return self.phase in {Phase.SOAKING, Phase.PAUSED, Phase.ARRIVED}


class Refusal(Enum):
    """Why a record is not taken."""

    OLDER = "cutover_older"  # an epoch below the one that is known: a replay, or a store that was set back
    DIFFERS = "cutover_differs"  # another decision of an epoch that is known, another plan, or an earlier run
    AFTER_BACK = "cutover_after_back"  # a run that went back goes on
    NOT_SHARED = "cutover_not_shared"  # a phase that edges do not share, or another service


class Known(Struct, frozen=True):
    """The newest record that an edge believes, and what it knows of the store."""

    record: SharedState | None = None
    revision: Count = 0  # of the store's key as it was seen last; 0: the store has none
    stored: Count = 0  # the epoch that the store has, as it was seen last; 0: nothing that is believed
    behind_s: float | None = None  # when the store was found to have less than is known, the last time; monotonic
    rival: SharedState | None = None  # what the store has, if it contradicts the record

    @property
    def epoch(self) -> int:
        """The epoch of the newest record; 0: none is known."""
        return 0 if self.record is None else self.record.epoch


def take(
    known: Known, service: str, record: SharedState | None, revision: int, now_s: float
) -> tuple[Known, Refusal | None]:
    """What is known after the store's key was seen, and why its record is not taken; no record: none is believed."""
    seen = structs.replace(known, revision=revision, rival=None)
    if record is not None and (record.phase not in SHARED or record.service != service):
        return _behind(seen, 0, now_s), Refusal.NOT_SHARED
    if record is None:
        return _behind(seen, 0, now_s), None
    last = known.record
    if last is not None and record.epoch < last.epoch:
        return _behind(seen, record.epoch, now_s), Refusal.OLDER
    if last is not None and (why := _contradicts(last, record)):
        return structs.replace(seen, rival=record, stored=record.epoch), why
    is_new = last is None or record.epoch > last.epoch
    return structs.replace(seen, record=record if is_new else last, stored=record.epoch), None


def _contradicts(last: SharedState, record: SharedState) -> Refusal | None:
    """Why a record that is as new as the last one, or newer, cannot have come after it."""
    if record.epoch == last.epoch:
        return Refusal.DIFFERS if record.essence != last.essence else None
    if record.run != last.run:
        return Refusal.DIFFERS if record.run < last.run else None
    if record.plan_sha256 != last.plan_sha256:
        return Refusal.DIFFERS
    return Refusal.AFTER_BACK if last.phase is Phase.BACK and record.phase is not Phase.BACK else None


def _behind(known: Known, stored: int, now_s: float) -> Known:
    is_behind = stored < known.epoch
    return structs.replace(known, stored=stored, behind_s=now_s if is_behind else known.behind_s)


class Joining(Enum):
    """What a start at an edge does."""

    NEW_RUN = "new run"  # the first of all edges
    JOIN = "join"  # others have started by the same plan
    RUNS = "runs"  # this edge has joined already
    OTHER_PLAN = "other plan"  # others move it by another plan


def joining(known: Known, own_run: int, plan_sha256: str) -> Joining:
    """What a start by a plan means for an edge that has joined own_run (0: none)."""
    record = known.record
    if record is None or not record.is_under_way:
        return Joining.NEW_RUN
    if record.plan_sha256 != plan_sha256:
        return Joining.OTHER_PLAN
    return Joining.RUNS if record.run == own_run else Joining.JOIN


class Mine(Struct, frozen=True):
    """One edge's part in a run."""

    run: Count = 0  # the run that this edge has joined; 0: none
    narrowed: SharedState | None = None  # what this edge did by itself and has not told yet: BACK or PAUSED


class Write(Struct, frozen=True):
    """A record that is written only if the store still has what the writer knows."""

    record: SharedState
    revision: Count  # the store's key is still of this revision; 0: there is none
    seat: Count = 0  # and this token is still the seat's; 0: none is needed


def followed(mine: Mine, known: Known) -> SharedState | None:
    """The record by which an edge deals its shares; nothing: it has not joined, or it narrowed by itself."""
    record = known.record
    return record if record is not None and record.run == mine.run and mine.narrowed is None else None


def has_ended(mine: Mine, known: Known) -> bool:
    """Whether the run of an edge is over: the others went back and began again while it was away."""
    return known.record is not None and 0 < mine.run < known.record.run


def why_no_step(mine: Mine, known: Known, seat: int, now_s: float) -> str:
    """Why this edge makes no step forward now, whatever its gate says; nothing: it may."""
    if not seat:
        return "another edge decides, or none for the moment"
    if followed(mine, known) is None:
        return "what happened here is not known to the others yet"
    if known.rival is not None or known.stored != known.epoch:
        return "the store is being told what it lost"
    if known.behind_s is not None and now_s - known.behind_s < RESTORE_S:
        return "the store had lost its state, and the other edges may know more"
    return ""


def step_forward(known: Known, seat: int, told: SharedState) -> Write:
    """The write of a step forward, or of a first or further run, as `told` has it; its epoch is set here."""
    return Write(structs.replace(told, epoch=known.epoch + 1, seat=seat), known.revision, seat)


def narrow(mine: Mine, known: Known, told: SharedState) -> Mine:
    """After an edge went back, or was paused: in force there already, and to be told. Nothing replaces BACK."""
    if told.phase not in {Phase.BACK, Phase.PAUSED}:
        raise ValueError(f"{told.phase.value} is no step back")
    is_back = mine.narrowed is not None and mine.narrowed.phase is Phase.BACK
    if is_back or known.record is None or known.record.run != mine.run:
        return mine
    return settle(structs.replace(mine, narrowed=told), known)


def settle(mine: Mine, known: Known) -> Mine:
    """Without what need not be told any more: the others know it, have arrived, or began anew."""
    record, narrowed = known.record, mine.narrowed
    if narrowed is None or record is None:
        return mine
    is_known = record.phase is Phase.BACK or (narrowed.phase is Phase.PAUSED and record.phase is not Phase.SOAKING)
    return structs.replace(mine, narrowed=None) if record.run != mine.run or is_known else mine


def to_tell(mine: Mine, known: Known, node: str) -> Write | None:
    """What this edge writes now whether or not it has the seat: what the store lost, and a step back."""
    record, narrowed = known.record, mine.narrowed
    if record is None:
        return None
    if known.rival is not None:
        return Write(structs.replace(_lesser(record, known.rival), node=node), known.revision)
    if known.stored < record.epoch:
        return Write(structs.replace(record, node=node), known.revision)
    if narrowed is None or record.run != mine.run:
        return None
    told = structs.replace(narrowed, run=record.run, epoch=record.epoch + 1, step=record.step, seat=0, node=node)
    return Write(told, known.revision)


def share_rank(record: SharedState) -> int:
    """How far forward a record is: 0 is back, 1 the first step."""
    if record.phase is Phase.BACK:
        return 0
    return ARRIVED_RANK if record.phase is Phase.ARRIVED else record.step + 1


def _lesser(one: SharedState, other: SharedState) -> SharedState:
    """What holds where two records contradict each other: what moves less, by an epoch after both.

    That comes only of a store that was emptied or split, or of a member that breaks the rules.
    """
    runs = (one.run, one.plan_sha256), (other.run, other.plan_sha256)
    less = min(one, other, key=lambda each: (share_rank(each), each.phase.value))
    if runs[0] != runs[1] or less.phase is Phase.BACK:
        last = max(one, other, key=lambda each: (each.run, each.plan_sha256))
        told = "Two decisions contradicted each other, so it went back."
        less = structs.replace(last, phase=Phase.BACK, what="fell_back", sentence=told, by="", reason="")
    return structs.replace(less, epoch=max(one.epoch, other.epoch) + 1, seat=0)


class SharedPart(Struct, frozen=True):
    """What an edge keeps of it beside its own cut-over."""

    record: SharedState | None = None  # the newest that it believes
    mine: Mine = Mine()
    others: tuple[Outlet, Outlet] | None = None  # sums of the other edges so far: new, old
