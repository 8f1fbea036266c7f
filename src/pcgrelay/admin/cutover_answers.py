"""Answers about cut-overs. Other tools read this JSON: fields are only added. Wall times are UTC."""

from __future__ import annotations

from msgspec import Struct

CUTOVER_PATH = "/v1/cutover"
REHEARSE_PATH = "/v1/cutover/rehearse"


class CutoverOutlet(Struct, frozen=True, kw_only=True):
    """One outlet in a cut-over. Figures are those of the whole cut-over unless a name says otherwise."""

    name: str
    role: str  # new, old, back
    share: float = 0.0  # of new streams, in percent
    well: bool = True
    reason: str = ""  # why it is not
    bearer: str = ""
    marking: str = ""
    supported_until: str = ""  # "": no end is known
    supported: bool = True
    setups: int = 0  # of applications
    shadows: int = 0
    failed: int = 0  # both
    failure_share: float | None = None  # 0 to 1
    moved: int = 0  # led on from here
    setup_median_ms: float | None = None  # this step
    setup_p95_ms: float | None = None
    answer_median_ms: float | None = None
    rate_median_kib_s: float | None = None
    rate_count: int = 0  # streams that moved a MiB, this step
    streams_active: int = 0
    oldest_s: float | None = None  # of the streams that are open
    nudged: int = 0
    suite: str = ""  # gateway: of the session that a new stream takes


class CutoverFinding(Struct, frozen=True, kw_only=True):
    """The answer to one question of the gate, as a look now would give it."""

    question: str  # enough, failures, tail, setup, answer, rate
    title: str
    outcome: str  # good, bad, open
    sentence: str
    allowed: str = ""  # the plan's margin
    needed: int | None = 0  # more set-ups; nothing: it does not become good as it is


class CutoverDecision(Struct, frozen=True, kw_only=True):
    """One decision."""

    at: str
    what: str
    sentence: str
    phase: str
    step: int  # 1 is the first
    shares: dict[str, float] = {}
    by: str = ""  # the user, as the kernel named it, and how they named themselves
    reason: str = ""
    verdict: bool = False  # one is kept with it, which `replay` computes again


class CutoverPoint(Struct, frozen=True, kw_only=True):
    """What was seen in five minutes of the last day."""

    at: str
    shares: dict[str, float]
    setups: dict[str, int] = {}
    failures: dict[str, int] = {}
    median_ms: dict[str, float] = {}
    p95_ms: dict[str, float] = {}


class CutoverAdvice(Struct, frozen=True, kw_only=True):
    """Advice that the plan asks for."""

    role: str
    on: str = ""  # when it was given; "": it is not on record
    by: str = ""  # who noted it
    reason: str = ""


class CutoverShared(Struct, frozen=True, kw_only=True):
    """How edges of an organisation move a service together."""

    run: int = 0  # starts so far
    epoch: int = 0  # of the newest decision that this edge knows
    in_force: bool = False  # that decision is in force here
    decider: str = ""  # the node that decides; nothing: none for the moment
    decides: bool = False  # it is this edge
    edges: tuple[str, ...] = ()  # the others that count with it
    held_at: tuple[str, ...] = ()  # those of them at which the new outlet is away
    silent_s: float | None = None  # so long the store is silent; nothing: it is heard
    untold: bool = False  # this edge went back or was paused, and the others do not know yet
    no_step: str = ""  # why this edge makes no step forward now, whatever its gate says


class CutoverStatus(Struct, frozen=True, kw_only=True):
    """One cut-over: the answer to GET /v1/cutover?service=S, and to each POST."""

    service: str
    phase: str = ""  # planned, soaking, paused, back, arrived, quiet, retired, lost
    why: str = ""  # one sentence: why it is where it is, and what would move it on
    old: str = ""
    new: str = ""
    back: tuple[str, ...] = ()
    step: int = 0  # 1 is the first
    steps: tuple[float, ...] = ()
    share: float = 0.0  # of the new outlet, in percent
    held: bool = False  # the new outlet is away: its share is 0 for now
    nowhere: bool = False  # a fall-back is wanted, and there is nowhere to go
    since: str = ""  # of this phase or step
    began: str = ""
    soaked_s: float = 0.0
    soak_s: float = 0.0
    change: str = ""
    owner: str = ""
    deadline: str = ""  # a date
    plan_sha256: str = ""
    marking: str = ""  # of the service, where it is known
    outlets: tuple[CutoverOutlet, ...] = ()
    findings: tuple[CutoverFinding, ...] = ()
    verdict: str = ""  # of the gate, in a sentence
    needed: int | None = 0  # more set-ups until it may open; nothing: it does not open as it is
    odds: float = 1.0  # of a worse new outlet; it falls back at 1,000
    moved: int = 0  # streams led on before anybody noticed
    lost: int = 0  # applications that were refused because no outlet was left
    waited_ms: int = 0  # the longest that one was kept by an attempt that was then led on
    next_step: str = ""
    done: str = ""  # when it will have arrived, if it goes on like this
    late: bool = False
    days_left: int | None = None
    back_on: str = ""  # where streams go in BACK
    fell_back: str = ""  # when
    alarmed: bool = False  # it fell back by itself, so that starting again is approved anew
    quiet_days: int = 0
    quiet_of: int = 0
    not_quiet: str = ""  # why not
    left_on_old: int = 0  # streams
    oldest_s: float | None = None
    decisions: tuple[CutoverDecision, ...] = ()
    points: tuple[CutoverPoint, ...] = ()
    advice: tuple[CutoverAdvice, ...] = ()  # of each role that the plan asks
    shared: CutoverShared | None = None  # with other edges of the organisation; nothing: this edge goes by itself
    troubles: tuple[str, ...] = ()
    changed: bool = False  # by this request
    took_ms: int = 0  # until the data plane had it
    warnings: tuple[str, ...] = ()
    reason: str = ""  # why the request was refused
    exit_code: int = 0


class CutoverList(Struct, frozen=True, kw_only=True):
    """The answer to GET /v1/cutover: each cut-over, without decisions, findings and points."""

    cutovers: tuple[CutoverStatus, ...] = ()
    imports: tuple[str, ...] = ()  # services with outlets that have no cut-over yet


class RehearsedOutlet(Struct, frozen=True, kw_only=True):
    """What came of one outlet's rehearsal."""

    name: str
    tried: int = 0
    up: int = 0
    outcomes: dict[str, int] = {}
    setup_median_ms: float | None = None
    setup_p95_ms: float | None = None
    answer_median_ms: float | None = None
    answers: int = 0  # that came, and were as expected
    bearer: str = ""
    marking: str = ""
    supported_until: str = ""
    suite: str = ""
    group: str = ""


class Rehearsal(Struct, frozen=True, kw_only=True):
    """The answer to POST /v1/cutover/rehearse: connections of our own over both outlets; no application is touched."""

    service: str
    old: RehearsedOutlet | None = None
    new: RehearsedOutlet | None = None
    took_s: float = 0.0
    findings: tuple[CutoverFinding, ...] = ()
    can_begin: bool = False
    sentence: str = ""
    reason: str = ""
    exit_code: int = 0
