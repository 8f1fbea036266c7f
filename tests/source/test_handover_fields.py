"""Whatever a worker knows of what it hands over is in the record, or there is a reason why not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CORE = Path(__file__).resolve().parents[2] / "src/_core"
WRITERS = (
    "handover/shard",
    "handover/flows",
    "handover/streams",
    "handover/lanes",
    "handover/keys",
    "worker/handover",
)

# What is made again: lists and places in them; what epoll tells again; keys, from their secrets; measurements.
REBUILT = {
    # What is retained is counted as it is put back, and its peer gets the whole time again in which to acknowledge.
    # The next step is taken whatever was asked for before it, and the loss of a way may be told once more.
    "stream/flow.Flow": (
        "pace small datagrams next_active active retained_last retained_bytes retained_counted retained_held "
        "copied_bytes progress_us rx_told rx_step loss_told stepped_counted"
    ),
    # A socket that another worker adopts is given to it before all is written. What it holds is counted again.
    # What epoll told of a connection that was swapped is of the turn.
    # Halves of direct streams are in a list of their own in the record.
    # The control plane sets the limits of services again, and then all streams are watched by them.
    "stream/stream.Stream": "expiry direct prev_direct next_dirty elsewhere held place readable dirty swapped_us",
    "stream/stream.Dial": "",
    # What waits may be lost. The listener counts and orders its clients again.
    "stream/stream.Association": "newer older newer_of_source older_of_source same following previous first last kept "
    "waiting_bytes hash listed",
    # The tables name it.
    "stream/stream.Setup": "meter",
    # Who opened a candidate learns by LOST that it is none any more, and opens another.
    # What comes late of the path before may be lost.
    "session/session.Session": "candidates former",
    # With which renewal it has stepped is seen by the answer to the next PING.
    # The count of what was overtaken and the budgets of steps begin again; a code to close with is used in the turn
    # that brings it. How long ago datagrams went is known with the next ones.
    "link/shard.Lane": "overtaken next_dirty next_unread hangup unread dirty deferred close_code rekeys_us steps_us "
    "stepped_counted datagrams_us",
    "link/shard.Link": "",
    "link/relay.Path": "next_dying",
    "link/relay.PathEnd": "next_out out_link",
    "crypto/epoch.Epoch": "data control control_alt datagrams datagrams_alt",
    "crypto/renewal.Renewals": "",
    "crypto/renewal.Owed": "",
    "crypto/replay.Replay": "",
    "frame/credit.SendCredit": "",
    "frame/credit.ReceiveCredit": "",
    # The ports in use are told with their sockets. Those that were closed longer ago are as good as any; and whether a
    # port can be had, or chosen at all, is found out by the next try.
    "base/ports.PortRing": "same pause_us used_us hash unbound half taken",
    # Both are of the moment: whoever listens again looks.
    "worker/worker.Listener": "paused early",
}


def fields(module: str, struct: str) -> set[str]:
    text = (CORE / f"{module}.pxd").read_text()
    body = re.search(rf"^cdef struct {struct}:\n((?:    .*\n|\n(?=    ))+)", text, re.MULTILINE)
    assert body is not None
    lines = (line.partition("#")[0].strip() for line in body[1].splitlines())
    return {re.sub(r"\[.*\]", "", line).split()[-1].lstrip("*") for line in lines if line}


@pytest.mark.parametrize("name", REBUILT)
def test_each_field_is_handed_over_or_made_anew(name: str) -> None:
    text = "".join((CORE / f"{writer}.pyx").read_text() for writer in WRITERS)
    module, _, struct = name.partition(".")
    missing = {field for field in fields(module, struct) if not re.search(rf"\.{field}\b", text)}
    assert missing == set(REBUILT[name].split())


@pytest.mark.parametrize("writer", [*WRITERS, "face/workers"])
def test_each_tag_has_its_number_written(writer: str) -> None:
    """A line that is put between two others must not give those below it other numbers: an older process reads them."""
    enums = re.findall(r"^cdef enum:\n((?:    [A-Z].*\n)+)", (CORE / f"{writer}.pyx").read_text(), re.MULTILINE)
    assert enums
    for enum in enums:
        lines = [line.partition("#")[0].strip() for line in enum.splitlines()]
        numbers = [number.strip() for _, _, number in (line.partition("=") for line in lines)]
        assert all(number.isdigit() for number in numbers), lines
        assert len(set(numbers)) == len(numbers), lines
