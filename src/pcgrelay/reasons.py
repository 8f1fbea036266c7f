"""Why a path is refused, in one word: the closed list of what others may say of it (docs/protocol.md, 9.2).

What a peer says becomes a name in logs, in the status and in metrics, and stays there. So a word that is not in this
list is `other`, whoever says it, and who is said to have refused is somebody whom the neighbour may speak for.
"""

from __future__ import annotations

import re

from pcgrelay.model import NameProblem, NodeId, Role

OTHER = "other"
# In the order in which a request meets them; `tests/source` holds this list to what the code says.
PATH_REASONS = frozenset(
    "malformed not_a_relay loop wrong_sender path_too_long wrong_realm not_a_member too_many_paths no_route "
    "too_few_lanes memory_budget more_than_asked refused_by_core path_lost no_answer not_this_edge session_id_taken "
    "too_many_sessions too_many_handshakes handshake_early_drop glare unknown_session not_up path_too_small "
    "no_place label_taken wrong_class too_many_requests".split()
)
_WORD = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)


def reason_known(word: str) -> str:
    """The word if it is in the list, else `other`."""
    return word if word in PATH_REASONS else OTHER


def reason_passed_on(word: str) -> str:
    """What a relay says of a refusal that it passes on: a newer edge may know words that the relay does not."""
    return word if _WORD.fullmatch(word) else OTHER


def refuser(said: str, sender: NodeId, role: Role) -> str:
    """Who refused, as far as the neighbour that says so is believed: an edge speaks for nobody but itself."""
    return said if role is Role.RELAY and is_identity(said) else sender.uri


def is_identity(uri: str) -> bool:
    """Whether it names a node as a certificate would."""
    try:
        NodeId.from_uri(uri)
    except NameProblem:
        return False
    return True
