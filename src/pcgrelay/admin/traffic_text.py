"""The text of families with a row for each service, or service and organisation.

An edge may have thousands of these rows, and the library takes 9 us for each sample (docs/decisions/0014). So their
lines are kept, and written anew only where a row has changed. Names of services and organisations need no escaping:
they are labels of a-z, 0-9, - and dots.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from pcgrelay.admin.families import PREFIX

# Writes the lines of one row: a text for each family, each line with its end.
Lines = Callable[[], Sequence[str]]

# Upper ends of histograms in seconds. A count by bits of microseconds is one by octaves: bucket n ends at 2^n us.
FIRST_BYTE_BITS = tuple(range(7, 27))  # 128 us to 67 s
LIFE_BITS = tuple(range(10, 38, 2))  # 1 ms to 19 h, by fours
_ENDS = {bits: repr((1 << bits) / 1e6) for bits in {*FIRST_BYTE_BITS, *LIFE_BITS}}


@dataclass(frozen=True, slots=True)
class Family:
    """One family: its name without the prefix, its kind, what it means."""

    name: str
    kind: str
    meaning: str

    @property
    def head(self) -> str:
        """Its first two lines."""
        return f"# HELP {PREFIX}{self.name} {self.meaning}\n# TYPE {PREFIX}{self.name} {self.kind}\n"


@dataclass(slots=True)
class RowsText:
    """The lines of several families for the same rows."""

    families: Sequence[Family]
    _kept: dict[Hashable, tuple[Hashable, Sequence[str]]] = field(default_factory=dict)

    def text(self, rows: Iterable[tuple[Hashable, Hashable, Lines]]) -> str:
        """Return all families.

        rows: key, what differs once the lines are others, and what writes them, one text for each family.
        """
        fresh: dict[Hashable, tuple[Hashable, Sequence[str]]] = {}
        for key, changes, lines in rows:
            last = self._kept.get(key)
            fresh[key] = last if last is not None and last[0] == changes else (changes, lines())
        self._kept = fresh
        parts = []
        for index, family in enumerate(self.families):
            parts.append(family.head)
            parts += [lines[index] for _, lines in fresh.values()]
        return "".join(parts)


def labels_of(**labels: str) -> str:
    """Return labels in the order of the alphabet, without braces."""
    return ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))


def histogram_lines(name: str, labels: str, counts: Sequence[int], sum_us: int, bits: Sequence[int]) -> str:
    """Return the lines of one histogram. counts: by the number of bits of the microseconds."""
    below = list(accumulate(counts))
    start = f'{PREFIX}{name}_bucket{{{labels},le="'
    lines = [f'{start}{_ENDS[end]}"}} {below[end]}\n' for end in bits]
    total = below[-1]
    lines.append(f'{start}+Inf"}} {total}\n')
    lines.append(f"{PREFIX}{name}_sum{{{labels}}} {sum_us / 1e6!r}\n{PREFIX}{name}_count{{{labels}}} {total}\n")
    return "".join(lines)
