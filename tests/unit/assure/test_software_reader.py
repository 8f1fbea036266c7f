"""What is installed, and the table of ends of support."""

from __future__ import annotations

import re
from datetime import date

import pytest

from pcgrelay import __version__
from pcgrelay.assure.readers import software


def test_the_table_of_support_is_of_this_version() -> None:
    table = software.support()
    assert table["release"]["version"] == __version__
    for name, form in (("openssl", r"\d\.\d"), ("python", r"3\.\d\d"), ("system", r"debian \d\d")):
        assert all(isinstance(end, date) for end in table[name]["until"].values())
        assert all(re.fullmatch(form, version) for version in table[name]["until"])
        assert table[name]["source"].startswith("https://")
        assert re.fullmatch(r"20\d\d-\d\d", table[name]["reviewed"])


@pytest.mark.parametrize(
    ("name", "system", "kept_by", "until"),
    [
        ("OpenSSL 3.0.17 1 Jul 2025, shared with this system", "Debian 12", "Debian 12", date(2028, 6, 30)),
        ("OpenSSL 3.0.17 1 Jul 2025, shared with this system", "Nixos 1", "Nixos 1", None),
        ("OpenSSL 3.5.1 1 Jul 2025, built into pcgrelay", "Debian 12", "OpenSSL", date(2030, 4, 8)),
        ("OpenSSL 4.0.3 29 Sep 2026", "Debian 12", "OpenSSL", date(2027, 5, 14)),
        ("OpenSSL 9.9.9", "Debian 12", "OpenSSL", None),
        ("something", "Debian 12", "OpenSSL", None),
    ],
)
def test_whoever_keeps_a_library_says_for_how_long(name: str, system: str, kept_by: str, until: date | None) -> None:
    found = software.library_fact("frames", name, system)
    assert (found.kept_by, found.supported_until) == (kept_by, until)


@pytest.mark.parametrize(
    ("version", "base", "kept_by", "until"),
    [
        ("3.11.2", "/usr", "Debian 12", date(2028, 6, 30)),
        ("3.13.5", "/opt/python", "Python", date(2029, 10, 31)),
        ("3.9.2", "/usr/local", "Python", None),
    ],
)
def test_a_python_of_the_system_is_kept_by_it(version: str, base: str, kept_by: str, until: date | None) -> None:
    found = software.python_fact(version, base, "Debian 12")
    assert (found.kept_by, found.supported_until) == (kept_by, until)


def test_the_name_of_a_system() -> None:
    assert software.system_name('ID=debian\nVERSION_ID="13"\nNAME="x"\n') == "Debian 13"
    assert software.system_name("") == "an unknown system"


def test_all_that_is_required_is_found() -> None:
    names = {software.normal(each.metadata["Name"]) for each in software.distributions()}
    assert {"pcgrelay", "cryptography", "pyopenssl", "uvloop", "msgspec"} <= names
    assert software.required() <= names
    found = software.sbom_fact()
    assert found.missing == ()
    assert found.version == __version__


def test_installed_files_are_as_recorded() -> None:
    found = software.files_fact()
    assert found.recorded > 100
    assert found.changed == ()
