"""The page of a node: its status for a browser. Nothing is changed from it, and it works without a script."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec import Struct

from pcgrelay.admin.audit_line import audit_line
from pcgrelay.admin.clearances import clearance_lines
from pcgrelay.admin.condition import Condition, condition_of, troubles
from pcgrelay.admin.http import HTML, Answer
from pcgrelay.admin.status import Status
from pcgrelay.admin.waiting import waiting_words
from pcgrelay.policy.clearances import NAMES
from pcgrelay.quantities import duration, size
from pcgrelay.rendering import read_asset, render
from pcgrelay.views.realm_picture import BOX_HEIGHT, BOX_WIDTH, draw_realm

PAGE_PATH = "/"
STYLE_PATH, SCRIPT_PATH, EVENTS_PATH = "/status.css", "/status.js", "/events"
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
ROWS_MOST = 500  # of each table; `pcgrelay status` has all
WORDS = {
    Condition.READY: ("Ready", "Everything that this node is configured for is served."),
    Condition.DEGRADED: ("Degraded", "Everything is served, and something needs attention."),
    Condition.FAILING: ("Failing", "Something that this node is configured for cannot be served."),
    Condition.DRAINING: ("Draining", "An operator wants that nothing new comes here."),
}


class CatalogueLine(Struct, frozen=True, kw_only=True):
    """An edge that neighbours announce."""

    edge: str  # name.organisation
    services: tuple[str, ...]
    hops: tuple[str, ...]  # of the best way: from the neighbour to that edge
    ways: int  # how many neighbours announce it


def style() -> Answer:
    """Return the style sheet of the page."""
    return Answer(200, "text/css; charset=utf-8", read_asset("status.css").encode(), HEADERS)


def script() -> Answer:
    """Return what keeps the page up to date where a browser runs scripts."""
    return Answer(200, "text/javascript; charset=utf-8", read_asset("status.js").encode(), HEADERS)


def node_page(status: Status, catalogue: Sequence[CatalogueLine], me: str, now: datetime) -> Answer:
    """Return the whole page. me: the node, name.organisation."""
    text = render("status.html", **_values(status, catalogue, me, now))
    return Answer(200, HTML, text.encode("utf-8", "replace"), HEADERS)


def node_part(status: Status, catalogue: Sequence[CatalogueLine], me: str, now: datetime) -> str:
    """Return the part of the page that changes, for the live view."""
    return render("status_main.html", **_values(status, catalogue, me, now))


def _values(status: Status, catalogue: Sequence[CatalogueLine], me: str, now: datetime) -> dict[str, object]:
    found = troubles(status)
    condition = condition_of(status, found)
    title, words = WORDS[condition]
    links = [(link.peer, link.state in ("up", "draining")) for link in status.links]
    return {
        "status": status,
        "me": me,
        "now": now.astimezone(UTC),
        "condition": condition.value,
        "title": title,
        "words": words,
        "troubles": found,
        "waiting": [waiting_words(each) for each in status.approvals.waiting],
        "cleared": list(clearance_lines(status.clearances)),
        "names": NAMES,
        "catalogue": catalogue[:ROWS_MOST],
        "most": ROWS_MOST,
        "picture": draw_realm(me, links, [line.hops for line in catalogue]),
        "box": (BOX_WIDTH, BOX_HEIGHT),
        "audit_line": "" if status.audit is None else audit_line(status.audit, now.timestamp()),
        "bytes_text": size,
        "duration_text": duration,
        "left": lambda end: max(0, (end - now).days),
        "style": STYLE_PATH,
        "script": SCRIPT_PATH,
    }
