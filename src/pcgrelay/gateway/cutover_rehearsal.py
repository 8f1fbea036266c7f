"""A rehearsal: would a service work over the new outlet, and as fast? Connections of ours over both outlets, in turn.

They take the very code that applications take, up to the target and back. No application is touched, and no share.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pcgrelay.cutover.gate import GateFacts, Verdict, judge_gate
from pcgrelay.cutover.histogram import Histogram, bucket_of, from_counts
from pcgrelay.cutover.questions import Levels
from pcgrelay.cutover.samples import Limits, Outlet, Samples
from pcgrelay.errors import RunError, UsageProblem
from pcgrelay.gateway.shadows import ShadowEnd, Shadows, Talk
from pcgrelay.model import Transport
from pcgrelay.services.outlets import ImportOutlets
from pcgrelay.services.services import Imported

COUNT_MOST = 200
GAP_S = 0.06
LEVEL = 0.05
# For one connection; and for all of them, so that whoever asks gets an answer.
SHADOW_MOST_S = 3.0
REHEARSAL_MOST_S = 60.0


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What came of it."""

    ends: dict[str, list[ShadowEnd]]  # by outlet
    verdict: Verdict
    took_s: float


async def rehearse(
    shadows: Shadows, imported: Imported, outlets: ImportOutlets, names: tuple[str, str], count: int, talk: Talk
) -> Rehearsed:
    """Make so many connections over each of two outlets, old and new, in turn.

    RunError: there is no such outlet. UsageProblem: of datagrams, nothing to say.
    """
    indices = {}
    if imported.settings.transport is Transport.DATAGRAM and not talk.is_exchange:
        raise UsageProblem(
            f"{imported.settings.service} carries datagrams (udp), and only an answer shows that one has arrived: say "
            "with --send what to send, and with --expect what the answer has in it."
        )
    for name in names:
        index = outlets.index_of(name)
        if index is None:
            raise RunError(
                f"{imported.settings.service} has no outlet {name}; there are: {', '.join(outlets.all_names)}."
            )
        indices[name] = index
    ends: dict[str, list[ShadowEnd]] = {name: [] for name in names}
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(min(count, COUNT_MOST)):
        # Neither is always the first.
        for name in names if number % 2 else reversed(names):
            ends[name].append(await shadows.connect(imported, indices[name], talk, SHADOW_MOST_S))
        if loop.time() - began > REHEARSAL_MOST_S:
            break
        await asyncio.sleep(GAP_S)
    old, new = (_outlet(name, ends[name]) for name in names)
    limits = Limits(streams=1)
    verdict = judge_gate(GateFacts(new, old, limits, Levels(LEVEL, 0.0)))
    return Rehearsed(ends, verdict, loop.time() - began)


def _outlet(name: str, ends: Sequence[ShadowEnd]) -> Outlet:
    up = [end for end in ends if end.is_good]
    return Outlet(
        name,
        shadow=Samples(
            tried=len(ends),
            failed=len(ends) - len(up),
            setup=histogram_of(end.setup_us for end in up),
            answer=histogram_of(end.answer_us for end in up if end.answer_us is not None),
        ),
    )


def histogram_of(times_us: Iterable[int]) -> Histogram:
    """A histogram of some times."""
    counts: dict[int, int] = {}
    for each in times_us:
        bucket = bucket_of(each)
        counts[bucket] = counts.get(bucket, 0) + 1
    return from_counts(counts)
