"""No bytes but a proof of a record of ours prove a record, and what is read is as it was written."""

import sys
import tempfile
from pathlib import Path

from pcgrelay.audit.policy import parse_policy
from pcgrelay.audit.proof import Proof, ProofRefused, check, prove
from pcgrelay.errors import ProofProblem
from tests.support.audit_logs import make_log, stream_end

FOLDER = tempfile.TemporaryDirectory(prefix="pcgrelay-fuzz-")
LOG = make_log(Path(FOLDER.name) / "audit", 300, 140)
POLICY = parse_policy(LOG.policy.encode(), "policy")
NUMBERS = [0, 1, 139, 140, 255, 279]
PROOFS = [prove(LOG.folder, number) for number in NUMBERS]
SEEDS = [proof.encoded for proof in PROOFS]
WORDS = [
    b"extra ", b"index ", b"\n\n", b"\n", b"c2sp.org/tlog-proof@v1\n", b"index 1099511627776\n", b"index -1\n", b"\r",
    b"\0", b"\xff",
    b"A" * 43 + b"=\n", (b"A" * 43 + b"=\n") * 64, b"9223372036854775808", b"280", "\u2014 ".encode(), b"A" * 5_000,
]  # fmt: skip


def run(data: bytes) -> object:
    try:
        proof = Proof.parse(data)
    except ProofRefused as refusal:
        return str(refusal)[:80]
    assert proof.encoded == data
    try:
        checked = check(proof, POLICY)
    except ProofProblem as problem:
        sentence = str(problem)
    else:
        assert checked.record == stream_end(checked.index), "a record was proved that is not in the log"
        assert checked.checkpoint.size == 280
        return checked.index
    assert len(sentence) < 2_000, "a refusal is one sentence, whatever the input"
    return sentence[:80]


if __name__ == "__main__":
    from tests.fuzz.mutation import main

    sys.exit(main(SEEDS, WORDS, run))
