"""A build says when its release was made: the date of the commit, not of the build and not of an old file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path

import pytest

from pcgrelay.assure.parameters import Parameters

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
from release_date import SUPPORT, dated  # noqa: E402

FILE = ROOT / "src" / SUPPORT
# 2027-02-03T00:00:00Z, and a second less is the day before.
EPOCH = 1_801_612_800


def test_the_date_is_that_of_the_source() -> None:
    made = [tomllib.loads(dated(FILE.read_text(), str(EPOCH + each)))["release"]["made"] for each in (0, -1)]
    assert made == [date(2027, 2, 3), date(2027, 2, 2)]


def test_a_file_without_a_place_for_it_is_refused() -> None:
    for text in ("", "made = 2026-11-30\nmade = 2026-11-30\n"):
        with pytest.raises(SystemExit, match=r"expected one line made"):
            dated(text, str(EPOCH))


def test_a_build_has_it_and_the_sources_stay_as_they_are(tmp_path: Path) -> None:
    before = FILE.read_bytes()
    command = [sys.executable, "setup.py", "-q", "egg_info", "-e", str(tmp_path), "build_py", "-d", str(tmp_path)]
    environment = {**os.environ, "PCGRELAY_BUILD": "none", "SOURCE_DATE_EPOCH": str(EPOCH)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=120)
    assert tomllib.loads((tmp_path / SUPPORT).read_text())["release"]["made"] == date(2027, 2, 3)
    assert FILE.read_bytes() == before


def test_people_and_the_profile_are_told_the_same_days() -> None:
    days = Parameters().release.supported_days
    for name, words in (
        ("SECURITY.md", r"no longer than (\d+) days from its date"),
        ("docs/decisions/0016-packages.md", r"for (\d+) days from the date of its commit at most"),
        ("docs/assurance.md", r"`release.supported_days` \| \d+, (\d+) \|"),
        ("src/pcgrelay/assure/profiles/ncsc-official.toml", r"release.supported_days = (\d+)"),
    ):
        said = re.search(words, " ".join((ROOT / name).read_text().split()))
        assert said is not None, name
        assert int(said[1]) == days, name
