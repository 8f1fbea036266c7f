"""The results of a run as OSCAL assessment results, for the tools of assurers (NIST OSCAL 1.2, JSON).

Identifiers are of version 5, of node and control: the same control of the same node has the same one in each pack, so
that packs compare. Controls are those of the profile; its catalogue is this pack itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from pcgrelay import __version__
from pcgrelay.assure.catalogue import Profile
from pcgrelay.assure.judgement import BROKEN, FAILED, NOT_HERE, PASSED, TOLD
from pcgrelay.assure.runner import Result

VERSION = "1.2.0"
# The name space of all of these: of this project's own, made once.
SPACE = UUID("6f9d6f4e-2a1b-5c64-9d0e-0b8a4d0f3a11")
# Of a finding: state, and reason. What nobody has told yet is not satisfied, and for another reason than a failure.
STATES = {
    PASSED: ("satisfied", "pass"),
    FAILED: ("not-satisfied", "fail"),
    BROKEN: ("not-satisfied", "other"),
    TOLD: ("not-satisfied", "other"),
}


def assessment_results(
    node: str, profile: Profile, results: Sequence[Result], started: datetime, marking: str
) -> bytes:
    """Return the JSON of an assessment-results document."""
    own = uuid_of(node, profile.name)
    document = {
        "uuid": uuid_of(node, profile.name, _time(started)),
        "metadata": {
            "title": f"Evidence about the gateway {node}, profile {profile.title}",
            "last-modified": _time(started),
            "version": profile.reviewed,
            "oscal-version": VERSION,
            "props": [{"name": "marking", "value": marking}],
        },
        "import-ap": {"href": f"#{own}"},
        "results": [_result(node, profile, results, started)],
        "back-matter": {"resources": [_plan(own, profile)]},
    }
    return (json.dumps({"assessment-results": document}, indent=2) + "\n").encode()


def uuid_of(*names: str) -> str:
    """Return the identifier of what has these names."""
    return str(uuid5(SPACE, "\n".join(names)))


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _plan(own: str, profile: Profile) -> dict[str, Any]:
    """What OSCAL calls the assessment plan: the profile, by name; it came with this version of pcgrelay."""
    return {
        "uuid": own,
        "title": f"profile {profile.name}",
        "description": f"{profile.title}, reviewed {profile.reviewed}, of pcgrelay {__version__}",
        "rlinks": [{"href": "results.json", "media-type": "application/json"}],
    }


def _result(node: str, profile: Profile, results: Sequence[Result], started: datetime) -> dict[str, Any]:
    ended = max((each.started + timedelta(seconds=each.seconds) for each in results), default=started)
    reviewed = [{"control-id": each.id.lower()} for each in results if each.outcome != NOT_HERE]
    selection: dict[str, Any] = {"include-controls": reviewed} if reviewed else {"include-all": {}}
    found: dict[str, Any] = {
        "uuid": uuid_of(node, profile.name, "result"),
        "title": f"pcgrelay assure run, {node}",
        "description": f"Each control of {profile.title} tested at the running node.",
        "start": _time(started),
        "end": _time(ended),
        "reviewed-controls": {"control-selections": [selection]},
    }
    if results:
        found["observations"] = [_observation(node, each) for each in results]
    if findings := [_finding(node, each) for each in results if each.outcome in STATES]:
        found["findings"] = findings
    return found


def _observation(node: str, each: Result) -> dict[str, Any]:
    return {
        "uuid": uuid_of(node, each.id, "observation"),
        "title": f"{each.id}: {each.title}",
        "description": each.observed or each.outcome,
        "methods": ["INTERVIEW" if each.outcome == TOLD else "TEST"],
        "props": [
            {"name": "outcome", "value": each.outcome.replace(" ", "-")},
            {"name": "test", "value": each.test},
        ],
        "collected": _time(each.started),
        "relevant-evidence": [{"href": f"controls/{each.id}/result.json", "description": "what was expected and seen"}],
    }


def _finding(node: str, each: Result) -> dict[str, Any]:
    state, reason = STATES[each.outcome]
    finding: dict[str, Any] = {
        "uuid": uuid_of(node, each.id, "finding"),
        "title": f"{each.id}: {each.title}",
        "description": f"{each.observed or each.outcome}. Sources: {'; '.join(each.sources)}.",
        "target": {
            "type": "objective-id",
            "target-id": each.id.lower(),
            "title": each.title,
            "status": {"state": state, "reason": reason},
        },
        "related-observations": [{"observation-uuid": uuid_of(node, each.id, "observation")}],
    }
    if each.is_bad:
        finding["remarks"] = f"Expected: {each.expected}. Mend: {each.cure}."
    return finding
