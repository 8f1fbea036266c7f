"""[[link]] with discover: what is taken, and what is refused in one sentence."""

from typing import Any

import pytest

from pcgrelay import config
from pcgrelay.config import DiscoverSettings
from pcgrelay.errors import ConfigError
from pcgrelay.model import NodeId
from pcgrelay.policy.widening import classify
from tests.support.documented_config import PATH, documented, written

NAME = "_pcgrelay._tcp.relays.example"


def text(*, relays: list[str] | None = None, **keys: Any) -> str:
    values = documented()
    values["policy"] = {**values["policy"], "relays": ["hub.example"] if relays is None else relays}
    values["link"] = [*values["link"], {"discover": NAME, **keys}]
    return written(values)


def found(**keys: Any) -> DiscoverSettings:
    (settings,) = config.parse(text(**keys), PATH).discoveries
    return settings


def test_what_is_left_out_has_a_default() -> None:
    settings = found()
    assert (settings.discover, settings.links, settings.peers, settings.bearer) == (NAME, 2, (), "internet")


def test_links_stand_in_the_order_of_the_file() -> None:
    whole = config.parse(text(), PATH)
    assert [each.title for each in whole.links][-1] == f"found by {NAME}"
    assert len(whole.named_links) + len(whole.discoveries) == len(whole.links)


@pytest.mark.parametrize("name", [NAME + ".", NAME.upper(), "_x-1._tcp.a"])
def test_names_are_taken_as_dns_means_them(name: str) -> None:
    assert found(discover=name).discover == name.removesuffix(".").lower()


@pytest.mark.parametrize(
    "name",
    ["", "relays.example", "_pcgrelay._udp.relays.example", "_tcp.relays.example", NAME + ":7400", f"{NAME}..",
     "_a._tcp", "_pcgrelay._tcp.a b", f"_pcgrelay._tcp.{'a' * 64}", "_pcgrelay._tcp." + "a." * 130 + "a",
     "_pcgrelay._tcp.-a",
     "_é._tcp.example"],
)  # fmt: skip
def test_what_is_no_name_of_records_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"link\[2\]\.discover: .* write for example: discover = "):
        config.parse(text(discover=name), PATH)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"peer": "relay-1.hub.example"}, r"link\[2\]\.discover: .*remove this line, or peer"),
        ({"address": "127.0.0.1:7400"}, r"link\[2\]\.discover: .*remove this line, or address"),
        ({"links": 0}, r"link\[2\]\.links: "),
        ({"links": 4}, r"link\[2\]\.links: "),
        ({"peers": []}, r"link\[2\]\.peers: an empty list admits no relay"),
        ({"peers": ["hub.example.", "x"]}, r"link\[2\]\.peers"),
        ({"peers": ["kent-1.kent.police.example"]}, r"link\[2\]\.peers.* is this node itself"),
        ({"peers": ["relay-1.hub.example"] * 2}, r"link\[2\]\.peers.* stands here twice"),
        ({"peers": [f"r-{number}.hub.example" for number in range(65)]}, r"link\[2\]\.peers: these are 65 relays"),
    ],
)
def test_what_contradicts_it_is_refused(keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        config.parse(text(**keys), PATH)


@pytest.mark.parametrize(("key", "value"), [("links", 2), ("peers", ["relay-1.hub.example"])])
def test_its_keys_are_for_it_alone(key: str, value: Any) -> None:
    values = documented()
    values["link"][0][key] = value
    with pytest.raises(ConfigError, match=rf"link\[1\]\.{key}: this is for links that are found by discover"):
        config.parse(written(values), PATH)


def test_a_name_stands_there_once() -> None:
    values = documented()
    values["link"] = [{"discover": NAME, "peers": ["relay-1.hub.example"]}] * 2
    with pytest.raises(ConfigError, match=r"link\[2\]\.discover: this name is already in link\[1\]"):
        config.parse(written(values), PATH)


def test_the_file_says_whose_relays_may_be_linked() -> None:
    values = documented()
    values["policy"].pop("relays", None)
    values["link"] = [{"discover": NAME}]
    with pytest.raises(ConfigError, match=r"link\[1\]\.discover: DNS proves nothing"):
        config.parse(written(values), PATH)
    values["link"] = [{"discover": NAME, "peers": ["relay-1.hub.example"]}]
    assert config.parse(written(values), PATH).discoveries


@pytest.mark.parametrize(
    ("relays", "peers", "peer", "is_admitted"),
    [
        (["hub.example"], None, "relay-9.hub.example", True),
        (["hub.example"], None, "relay-9.other.example", False),
        (["hub.example"], ["relay-1.hub.example"], "relay-1.hub.example", True),
        (["hub.example"], ["relay-1.hub.example"], "relay-9.hub.example", False),
        ([], ["relay-1.hub.example"], "relay-1.hub.example", False),
    ],
)
def test_who_is_admitted(relays: list[str], peers: list[str] | None, peer: str, is_admitted: bool) -> None:
    whole = config.parse(text(relays=relays, **({} if peers is None else {"peers": peers})), PATH)
    node = NodeId.from_dotted(peer, whole.node.id.realm)
    assert whole.discoveries[0].admits(node, whole.policy) is is_admitted


def test_each_change_of_it_is_judged_and_named() -> None:
    def kinds(before: str, after: str) -> list[str]:
        old, new = config.parse(before, PATH), config.parse(after, PATH)
        return [each.kind.value for each in classify(old, new)]

    one, two = ["relay-1.hub.example"], ["relay-1.hub.example", "relay-2.hub.example"]
    assert kinds(text(peers=one), text(peers=two)) == ["WIDENS"]
    assert kinds(text(peers=two), text(peers=one)) == ["NARROWS"]
    assert kinds(text(peers=one), text()) == ["WIDENS"]
    assert kinds(text(), text(peers=one)) == ["NARROWS"]
    assert kinds(text(links=1), text(links=3)) == ["NEUTRAL"]
    assert "WIDENS" in kinds(text(), text(discover="_pcgrelay._tcp.elsewhere.example"))
    assert _changes(text(), text(links=3)) == (f"link found by {NAME} changed (links)",)


def _changes(before: str, after: str) -> tuple[str, ...]:
    old, new = (config.parse(each, PATH) for each in (before, after))
    return config.differences(old, new)


def test_errors_of_several_keys_are_told_together() -> None:
    with pytest.raises(ConfigError) as refused:
        config.parse(text(links=7, peers=["x"], bearer="A B"), PATH)
    assert len(refused.value.sentences) == 3
