"""Which OpenSSL there is, and whether a newer one would be worth it on this processor."""

from pathlib import Path

import pytest

from pcgrelay import openssl as libraries

WIDE = {"avx512f", "avx512vl", "vaes", "vpclmulqdq", "aes"}


@pytest.mark.parametrize(
    ("library", "flags", "expected"),
    [
        ("OpenSSL 3.0.19 27 Jan 2026", WIDE, True),
        ("OpenSSL 3.0.19 27 Jan 2026", WIDE - {"vaes"}, False),
        ("OpenSSL 3.0.19 27 Jan 2026", set(), False),
        ("OpenSSL 3.1.0 14 Mar 2023", WIDE, False),
        ("OpenSSL 3.5.7 9 Jun 2026", WIDE, False),
        ("OpenSSL 4.0.3 29 Sep 2026", WIDE, False),
        ("something else", WIDE, False),
    ],
)
def test_a_newer_library_is_worth_it_only_where_it_would_be_faster(
    library: str, flags: set[str], expected: bool
) -> None:
    assert libraries.leaves_speed(library, flags) is expected


def test_the_flags_are_those_of_the_first_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = tmp_path / "cpuinfo"
    facts.write_text("processor\t: 0\nflags\t\t: fpu aes vaes\nbugs\t\t: none\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    monkeypatch.setattr(libraries, "CPU_FACTS", facts)
    assert libraries.processor_flags() == {"fpu", "aes", "vaes"}


@pytest.mark.parametrize("text", [None, "processor\t: 0\nFeatures\t: aes pmull\n"])
def test_where_no_flags_are_told_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    facts = tmp_path / "cpuinfo"
    if text is not None:
        facts.write_text(text)
    monkeypatch.setattr(libraries, "CPU_FACTS", facts)
    assert libraries.processor_flags() == set()


def test_both_libraries_have_a_name() -> None:
    assert libraries.data_plane_library().startswith("OpenSSL 3.")
    assert libraries.data_plane_library().endswith(", shared with this system")
    assert libraries.session_library().startswith("OpenSSL ")
