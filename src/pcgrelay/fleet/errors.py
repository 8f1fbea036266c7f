"""What can go wrong with the store, and why, from closed lists."""

from __future__ import annotations

from pcgrelay.errors import RunError

# Why nothing is heard of the store.
UNREACHABLE, DEADLINE, NO_LEADER, TLS = "unreachable", "deadline", "no_leader", "tls"
UNAUTHENTICATED, MALFORMED, TOO_LARGE = "unauthenticated", "malformed", "too_large"
SILENCES = (UNREACHABLE, DEADLINE, NO_LEADER, TLS, UNAUTHENTICATED, MALFORMED, TOO_LARGE)
# Why a store that answers does not do what was asked.
PERMISSION, NO_SPACE, NO_LEASE, COMPACTED, OTHER = "permission", "no_space", "no_lease", "compacted", "other"
STORE_REFUSALS = (PERMISSION, NO_SPACE, NO_LEASE, COMPACTED, OTHER)

_SENTENCES = {
    UNREACHABLE: "no member of it takes a connection",
    DEADLINE: "no member of it answers in time",
    NO_LEADER: "its members have no leader; a majority of them must run",
    TLS: "TLS with it fails; look at the certificates of [fleet]",
    UNAUTHENTICATED: "it does not know the user or password of [fleet]",
    MALFORMED: "what answers there is no etcd",
    TOO_LARGE: "it answers more than is read",
    PERMISSION: "the user of [fleet] may not do that",
    NO_SPACE: "it is full; compact and defragment it",
    NO_LEASE: "the lease has expired",
    COMPACTED: "it has dropped the history that was asked for",
    OTHER: "it refuses what was asked",
}


class StoreProblem(RunError):
    """Something that was asked of the store was not done. reason: of SILENCES or STORE_REFUSALS."""

    def __init__(self, reason: str) -> None:
        self.words = _SENTENCES.get(reason, reason)
        super().__init__(f"The store of the fleet: {self.words}.")
        self.reason = reason


class StoreSilent(StoreProblem):
    """Nobody who could tell has answered: nothing is known, and a write may have been done or not."""


class StoreRefused(StoreProblem):
    """The store has answered, and refuses."""
