"""The pack: every file, what may be in it, and that it is written whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import xml.etree.ElementTree as ET
from datetime import date
from pathlib import Path

import pytest

from pcgrelay.assure.pack import check_room, marking_of, pack_files, write_pack
from pcgrelay.assure.redact import HIDDEN, HIDDEN_KEYS, SHOWN_KEYS, host_kind, redact_config
from pcgrelay.config.examples import EXAMPLES
from pcgrelay.errors import RunError
from tests.support.evidence_examples import RESULTS, SECRETS, evidence


def test_all_files_are_there(tmp_path: Path) -> None:
    files = pack_files(evidence(tmp_path))
    assert {"summary.md", "summary.html", "questions.md", "results.json", "SHA256SUMS"} <= set(files)
    inventory = {name.removeprefix("inventory/") for name in files if name.startswith("inventory/")}
    assert inventory == {
        "configuration.json", "crypto.json", "rules.csv", "versions.txt", "sbom.cdx.json", "diagram.svg",
    }  # fmt: skip
    assert "controls/N2/facts.json" in files
    assert all(f"controls/{each.id}/result.json" in files for each in RESULTS)


def test_no_address_and_no_path_is_in_it(tmp_path: Path) -> None:
    for name, data in pack_files(evidence(tmp_path)).items():
        for secret in SECRETS:
            assert secret.encode() not in data, name
    assert b"one address of this machine" in pack_files(evidence(tmp_path))["controls/N2/facts.json"]


def test_part_1_has_outcomes_alone(tmp_path: Path) -> None:
    files = pack_files(evidence(tmp_path), part=1)
    assert set(files) == {"summary.md", "summary.html", "results.json", "SHA256SUMS"}
    whole = b"".join(files.values())
    for word in (
        b"kent-1",
        b"relay-1",
        b"3 of",
        b"4 of",
        b"get one more",
        b"a_test",
        b"OFFICIAL-SENSITIVE",
        *map(str.encode, SECRETS),
    ):
        assert word not in whole
    assert [each["outcome"] for each in json.loads(files["results.json"])["results"]] == [e.outcome for e in RESULTS]


def test_the_marking_is_on_each_page(tmp_path: Path) -> None:
    files = pack_files(evidence(tmp_path))
    for name in ("summary.md", "questions.md"):
        lines = files[name].decode().splitlines()
        assert lines[0] == "**OFFICIAL-SENSITIVE**" == lines[-1]
    html = files["summary.html"].decode()
    assert html.count("OFFICIAL-SENSITIVE") == 2
    assert "@top-center" in html
    assert "default-src 'none'; style-src 'unsafe-inline'" in html
    assert not re.search(r"<script|src=|url\(", html)


def test_what_is_asked_of_people_is_in_questions(tmp_path: Path) -> None:
    text = pack_files(evidence(tmp_path))["questions.md"].decode()
    assert "## A1: Title of A1" in text
    assert "Who answers for it?" in text
    assert "K1" not in text


def test_what_was_seen_is_text_and_no_mark_up(tmp_path: Path) -> None:
    assert (
        r"3 of \| them. Expected: 4 of them. Mend: get one more"
        in pack_files(evidence(tmp_path))["summary.md"].decode()
    )


def test_rules_are_a_table_that_no_spreadsheet_computes(tmp_path: Path) -> None:
    made = evidence(tmp_path)
    rows = list(csv.DictReader(io.StringIO(pack_files(made)["inventory/rules.csv"].decode())))
    assert [each["rule"] for each in rows] == ["export[1]", "import[1]", "link[1]"]
    assert rows[0]["who"] == "met.police.example"
    assert rows[0]["marking"] == "OFFICIAL-SENSITIVE"


def test_the_diagram_is_an_image_with_a_date(tmp_path: Path) -> None:
    data = pack_files(evidence(tmp_path))["inventory/diagram.svg"]
    root = ET.fromstring(data)
    texts = "".join(root.itertext())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "2026-11-03 10:12 UTC" in texts
    assert {"kent-1", "relay-1", "met-1"} <= {each.text for each in root.iter("{http://www.w3.org/2000/svg}text")}


def test_the_cryptography_in_use_is_known(tmp_path: Path) -> None:
    found = json.loads(pack_files(evidence(tmp_path))["inventory/crypto.json"])
    assert found["allowed"]["post_quantum"] == "required"
    assert [(each["peer"], each["suite"], each["group"]) for each in found["links"]] == [
        ("relay-1.hub.example", "AES-256-GCM", "X25519MLKEM768")
    ]


def test_components_are_of_cyclonedx(tmp_path: Path) -> None:
    found = json.loads(pack_files(evidence(tmp_path))["inventory/sbom.cdx.json"])
    assert found["bomFormat"] == "CycloneDX"
    names = {each["name"] for each in found["components"]}
    assert {"cryptography", "openssl"} <= names
    assert found["metadata"]["component"]["name"] == "pcgrelay"


def test_sha256sum_takes_the_sums(tmp_path: Path) -> None:
    write_pack(tmp_path / "evidence", pack_files(evidence(tmp_path)))
    subprocess.run(["sha256sum", "--strict", "--quiet", "-c", "SHA256SUMS"], cwd=tmp_path / "evidence", check=True)
    modes = {each.stat().st_mode & 0o777 for each in (tmp_path / "evidence").rglob("*")}
    assert modes <= {0o700, 0o600}


def test_a_pack_is_never_written_over_another(tmp_path: Path) -> None:
    check_room(tmp_path / "evidence")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "evidence").mkdir()
    for folder, said in (
        (tmp_path / "evidence", "never overwritten"),
        (tmp_path / "no" / "evidence", "does not exist"),
    ):
        with pytest.raises(RunError, match=said):
            check_room(folder)
    assert list(tmp_path.iterdir()) == [tmp_path / "evidence"]


def test_the_highest_marking_counts(tmp_path: Path) -> None:
    assert marking_of(evidence(tmp_path).config) == "OFFICIAL-SENSITIVE"


def test_every_key_of_the_configuration_is_shown_or_hidden_on_purpose() -> None:
    keys = {part for name in EXAMPLES for part in name.split(".")}
    assert keys - SHOWN_KEYS - HIDDEN_KEYS == set()
    assert not SHOWN_KEYS & HIDDEN_KEYS


def test_what_nobody_knows_is_hidden() -> None:
    shown = redact_config({"new": {"name": "a", "secret": "b", "allow": [{"organisation": "o", "unknown": 1}]}})
    assert shown == {"new": {"name": "a", "secret": HIDDEN, "allow": [{"organisation": "o", "unknown": HIDDEN}]}}


def test_who_answers_for_the_policy_is_no_more_shown_than_who_answers_for_a_rule() -> None:
    paper = {"owner": "j.smith@kent.police.example", "reason": "r", "until": date(2027, 3, 31)}
    shown = redact_config({"policy": {"paper": paper, "clearances": {"hub.example": "SECRET"}}, "export": [paper]})
    told = {"owner": HIDDEN, "reason": "r", "until": "2027-03-31"}
    assert shown == {"policy": {"paper": told, "clearances": {"hub.example": "SECRET"}}, "export": [told]}


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("127.0.0.1", "loopback"), ("::1", "loopback"), ("0.0.0.0", "every address of this machine"), ("", "any"),
        ("10.0.0.1", "one address of this machine"), ("db.example", "a name"),
    ],
)  # fmt: skip
def test_an_address_becomes_what_it_is(host: str, kind: str) -> None:
    assert host_kind(host) == kind
