"""Whose an address is: the smallest network that has it, and nobody's address is kept."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.config import CallerSettings
from pcgrelay.services.strays import NUMBER_FIRST, NUMBER_MOST, OTHERS, Callers, StrayNumbers


def caller(name: str, *networks: str) -> CallerSettings:
    return CallerSettings(organisation=name, networks=tuple(map(ipaddress.ip_network, networks)))


CALLERS = Callers(
    [
        caller("met.police.example", "10.1.0.0/16", "2001:db8:1::/48"),
        caller("kent.police.example", "10.1.2.0/24", "10.9.9.9/32"),
    ]
)


def test_the_smallest_network_says_whose_it_is() -> None:
    for host, organisation in (
        ("10.1.0.0", "met.police.example"),
        ("10.1.255.255", "met.police.example"),
        ("10.1.2.77", "kent.police.example"),
        ("10.9.9.9", "kent.police.example"),
        ("10.9.9.8", OTHERS),
        ("10.2.0.0", OTHERS),
        ("2001:db8:1::5", "met.police.example"),
        ("2001:db8:2::5", OTHERS),
        ("::ffff:10.1.2.77", "kent.police.example"),
        ("fe80::1%eth0", OTHERS),
        ("", OTHERS),
        ("a name", OTHERS),
    ):
        assert CALLERS.organisation_of(host) == organisation, host
    assert Callers([]).organisation_of("10.1.2.3") == OTHERS
    assert Callers([caller("all", "0.0.0.0/0")]).organisation_of("10.1.2.3") == "all"


@given(st.ip_addresses(), st.lists(st.tuples(st.ip_addresses(), st.integers(0, 128)), max_size=20))
def test_it_is_what_a_search_of_all_networks_finds(address: object, drawn: list[tuple[object, int]]) -> None:
    networks = {}
    for number, (where, length) in enumerate(drawn):
        text = f"{where}/{min(length, 32 if ':' not in str(where) else 128)}"
        networks.setdefault(ipaddress.ip_network(text, strict=False), f"o{number}")
    callers = Callers([CallerSettings(organisation=name, networks=(each,)) for each, name in networks.items()])
    mapped = getattr(address, "ipv4_mapped", None) or address
    holding = [each for each in networks if each.version == mapped.version and mapped in each]  # type: ignore[attr-defined]
    wanted = networks[max(holding, key=lambda each: each.prefixlen)] if holding else OTHERS
    assert callers.organisation_of(str(address)) == wanted


def test_a_number_that_is_given_up_is_given_again_last() -> None:
    numbers = StrayNumbers()
    assert [numbers.take([]) for _ in range(3)] == [NUMBER_FIRST, NUMBER_FIRST + 1, NUMBER_FIRST + 2]
    numbers.restore(NUMBER_MOST)
    assert numbers.take([NUMBER_FIRST]) == NUMBER_FIRST + 1
    assert numbers.take(range(NUMBER_FIRST, NUMBER_MOST + 1)) is None
