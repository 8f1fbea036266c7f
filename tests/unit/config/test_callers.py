"""[[export]] also and [[caller]]: taken, or refused with their line."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from pcgrelay import config
from pcgrelay.config import Address
from pcgrelay.config.callers import CALLERS_MOST, NETWORKS_MOST
from pcgrelay.config.differences import differences
from pcgrelay.errors import ConfigError

PATH = Path("/etc/pcgrelay/kent-1.toml")
GOOD = """\
[node]
name = "kent-1"
organisation = "kent.police.example"
realm = "police.example"
role = "edge"
[identity]
certificate = "kent-1.pem"
key = "kent-1.key"
trust = "realm-ca.pem"
[[listen]]
address = "127.0.0.1:7400"
[[export]]
service = "custody"
target = "127.0.0.1:5432"
also = ["10.20.30.40:5432", "[::1]:5432"]
[[caller]]
organisation = "met.police.example"
networks = ["10.1.0.0/16", "2001:db8::/32"]
[[caller]]
organisation = "surrey.police.example"
networks = ["10.1.2.0/24"]
"""


def test_they_are_taken() -> None:
    found = config.parse(GOOD, PATH)
    (export,) = found.exports
    assert export.also == (Address.parse("10.20.30.40:5432"), Address.parse("[::1]:5432"))
    assert [(each.organisation, each.networks[0]) for each in found.callers] == [
        ("met.police.example", ipaddress.ip_network("10.1.0.0/16")),
        ("surrey.police.example", ipaddress.ip_network("10.1.2.0/24")),
    ]
    other = config.parse(GOOD.replace("10.1.2.0/24", "10.1.3.0/24").replace(', "[::1]:5432"', ""), PATH)
    assert differences(found, other) == (
        "export custody@kent.police.example changed (also)",
        "caller surrey.police.example changed (networks)",
    )


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            '"10.1.2.0/24"',
            '"10.1.2.7/24"',
            "21: caller[2].networks[1]: 10.1.2.7/24 is an address with a mask; the network is",
        ),
        ('"10.1.2.0/24"', '"here"', '21: caller[2].networks[1]: "here" is no network; write for example: networks'),
        (
            '"10.1.2.0/24"',
            '"10.1.0.0/16"',
            "21: caller[2].networks[1]: 10.1.0.0/16 is a network of met.police.example already",
        ),
        (
            '"2001:db8::/32"',
            '"10.1.0.0/16"',
            "18: caller[1].networks[2]: 10.1.0.0/16 is a network of this caller already",
        ),
        ('["10.1.2.0/24"]', "[]", "21: caller[2].networks: there is none, so nobody is known by it"),
        ("surrey", "met", "20: caller[2].organisation: caller[1] is met.police.example already"),
        ("surrey.police.example", "-", "20: caller[2].organisation: "),
        (
            'also = ["10.20.30.40:5432", "[::1]:5432"]\n',
            "",
            "15: caller[1]: nobody comes the old way, for no [[export]] has also",
        ),
        ('"[::1]:5432"', '"10.20.30.40:5432"', "15: export[1].also[2]: 10.20.30.40:5432 is taken by export[1].also[1]"),
        ('"[::1]:5432"', '"127.0.0.1:7400"', "15: export[1].also[2]: 127.0.0.1:7400 is taken by listen[1].address"),
        (
            '"127.0.0.1:5432"',
            '"10.20.30.40:5432"',
            "14: export[1].target: 10.20.30.40:5432 is a listener of this very node",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line(old: str, new: str, sentence: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as refused:
        config.parse(GOOD.replace(old, new, 1), PATH)
    assert str(refused.value).removeprefix(f"{PATH}:").startswith(sentence)


def test_there_are_bounds() -> None:
    head = GOOD[: GOOD.index("[[caller]]")]
    entry = '[[caller]]\norganisation = "o{0}.example"\nnetworks = ["10.{0}.0.0/16"]\n'
    many = head + "".join(entry.format(number) for number in range(CALLERS_MOST + 1))
    with pytest.raises(ConfigError, match="64 callers are the most"):
        config.parse(many, PATH)
    networks = ", ".join(f'"10.{n // 256}.{n % 256}.0/24"' for n in range(NETWORKS_MOST + 1))
    with pytest.raises(ConfigError, match="257 networks, and 256 is the most"):
        config.parse(GOOD.replace('"10.1.2.0/24"', networks), PATH)
    exports = "".join(
        f'[[export]]\nservice = "s{n}"\ntarget = "127.0.0.1:1"\nalso = ["127.0.0.2:{n + 1}"]\n' for n in range(4)
    )
    with pytest.raises(ConfigError, match="are more than can be counted apart"):
        config.parse(many[: many.rindex("[[")] + exports, PATH)
