"""The drawing of the realm: each node once, by the fewest links, whatever is announced."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.views.realm_picture import BOX_HEIGHT, BOX_WIDTH, NODES_MOST, TEXT_MOST, draw_realm

ME = "kent-1.kent.police.example"
RELAY, OTHER = "relay-1.hub.example", "relay-2.hub.example"
MET = "met-1.met.police.example"
NAMES = st.sampled_from([ME, RELAY, OTHER, MET, "a.b", "x.very-long-name-of-an-organisation.police.example"])


def test_a_node_alone_is_a_drawing_too() -> None:
    picture = draw_realm(ME, [], [])
    assert [(box.name, box.organisation, box.kind) for box in picture.boxes] == [
        ("kent-1", "kent.police.example", "me")
    ]
    assert picture.wires == ()
    assert "0 neighbours and 0 nodes" in picture.words


def test_columns_are_by_distance_and_lines_by_state() -> None:
    picture = draw_realm(ME, [(RELAY, True), (OTHER, False)], [(RELAY, MET)])
    kinds = {f"{box.name}.{box.organisation}": (box.kind, box.x) for box in picture.boxes}
    assert kinds[ME][0] == "me"
    assert kinds[RELAY][0] == kinds[OTHER][0] == "near"
    assert kinds[MET][0] == "far"
    assert kinds[ME][1] < kinds[RELAY][1] == kinds[OTHER][1] < kinds[MET][1]
    assert sorted(wire.state for wire in picture.wires) == ["down", "far", "up"]
    assert "1 of its links not up" in picture.words


def test_of_two_links_to_one_neighbour_the_better_is_drawn() -> None:
    assert [wire.state for wire in draw_realm(ME, [(RELAY, False), (RELAY, True)], []).wires] == ["up"]
    assert [wire.state for wire in draw_realm(ME, [(RELAY, True), (RELAY, False)], []).wires] == ["up"]


def test_a_large_realm_is_bounded_and_says_so() -> None:
    ways = [(RELAY, f"edge-{number}.force-{number}.police.example") for number in range(500)]
    picture = draw_realm(ME, [(RELAY, True)], ways)
    assert len(picture.boxes) == NODES_MOST
    assert picture.left_out == 502 - NODES_MOST
    assert all(len(box.short) <= TEXT_MOST for box in picture.boxes)


@given(
    st.lists(st.tuples(NAMES, st.booleans()), max_size=6), st.lists(st.lists(NAMES, min_size=1, max_size=4), max_size=6)
)
def test_whatever_is_announced_each_node_is_there_once_and_within(
    links: list[tuple[str, bool]], ways: list[list[str]]
) -> None:
    picture = draw_realm(ME, links, ways)
    names = [(box.name, box.organisation) for box in picture.boxes]
    assert len(set(names)) == len(names)
    assert len({(box.x, box.y) for box in picture.boxes}) == len(names)
    for box in picture.boxes:
        assert 0 <= box.x <= picture.width - BOX_WIDTH
        assert 0 <= box.y <= picture.height - BOX_HEIGHT
    assert len({(wire.x1, wire.y1, wire.x2, wire.y2) for wire in picture.wires}) == len(picture.wires)
