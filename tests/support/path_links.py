"""Two edges, a relay, and a link that keeps what is said on it: for tests of paths without a socket."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pcgrelay.messages import Message, PathOpen
from pcgrelay.model import NodeId, Role

REALM = "police.example"
A = NodeId(REALM, "kent.police.example", "kent-1")
B = NodeId(REALM, "met.police.example", "met-1")
ME = NodeId(REALM, "hub.example", "relay-1")
OTHER = NodeId(REALM, "hub.example", "relay-2")
SESSION = bytes(range(16))
LABEL = 55  # by which A opens
MIB = 1 << 20


@dataclass(eq=False)
class FakeLink:
    number: int
    peer: NodeId
    lanes: int = 2
    cap: int = 16 * MIB
    peer_role: Role = Role.RELAY
    bearer: str = "internet"
    said: list[Message] = field(default_factory=list)

    def send(self, message: Message) -> None:
        self.said.append(message)

    def take(self) -> list[Message]:
        taken, self.said = self.said, []
        return taken


def asked(**changes: Any) -> PathOpen:
    values: dict[str, Any] = {
        "session": SESSION,
        "source": A.uri,
        "destination": B.uri,
        "marking": 1,
        "priority": 0,
        "flows": 2,
        "cap": 4 * MIB,
        "label": LABEL,
        "resume": False,
        "via": (),
        **changes,
    }
    return PathOpen(**values)
