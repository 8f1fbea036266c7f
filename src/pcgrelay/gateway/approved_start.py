"""What a node starts with: its files, if they are approved, or the copy of what was approved last.

A service that served before goes on: whoever edits a file without approval stops nothing by it, and widens nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from pcgrelay import config as configuration
from pcgrelay.clock import SYSTEM_CLOCK, Clock
from pcgrelay.config import Config
from pcgrelay.errors import ConfigError, PcgrelayError
from pcgrelay.gateway.approvals import Start, taken_changes
from pcgrelay.identity.credentials import Credentials, load_credentials
from pcgrelay.policy.approving import Reason, changes_words, unapproved, without_people
from pcgrelay.policy.gate import ApprovalProblem, Decision, Policy, decide, kept_policy, propose, read_policy
from pcgrelay.state.approved import TRUST, Approved, ApprovedStore


@dataclass(frozen=True, slots=True)
class StartingPolicy:
    """A configuration to start with, and how it was decided."""

    config: Config
    start: Start

    @property
    def to_check(self) -> Config:
        """The configuration whose files are those that will be loaded."""
        kept = self.start.kept
        if kept is None or self.start.decision is not None:
            return self.config
        identity = structs.replace(self.config.identity, trust=kept.path / TRUST)
        return structs.replace(self.config, identity=identity)

    def load(self) -> Credentials | None:
        """Load the files of [identity], trust from the approved copy; nothing without approvals.

        ConfigError: one is refused, or trust is not what was judged.
        """
        if self.start.held is None and self.start.decision is None:
            return None
        credentials = load_credentials(self.to_check.identity)
        if self.start.decision is not None:
            require_judged(self.start.decision, credentials)
        return credentials


def starting_policy(path: Path, clock: Clock = SYSTEM_CLOCK, *, taking_over: bool = False) -> StartingPolicy:
    """Decide what a node starts with. Nothing is written: the state folder is not this process's yet.

    taking_over: a running node is replaced; what widens waits for a reload of the new one, which can refuse it.

    ConfigError: the file cannot be read, or it asks for approvals and nothing was ever approved.
    """
    config = configuration.load(path)
    state = config.node.state
    store = None if state is None else ApprovedStore(state)
    kept = None if store is None else store.read()
    if store is None or kept is None:
        if config.approvals is None:
            return StartingPolicy(config, Start())
        decision = decide(None, read_policy(path), clock.wall())
        assert decision is not None
        return StartingPolicy(config, Start(decision=decision))
    held, before = kept_policy(kept, path), store.before()
    fresh: Policy | None = None
    try:
        fresh = read_policy(path)
        if fresh.to_keep() == held.to_keep():
            return StartingPolicy(fresh.config, Start(held=held, kept=kept, before=before))
        decision = _decided(held, kept, fresh, clock, taking_over=taking_over)
        return StartingPolicy(fresh.config, Start(held=held, kept=kept, before=before, decision=decision))
    except ApprovalProblem as problem:
        refused = problem
    except PcgrelayError as error:
        refused = ApprovalProblem(Reason.STATE, str(error))
    told = ApprovalProblem(
        refused.reason, _told(path, held, fresh, str(refused)), _told(path, held, fresh, refused.unnamed)
    )
    return StartingPolicy(held.config, Start(held=held, kept=kept, before=before, refused=told))


def require_judged(decision: Decision, credentials: Credentials) -> None:
    """Raise ConfigError if the trusted certificates that were loaded are not those that were judged."""
    if not decision.policy.has_trust(credentials.trust):
        raise ConfigError(f"{decision.policy.config.identity.trust}: the file changed while it was read; try again.")


def _decided(held: Policy, kept: Approved, fresh: Policy, clock: Clock, *, taking_over: bool) -> Decision:
    proposed = propose(held, fresh)
    if taking_over and proposed.widens:
        raise ApprovalProblem(Reason.NO_CHANGE, f"{unapproved(proposed.lines)}, then: pcgrelay apply")
    folder = kept.path.parent
    holds = ApprovedStore(folder.parent).used().holds
    decision = decide(held, fresh, clock.wall(), holds=holds, used=taken_changes(kept))
    assert decision is not None
    return decision


def _told(path: Path, held: Policy, fresh: Policy | None, problem: str) -> str:
    """Say of which file it is, what widens, and why it is not taken."""
    if fresh is None:
        return f"{path.name} or a file that it names cannot be taken: {problem}"
    words = changes_words(propose(held, fresh).lines)
    rest = problem.removeprefix(words).removeprefix(without_people(words)).strip()
    return f"{path.name} {words.removeprefix('It ')} {rest}".strip()
