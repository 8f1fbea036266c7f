"""Writes tests/vectors/*.json. Run: python -m tests.reference.make_vectors

Nothing in them is random: every secret is a hash of what it is for.
"""

import json
from collections.abc import Callable
from pathlib import Path

from tests.reference import (
    vectors_audit,
    vectors_bundles,
    vectors_candidates,
    vectors_datagrams,
    vectors_frames,
    vectors_interest,
    vectors_keys,
    vectors_objects,
    vectors_sequences,
    vectors_twins,
    vectors_udp,
    vectors_udp_offers,
    vectors_witness,
)

FOLDER = Path(__file__).resolve().parents[1] / "vectors"
FILES: dict[str, Callable[[], dict[str, object]]] = {
    "key_schedule": vectors_keys.key_schedule,
    "nonces": vectors_keys.nonces,
    "exporter": vectors_keys.exporter,
    "preambles": vectors_keys.preambles,
    "frames": vectors_frames.frames,
    "records": vectors_frames.records,
    "refusals": vectors_frames.refusals,
    "streams": vectors_sequences.streams,
    "rekeying": vectors_sequences.rekeying,
    "resumption": vectors_sequences.resumption,
    "candidates": vectors_candidates.candidates,
    "datagrams": vectors_datagrams.datagrams,
    "udp_lanes": vectors_udp.udp_lanes,
    "objects": vectors_objects.objects,
    "bundles": vectors_bundles.bundles,
    "twins": vectors_twins.twins,
    "interest": vectors_interest.interest,
    "datagram_lane": vectors_udp_offers.offers,
    "witness": vectors_witness.witness,
    "audit_tree": vectors_audit.tree,
    "audit_note": vectors_audit.note,
}


def render(name: str) -> str:
    return json.dumps(FILES[name](), indent=1) + "\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in FILES:
        (FOLDER / f"{name}.json").write_text(render(name))


if __name__ == "__main__":
    main()
