"""[[drill]]: what it means, and each rule with its line and its remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from pcgrelay import config
from pcgrelay.config import EVERY, differences, restart_reason
from pcgrelay.config.drills import DRILLS_MOST, LASTS_MOST_S
from pcgrelay.config.values import time_s, time_text
from pcgrelay.errors import ConfigError

PATH = Path("/etc/pcgrelay/met-1.toml")
HEAD = """
[node]
name = "met-1"
organisation = "met.police.example"
realm = "police.example"
role = "{role}"
state = "state"
[identity]
certificate = "a"
key = "b"
trust = "c"
[[link]]
peer = "relay-1.hub.example"
address = "127.0.0.1:7400"
bearer = "psn"
"""
NODE = HEAD.format(role="edge")
IMPORT = '[[import]]\nservice = "custody@kent.police.example"\nlisten = "127.0.0.1:15000"\n'


def drill(*lines: str, kind: str = "backup", every: str = "90d") -> str:
    return "\n".join(["[[drill]]", f'kind = "{kind}"', f'every = "{every}"', *lines, ""])


def refusal(text: str, head: str = NODE + IMPORT) -> str:
    with pytest.raises(ConfigError) as refused:
        config.parse(head + text, PATH)
    return str(refused.value)


def test_what_is_left_out_has_its_default() -> None:
    text = drill() + drill(kind="relay-loss", every="12h") + drill(kind="restore") + drill(kind="bearer-loss")
    found = config.parse(NODE + IMPORT + text, PATH).drills
    assert [(each.kind, each.subject, each.every_s, each.lasts_s) for each in found] == [
        ("backup", EVERY, 7_776_000, 600),
        ("relay-loss", EVERY, 43_200, 60),
        ("restore", "", 7_776_000, 0),
        ("bearer-loss", EVERY, 7_776_000, 60),
    ]
    assert not any(each.auto or each.calendar.windows for each in found)
    assert {each.share for each in found} == {100.0}


def test_all_that_can_be_said() -> None:
    lines = ['service = "custody@kent.police.example"', 'window = "sun 03:00-05:00, sat 22:00-24:00"', "auto = true"]
    text = drill(*lines, 'zone = "Europe/London"', 'for = "30m"', "share = 25")
    (found,) = config.parse(NODE + IMPORT + text, PATH).drills
    assert (found.subject, found.lasts_s, found.share, found.auto) == ("custody@kent.police.example", 1_800, 25, True)
    assert (len(found.calendar.windows), found.calendar.zone) == (2, "Europe/London")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (drill() + drill(), "drill[2].kind: this drill is already in drill[1]; remove one"),
        (drill('relay = "relay-1.hub.example"'), "drill[1].relay: a backup drill is of a service; remove this line"),
        (drill('bearer = "psn"', kind="restore"), "drill[1].bearer: a restore drill is of the whole node"),
        (drill('service = "pnd@hub.example"'), "drill[1].service: pnd@hub.example is not imported here"),
        (drill('bearer = "moon"', kind="bearer-loss"), "no [[listen]] or [[link]] is on a bearer moon"),
        (drill('relay = "relay"', kind="relay-loss"), "drill[1].relay: "),
        (drill("auto = true"), 'add window = "sun 03:00-05:00"'),
        (drill("auto = true", kind="restore"), "a node does not restore a back-up by itself"),
        (drill('for = "60s"', kind="restore"), "drill[1].for: a restore drill has none"),
        (drill("share = 50", kind="relay-loss"), "drill[1].share: a relay-loss drill has none"),
        (drill("share = 33.3"), "33.3 percent cannot be dealt"),
        (drill('window = "sun 05:00-03:00"'), "ends before it begins"),
        (drill(every="4000d"), "4000d is too long; 3650d is the most"),
        ("".join(drill() for _ in range(DRILLS_MOST + 1)), f"there are {DRILLS_MOST} drills already"),
    ],
)
def test_rules(text: str, words: str) -> None:
    assert words in refusal(text)


def test_a_relay_has_none() -> None:
    assert "have this drill at an edge" in refusal(drill(kind="relay-loss"), HEAD.format(role="relay"))


def test_a_reload_takes_them() -> None:
    old, new = (config.parse(NODE + IMPORT + drill(every=every), PATH) for every in ("90d", "30d"))
    assert differences(old, new) == ("drill backup * changed (every)",)
    assert restart_reason(old, new) is None


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1), ("90s", 90), ("10m", 600), ("12h", 43_200), ("1d", 86_400)])
def test_times_are_read_and_written(text: str, seconds: int) -> None:
    assert time_s(text, LASTS_MOST_S) == seconds
    assert time_text(seconds) == text


@pytest.mark.parametrize("text", ["", "0s", "10", "1.5h", "-1s", " 1s", "1 s", "1w", "٣s", "25h", "9" * 20 + "s"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no time|is too long"):
        time_s(text, LASTS_MOST_S)
