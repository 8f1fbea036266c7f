"""[[bearer]] and [[direct]]: what they mean, and each rule between tables with its line and its remedy."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from pcgrelay import config
from pcgrelay.config import Address, DirectSettings, differences, restart_reason
from pcgrelay.config.outlets import DIRECTS_MOST, IMPORTS_WITH_DIRECTS_MOST
from pcgrelay.errors import ConfigError
from pcgrelay.model import Marking, ServiceName

PATH = Path("/etc/pcgrelay/met-1.toml")
NODE = """
[node]
name = "met-1"
organisation = "met.police.example"
realm = "police.example"
role = "edge"
state = "state"
[identity]
certificate = "a"
key = "b"
trust = "c"
[[link]]
peer = "relay-1.hub.example"
address = "127.0.0.1:7400"
"""
CUSTODY = ServiceName("custody", "kent.police.example")


def entry(number: int = 0, more: str = "") -> str:
    name = f"custody{number or ''}"
    return f'[[import]]\nservice = "{name}@kent.police.example"\nlisten = "127.0.0.1:{15000 + number}"\n{more}\n'


def direct(name: str = "cjx", address: str = "10.20.30.40:5432", more: str = "", number: int = 0) -> str:
    service = f"custody{number or ''}@kent.police.example"
    return f'[[direct]]\nservice = "{service}"\nname = "{name}"\naddress = "{address}"\n{more}\n'


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        config.parse(NODE + text, PATH)
    return str(refused.value)


def line_of(text: str, words: str) -> int:
    return (NODE + text).splitlines().index(words) + 1


def test_what_is_left_out_has_its_default() -> None:
    bearer = '[[bearer]]\nname = "cjx"\nmarking = "SECRET"\nsupported_until = 2031-01-31\n'
    found = config.parse(NODE + bearer + entry() + direct(more='bearer = "cjx"') + direct("old", "10.0.0.1:1"), PATH)
    assert found.node.state == PATH.parent / "state"
    assert found.bearer("cjx").supported_until == date(2031, 1, 31)
    assert found.bearer("cjx").marking is Marking.SECRET
    assert (found.bearer("psn").marking, found.bearer("psn").supported_until) == (Marking.OFFICIAL, None)
    assert (found.imports[0].outlet, found.imports[0].also, found.imports[0].careful) == ("gateway", (), True)
    assert [each.name for each in found.directs_of(CUSTODY)] == ["cjx", "old"]
    assert found.directs[1] == DirectSettings(
        service=CUSTODY, name="old", target=Address("10.0.0.1", 1), bearer="internet"
    )
    assert found.directs_of(ServiceName("other", "kent.police.example")) == ()


def test_a_service_that_is_not_imported_has_no_outlets() -> None:
    text = entry(1) + direct()
    line = line_of(text, 'service = "custody@kent.police.example"')
    assert refusal(text) == (
        f"{PATH}:{line}: direct[1].service: custody@kent.police.example is not imported here; "
        "add an [[import]] of it, or remove this table."
    )


def test_an_outlet_that_is_not_there_is_none() -> None:
    text = entry(more='outlet = "cjy"') + direct()
    line = line_of(text, 'outlet = "cjy"')
    assert refusal(text) == (
        f'{PATH}:{line}: import[1].outlet: custody@kent.police.example has no outlet "cjy"; there are: gateway, cjx; '
        "name one of them, or add a [[direct]] of that name."
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (entry() + direct() + direct(address="10.0.0.2:1"), "direct[2].name: direct[1] has this name for"),
        (entry() + direct() + direct("b"), "direct[2].address: direct[1] has this address for"),
        (entry() + direct("gateway"), 'direct[1].name: "gateway" is the outlet that each import has'),
        (entry() + direct(address="127.0.0.1:15000"), "a listener of this very node (import[1].listen)"),
        (entry(more='also = ["10.20.30.40:5432"]') + direct(), "a listener of this very node (import[1].also[1])"),
        (entry(more='also = ["127.0.0.1:15000"]'), "127.0.0.1:15000 is taken by import[1].listen"),
        (entry(more="exercise = 1"), "import[1].exercise: there is no outlet beside the gateway; add a [[direct]]"),
        (
            entry(more="exercise = nan") + direct(),
            "import[1].exercise: this must be at least 0; write for example: exercise = 1",
        ),
        (entry(more="exercise = 0.7") + direct(), "import[1].exercise: 0.7 percent cannot be dealt"),
        (entry() + direct(more='source = "::1"'), "::1 is IPv6, and 10.20.30.40:5432 is not"),
        (entry() + direct(address="[2001:db8::1]:1", more='source = "10.9.9.9"'), "10.9.9.9 is IPv4"),
        ('[[bearer]]\nname = "a"\n[[bearer]]\nname = "a"\n', "bearer[2].name: this bearer is already in bearer[1]"),
        (
            '[[bearer]]\nname = "a"\nsupported_until = "2031-01-31"\n',
            "this must be a date without quotes; write for example: supported_until = 2031-01-31",
        ),
    ],
)
def test_rules_between_tables(text: str, words: str) -> None:
    assert words in refusal(text)


def test_a_name_may_lead_to_either_family() -> None:
    found = config.parse(NODE + entry() + direct(address="db.cjx.example:5432", more='source = "10.9.9.9"'), PATH)
    assert found.directs[0].sources == ("10.9.9.9",)


def test_another_service_may_have_outlets_of_the_same_name_and_address() -> None:
    assert len(config.parse(NODE + entry() + entry(1) + direct() + direct(number=1), PATH).directs) == 2


def test_an_import_has_three_direct_outlets_at_most() -> None:
    outlets = [direct(f"d{number}", f"10.0.0.{number}:1") for number in range(1, DIRECTS_MOST + 2)]
    assert len(config.parse(NODE + entry() + "".join(outlets[:-1]), PATH).directs) == DIRECTS_MOST
    assert "direct[4]: custody@kent.police.example has 3 direct outlets already" in refusal(entry() + "".join(outlets))


def test_so_many_imports_have_direct_outlets() -> None:
    most = IMPORTS_WITH_DIRECTS_MOST
    imports = "".join(entry(number) for number in range(1, most + 2))
    outlets = [direct(number=number) for number in range(1, most + 2)]
    assert len(config.parse(NODE + imports + "".join(outlets[:-1]), PATH).directs) == most
    assert f"direct[{most + 1}]: {most} imports have direct outlets already" in refusal(imports + "".join(outlets))


def test_a_relay_has_none() -> None:
    relay = NODE.replace('role = "edge"', 'role = "relay"')
    with pytest.raises(ConfigError, match="a relay offers and uses no services"):
        config.parse(relay + entry() + direct(), PATH)


def test_what_a_reload_changes_is_told() -> None:
    before = config.parse(NODE + '[[bearer]]\nname = "cjx"\n' + entry() + direct() + direct("b", "10.0.0.2:1"), PATH)
    after = config.parse(
        NODE
        + '[[bearer]]\nname = "cjx"\nsupported_until = 2031-01-31\n'
        + entry(more='outlet = "cjx"')
        + direct(address="10.0.0.3:1")
        + direct("c", "10.0.0.4:1"),
        PATH,
    )
    assert differences(before, after) == (
        "bearer cjx changed (supported_until)",
        "import custody@kent.police.example changed (outlet)",
        "direct b of custody@kent.police.example removed",
        "direct cjx of custody@kent.police.example changed (address)",
        "direct c of custody@kent.police.example added",
    )
    assert restart_reason(before, after) is None


def test_another_state_folder_needs_a_restart() -> None:
    before = config.parse(NODE, PATH)
    after = config.parse(NODE.replace('state = "state"', 'state = "elsewhere"'), PATH)
    reason = restart_reason(before, after)
    assert reason is not None
    assert "node.state has changed" in reason
