"""What `watch` and `status` show of a cut-over: an answer in, lines out (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from textwrap import wrap

from rich.text import Text

from pcgrelay.admin.cutover_answers import CutoverFinding, CutoverOutlet, CutoverStatus
from pcgrelay.cli.cutover.condition import style_of
from pcgrelay.cli.cutover.times import at_text, clock_text, day_of, days_text, long_text, soak_text, whole_text
from pcgrelay.output import Layout, Row, count, milliseconds, percent_exact, size, table_lines

LINE_MOST = 120  # of sentences, where there is room for more
BAR_MOST = 64  # characters for 100 %
BAR_LEAST = 8
# Odds at which it falls back if shadow pairs agree: what is shown beside them.
ODDS_LIMIT = 1_000
ODDS_SHOWN_MOST = 1_000_000
DECISIONS_SHOWN = 3
GAP = "   "


def screen(status: CutoverStatus, width: int, now: datetime) -> Iterator[Text]:
    """All lines of one cut-over."""
    yield from head(status, width, now)
    if status.phase == "back":
        yield from _fallen(status, width, now)
    elif status.phase not in ("lost", "retired"):
        yield Text("")
        yield from _bars(status, width)
        yield Text("")
        yield from _judged(status, width)
    if status.why and status.phase != "back":
        yield from flow([status.why], width)
    if status.phase not in ("lost", "retired", "back"):
        yield from _ahead(status, width, now)
    for trouble in troubles_beside(status):
        yield from hanging(Text("! ", style="bold yellow"), trouble, width)
    yield from _lately(status, width, now)


def troubles_beside(status: CutoverStatus) -> list[str]:
    """What needs attention beside the state, which says itself that it fell back."""
    return [trouble for trouble in status.troubles if "; see pcgrelay cutover why" not in trouble]


def flow(sentences: Iterable[str], width: int, style: str = "") -> Iterator[Text]:
    """Sentences, as many in a line as have room; one that is too long goes on in the next."""
    line = ""
    width = min(width, LINE_MOST)
    for sentence in sentences:
        if line and len(line) + 1 + len(sentence) > width:
            yield from (Text(part, style=style) for part in wrap(line, width))
            line = ""
        line = f"{line} {sentence}" if line else sentence
    yield from (Text(part, style=style) for part in wrap(line, width))


def hanging(title: Text, words: str, width: int) -> Iterator[Text]:
    """Words beside a title; what does not fit goes on below the words."""
    indent = len(title)
    for number, part in enumerate(wrap(words, max(20, min(width, LINE_MOST) - indent)) or [""]):
        yield Text.assemble(title if not number else " " * indent, part)


def head(status: CutoverStatus, width: int, now: datetime) -> Iterator[Text]:
    """The service, from where to where, and how far it is; in two lines if one is too narrow."""
    move = f"{status.old} -> {status.new}"
    stage = Text(_stage(status, now), style=style_of(status))
    paper = ", ".join(filter(None, (status.change, status.owner.partition("@")[0])))
    first = Text.assemble((status.service, "bold"), f"{GAP}{move}")
    one = Text.assemble(first, GAP * 2, stage, f"{GAP * 2}{paper}" if paper else "")
    if len(one) <= width:
        yield one
        return
    yield first
    yield Text.assemble("  ", stage, f"{GAP}{paper}" if paper else "")


def _stage(status: CutoverStatus, now: datetime) -> str:
    since = f" since {clock_text(status.since, now, seconds=True)}" if status.since else ""
    step = f"step {status.step} of {len(status.steps)}"
    if status.nowhere:
        return f"A FALL-BACK IS WANTED, AND THERE IS NOWHERE TO GO ({status.phase}, {step})"
    match status.phase:
        case "soaking" if status.held:
            return f"{step}, HELD: {status.new} is away, its share is 0 for now"
        case "soaking" if status.soaked_s >= status.soak_s:
            return f"{step}, soak of {whole_text(status.soak_s)} is over"
        case "soaking":
            return f"{step}, soaking {soak_text(status.soaked_s, status.soak_s)}"
        case "paused":
            return f"{step}, PAUSED{since}"
        case "back":
            return f"BACK on {status.back_on or 'no outlet'}{since}"
        case "planned":
            return "planned: nothing has moved"
        case "lost":
            return "LOST: its state cannot be read, and nothing steps forward"
        case phase:
            held = f", HELD: {status.new} is away" if status.held else ""
            return f"{phase.upper()}{since}{held}"


# --- what goes where -----------------------------------------------------------------------------------------------


def _bars(status: CutoverStatus, width: int) -> Iterator[Text]:
    """A bar for each outlet, as long as its share, with what was counted at its end."""
    shown = [each for each in status.outlets if each.role != "back" or each.share or each.setups or not each.well]
    outlets = sorted(shown, key=lambda each: {"new": 0, "old": 1}.get(each.role, 2))
    if not outlets:
        return
    figures = _figures(outlets)
    shares = [percent_exact(outlet.share) for outlet in outlets]
    names, percents = max(len(outlet.name) for outlet in outlets), max(map(len, shares))
    space = width - 2 - names - 2 - percents - 2 - 1 - max(map(len, figures))
    scale = min(BAR_MOST, max(BAR_LEAST, space))
    column = max(round(outlet.share * scale / 100) for outlet in outlets)
    for outlet, share, words in zip(outlets, shares, figures, strict=True):
        bar = "#" * round(outlet.share * scale / 100)
        style = "green" if outlet.role == "new" else "cyan"
        line = Text.assemble("  ", outlet.name.ljust(names), f"  {share:>{percents}}  ", (bar.ljust(column), style))
        if len(line) + 1 + len(words) <= width:
            yield Text.assemble(line, f" {words}")
        else:
            yield line
            yield Text(f"    {words.strip()}", style="dim")
        if not outlet.well:
            yield Text(f"    away: {outlet.reason or 'it cannot carry a stream now'}", style="yellow")


def _figures(outlets: list[CutoverOutlet]) -> list[str]:
    columns = [
        [f"{count(getattr(outlet, field))} {word}" for outlet in outlets]
        for field, word in (("setups", "streams"), ("shadows", "shadows"), ("failed", "failed"))
    ]
    widths = [max(map(len, column)) for column in columns]
    return [
        ", ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in zip(*columns, strict=True)
    ]


# --- how it is judged ----------------------------------------------------------------------------------------------


def _judged(status: CutoverStatus, width: int) -> Iterator[Text]:
    old, new = (_by_role(status, role) for role in ("old", "new"))
    if status.findings and old and new:
        wide, narrow = [], []
        for finding in status.findings:
            cells = [finding.title, figure_of(finding, old), figure_of(finding, new), finding.allowed or "-"]
            wide.append(Row([*cells, finding.outcome, finding.sentence]))
            is_told = finding.sentence and finding.outcome != "good"
            narrow.append(Row([*cells, finding.outcome], [f"  {finding.sentence}"] if is_told else []))
        columns = ["", f">{old.name}", f">{new.name}", ">allowed", "judged"]
        layouts = Layout([*columns, ""], wide), Layout(columns, narrow)
        for line in table_lines(width - 2, "", *layouts):
            yield Text.assemble("  ", line)
    odds = f"{odds_text(status.odds)} to 1 (falls back at {count(ODDS_LIMIT)})"
    yield Text(f"  odds of a worse {status.new}: {odds}", style="bold red" if status.odds >= ODDS_LIMIT else "")
    kept = f", each within {wait_text(status.waited_ms)}" if status.moved and status.waited_ms else ""
    yield Text(f"  led on before anybody noticed: {count(status.moved)}{kept}")
    if status.lost:
        yield Text(f"  refused, because no outlet was left: {count(status.lost)}", style="bold red")


def figure_of(finding: CutoverFinding, outlet: CutoverOutlet) -> str:
    """The figure of an outlet that a question is about."""
    match finding.question:
        case "failures":
            return "-" if outlet.failure_share is None else f"{100 * outlet.failure_share:.2f} %"
        case "setup":
            return milliseconds(outlet.setup_median_ms)
        case "tail":
            return milliseconds(outlet.setup_p95_ms)
        case "answer":
            return milliseconds(outlet.answer_median_ms)
        case "rate":
            return "-" if outlet.rate_median_kib_s is None else f"{size(round(outlet.rate_median_kib_s * 1024))}/s"
    return "-"


def odds_text(odds: float) -> str:
    """Odds as people say them: 1.4, 1,147."""
    if odds >= ODDS_SHOWN_MOST:
        return f"more than {count(ODDS_SHOWN_MOST)}"
    return f"{odds:.1f}" if odds < 10 else count(round(odds))


def _by_role(status: CutoverStatus, role: str) -> CutoverOutlet | None:
    return next((outlet for outlet in status.outlets if outlet.role == role), None)


# --- what comes next -----------------------------------------------------------------------------------------------


def _ahead(status: CutoverStatus, width: int, now: datetime) -> Iterator[Text]:
    words = []
    if status.phase == "soaking" and status.next_step and status.step < len(status.steps):
        step = percent_exact(status.steps[status.step])
        words.append(f"Next step {step} {at_text(status.next_step, now)}, if it stays so.")
    if status.phase in ("soaking", "paused", "planned"):
        words.append(done_text(status))
    if words:
        yield from flow(words, width, "bold red" if status.late else "")
    yield from flow([*falls_back(status), _left(status)], width)


def wait_text(milliseconds: int) -> str:
    """How long somebody waited."""
    return f"{milliseconds} ms" if milliseconds < 1_000 else f"{milliseconds / 1_000:.1f} s"


def done_text(status: CutoverStatus) -> str:
    """When it is done, and how that stands to the deadline."""
    done = day_of(status.done)
    if done is None:
        late = "LATE: the deadline is past" if status.late else f"The deadline is {status.deadline}"
        return f"{late}; when it is done cannot be foreseen."
    days = status.days_left
    if days is None:
        return f"Done about {done}; the deadline is {status.deadline}."
    if status.late:
        return f"LATE: done about {done}, {days_text(max(1, -days))} after the deadline."
    return f"Done about {done}, {days_text(days)} before the deadline."


def falls_back(status: CutoverStatus) -> list[str]:
    """Where it goes if the new outlet turns out to be worse."""
    known = {outlet.name: outlet for outlet in status.outlets}
    usable = [name for name in status.back if (found := known.get(name)) and found.well and found.supported]
    if not usable:
        return ["There is NOTHING TO FALL BACK TO: no outlet of the plan is well and in support."]
    ends = [
        f"{name} (in support to {known[name].supported_until})" if known[name].supported_until else name
        for name in usable
    ]
    return [f"Falls back to {', then '.join(ends)}."]


def _left(status: CutoverStatus) -> str:
    if not status.left_on_old:
        return f"Left on {status.old}: no stream."
    oldest = f", the oldest {long_text(status.oldest_s)}" if status.oldest_s is not None else ""
    streams = "1 stream" if status.left_on_old == 1 else f"{count(status.left_on_old)} streams"
    return f"Left on {status.old}: {streams}{oldest}."


# --- what fell back ------------------------------------------------------------------------------------------------


def _fallen(status: CutoverStatus, width: int, now: datetime) -> Iterator[Text]:
    decision = next((each for each in reversed(status.decisions) if each.what == "fell_back"), None)
    new = _by_role(status, "new")
    rows = [("why", decision.sentence if decision else status.why)]
    if new is not None and not new.well:
        rows.append(("how", f"{new.name} is away: {new.reason or 'it cannot carry a stream now'}"))
    within = f", each within {wait_text(status.waited_ms)}" if status.moved and status.waited_ms else ""
    led = f"; {count(status.moved)} led on to another outlet{within}" if status.moved else ""
    rows.append(("lost", f"{count(status.lost)} connections{led}"))
    if new is not None and new.streams_active:
        rows.append(("live", f"{count(new.streams_active)} streams stay on {new.name}"))
    rows.append(("again", "when it is mended: pcgrelay cutover start FILE --again"))
    for name, words in rows:
        yield from hanging(Text(f"  {name:<12}  ", style="dim"), words, width)


# --- what was decided ----------------------------------------------------------------------------------------------


def _lately(status: CutoverStatus, width: int, now: datetime) -> Iterator[Text]:
    """The last decisions, the latest first."""
    if status.decisions:
        yield Text("")
        yield Text("Decided lately", style="dim")
    for each in status.decisions[: -DECISIONS_SHOWN - 1 : -1]:
        who = f" ({', '.join(filter(None, (each.by, each.reason)))})" if each.by or each.reason else ""
        title = Text(f"  {clock_text(each.at, now, seconds=True)}  ", style="dim")
        yield from hanging(title, f"{each.sentence}{who}", width)
