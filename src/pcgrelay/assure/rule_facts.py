"""What readers find of rules, networks, ways and drills: facts of N3, N5 to N8, L4, R1, R2 and R6."""

from __future__ import annotations

from datetime import date, datetime

from pcgrelay.assure.facts import Facts

# -- rules and who approved them (N3, L4) -----------------------------------------------------------------------


class RuleFact(Facts, frozen=True, kw_only=True):
    """What one table of the configuration says of who allowed it. Persons are not named."""

    where: str  # export[2]
    missing: tuple[str, ...] = ()  # of owner, reason, change, until
    until: date | None = None  # its last day


class Rules(Facts, frozen=True, kw_only=True):
    """All rules of the configuration, and whether the file is the one that was approved."""

    today: date
    rules: tuple[RuleFact, ...]
    approvals: bool  # whether changes have to be approved here
    approved: str = ""  # digest of the policy that was approved last; "": none was
    holds: str = ""  # digest of the policy in the file


class ChangeFact(Facts, frozen=True, kw_only=True):
    """One change of the policy that was taken and that needed approval, verified again."""

    number: str  # as people keep it: CR-1042
    taken: str  # when
    by: str = ""  # fingerprint of the key of who proposed it, if they have one
    signers: tuple[str, ...] = ()  # fingerprints of the keys whose signatures are good over this text
    bad: tuple[str, ...] = ()  # why others do not count
    whole: bool = True  # its text is there and leads to the policy that is kept with it
    recorded: bool = True  # the log has it with the same keys
    is_told: bool = False  # its text is not kept: `signers` are the keys that the log names, and nothing was verified


class Changes(Facts, frozen=True, kw_only=True):
    """The last changes, the newest first."""

    approvals: bool
    needs: int = 0
    changes: tuple[ChangeFact, ...] = ()
    only_log: int = 0  # of them, those of which no text is kept any more and the log alone says who approved


# -- networks (N5, N7, N8) --------------------------------------------------------------------------------------


class BearerPair(Facts, frozen=True, kw_only=True):
    """Two bearers of this node, and whether anything leads from one to the other."""

    one: str
    other: str
    allowed: bool  # by the rules that the node forwards by
    named: bool  # by a pair in [policy] transit


class LiveTransit(Facts, frozen=True, kw_only=True):
    """What the running node leads from one bearer to another, and what it would lead if it were asked."""

    came: str
    goes: str
    named: bool  # by a pair in [policy] transit of the file
    paths: int  # that stand now
    led: int  # of the ways that it was asked for


class Transit(Facts, frozen=True, kw_only=True):
    """All pairs. An export that leads to an import of the same node is refused in the configuration."""

    bearers: tuple[str, ...]
    pairs: tuple[BearerPair, ...]
    forwards: bool = False  # as the running node says
    live: tuple[LiveTransit, ...] = ()  # between different bearers alone
    asked: int = 0  # ways from a neighbour to an edge that the running node was asked for
    refused: int = 0  # of these


class PathFact(Facts, frozen=True, kw_only=True):
    """One live session, or paths through a relay, and what is cleared for it. Markings are numbers, 1 to 3."""

    what: str  # session with met-1.met.police.example
    marking: int
    over: str  # bearer
    bearer_cleared: int
    neighbour: str  # organisation
    neighbour_cleared: int


class Markings(Facts, frozen=True, kw_only=True):
    """What is live, and how the rules answer a path whose marking is too high."""

    judged: bool  # there is a [[bearer]] table
    highest: int  # marking of anything here
    paths: tuple[PathFact, ...]
    leaks: tuple[str, ...] = ()  # bearers that the running node clears for more than the file says
    patterns: tuple[str, ...] = ()  # entries of [policy] relays that are no single organisation
    any_relay: bool = False  # every member may be a relay


class Diagram(Facts, frozen=True, kw_only=True):
    """The drawing of the network, and codes of services where a network asks for them."""

    today: date
    drawn: date | None  # the date in the drawing; None: there is no drawing
    coded: tuple[str, ...] = ()  # bearers here that ask for codes
    without: tuple[str, ...] = ()  # imports without one


class Refusal(Facts, frozen=True, kw_only=True):
    """An OPEN by the probe's organisation of a service that is not exported to it."""

    service: str
    served: bool  # it was connected all the same
    recorded: bool  # a record of it was seen
    rule: int | None = None  # the rule that it names
    cause: str = ""
    waited_s: float = 0.0


# -- what happens when something is lost (R1, R2, R6) -----------------------------------------------------------


class WayFact(Facts, frozen=True, kw_only=True):
    """One way that a stream can take now."""

    bearer: str
    relays: tuple[str, ...]  # none: it is a direct outlet


class ServiceWays(Facts, frozen=True, kw_only=True):
    """The ways of one import."""

    service: str
    ways: tuple[WayFact, ...]


class Ways(Facts, frozen=True, kw_only=True):
    """The ways of critical imports."""

    services: tuple[ServiceWays, ...]


class LinkLoss(Facts, frozen=True, kw_only=True):
    """One link, and what would have no way without it."""

    neighbour: str
    bearer: str
    stops: tuple[str, ...]  # imports
    links_left: int


class LinkTaken(Facts, frozen=True, kw_only=True):
    """A drill that took the links to one neighbour away for some seconds."""

    neighbour: str
    result: str  # of drills.record
    sentence: str
    stopped: tuple[str, ...]  # imports that were ready before it and not at its end
    pause_longest_ms: int | None  # of sessions
    record: str


class LinkLosses(Facts, frozen=True, kw_only=True):
    """An edge without each of its links."""

    losses: tuple[LinkLoss, ...]
    exports: bool
    taken: LinkTaken | None = None  # None: by reading alone


class DrillFact(Facts, frozen=True, kw_only=True):
    """One drill on record."""

    id: str
    kind: str
    subject: str
    result: str
    ended: datetime | None
    node: str


class Drills(Facts, frozen=True, kw_only=True):
    """Drills of critical services."""

    now: datetime
    node: str
    critical: tuple[str, ...]
    drills: tuple[DrillFact, ...]
    odd: tuple[str, ...] = ()  # files that are damaged or were altered


class Backup(Facts, frozen=True, kw_only=True):
    """A back-up that was made, and restored into an empty folder."""

    files: int
    problem: str  # why a node could not be started from it; "": it could
    digest: str  # of the policy that holds
    restored: str  # of the restored one


class SignerFact(Facts, frozen=True, kw_only=True):
    """One key of the list of signers."""

    person: str
    until: date | None  # its last day; None: without end
    roles: tuple[str, ...] = ()


class SignerFacts(Facts, frozen=True, kw_only=True):
    """The list of signers that is named in [approvals]."""

    today: date
    needs: int  # signatures
    signers: tuple[SignerFact, ...]
