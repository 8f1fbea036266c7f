"""The inventory of the services that must move: taken whole, or refused with its line."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.config.inventory import (
    SERVICES_MOST,
    Inventory,
    InventoryService,
    load_inventory,
    parse_inventory,
)
from pcgrelay.errors import ConfigError, PcgrelayError
from pcgrelay.model import ServiceName

GOOD = """\
# what moves from the old exchange
[[service]]
name = "custody@kent.police.example"
owner = "j.smith@met.police.example"
from = "cjx"
critical = true
users = 1200

[[service]]
name = "pnd@hub.example"
from = "psnp"
"""
PATH = Path("inventory.toml")


def test_it_is_read_with_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "inventory.toml"
    path.write_text(GOOD)
    found = load_inventory(path)
    custody = InventoryService(
        name=ServiceName.parse("custody@kent.police.example"),
        bearer="cjx",
        owner="j.smith@met.police.example",
        critical=True,
        users=1_200,
    )
    pnd = InventoryService(name=ServiceName.parse("pnd@hub.example"), bearer="psnp")
    assert found == Inventory(path=path, sha256=hashlib.sha256(GOOD.encode()).hexdigest(), services=(custody, pnd))
    assert found.of_bearer("cjx") == (custody,)
    assert found.of_bearer("none") == ()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('from = "psnp"', "", '9: service[2].from: this is missing; write for example: from = "cjx".'),
        ('"psnp"', "7", '11: service[2].from: this must be text in quotes; write for example: from = "cjx".'),
        ('"psnp"', '"p.s"', "11: service[2].from: "),
        ('"pnd@hub.example"', '"pnd"', "10: service[2].name: "),
        (
            '"pnd@hub.example"',
            '"custody@kent.police.example"',
            "10: service[2].name: custody@kent.police.example stands in this inventory already; remove one.",
        ),
        ("users = 1200", "user = 1200", "7: service[1].user: this key is unknown; the nearest that there is: users."),
        ("users = 1200", "users = -1", "7: service[1].users: -1 is no number of people"),
        ("users = 1200", 'users = "many"', "7: service[1].users: this must be a whole number"),
        ("critical = true", "critical = 1", "6: service[1].critical: this must be true or false"),
        ("j.smith@met.police.example", "j\\u0007", "4: service[1].owner: this has a character"),
        ("j.smith@met.police.example", "j" * 201, "4: service[1].owner: this has 201 characters"),
        (
            '[[service]]\nname = "pnd',
            '[[services]]\nname = "pnd',
            "9: services[1]: this table is unknown; all that there is in an inventory is [[service]].",
        ),
        ("# what", "x = 1 # what", "1: x: this key is unknown"),
        ("users = 1200", "users 1200", "7: this is not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(old: str, new: str, sentence: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as refused:
        parse_inventory(GOOD.replace(old, new, 1), PATH)
    assert str(refused.value).startswith(f"inventory.toml:{sentence}")


@pytest.mark.parametrize("text", ["\n", "service = []\n", "service = 3\n", "[service]\nname = 'x'\n"])
def test_an_inventory_without_services_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"inventory\.toml(:1)?: service"):
        parse_inventory(text, PATH)


def test_there_is_a_bound() -> None:
    entry = '[[service]]\nname = "s{}@kent.police.example"\nfrom = "cjx"\n'
    text = "".join(entry.format(number) for number in range(SERVICES_MOST + 1))
    with pytest.raises(ConfigError, match="4096 services are the most"):
        parse_inventory(text, PATH)
    assert len(parse_inventory(text[: text.rindex("[[")], PATH).services) == SERVICES_MOST


@given(st.text(max_size=200) | st.text(alphabet='[]service = "name@from.x"\n', max_size=200))
def test_no_text_is_anything_but_read_or_refused(text: str) -> None:
    try:
        found = parse_inventory(text, PATH)
    except PcgrelayError as error:
        sentence = str(error)
    else:
        assert found.services
        return
    assert sentence.endswith(".")
    assert "\n" not in sentence
