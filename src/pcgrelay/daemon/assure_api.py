"""Handlers of the admin socket for those who gather evidence: known answers, transit, the record that seals a pack."""

from __future__ import annotations

import re

from pcgrelay.admin.assure_answers import SealedAnswer, SelfTestAnswer
from pcgrelay.admin.http import Answer, json_answer
from pcgrelay.admin.server import UID, Query
from pcgrelay.dataplane.adapter import core_answers
from pcgrelay.errors import RunError, UsageProblem
from pcgrelay.gateway.node import Node
from pcgrelay.identity.known_answers import session_answers
from pcgrelay.log.assure_events import AssureSealed
from pcgrelay.views.transit import transit_answer

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PROFILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
CONTROLS_MOST = 10_000


class AssureApi:
    """What the admin socket answers to `pcgrelay assure`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def self_test(self, query: Query) -> Answer:
        """Test the cryptography of this process; some microseconds."""
        return json_answer(SelfTestAnswer(frames=core_answers(), sessions=session_answers()))

    def transit(self, query: Query) -> Answer:
        """Tell what a relay forwards between networks, and would forward; some milliseconds at most."""
        return json_answer(transit_answer(self._node))

    async def sealed(self, query: Query, body: bytes) -> Answer:
        """Put the digest of a pack on record."""
        try:
            record = _record(query)
        except UsageProblem as error:
            return json_answer(SealedAnswer(reason=str(error), exit_code=error.exit_code), 409)
        if self._node.log.audit is None:
            reason = "This node keeps no audit log ([audit]), so nothing can be sealed."
            return json_answer(SealedAnswer(reason=reason, exit_code=RunError.exit_code), 409)
        return json_answer(SealedAnswer(kept=await self._node.log.keep(record)))


def _record(query: Query) -> AssureSealed:
    """UsageProblem: the request is none of `pcgrelay assure`."""
    sha256, profile = query.get("sha256", ""), query.get("profile", "")
    if not _SHA256.fullmatch(sha256) or not _PROFILE.fullmatch(profile):
        raise UsageProblem("sha256 is 64 hexadecimal digits, and profile a name of letters, digits and ._-")
    passed, failed, told = (_count(query.get(name, "")) for name in ("passed", "failed", "told"))
    return AssureSealed(
        sha256=sha256, profile=profile, passed=passed, failed=failed, told=told, uid=int(query.get(UID, "-1"))
    )


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) <= CONTROLS_MOST):
        raise UsageProblem(f"passed, failed and told are numbers of controls, at most {CONTROLS_MOST:,}.")
    return int(text)
