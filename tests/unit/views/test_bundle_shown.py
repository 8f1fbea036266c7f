"""The realm's bundle where people look: on the page, in explain, near its end and when it is over."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from pcgrelay.admin.bundles import BundleStatus
from pcgrelay.admin.status import Status
from pcgrelay.admin.validity import CredentialsStatus, DateStatus
from pcgrelay.identity.dates import Span
from pcgrelay.views.explain import explain
from pcgrelay.views.status import node_status
from pcgrelay.views.status_page import node_page
from tests.support.bundles import Signer, span_of
from tests.support.healthy_status import HEALTHY
from tests.support.nodes_in_process import HUB, KENT, MET, Nodes, Running, entry, export
from tests.support.ports import free_port

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
ME = f"kent-1.{KENT}"
DATES = CredentialsStatus(
    dates=(
        DateStatus(kind="own", name=ME, state="good", not_before=NOW, not_after=NOW + 90 * DAY, sentence=""),
    )
)  # fmt: skip
BUNDLE = BundleStatus(
    epoch=7, source=f"relay-2.{HUB}", not_before=NOW - 10 * DAY, not_after=NOW + 20 * DAY, members=(KENT, HUB)
)
GOOD, ENDING = span_of(), span_of(30 * DAY, DAY)
OVER = span_of(2 * DAY, -DAY)


def page_of(bundle: BundleStatus | None) -> str:
    status: Status = replace(HEALTHY, credentials=DATES, bundle=bundle)
    return node_page(status, [], ME, NOW).body.decode()


def row_of(text: str) -> list[str]:
    """The cells of the bundle's row."""
    (row,) = re.findall(r"<tr><th scope=\"row\">realm bundle</th>.*?</tr>", text)
    return [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[hd][^>]*>.*?</t[hd]>", row)]


def test_the_page_has_a_row_of_it_and_of_who_brought_it() -> None:
    text = page_of(BUNDLE)
    assert row_of(text) == ["realm bundle", f"7, brought by relay-2.{HUB}", "good", "2026-12-21 12:00 UTC", "20 days"]
    assert "What needs attention" not in text
    assert row_of(page_of(replace(BUNDLE, source="")))[1] == "7"
    assert "realm bundle" not in page_of(None)


@pytest.mark.parametrize(
    ("state", "end", "tag", "sentence", "left"),
    [
        ("ending", NOW + 3 * DAY, "wait", "ends on 2026-12-04 12:00 UTC; have the realm sign a new one.", "3 days"),
        ("expired", NOW - DAY, "bad", "expired on 2026-11-30 12:00 UTC, and stays in force", "0 days"),
        ("not_yet_valid", NOW + 9 * DAY, "bad", "look at this machine&#39;s clock.", "9 days"),
    ],
)
def test_the_page_says_when_it_needs_somebody_and_what_to_run(
    state: str, end: datetime, tag: str, sentence: str, left: str
) -> None:
    text = page_of(replace(BUNDLE, state=state, not_after=end))
    assert row_of(text)[2:] == [state.replace("_", " "), f"{end:%Y-%m-%d %H:%M} UTC", left]
    assert f'<strong class="tag {tag}">{state.replace("_", " ")}</strong>' in text
    assert sentence in text
    assert "<code>pcgrelay ca bundle sign, then pcgrelay reload -c FILE at one node</code>" in text
    assert '<strong class="tag wait">Degraded</strong>' in text


def test_the_page_says_that_this_node_is_no_member_or_too_old() -> None:
    assert "no member by the realm&#39;s bundle: neighbours refuse its links." in page_of(
        replace(BUNDLE, is_member=False)
    )
    assert "below the realm&#39;s minimum (99)" in page_of(replace(BUNDLE, minimum="99", is_below=True))


def test_what_a_bundle_brings_is_text() -> None:
    text = page_of(replace(BUNDLE, source="<script>alert(1)</script>", minimum="<b>", is_below=True))
    assert "<script>alert" not in text
    assert "<b>" not in text


# --- explain -------------------------------------------------------------------------------------------------------


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    made = Nodes(tmp_path)
    yield made
    await made.stop()


async def started(nodes: Nodes, span: Span, members: tuple[str, ...]) -> Running:
    file = nodes.folder / "realm.bundle"
    file.write_bytes(Signer(nodes.pki).bundle(1, members=members, span=span))
    return await nodes.start(
        KENT,
        "kent-1",
        listens=[f"127.0.0.1:{free_port()}"],
        exports=[{**export(), "probe": "none"}],
        imports=[{**entry(), "service": f"named@{MET}"}],
        realm_table={"bundle": str(file)},
    )


@pytest.mark.parametrize(("span", "state"), [(GOOD, "good"), (ENDING, "ending"), (OVER, "expired")])
async def test_explain_names_the_bundle_for_whoever_is_no_member_as_long_as_it_is_in_force(
    nodes: Nodes, span: Span, state: str
) -> None:
    """Also when it is over: then it stays in force, for more would be allowed without it."""
    kent = await started(nodes, span, (KENT, HUB))
    bundle = node_status(kent.node).bundle
    assert bundle is not None
    assert bundle.state == state
    answer = explain(kent.node, "custody", MET)
    check = {each.name: each for each in answer.checks}["realm"]
    assert (answer.open, check.passed, check.cause) == (False, False, "not-allowed")
    assert check.state == "it is no member by the realm's bundle"
    assert answer.verdict.endswith("(not-allowed): it is no member by the realm's bundle.")
    answer = explain(kent.node, f"named@{MET}")
    assert not answer.open
    assert answer.verdict == f"Applications are refused: the realm's bundle does not name {MET}."


async def test_explain_says_nothing_of_a_bundle_that_names_the_caller(nodes: Nodes) -> None:
    kent = await started(nodes, OVER, ("*.police.example", HUB))
    answer = explain(kent.node, "custody", MET)
    assert answer.open
    assert "realm" not in {each.name for each in answer.checks}
    assert "bundle" not in explain(kent.node, f"named@{MET}").verdict
