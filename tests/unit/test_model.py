"""Names: one spelling each, and no way round it."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.model import (
    DOTTED_LIMIT,
    Marking,
    NameProblem,
    NodeId,
    Role,
    ServiceName,
    Suite,
    check_dotted,
    check_label,
    organisation_matches,
)

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
DOTTED = st.lists(LABELS, min_size=1, max_size=4).map(".".join).filter(lambda text: len(text) <= DOTTED_LIMIT)


def test_numbers_of_the_protocol() -> None:
    assert {suite.title: int(suite) for suite in Suite} == {"AES-256-GCM": 1, "AES-128-GCM": 2, "CHACHA20-POLY1305": 3}
    assert {role.title: int(role) for role in Role} == {"edge": 1, "relay": 2}
    assert [marking.value for marking in Marking] == ["OFFICIAL", "OFFICIAL-SENSITIVE", "SECRET"]


def test_a_suite_is_found_by_its_exact_title_only() -> None:
    assert Suite.from_title("AES-128-GCM") is Suite.AES_128_GCM
    for text in ("aes-128-gcm", "AES_128_GCM", "AES-128-GCM ", ""):
        with pytest.raises(NameProblem, match="no suite"):
            Suite.from_title(text)


@given(DOTTED, DOTTED, LABELS)
def test_a_node_survives_both_spellings(realm: str, organisation: str, name: str) -> None:
    node = NodeId(realm, organisation, name)
    assert NodeId.from_uri(node.uri) == node
    assert NodeId.from_dotted(node.dotted, realm) == node
    assert str(node) == node.dotted


@given(LABELS, DOTTED)
def test_a_service_survives_its_spelling(service: str, organisation: str) -> None:
    assert ServiceName.parse(str(ServiceName(service, organisation))) == ServiceName(service, organisation)


URI = "spiffe://police.example/org/kent.police.example/node/kent-1"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://",
        URI.upper(),
        URI.replace("kent-1", "Kent-1"),
        URI.replace("spiffe", "SPIFFE"),
        URI.replace("spiffe", "https"),
        URI + "/",
        URI + "/x",
        URI + "?a=b",
        URI + "#f",
        URI + "\n",
        URI + "\0",
        " " + URI,
        URI.replace("police.example/org", "police.example:443/org"),
        URI.replace("police.example/org", "user@police.example/org"),
        URI.replace("/org/", "/ORG/"),
        URI.replace("/org/", "//org/"),
        URI.replace("/node/", "/nodes/"),
        URI.replace("kent-1", "kent%2d1"),
        URI.replace("kent-1", ""),
        URI.replace("kent-1", "kent.1"),
        URI.replace("kent-1", ".."),
        URI.replace("kent-1", "-kent"),
        URI.replace("kent-1", "k" * 64),
        URI.replace("kent-1", "ként"),
        URI.replace("kent-1", "kent-١"),
        URI.replace("kent.police.example", ""),
        URI.replace("kent.police.example", "kent..example"),
        URI.replace("kent.police.example", "a." * 126 + "ab"),
        "x" * 100_000,
    ],
)
def test_a_strange_uri_is_refused(uri: str) -> None:
    with pytest.raises(NameProblem):
        NodeId.from_uri(uri)


@given(st.text(max_size=80))
def test_no_text_gets_past_the_grammar(text: str) -> None:
    label = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
    for check, good in (
        (check_label, bool(label.fullmatch(text))),
        (check_dotted, all(label.fullmatch(part) for part in text.split("."))),
    ):
        if good:
            assert check(text, "name") == text
        else:
            with pytest.raises(NameProblem) as refused:
                check(text, "name")
            assert str(refused.value).isprintable()


def test_bounds_of_names() -> None:
    assert check_label("k" * 63, "name") == "k" * 63
    longest = "a." * 126 + "a"
    assert len(longest) == DOTTED_LIMIT
    assert check_dotted(longest, "realm") == longest
    with pytest.raises(NameProblem):
        check_dotted(longest + "a", "realm")


@pytest.mark.parametrize("text", ["custody", "@kent.example", "custody@", "cust ody@kent.example", "a@b@c", "A@b"])
def test_a_strange_service_is_refused(text: str) -> None:
    with pytest.raises(NameProblem):
        ServiceName.parse(text)


@pytest.mark.parametrize(
    "read",
    [
        lambda: check_label("kent-1.", "node name"),
        lambda: check_dotted("kent.police.example.", "organisation"),
        lambda: check_dotted("police.example..", "realm"),
        lambda: NodeId.from_dotted("relay-1.hub.example.", "police.example"),
        lambda: ServiceName.parse("custody@kent.police.example."),
        lambda: ServiceName.parse("custody.@kent.police.example"),
        lambda: NodeId.from_uri("spiffe://police.example./org/kent.example/node/kent-1"),
    ],
)
def test_a_dot_at_the_end_is_told_as_such(read: Callable[[], object]) -> None:
    with pytest.raises(NameProblem, match="it ends with a dot, and names here do not; remove it"):
        read()


def test_a_node_without_organisation_is_refused() -> None:
    with pytest.raises(NameProblem, match=r"NAME\.ORGANISATION"):
        NodeId.from_dotted("kent-1", "police.example")


@pytest.mark.parametrize(
    ("pattern", "organisation", "matches"),
    [
        ("*", "anything.example", True),
        ("kent.example", "kent.example", True),
        ("kent.example", "a.kent.example", False),
        ("*.example", "kent.example", True),
        ("*.example", "a.kent.example", True),
        ("*.example", "example", False),
        ("*.example", "kentexample", False),
        ("*.police.example", "evilpolice.example", False),
        ("*.police.example", "kent.police.example.evil", False),
    ],
)
def test_member_patterns(pattern: str, organisation: str, matches: bool) -> None:
    assert organisation_matches(pattern, organisation) is matches
