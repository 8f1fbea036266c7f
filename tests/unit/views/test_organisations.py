"""What the status says of organisations: nothing is lost in the sums, and there are never more rows than allowed."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.services.traffic import OTHER, Key, Row
from pcgrelay.views.organisations import organisations_status

CUSTODY, SEARCH = "custody@kent.police.example", "search@kent.police.example"
MET, HANTS = "met.police.example", "hants.police.example"
NUMBERS = st.integers(0, 1 << 50)
ROWS: st.SearchStrategy[dict[Key, Row]] = st.dictionaries(
    st.tuples(
        st.sampled_from(["import", "export"]),
        st.sampled_from([CUSTODY, SEARCH]),
        st.sampled_from([MET, HANTS, "a.example", "b.example", OTHER]),
    ),
    st.builds(Row, NUMBERS, NUMBERS, NUMBERS, st.builds(Counter, st.dictionaries(st.text(), st.integers(0, 9)))),
)


def row(streams: int, sent: int, received: int, **refused: int) -> Row:
    return Row(streams, sent, received, Counter(refused))


def test_services_of_one_organisation_are_one_row_for_each_direction() -> None:
    rows = {
        ("import", CUSTODY, MET): row(1, 10, 20),
        ("import", SEARCH, MET): row(2, 30, 40, limit=3),
        ("export", CUSTODY, MET): row(4, 5, 6),
        ("export", CUSTODY, HANTS): row(0, 0, 0, limit=1, other=1),
    }
    found = [
        (
            each.organisation,
            each.direction,
            each.streams_total,
            each.refused_total,
            each.sent_bytes,
            each.received_bytes,
        )
        for each in organisations_status(rows.items())
    ]
    assert found == [(MET, "import", 3, 3, 40, 60), (MET, "export", 4, 0, 5, 6), (HANTS, "export", 0, 2, 0, 0)]


def test_those_with_fewest_bytes_are_counted_together() -> None:
    rows = {("import", CUSTODY, f"org-{n}.example"): row(1, n, 0) for n in range(5)}
    rows["import", CUSTODY, OTHER] = row(7, 100, 0)
    found = [(each.organisation, each.streams_total, each.sent_bytes) for each in organisations_status(rows.items(), 2)]
    assert found == [("org-4.example", 1, 4), ("org-3.example", 1, 3), (OTHER, 10, 103)]


@given(ROWS, st.integers(0, 5))
def test_sums_are_those_of_the_rows(rows: dict[Key, Row], most: int) -> None:
    found = organisations_status(rows.items(), most)
    assert len(found) <= most + 2  # and other, in both directions
    assert len({(each.organisation, each.direction) for each in found}) == len(found)
    for direction in ("import", "export"):
        mine = [each for each in found if each.direction == direction]
        theirs = [each for key, each in rows.items() if key[0] == direction]
        assert sum(each.streams_total for each in mine) == sum(each.streams for each in theirs)
        assert sum(each.sent_bytes for each in mine) == sum(each.sent_bytes for each in theirs)
        assert sum(each.received_bytes for each in mine) == sum(each.received_bytes for each in theirs)
        assert sum(each.refused_total for each in mine) == sum(each.refused.total() for each in theirs)
