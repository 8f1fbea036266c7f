"""Tables for people: what has a colour, and what has none."""

from __future__ import annotations

from pcgrelay.output import Layout, Row, table_lines


def test_a_word_has_the_colour_of_its_meaning_in_a_row_and_not_as_the_name_of_a_column() -> None:
    rows = [Row(["down", "1 MB/s", "2 MB/s"]), Row(["up", "3 MB/s", "4 MB/s"])]
    for width in (80, 5):  # side by side, and with lines of its own for the first column
        head, *lines = table_lines(width, "", Layout(["state", ">down", ">up"], rows))
        if width == 5:
            second, *lines = lines
            assert second.plain.split() == ["down", "up"]
            assert (second.style, second.spans) == ("dim", [])
        assert (head.style, head.spans) == ("dim", [])
        styles = {str(style) for line in lines for style in (line.style, *(span.style for span in line.spans))}
        assert {"bold red", "green"} <= styles
