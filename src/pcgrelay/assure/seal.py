"""The seal of a pack: a record in the node's audit log with the digest of SHA256SUMS, and the proof that it is there.

The proof goes into the pack, and can be checked without the log: whoever has the realm's policy file knows when the
pack was written, by which node, and that neither was made up later.
"""

from __future__ import annotations

import asyncio
import hashlib
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from pcgrelay.admin.assure_answers import SEALED_PATH, SealedAnswer
from pcgrelay.admin.client import ask
from pcgrelay.assure.catalogue import Profile
from pcgrelay.assure.comparing import read_results
from pcgrelay.assure.judgement import PASSED, TOLD
from pcgrelay.assure.pack import Results
from pcgrelay.assure.runner import Result
from pcgrelay.assure.sums import PROOF, SUMS
from pcgrelay.audit.checkpoint import ORIGIN_PREFIX
from pcgrelay.audit.history import SignedHead, read_history
from pcgrelay.audit.note import Note
from pcgrelay.audit.policy import Policy
from pcgrelay.audit.proof import PROOF_MOST_BYTES, Proof, ProofRefused, check, prove
from pcgrelay.audit.segments import read_lines, segments_of
from pcgrelay.config import Config
from pcgrelay.errors import ProofProblem, RunError
from pcgrelay.files import PRIVATE_MODE, read_bounded, write_new
from pcgrelay.log.assure_events import AssureSealed

# A head is signed each minute while there is something new.
SIGNED_MOST_S = 75.0
ASK_EACH_S = 0.5
# A witness signs a head each minute too, after that; waited for if the log was ever witnessed.
WITNESSED_MOST_S = 150.0
# A run takes some minutes, and the seal is its last act.
SEALED_MOST = timedelta(days=1)
WITH_NAMES = 2  # the part of a pack that names its node; the other names its organisation


class Sealed(Struct, frozen=True, kw_only=True):
    """A seal that holds."""

    number: int  # of the record
    ts: str
    origin: str  # of the log
    witnesses: tuple[str, ...]


class _Record(Struct, frozen=True, kw_only=True):
    """What is read of the record."""

    event: str
    ts: str = ""
    sha256: str = ""
    profile: str = ""


async def seal(config: Config, folder: Path, profile: Profile, results: tuple[Result, ...]) -> Proof:
    """Have the node put a pack on record, wait for a signed head over it, and write the proof; return it.

    RunError: the node keeps no audit log, or the record is not signed in time. The pack stays as it is, without a seal.
    """
    if config.audit is None or config.node.state is None:
        raise RunError("this node keeps no audit log ([audit])")
    digest = digest_of_sums(folder)
    counts = {
        "passed": sum(each.outcome == PASSED for each in results),
        "failed": sum(each.is_bad for each in results),
        "told": sum(each.outcome == TOLD for each in results),
    }
    query = urlencode({"sha256": digest, "profile": profile.name, **counts})
    answer = await asyncio.to_thread(ask, config.node.admin, "POST", f"{SEALED_PATH}?{query}", SealedAnswer, 10.0)
    if not answer.kept:
        raise RunError(answer.reason.rstrip(".") or "the audit log has not kept the record; see the node's status")
    log = config.node.state / "audit"
    proof = await _proved(log, digest)
    write_new(folder / PROOF, proof.encoded, PRIVATE_MODE)
    return proof


def digest_of_sums(folder: Path) -> str:
    """Return what the record of a seal names."""
    return hashlib.sha256((folder / SUMS).read_bytes()).hexdigest()


async def _proved(log: Path, digest: str) -> Proof:
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        waited_s = loop.time() - began
        try:
            number = await asyncio.to_thread(find_record, log, digest)
            proof = await asyncio.to_thread(prove, log, number)
        except ProofProblem as problem:
            if waited_s >= SIGNED_MOST_S:
                raise RunError(f"the record is not proved yet ({str(problem).rstrip('.')})") from None
        else:
            is_witnessed = has_witness(proof.note)
            if is_witnessed or waited_s >= WITNESSED_MOST_S or not await asyncio.to_thread(was_witnessed, log):
                return proof
        await asyncio.sleep(ASK_EACH_S)


def was_witnessed(log: Path) -> bool:
    """Return whether anybody else ever signed a head of this log."""
    return any(isinstance(head, SignedHead) and has_witness(head.note) for head in read_history(log))


def has_witness(note: Note) -> bool:
    """Return whether anybody but the log itself has signed a head."""
    return bool(witnesses_of(note))


def witnesses_of(note: Note) -> tuple[str, ...]:
    """Return who else has signed a head, not verified: a node of pcgrelay as NAME.ORGANISATION."""
    origin = note.text.partition("\n")[0]
    others = dict.fromkeys(each.name for each in note.signatures if each.name != origin)
    return tuple(short_name(name) for name in others)


def short_name(name: str) -> str:
    """Return NAME.ORGANISATION of a node, whose log and its keys are called pcgrelay.REALM/ORGANISATION/NAME."""
    match name.split("/"):
        case [first, organisation, node] if first.startswith(ORIGIN_PREFIX):
            return f"{node}.{organisation}"
    return name


def find_record(log: Path, digest: str) -> int:
    """Return the number of the newest record that seals this digest. ProofProblem: there is none."""
    event, named = f'"event":"{AssureSealed.EVENT}"'.encode(), f'"sha256":"{digest}"'.encode()
    for segment in reversed(segments_of(log)):
        found = -1
        for line in read_lines(segment):
            if line.data is not None and event in line.data and named in line.data:
                found = line.number
        if found >= 0:
            return found
    raise ProofProblem("The log has no record that seals this pack.")


def read_seal(folder: Path, policy: Policy) -> Sealed:
    """Return the seal of a pack, checked by a policy. It is the seal of the node that the results name, and of then.

    ProofProblem: it does not hold, by the first reason. ConfigError: the file cannot be read.
    """
    proof = Proof.parse(read_bounded(folder / PROOF, "proof of the seal", PROOF_MOST_BYTES))
    checked = check(proof, policy)
    try:
        record = msgspec.json.decode(checked.record, type=_Record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProofRefused("The record that this proof proves is none of a log of pcgrelay.") from None
    if record.event != AssureSealed.EVENT:
        raise ProofRefused(f"The proof is of a record {record.event[:60]}, and not of a seal.")
    if record.sha256 != digest_of_sums(folder):
        raise ProofRefused("The proof is of the seal of another pack, or SHA256SUMS was changed.")
    _refuse_another(read_results(folder), checked.checkpoint.origin, record.ts)
    return Sealed(
        number=checked.index,
        ts=record.ts,
        origin=checked.checkpoint.origin,
        witnesses=tuple(each.by.name for each in checked.witnessed),
    )


def _refuse_another(results: Results, origin: str, sealed: str) -> None:
    """ProofRefused: the results are those of another node, or were made at another time.

    Any node of the realm can seal any folder in its own log. So whose pack it is, is what the log says.
    """
    _, _, place = origin.partition("/")
    organisation, _, node = place.partition("/")
    sealer = f"{node}.{organisation}"
    if results.node != (sealer if results.part == WITH_NAMES else organisation):
        raise ProofRefused(f"The pack says that it is of {results.node}, and the log of {sealer} sealed it.")
    try:
        apart = abs(datetime.fromisoformat(sealed) - results.started)
    except (ValueError, TypeError):
        raise ProofRefused("The record of the seal has no time.") from None
    if apart > SEALED_MOST:
        began = f"{results.started:%Y-%m-%d}"
        raise ProofRefused(f"The pack says that its tests began on {began}, and it was sealed on {sealed[:10]}.")
