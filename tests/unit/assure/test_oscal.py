"""OSCAL: identifiers that compare, and states that say what was found. The form is validated in a scenario."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

from msgspec.structs import replace

from pcgrelay.assure.pack import Evidence, pack_files
from tests.support.evidence_examples import STARTED, evidence

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def document(made: Evidence) -> dict[str, object]:
    found: dict[str, object] = json.loads(pack_files(made)["oscal-assessment-results.json"])["assessment-results"]
    return found


def test_states(tmp_path: Path) -> None:
    (found,) = document(evidence(tmp_path))["results"]  # type: ignore[misc]
    states = {each["target"]["target-id"]: tuple(each["target"]["status"].values()) for each in found["findings"]}
    assert states == {
        "k1": ("satisfied", "pass"),
        "n1": ("not-satisfied", "fail"),
        "n2": ("not-satisfied", "other"),
        "a1": ("not-satisfied", "other"),
    }
    (selection,) = found["reviewed-controls"]["control-selections"]
    assert [each["control-id"] for each in selection["include-controls"]] == ["k1", "n1", "n2", "a1"]
    assert [each["methods"] for each in found["observations"]][3] == ["INTERVIEW"]


def test_every_finding_has_its_observation(tmp_path: Path) -> None:
    (found,) = document(evidence(tmp_path))["results"]  # type: ignore[misc]
    observed = {each["uuid"] for each in found["observations"]}
    related = {one["observation-uuid"] for each in found["findings"] for one in each["related-observations"]}
    assert related <= observed
    uuids = [each["uuid"] for each in (*found["findings"], *found["observations"])]
    assert len(uuids) == len(set(uuids))
    assert all(UUID.fullmatch(each) for each in uuids)


def test_the_same_control_has_the_same_name_in_each_pack(tmp_path: Path) -> None:
    one = evidence(tmp_path)
    other = replace(one, started=STARTED + timedelta(days=90))
    (first,), (second,) = document(one)["results"], document(other)["results"]  # type: ignore[misc]
    for key in ("observations", "findings"):
        assert [each["uuid"] for each in first[key]] == [each["uuid"] for each in second[key]]
    assert document(one)["uuid"] != document(other)["uuid"]
