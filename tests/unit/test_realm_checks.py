"""What `check` says of the realm's bundle in a file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pcgrelay import config
from pcgrelay.check import exit_code
from pcgrelay.finding import Finding
from pcgrelay.realm.kept import KeptBundle, bundle_file
from pcgrelay.realm_checks import realm_findings
from tests.support.bundles import Signer, span_of
from tests.support.pki import RealmPki, write_config

KENT, HUB = "kent.police.example", "hub.example"
DAY = timedelta(days=1)


class Place:
    """An edge with a file of a bundle."""

    def __init__(self, folder: Path) -> None:
        self.pki = RealmPki(folder)
        self.signer = Signer(self.pki)
        self.file = folder / "realm.bundle"
        self.state = folder / "state"
        self.state.mkdir(mode=0o700)
        self.files = self.pki.issue(KENT, "kent-1")

    def found(self, data: bytes | None = None, **tables: Any) -> list[Finding]:
        if data is not None:
            self.file.write_bytes(data)
        link = {"peer": f"relay-1.{HUB}", "address": "127.0.0.1:1"}
        path = write_config(
            self.file.with_name("kent-1.toml"),
            self.files,
            KENT,
            "kent-1",
            links=[link],
            node_table={"state": str(self.state)},
            **{"realm_table": {"bundle": str(self.file)}, **tables},
        )
        return list(realm_findings(config.load(path), datetime.now(UTC)))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_without_a_file_there_is_nothing_to_say(place: Place) -> None:
    assert place.found(realm_table={}) == []


def test_a_good_file_is_said_to_be_good(place: Place) -> None:
    (finding,) = place.found(place.signer.bundle(3, members=("*",), relays=(HUB,), minimum="0.1"))
    assert (finding.level, finding.where) == ("ok", "realm.bundle")
    assert "epoch 3" in finding.sentence


def test_dates_answer_4_and_never_78(place: Place) -> None:
    for data, level, words in [
        (place.signer.bundle(3, span=span_of(2 * DAY, -DAY)), "error", "expired on"),
        (place.signer.bundle(3, span=span_of(-DAY, 2 * DAY)), "error", "is valid from"),
        (place.signer.bundle(3, span=span_of(20 * DAY, DAY)), "warning", "ends on"),
    ]:
        (finding,) = place.found(data)
        assert (finding.level, finding.dates) == (level, True)
        assert words in finding.sentence
        assert exit_code([finding]) == 4
    short = Signer(place.pki, folder="revoked")
    place.pki.authority.revoke("", "realm/bundle")
    (finding,) = place.found(short.bundle(3))
    assert finding.dates
    assert "revoked" in finding.sentence


def test_what_never_heals_answers_78(place: Place) -> None:
    for data, words in [
        (b"what", "This is no realm bundle"),
        (place.signer.bundle(3, realm="army.example"), "another realm"),
        (Signer(place.pki, wrong_ca=True, folder="strange").bundle(3), "refused here (unknown issuer)"),
    ]:
        (finding,) = place.found(data)
        assert words in finding.sentence
        assert exit_code([finding]) == 78
    place.file.unlink()
    (finding,) = place.found()
    assert exit_code([finding]) == 78


def test_what_it_means_for_this_node_is_said(place: Place) -> None:
    found = place.found(place.signer.bundle(3, members=("met.police.example",), minimum="99.1"))
    sentences = [each.sentence for each in found if each.level == "warning"]
    assert [each.where for each in found[1:]] == ["realm.bundle", "link[1].peer", "realm.bundle"]
    assert any("kent.police.example is no member" in each for each in sentences)
    assert any("hub.example is no member, so this link does not come up" in each for each in sentences)
    assert any("below the realm's minimum, 99.1" in each for each in sentences)
    assert exit_code(found) == 0


def test_a_newer_one_of_the_state_is_said(place: Place) -> None:
    bundle_file(place.state).write(KeptBundle(data=place.signer.bundle(7)))
    found = place.found(place.signer.bundle(3))
    assert "A newer bundle than that of the file (epoch 3) is in force here: 7." in found[-1].sentence
    assert len(place.found(place.signer.bundle(8))) == 1
    # What is kept is of another CA by now: the file counts.
    bundle_file(place.state).write(KeptBundle(data=Signer(place.pki, wrong_ca=True, folder="strange").bundle(9)))
    assert len(place.found(place.signer.bundle(8))) == 1
