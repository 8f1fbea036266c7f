"""The page for a data protection impact assessment."""

from __future__ import annotations

from pathlib import Path

from msgspec import structs

from pcgrelay.assure.dpia import ABOUT, SENTENCE, dpia, fields_about_people, record_kinds
from tests.support.evidence_examples import SECRETS, STARTED, STATUS, evidence


def page(folder: Path, *, is_shown: bool) -> str:
    return dpia(evidence(folder).config, STATUS, (), STARTED, "OFFICIAL", is_shown=is_shown)


def test_the_sentence_is_there_only_if_it_was_shown(tmp_path: Path) -> None:
    assert page(tmp_path, is_shown=True).splitlines()[4] == SENTENCE
    other = page(tmp_path, is_shown=False)
    assert SENTENCE not in other
    assert "has not been shown" in other.splitlines()[4]


def test_every_place_is_named_without_an_address(tmp_path: Path) -> None:
    text = page(tmp_path, is_shown=True)
    for words in ("memory of the data plane, 256", "the log: standard error", "admin socket", "met.police.example"):
        assert words in text
    assert not any(secret in text for secret in SECRETS)
    assert text.count("**OFFICIAL**") == 2


def test_fields_about_people_are_those_of_acts() -> None:
    found = {name: events.split(", ") for name, _, events in fields_about_people()}
    assert set(found) == set(ABOUT)
    assert "drill.begun" in found["by"]
    assert "session.failed" not in found["by"]
    assert "handshake.refused" in found["source"]


def test_no_record_names_a_person_by_another_field() -> None:
    doubtful = {"user", "person", "principal", "email", "owner", "who", "name_of", "address", "client", "host"}
    for kind in record_kinds():
        names = {each.name for each in structs.fields(kind)}
        assert not names & doubtful, kind.EVENT
