"""docs/protocol.md is source code: each number of its tables stands in wire.pxd, and wire.pxd has no other."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "protocol.md").read_text()
WIRE = (ROOT / "src" / "_core" / "base" / "wire.pxd").read_text()

# The head of a table (its first two cells), and the beginning of the names in wire.pxd.
TABLES = {
    ("type", "value"): "FRAME",
    ("kind", "value"): "RECORD",
    ("code", "value"): "CODE",
    ("purpose", "p"): "PURPOSE",
    ("suite", "number"): "SUITE",
}
# The first field of a layout, and what its sizes add up to.
LAYOUTS = {
    "magic": "WIRE_PREAMBLE",
    "length of the body": "WIRE_HEADER",
    "version = 1": "WIRE_AAD",
    "stream": "WIRE_RECORD",
}
LIMITS = {
    "body of a frame": "WIRE_BODY_MAX",
    "lanes of a link": "WIRE_LANES_MAX",
    "credit before ACCEPT": "WIRE_EARLY",
}


def tables(page: str) -> list[list[list[str]]]:
    blocks = re.findall(r"(?:^\|.*\|[ \t]*\n?)+", page, re.M)
    return [[[cell.strip() for cell in row.strip().strip("|").split("|")] for row in b.splitlines()] for b in blocks]


def numbers_of_page(page: str) -> dict[str, int]:
    found = {}
    for head, _rule, *rows in tables(page):
        prefix = TABLES.get((head[0], head[1]))
        for cells in rows if prefix else []:
            found[f"{prefix}_{cells[0].strip('`').replace('-', '_')}"] = int(cells[1], 0)
    return found


def numbers_of_core(source: str) -> dict[str, int]:
    return {name: int(value, 0) for name, value in re.findall(r"^    ([A-Z]\w+) = (\w+)", source, re.M)}


def test_each_number_is_the_same_in_the_core() -> None:
    page = numbers_of_page(PAGE)
    assert {name.partition("_")[0] for name in page} == set(TABLES.values())
    core = {name: value for name, value in numbers_of_core(WIRE).items() if name.partition("_")[0] in TABLES.values()}
    assert core == page


@pytest.mark.parametrize(("field", "name"), LAYOUTS.items())
def test_each_layout_has_the_length_that_the_core_takes(field: str, name: str) -> None:
    layouts = [rows for head, _rule, *rows in tables(PAGE) if head[:2] == ["offset", "size"]]
    (layout,) = [rows for rows in layouts if rows[0][2].startswith(field)]
    end = 0
    for offset, size, _field in layout:
        assert int(offset) == end
        end += int(size)
    assert end == numbers_of_core(WIRE)[name]


@pytest.mark.parametrize(("words", "name"), LIMITS.items())
def test_each_limit_is_the_same_in_the_core(words: str, name: str) -> None:
    limits = {rows[0]: rows[1] for table in tables(PAGE) if table[0] == ["what", "limit"] for rows in table[2:]}
    assert int(limits[words].replace(",", "")) == numbers_of_core(WIRE)[name]


def test_a_changed_number_is_seen() -> None:
    changed = PAGE.replace("| `BUNDLE` | 0x42 |", "| `BUNDLE` | 0x4f |")
    assert changed != PAGE
    assert numbers_of_page(changed)["FRAME_BUNDLE"] != numbers_of_core(WIRE)["FRAME_BUNDLE"]
