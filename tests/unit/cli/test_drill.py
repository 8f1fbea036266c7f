"""The record of a drill as people read it."""

from __future__ import annotations

from msgspec import structs

from pcgrelay.cli.drill.shown import head, record_lines
from pcgrelay.drills.record import DrillFile, DrillOutlet, DrillPause, DrillRecord

LOSS = DrillRecord(
    id="2026-11-03-relay-loss-relay-1.hub.example", kind="relay-loss", subject="relay-1.hub.example", node="met-1",
    begun="2026-11-03T03:00:00Z", ended="2026-11-03T03:01:05Z", result="passed", sentence="97 of 97 streams went on",
    lasts_s=60, took_s=65.2, links=1, lanes=4, streams=97, streams_kept=97, new_streams=58, back_ms=5_200,
    pause_median_ms=9.0, pause_longest_ms=412, uid=1000, by="night shift", reason="CR-7",
    sessions=(
        DrillPause(peer="kent-1", streams=90, pause_ms=412, via="relay-2"),
        DrillPause(peer="kent-2", streams=7, pause_ms=6, via="relay-2"),
    ),
)  # fmt: skip


def test_a_loss() -> None:
    assert record_lines(LOSS) == [
        "  links, lanes            1, 4",
        "  streams that went on    97 of 97",
        "  longest pause           412.0 ms (median 9.00 ms) of 2 sessions",
        "  new streams meanwhile   58 of 58",
        "  links up again          5.2 s after they were let in again",
        "Passed: 97 of 97 streams went on.",
    ]
    assert head(LOSS) == "relay-loss relay-1.hub.example, 2026-11-03T03:00:00Z, by night shift, CR-7"


def test_what_is_not_known_has_no_line() -> None:
    lost = structs.replace(LOSS, result="failed", sentence="3 streams were lost", back_ms=None, pause_longest_ms=None)
    text = "\n".join(record_lines(lost))
    assert "pause" not in text
    assert "up again" not in text
    assert text.endswith("Failed: 3 streams were lost.")
    assert record_lines(structs.replace(LOSS, result="running"))[-1] == "It runs."
    itself = structs.replace(LOSS, auto=True, even_so=True, reason="")
    assert head(itself).endswith("by the node itself, although something might be lost")


def test_a_back_up() -> None:
    outlets = (
        DrillOutlet(name="cjx", role="back-up", setups=290, failed=10, moved=10, shadows=12, setup_median_ms=13.0),
        DrillOutlet(name="gateway", role="usual", setups=10),
    )
    record = structs.replace(LOSS, kind="backup", outlets=outlets, share=25.0, odds=1_147.2, usual_median_ms=12.8)
    assert record_lines(record)[:-1] == [
        "  cjx (back-up)           290 of 300 set up, 10 led on, in 13.0 ms, 12 of 12 of its own",
        "  gateway (usual)         10 of 10 set up",
        "  set-up time before      12.8 ms",
        "  share, odds             25 %, 1,147.2 to 1 (stops at 1,000)",
    ]


def test_a_restored_back_up() -> None:
    files = (DrillFile(name="configuration", outcome="differs"),)
    assert record_lines(structs.replace(LOSS, kind="restore", files=files))[0] == "  configuration           differs"
