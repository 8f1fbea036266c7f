"""Why a path is refused, in one word: the closed list of words that peers may use (docs/protocol.md, 9.2).

A peer's word becomes a name in logs, status and metrics. So a word that is not in this list becomes `other`, and the
node that is said to have refused must be one that the neighbour may speak for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pcgrelay.model import NameProblem, NodeId, Role

OTHER = "other"
MARKING = "marking"  # something on the way is not cleared for the marking of the session
NO_TRANSIT = "no_transit"  # a relay does not forward between these two bearers
OTHER_WAYS = frozenset({MARKING, NO_TRANSIT})  # what is so refused on one way may go on another
# In the order in which a request is checked; `tests/source` compares this list with the code.
PATH_REASONS = frozenset(
    "malformed not_a_relay loop wrong_sender path_too_long wrong_realm not_a_member too_many_paths no_route "
    "too_few_lanes memory_budget more_than_asked refused_by_core path_lost no_answer not_this_edge session_id_taken "
    "too_many_sessions too_many_handshakes handshake_early_drop glare unknown_session not_up path_too_small "
    "no_place label_taken wrong_class too_many_requests marking no_transit".split()
)
# Counted beside refusals, and none: a neighbour that cannot be reached yet, and lanes that ended by themselves.
ENDS = frozenset("unreachable peer_closed local_close replaced silent socket lost_path".split())
_WORD = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)


def reason_known(word: str) -> str:
    """Return the word if it is in the list, else `other`."""
    return word if word in PATH_REASONS else OTHER


def reason_passed_on(word: str) -> str:
    """Return the reason that a relay passes on: a newer edge may use words that the relay does not know."""
    return word if _WORD.fullmatch(word) else OTHER


def refuser(said: str, sender: NodeId, role: Role) -> str:
    """Return who refused, as far as the neighbour is believed: an edge speaks only for itself."""
    return said if role is Role.RELAY and is_identity(said) else sender.uri


def refused_and_ended(counts: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Return the refusals, and apart from them what nobody refused."""
    ended = {reason: count for reason, count in counts.items() if reason in ENDS}
    return {reason: count for reason, count in counts.items() if reason not in ended}, ended


def is_identity(uri: str) -> bool:
    """Return whether uri is the identity of a node, as in a certificate."""
    try:
        NodeId.from_uri(uri)
    except NameProblem:
        return False
    return True
