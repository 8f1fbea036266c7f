"""The state of a stream changes by its table alone: nobody else writes it, as a flag or otherwise."""

import re
from pathlib import Path

import pytest

CORE = Path(__file__).resolve().parents[2] / "src/_core"
TABLE = "stream.pxd"
STATES = re.compile(r"\bSTREAM_(IDLE|OPENING|OPENING_FIN|ANSWERING|ANSWERING_FIN|OPEN|HALF_LOCAL|HALF_REMOTE|CLOSED)\b")
WRITES = re.compile(r"&?\b\w*stream(?:\[0\])?\.state\b(?P<equals>\s*=(?!=))?")


def writes(source: str) -> list[str]:
    """Places at which the state of a stream is set, or its address is taken."""
    by_name = [found[0] for found in WRITES.finditer(source) if found["equals"] or found[0].startswith("&")]
    return by_name + re.findall(rf"\.state\s*=\s*{STATES.pattern}", source)


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.p[yx][xd]")), ids=lambda path: path.name)
def test_only_its_table_writes_the_state_of_a_stream(path: Path) -> None:
    if path.name != TABLE:
        assert writes(path.read_text()) == []


def test_what_writes_is_seen() -> None:
    assert writes("stream.state = STREAM_IDLE")
    assert writes("(<Stream*>timer.owner).state = STREAM_CLOSED")
    assert writes("cursor_number(self, TAG_STATE, &stream.state, 1)")
    assert not writes("if stream.state == STREAM_IDLE and lane.state != LANE_CLOSED:")
