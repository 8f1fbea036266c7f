"""Controls and profiles: what is right is read, and what is unknown is refused with its line."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from pcgrelay.assure.catalogue import load_controls, load_profile, out_of_review, parse_controls, profile_names
from pcgrelay.assure.tests import TESTS
from pcgrelay.config.source import Source
from pcgrelay.errors import ConfigError

CONTROLS = load_controls(TESTS)
GOOD = """\
[[control]]
id = "X1"
title = "A title"
test = "told"
sources = ["A source"]
applies = "any"
cure = "do it"
question = "Who?"
reviewed = "2026-11"
"""


def controls_of(text: str) -> list[str]:
    return [each.id for each in parse_controls(Source(Path("my.toml"), text), TESTS)]


def profile_of(folder: Path, text: str, name: str = "my.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_every_control_of_the_profile_is_there_and_every_test_is_used() -> None:
    profile = load_profile("ncsc-official", CONTROLS)
    assert [each.id for each in profile.controls] == list(dict.fromkeys(each.id for each in profile.controls))
    assert {each.id for each in profile.controls} == set(CONTROLS)
    assert set(TESTS) == {each.test for each in CONTROLS.values()} - {"told"}
    assert profile.confirmed_by == ""


def test_no_text_of_a_framework_is_copied() -> None:
    # A source is named in a few words; a title is a sentence of ours.
    for control in CONTROLS.values():
        assert all(len(source) < 80 for source in control.sources)
        assert not control.title.endswith(".")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace('test = "told"', 'test = "tolt"'), "my.toml:4: control[1].test.tolt: this test is unknown"),
        (
            GOOD.replace("cure", "cures"),
            "my.toml:7: control[1].cures: this key is unknown; the nearest that there is: cure",
        ),
        (GOOD + GOOD, "my.toml:11: control[2].id: X1 is there already"),
        (GOOD.replace('question = "Who?"\n', ""), "needs a question"),
        (GOOD.replace('"any"', '"all"'), "my.toml:6: control[1].applies"),
        (GOOD.replace('"X1"', '"x"'), "my.toml:2: control[1].id"),
        (GOOD.replace('"2026-11"', '"2026-13"'), "my.toml:9: control[1].reviewed"),
        (GOOD.replace("[[control]]", "[[controls]]"), "my.toml:1: controls[1]: this table is unknown"),
        ("control = 3\n", "my.toml:1: control"),
    ],
)
def test_a_wrong_control_is_refused_with_its_line(text: str, said: str) -> None:
    assert controls_of(GOOD) == ["X1"]
    with pytest.raises(ConfigError) as refused:
        controls_of(text)
    assert said in str(refused.value)


def test_a_profile_overlays_another(tmp_path: Path) -> None:
    path = profile_of(
        tmp_path,
        'title = "Kent"\nextends = "ncsc-official"\nwithout = ["N8"]\n[parameters]\ndrill.most_days = 30\n',
    )
    ours, theirs = load_profile(str(path), CONTROLS), load_profile("ncsc-official", CONTROLS)
    assert ours.title == "Kent"
    assert ours.parameters.drill.most_days == 30
    assert ours.parameters.tls == theirs.parameters.tls
    assert {each.id for each in theirs.controls} - {each.id for each in ours.controls} == {"N8"}


def test_what_nobody_held_against_its_sources_for_long_is_out_of_review(tmp_path: Path) -> None:
    profile = load_profile("ncsc-official", CONTROLS)
    assert out_of_review(profile, date(2027, 11, 30)) == ()
    assert out_of_review(profile, date(2027, 12, 1)) == ("profile", *(each.id for each in profile.controls))
    own = 'title = "Kent"\nextends = "ncsc-official"\nreviewed = "2027-06"\n[parameters]\nreview.most_months = 6\n'
    overlay = load_profile(str(profile_of(tmp_path, own)), CONTROLS)
    assert out_of_review(overlay, date(2027, 5, 31)) == ()
    assert out_of_review(overlay, date(2027, 6, 1)) == tuple(each.id for each in overlay.controls)


def test_whoever_confirmed_a_profile_did_not_confirm_what_another_makes_of_it(tmp_path: Path) -> None:
    below = profile_of(tmp_path, 'title = "A"\nextends = "ncsc-official"\nconfirmed_by = "an assurer"\n', "below.toml")
    above = profile_of(tmp_path, 'title = "B"\nextends = "below.toml"\nwithout = ["K1"]\n')
    assert load_profile(str(below), CONTROLS).confirmed_by == "an assurer"
    assert load_profile(str(above), CONTROLS).confirmed_by == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('title = "x"\nreviewed = "2026-11"\ncontrols = ["K99"]\n', "my.toml:3: controls: there is no control K99"),
        ('extends = "ncsc-official"\nwithout = ["Z9"]\n', "my.toml:2: without: there is no control Z9"),
        ('extends = "ncsc-official"\ntitel = "x"\n', "my.toml:2: titel: this key is unknown"),
        ('extends = "ncsc-official"\n[parameters]\ndrill.most = 3\n', "this parameter is unknown"),
        ('extends = "ncsc-official"\n[parameters]\ndrills.most_days = 3\n', "my.toml:3: parameters.drills"),
        ('extends = "ncsc-official"\n[parameters]\ndrill.most_days = "3"\n', "my.toml:3: parameters.drill.most_days"),
        ('extends = "ncsc-offical"\n', "my.toml:1: extends: ncsc-offical: there is no profile of this name"),
        ('extends = "my.toml"\n', "deep at most"),
        ("extends = 3\n", "this must be text"),
        ('title = "x"\nreviewed = "2026-11"\ncontrols = []\n', "no control is left"),
        ('title = "x"\nreviewed = "2026-11"\n', "controls"),
        ("title = \n", "not valid TOML"),
    ],
)
def test_a_wrong_profile_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_profile(str(profile_of(tmp_path, text)), CONTROLS)
    assert said in str(refused.value)


def test_a_profile_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match="there are: ncsc-official"):
        load_profile("ncsc", CONTROLS)
    assert profile_names() == ["ncsc-official"]
