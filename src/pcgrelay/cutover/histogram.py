"""Histograms as the core counts them: 320 buckets, sixteen equal parts of each octave from 64 to 2^26 (pure).

The unit is the caller's: microseconds of a time, KiB/s of a rate. 64 us to 67 s; a bucket is 3 to 6 percent wide, which
is less than any margin that is judged. What is below goes to the first bucket, what is above to the last.

A histogram is kept sparse: pairs of bucket and count, ascending. This is also its form in files and verdicts. Counts
are whole numbers of observations; `stretch` answers parts of them, for a stretched bucket lies across several others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

from pcgrelay.ranges import Count

OCTAVE_PARTS = 16
OCTAVES = 20
BUCKETS = OCTAVES * OCTAVE_PARTS
LEAST = 64
MOST = LEAST << OCTAVES
# Of each bucket, and of the one that would follow: the last one's end.
EDGES = tuple(
    (LEAST << bucket // OCTAVE_PARTS) * (OCTAVE_PARTS + bucket % OCTAVE_PARTS) // OCTAVE_PARTS
    for bucket in range(BUCKETS + 1)
)


class HistogramProblem(ValueError):
    """What cannot be a histogram; the text says why."""


def bucket_of(value: float) -> int:
    """The bucket of a value, as the core's meter_bucket finds it."""
    whole = int(min(max(value, LEAST), MOST - 1))
    octave = whole.bit_length() - LEAST.bit_length()
    return octave * OCTAVE_PARTS + (whole >> octave) * OCTAVE_PARTS // LEAST - OCTAVE_PARTS


class Histogram(Struct, frozen=True):
    """Counts of observations by bucket."""

    counts: tuple[tuple[int, Count], ...] = ()  # bucket and count, ascending, no count of zero

    def __post_init__(self) -> None:
        last = -1
        for bucket, count in self.counts:
            if not last < bucket < BUCKETS:
                raise HistogramProblem(f"bucket {bucket} is out of order or beyond {BUCKETS - 1}")
            if count <= 0:
                raise HistogramProblem(f"bucket {bucket} has a count of {count}")
            last = bucket

    @property
    def total(self) -> int:
        """The number of observations."""
        return sum(count for _, count in self.counts)

    def __add__(self, other: Histogram) -> Histogram:
        sums = dict(self.counts)
        for bucket, count in other.counts:
            sums[bucket] = sums.get(bucket, 0) + count
        return from_counts(sums)

    def since(self, earlier: Histogram) -> Histogram:
        """What was counted after an earlier state of the same histogram.

        Where the earlier one has more, the counter began anew (another process), and all that is there is new.
        """
        mine, theirs = dict(self.counts), dict(earlier.counts)
        if any(mine.get(bucket, 0) < count for bucket, count in theirs.items()):
            return self
        return from_counts({bucket: count - theirs.get(bucket, 0) for bucket, count in mine.items()})

    def quantile(self, share: float) -> float | None:
        """The value that so great a share (0 to 1) of observations does not exceed; nothing where there are none.

        Within a bucket observations are taken to lie evenly.
        """
        total = self.total
        if not total:
            return None
        wanted = min(max(share, 0.0), 1.0) * total
        below = 0
        for bucket, count in self.counts:
            if below + count >= wanted:
                low, high = EDGES[bucket], EDGES[bucket + 1]
                return low + (high - low) * (wanted - below) / count
            below += count
        return float(EDGES[self.counts[-1][0] + 1])

    def above(self, value: float) -> int:
        """How many lie wholly above the bucket of a value."""
        bucket = bucket_of(value)
        return sum(count for each, count in self.counts if each > bucket)


def from_counts(counts: Mapping[int, int]) -> Histogram:
    """A histogram from counts by bucket, in any order."""
    return Histogram(tuple(sorted((bucket, count) for bucket, count in counts.items() if count)))


def from_dense(counts: Sequence[int]) -> Histogram:
    """A histogram from the core's counts, one for each bucket."""
    if len(counts) != BUCKETS:
        raise HistogramProblem(f"there are {len(counts)} buckets and not {BUCKETS}")
    return Histogram(tuple((bucket, count) for bucket, count in enumerate(counts) if count))


def from_values(values: Iterable[float]) -> Histogram:
    """A histogram of single observations."""
    counts: dict[int, int] = {}
    for value in values:
        bucket = bucket_of(value)
        counts[bucket] = counts.get(bucket, 0) + 1
    return from_counts(counts)


def stretch(histogram: Histogram, stretched: Callable[[float], float]) -> list[float]:
    """The observations, each as a growing function makes it, as parts of counts for each bucket.

    A bucket's observations are taken to lie evenly in it, before and after. What goes beyond the first or the last
    bucket stays there.
    """
    dense = [0.0] * BUCKETS
    for bucket, count in histogram.counts:
        _spread(dense, stretched(EDGES[bucket]), stretched(EDGES[bucket + 1]), count)
    return dense


def dense_of(histogram: Histogram) -> list[float]:
    """The counts of all buckets."""
    dense = [0.0] * BUCKETS
    for bucket, count in histogram.counts:
        dense[bucket] = float(count)
    return dense


def _spread(dense: list[float], low: float, high: float, count: int) -> None:
    first, last = bucket_of(low), bucket_of(high)
    if first == last:
        dense[first] += count
        return
    for bucket in range(first, last + 1):
        start = low if bucket == first else EDGES[bucket]
        end = high if bucket == last else EDGES[bucket + 1]
        dense[bucket] += count * max(0.0, end - start) / (high - low)
