"""Verdicts as records: each can be computed again from what it carries (pure).

An assurer takes a report's verdicts, calls `replay` on each, and learns whether the same facts give the same verdict
(CAF B4.b.6: decisions can be replicated).
"""

from __future__ import annotations

import msgspec

from pcgrelay.cutover.alarm import Alarm, judge_alarm
from pcgrelay.cutover.gate import Verdict, judge_gate

AnyVerdict = Alarm | Verdict
_DECODER: msgspec.json.Decoder[AnyVerdict] = msgspec.json.Decoder(AnyVerdict)


def replay(verdict: AnyVerdict) -> AnyVerdict:
    """The verdict computed again from the facts that it carries; equal to it unless somebody changed one."""
    if isinstance(verdict, Alarm):
        return judge_alarm(verdict.facts.recount(), verdict.new, verdict.old)
    return judge_gate(verdict.facts)


def encode_verdict(verdict: AnyVerdict) -> bytes:
    """A verdict as JSON, for the state file, the log and the report."""
    return msgspec.json.encode(verdict)


def decode_verdict(data: bytes) -> AnyVerdict:
    """A verdict from JSON; refuses with msgspec's ValidationError or DecodeError what is none."""
    return _DECODER.decode(data)
