"""Whatever a file of state holds, it is read as a value that can be put in force, or passed over for the one before it.

Half of the inputs are whole files, which the digest keeps out if anything is spoilt. The other half are bodies that get
a right digest, so that what the types let in is tried: shares that can be dealt, services and markings that exist.
"""

import hashlib
import sys
import tempfile
from pathlib import Path
from random import Random

import msgspec

from pcgrelay.config import GATEWAY
from pcgrelay.cutover.slots import SLOTS, deal
from pcgrelay.model import ServiceName
from pcgrelay.policy.rules import MARKING_NUMBERS
from pcgrelay.services.outlet_plan import Governed, OutletFact, outlet_plan
from pcgrelay.services.shares import KIND, NAME, VERSION, OutletsState, ShareChange
from pcgrelay.state.file import BEFORE, Found, StateFile

CUSTODY, PND = "custody@kent.police.example", "pnd@hub.example"
FOLDER = tempfile.TemporaryDirectory(prefix="pcgrelay-fuzz-")
FILE = StateFile(Path(FOLDER.name) / NAME, KIND, VERSION, OutletsState)


def change(service: str, before: dict[str, float], shares: dict[str, float]) -> ShareChange:
    return ShareChange(
        service=service, before=before, shares=shares, at="2026-11-29T02:00:00Z", uid=0, by="night", reason="INC-77"
    )


GOOD = (
    OutletsState(markings={CUSTODY: 2})
    .with_change(change(CUSTODY, {"cjx": 100.0}, {GATEWAY: 10.0, "cjx": 90.0}))
    .with_change(change(PND, {GATEWAY: 100.0}, {GATEWAY: 0.5, "cjx": 49.5, "psnp-b": 50.0}))
)


def written(state: OutletsState) -> bytes:
    FILE.write(state)
    return FILE.path.read_bytes()


WHOLE = [written(OutletsState()), written(GOOD)]
BODIES = [msgspec.json.encode(state) for state in (OutletsState(), GOOD)]
WORDS = [
    b"100", b"0.5", b"1e308", b"-1", b"1e-9", b"null", b"NaN", b"9" * 400, b"\"cjx\":", b"\"gateway\"", b"{}", b"[]",
    b"\"custody@kent.police.example\":", b"\"shares\":", b"\"changes\":", b"\"markings\":", b"\\u0000", b"[" * 3_000,
    b"\"version\":2", b"pcgrelay cutover",
]  # fmt: skip


def enveloped(body: bytes) -> bytes:
    """A file with this body and the digest of it."""
    head = f'{{"kind":"{KIND}","version":{VERSION},"sha256":"{hashlib.sha256(body).hexdigest()}","body":'
    return head.encode() + body + b"}"


def run(data: bytes) -> object:
    is_whole = data.startswith(b'{"kind"')
    FILE.path.with_name(NAME + BEFORE).write_bytes(WHOLE[0])
    FILE.path.write_bytes(data if is_whole else enveloped(data))
    found, state = FILE.read()
    assert state is not None
    if found is Found.BEFORE:
        assert state == OutletsState()
        return "passed over"
    assert found is Found.NEWEST
    if is_whole:
        # The digest let it through, so it is what was written.
        assert state in (OutletsState(), GOOD), state
    assert msgspec.json.decode(msgspec.json.encode(state), type=OutletsState) == state
    for service, entry in state.shares.items():
        ServiceName.parse(service)
        assert_dealt(entry.shares)
    assert set(state.markings.values()) <= set(MARKING_NUMBERS.values())
    return len(state.shares), len(state.markings), len(state.changes)


def assert_dealt(shares: dict[str, float]) -> None:
    """What is read is published without a further check, so every slot must come of it."""
    facts = [OutletFact(name, index) for index, name in enumerate((GATEWAY, "cjx", "psnp-b"))]
    plan = outlet_plan(facts, Governed(shares), GATEWAY)
    assert len(deal(plan.shares, Random(1), None).slots) == SLOTS


if __name__ == "__main__":
    from tests.fuzz.mutation import main

    sys.exit(main([*WHOLE, *BODIES], WORDS, run))
