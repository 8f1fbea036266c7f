"""[metrics] and [page]: where somebody may read over TCP, and who."""

from __future__ import annotations

import pytest

from pcgrelay import config
from pcgrelay.config import Address, ReaderSettings, differences
from pcgrelay.errors import ConfigError
from pcgrelay.model import NodeId
from tests.support.documented_config import PATH, documented, written

OWN, MET = "kent.police.example", "met.police.example"


def read(**tables: dict[str, object]) -> config.Config:
    values = documented()
    del values["metrics"], values["page"]
    return config.parse(written({**values, **tables}), PATH)


def test_without_the_tables_nobody_reads_over_tcp() -> None:
    assert read().readers == {}


def test_loopback_asks_nobody_and_elsewhere_the_own_organisation_reads() -> None:
    found = read(metrics={"listen": "127.0.0.1:9740"}, page={"listen": "10.1.2.3:9741"}).readers
    assert found == {
        "metrics": ReaderSettings(listen=Address("127.0.0.1", 9740)),
        "page": ReaderSettings(listen=Address("10.1.2.3", 9741), allow=(OWN,)),
    }
    assert (found["metrics"].is_open, found["page"].is_open) == (True, False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "[::1]", "localhost"])
def test_these_are_loopback(host: str) -> None:
    assert read(page={"listen": f"{host}:9741"}).page.is_open


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "10.1.2.3", "localhost.example", "kent-1.police.example"])
def test_and_these_are_not(host: str) -> None:
    assert not read(page={"listen": f"{host}:9741"}).page.is_open


def test_who_is_allowed() -> None:
    name = f"spiffe://police.example/org/{MET}/node/desk-1"
    page = read(page={"listen": "0.0.0.0:9741", "allow": [OWN, name]}).page
    for organisation, node, allowed in ((OWN, "any", True), (MET, "desk-1", True), (MET, "desk-2", False)):
        assert page.admits(NodeId("police.example", organisation, node)) is allowed


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"listen": "127.0.0.1:9740", "allow": [OWN]}, "nobody is asked who they are; remove this"),
        ({"listen": "0.0.0.0:9740", "allow": []}, "name who may read"),
        ({"listen": "0.0.0.0:9740", "allow": [OWN, OWN]}, "stands here twice"),
        ({"listen": "0.0.0.0:9740", "allow": ["*.police.example"]}, "is no organisation"),
        ({"listen": "0.0.0.0:9740", "allow": ["spiffe://other/org/a.b/node/c"]}, "is of another realm"),
        ({"listen": "0.0.0.0:9740", "allow": ["spiffe://police.example/ns/x"]}, "is not of the form"),
        ({"listen": "9740"}, "is no address"),
        ({"allow": [OWN]}, "this is missing"),
        ({"listen": "127.0.0.1:15432"}, "is taken by import"),
    ],
)
def test_what_is_wrong_is_named(table: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read(metrics=table)


def test_the_two_have_an_address_each() -> None:
    with pytest.raises(ConfigError, match=r"is taken by metrics\.listen"):
        read(metrics={"listen": "127.0.0.1:9740"}, page={"listen": "0.0.0.0:9740"})


def test_changes_are_named() -> None:
    before, after = read(metrics={"listen": "0.0.0.0:9740"}), read(page={"listen": "127.0.0.1:9741"})
    assert differences(before, after) == ("metrics.listen changed", "metrics.allow changed", "page.listen changed")
