"""Pages about cut-overs for people: a list, and one of them. Nothing is changed from a page, and none has a script."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote

from pcgrelay.admin.cutover_answers import CutoverFinding, CutoverList, CutoverOutlet, CutoverStatus
from pcgrelay.admin.http import HTML, Answer
from pcgrelay.printable import printable
from pcgrelay.rendering import read_asset, render
from pcgrelay.views.cutover_picture import HEIGHT, WIDTH, picture_of

STYLE_PATH = "/page.css"
PAGE_PATH = "/cutover"
DECISIONS_SHOWN = 30
# Where nobody has said what a service's marking is, what is shown of it is handled with care.
UNKNOWN_MARKING = "OFFICIAL-SENSITIVE"
_MARKINGS = ("OFFICIAL", "OFFICIAL-SENSITIVE", "SECRET", "TOP SECRET")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
# Word and class of a phase.
PHASES = {
    "planned": "calm", "soaking": "going", "paused": "waiting", "back": "bad", "arrived": "good", "quiet": "good",
    "retired": "good", "lost": "bad",
}  # fmt: skip


def style() -> Answer:
    """The style sheet of all pages."""
    return Answer(200, "text/css; charset=utf-8", read_asset("page.css").encode(), HEADERS)


def list_page(cutovers: CutoverList, node: str, now: datetime) -> Answer:
    """All cut-overs of a node."""
    markings = [each.marking or UNKNOWN_MARKING for each in cutovers.cutovers]
    return _page(
        "cutovers.html",
        now,
        node=node,
        marking=_highest(markings),
        cutovers=cutovers.cutovers,
        imports=cutovers.imports,
        bad=[each for each in cutovers.cutovers if each.troubles or each.phase in ("back", "lost")],
        link=service_path,
        note=_note,
    )


def status_page(status: CutoverStatus, node: str, now: datetime) -> Answer:
    """One cut-over."""
    return _page(
        "cutover.html",
        now,
        node=node,
        marking=status.marking or UNKNOWN_MARKING,
        status=status,
        picture=picture_of(status, now),
        width=WIDTH,
        height=HEIGHT,
        figures=_figures(status),
        rows=_rows(status),
        new=_by_role(status, "new"),
        old=_by_role(status, "old"),
        decisions=tuple(reversed(status.decisions))[:DECISIONS_SHOWN],
    )


def problem_page(sentence: str, node: str, now: datetime) -> Answer:
    """Why there is no such page."""
    answer = _page("problem.html", now, node=node, marking=UNKNOWN_MARKING, sentence=sentence)
    return Answer(404, answer.kind, answer.body, answer.headers)


def service_path(service: str) -> str:
    """The path of one cut-over's page."""
    return f"{PAGE_PATH}/{quote(service, safe='@')}"


def _page(template: str, now: datetime, **values: object) -> Answer:
    text = render(
        template, now=now.astimezone(UTC), phases=PHASES, when=_when, style=STYLE_PATH, home=PAGE_PATH, **values
    )
    return Answer(200, HTML, text.encode("utf-8", "replace"), HEADERS)


def _highest(markings: list[str]) -> str:
    known = [each for each in markings if each in _MARKINGS]
    return max(known, key=_MARKINGS.index) if known else UNKNOWN_MARKING


def _when(text: str) -> str:
    """A moment as people read it: the day and the minute."""
    return f"{text[:10]} {text[11:16]}" if len(text) >= 16 else text


def _note(status: CutoverStatus) -> str:
    if status.troubles:
        return printable(status.troubles[0])
    if status.phase == "arrived" and status.quiet_of:
        return f"quiet for {status.quiet_days} of {status.quiet_of} days"
    return f"step {status.step} of {len(status.steps)}" if status.phase in ("soaking", "paused") else ""


def _figures(status: CutoverStatus) -> list[tuple[str, str, str]]:
    """The few figures on top: name, value, and what it means."""
    late = f", at most {status.waited_ms / 1_000:.2g} s later" if status.moved and status.waited_ms else ""
    found = [
        (
            "Share of the gateway" if status.new == "gateway" else f"Share of {status.new}",
            f"{status.share:g} %",
            _step(status),
        ),
        ("Connections lost", f"{status.lost:,}", "of applications, because no outlet was left"),
        ("Led on", f"{status.moved:,}", f"before anybody noticed{late}"),
        (
            "Odds of a worse outlet",
            f"{status.odds:,.1f} : 1" if status.odds < 100 else f"{status.odds:,.0f} : 1",
            "falls back at 1,000 : 1",
        ),
    ]
    if status.deadline:
        done = f"done about {_when(status.done)[:10]}" if status.done else "no forecast"
        left = (
            ""
            if status.days_left is None
            else f", {abs(status.days_left)} days {'after' if status.late else 'before'} it"
        )
        found.append(
            (
                "Deadline",
                status.deadline,
                done + left if status.phase not in ("arrived", "quiet", "retired") else "it has moved",
            )
        )
    if status.quiet_of:
        found.append(
            (
                "Old network silent",
                f"{status.quiet_days} of {status.quiet_of} days",
                status.not_quiet or "as the plan wants",
            )
        )
    return found


def _step(status: CutoverStatus) -> str:
    if status.held:
        return "held: the new outlet is away"
    soak = f", soaked {status.soaked_s / 60:.0f} of {status.soak_s / 60:.0f} min" if status.phase == "soaking" else ""
    return f"step {status.step} of {len(status.steps)}{soak}" if status.steps else ""


def _rows(status: CutoverStatus) -> list[tuple[str, str, str, CutoverFinding]]:
    """The comparison: title, value of the old outlet, of the new one, and the finding."""
    new, old = _by_role(status, "new"), _by_role(status, "old")
    return [(each.title, _value(each.question, old), _value(each.question, new), each) for each in status.findings]


def _by_role(status: CutoverStatus, role: str) -> CutoverOutlet | None:
    return next((each for each in status.outlets if each.role == role), None)


def _value(question: str, outlet: CutoverOutlet | None) -> str:
    if outlet is None:
        return "–"
    if question == "enough":
        return f"{outlet.setups + outlet.shadows:,}"
    if question == "failures":
        return "–" if outlet.failure_share is None else f"{outlet.failure_share * 100:.2g} %"
    times = {"setup": outlet.setup_median_ms, "answer": outlet.answer_median_ms, "tail": outlet.setup_p95_ms}
    if question in times:
        value = times[question]
        return "–" if value is None else f"{value:.1f} ms"
    return "–" if outlet.rate_median_kib_s is None else f"{outlet.rate_median_kib_s:,.0f} KiB/s"
