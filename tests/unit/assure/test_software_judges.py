"""Judges of what the node is made of, and of how long somebody supports it."""

from __future__ import annotations

from datetime import date

import pytest
from msgspec.structs import replace

from pcgrelay.assure.facts import Ends, Libraries, Library, Release, Sbom, WheelFiles
from pcgrelay.assure.judgement import FAILED, PASSED, Judgement
from pcgrelay.assure.judges import software
from pcgrelay.assure.parameters import Parameters

P = Parameters()
TODAY = date(2026, 11, 30)
SBOM = Sbom(source="x.cdx.json", version="0.1.0", own_version="0.1.0", components=("click",), missing=())
FRAMES = Library(use="frames", version="OpenSSL 3.0.17", kept_by="Debian 12", supported_until=date(2028, 6, 30))
RELEASE = Release(today=TODAY, version="0.1.0", node_version="0.1.0", made=date(2026, 11, 1))


def is_found(judgement: Judgement, said: str) -> None:
    assert judgement.outcome == (FAILED if said else PASSED), judgement
    assert said in judgement.observed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"components": ()}, "there is no list"),
        ({"version": "0.0.9"}, "it is of version 0.0.9, not 0.1.0"),
        ({"missing": ("uvloop",)}, "uvloop is not in it"),
    ],
)
def test_components(change: dict[str, object], said: str) -> None:
    is_found(software.components_are_listed(replace(SBOM, **change), P), said)


def test_files() -> None:
    facts = WheelFiles(recorded=2_000, changed=(), missing=())
    is_found(software.files_are_as_recorded(facts, P), "")
    is_found(software.files_are_as_recorded(replace(facts, changed=("pcgrelay/a.py",)), P), "pcgrelay/a.py was changed")
    is_found(software.files_are_as_recorded(replace(facts, missing=("pcgrelay/a.py",)), P), "pcgrelay/a.py is gone")


@pytest.mark.parametrize(
    ("until", "said"),
    [(TODAY, ""), (date(2026, 11, 29), "was supported by Debian 12 until 2026-11-29"), (None, "is not known here")],
)
def test_libraries(until: date | None, said: str) -> None:
    facts = Libraries(today=TODAY, libraries=(FRAMES, replace(FRAMES, supported_until=until)))
    is_found(software.libraries_are_supported(facts, P), said)


@pytest.mark.parametrize(
    ("change", "recent", "supported"),
    [
        ({}, "", ""),
        ({"made": None}, "not known", "not known"),
        ({"made": date(2025, 10, 1)}, "425 days old", ""),
        ({"made": date(2024, 11, 1)}, "759 days old", "was supported until 2026-11-01"),
        ({"node_version": "0.0.9"}, "the node runs 0.0.9, and 0.1.0 is installed", ""),
    ],
)
def test_the_release(change: dict[str, object], recent: str, supported: str) -> None:
    facts = replace(RELEASE, **change)
    is_found(software.release_is_recent(facts, P), recent)
    is_found(software.release_is_supported(facts, P), supported)


def test_networks() -> None:
    facts = Ends(today=TODAY, ends=(("bearer cjx", TODAY),), without=("internet",))
    is_found(software.networks_are_supported(facts, P), "")
    assert "no end is written for internet" in software.networks_are_supported(facts, P).observed
    past = replace(facts, ends=(("bearer cjx", date(2025, 1, 31)),))
    is_found(software.networks_are_supported(past, P), "bearer cjx was supported until 2025-01-31")
