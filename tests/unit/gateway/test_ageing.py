"""Dates of a node's own files: one rule, told before the end, and a node that runs whatever they are."""

import shutil
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from pcgrelay import config
from pcgrelay.admin.condition import Condition, condition_of, troubles
from pcgrelay.admin.metrics import metrics_text
from pcgrelay.admin.status import NodeStatus, Status
from pcgrelay.check import check, exit_code, refuse_errors
from pcgrelay.clock import SetClock
from pcgrelay.daemon.reload import Reloader
from pcgrelay.gateway.ageing import Ageing
from pcgrelay.identity.dates import Phase, Span
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.views.status import node_status
from tests.support.metric_samples import value
from tests.support.nodes_in_process import KENT, Nodes, Running
from tests.support.odd_pki import DAY, Odd, ca, crl
from tests.support.pki import Files, write_config
from tests.support.ports import free_port
from tests.support.waiting import until_async as until

START = datetime(2030, 1, 1, tzinfo=UTC)
NODE = NodeStatus(identity="spiffe://nobody", role="edge", uptime_s=1.0, version="0")
HEARS: dict[str, Any] = {"links": [{"peer": "relay-1.hub.example", "address": "127.0.0.1:9"}]}
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("life", "left"),
    [
        (365 * DAY, 30 * DAY),
        (90 * DAY, 18 * DAY),
        (HOUR, timedelta(minutes=12)),
        (150 * DAY, 30 * DAY),
        (3650 * DAY, 30 * DAY),
        (5 * SECOND, SECOND),
    ],
)
def test_one_rule_for_every_life(life: timedelta, left: timedelta) -> None:
    span = Span(START, START + life)
    assert span.phase(START - SECOND) is Phase.NOT_YET_VALID
    assert span.phase(START) is Phase.GOOD
    assert span.phase(span.end - left) is Phase.GOOD
    assert span.phase(span.end - left + timedelta(milliseconds=1)) is Phase.ENDING
    assert span.phase(span.end) is Phase.ENDING
    assert span.phase(span.end + SECOND) is Phase.EXPIRED


LIVES = {"a year": 365 * DAY, "90 days": 90 * DAY, "an hour": HOUR}


@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("what", ["own", "trust", "crl"])
def test_the_same_rule_in_check_status_log_and_metrics(tmp_path: Path, what: str, life: str) -> None:
    """Each of the three runs out in turn; the others outlast it."""
    long, begun = 4000 * DAY, -HOUR / 2
    ends = {kind: begun + LIVES[life] if kind == what else long for kind in ("own", "trust", "crl")}
    root = ca("root", start=begun, end=ends["trust"])
    odd = Odd(root, [root], [crl(root, start=begun, end=ends["crl"])], leaf={"start": begun, "end": ends["own"]})
    odd.prepare((KENT, "kent-1"))
    path = write_config(tmp_path / "n.toml", odd.files(tmp_path / "files", "kent-1"), KENT, "kent-1", **HEARS)
    loaded = config.load(path)
    end = {
        "own": odd.leaves["kent-1"][0].not_valid_after_utc,
        "trust": root.certificate.not_valid_after_utc,
        "crl": odd.crls[0].next_update_utc,
    }[what]
    assert end is not None
    event, left = ("crl" if what == "crl" else "certificate"), min(30 * DAY, LIVES[life] / 5)
    for moment, word, code in (
        (end - left - SECOND, "", 0),
        (end - left + SECOND, "ending", 4),
        (end - SECOND, "ending", 4),
        (end + SECOND, "expired", 4),
    ):
        clock = SetClock(moment)
        said: list[Any] = []
        ageing = Ageing(LocalIdentity(loaded), said.append, clock)
        ageing.tick()
        status = Status(node=NODE, credentials=ageing.status())
        states = {date.kind: date.state for date in status.credentials.dates}
        assert states.pop(what) == (word or "good")
        assert set(states.values()) == {"good"}
        assert exit_code(check(loaded, clock)) == code
        assert [line.EVENT for line in said] == ([f"{event}.{word}"] if word else [])
        told = [trouble for trouble in troubles(status) if "linked" not in trouble.sentence]
        assert len(told) == bool(word)
        if word == "ending":
            assert not told[0].is_grave
        if word == "expired" and what != "trust":
            assert told[0].is_grave
            refuse_errors(loaded, clock)
        name = "crl_next_update" if what == "crl" else "certificate_not_after"
        labels = {} if what == "crl" else {"kind": what}
        found = value(metrics_text(status, {}), f"pcgrelay_{name}_timestamp_seconds", **labels)
        assert int(found) == int(end.timestamp())


def test_it_is_said_once_a_day_and_anew_of_new_files(tmp_path: Path) -> None:
    root = ca("root")
    odd = Odd(root, [root], [crl(root)], leaf={"start": -10 * DAY, "end": DAY})
    odd.prepare((KENT, "kent-1"))
    path = write_config(tmp_path / "n.toml", odd.files(tmp_path / "files", "kent-1"), KENT, "kent-1", **HEARS)
    clock, said = SetClock(datetime.now(UTC)), []
    ageing = Ageing(LocalIdentity(config.load(path)), said.append, clock)
    for _ in range(3):
        ageing.tick()
    assert [line.EVENT for line in said] == ["certificate.ending"]
    clock.advance(23 * 3_600_000)
    ageing.tick()
    assert len(said) == 1
    clock.advance(2 * 3_600_000)
    ageing.tick()
    ageing.tick()
    assert [line.EVENT for line in said] == ["certificate.ending", "certificate.expired"]
    clock.advance(24 * 3_600_000)
    ageing.tick()
    assert [line.EVENT for line in said][2:] == ["certificate.expired"]
    assert "kent-1.kent.police.example" in said[-1].name


@pytest_asyncio.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    made = Nodes(tmp_path)
    yield made
    await made.stop()


def wrong(**leaf: Any) -> Odd:
    root = ca("root")
    return Odd(root, [root], [crl(root)], leaf=leaf)


def stale() -> Odd:
    root = ca("root")
    return Odd(root, [root], [crl(root, start=-9 * DAY, end=-DAY)])


WRONG: dict[str, tuple[Callable[[], Odd], str]] = {
    "the certificate expired": (lambda: wrong(start=-9 * DAY, end=-DAY), "certificate.expired"),
    "the certificate is of tomorrow": (lambda: wrong(start=DAY), "certificate.not_yet_valid"),
    "the list ran out": (stale, "crl.expired"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_node_runs_with_wrong_dates_and_a_reload_heals_it(nodes: Nodes, tmp_path: Path, name: str) -> None:
    make, event = WRONG[name]
    odd = make()
    odd.prepare((KENT, "kent-1"), ("met.police.example", "met-1"))
    folders = {node: tmp_path / f"{node}.{org}" for node, org in (("kent-1", KENT), ("met-1", "met.police.example"))}
    for node, folder in folders.items():
        named(odd.files(folder, node), folder, node)
    port = free_port()
    kent = await started(nodes, tmp_path, folders, KENT, "kent-1", listens=[f"127.0.0.1:{port}"])
    link = {"peer": f"kent-1.{KENT}", "address": f"127.0.0.1:{port}"}
    met = await started(nodes, tmp_path, folders, "met.police.example", "met-1", links=[link])
    for running in (kent, met):
        await until(lambda running=running: running.lines(event), 20, event)
        status = node_status(running.node)
        assert condition_of(status, troubles(status)) is Condition.FAILING
        grave = [trouble.sentence for trouble in troubles(status) if trouble.is_grave]
        assert any("reload" in sentence or "clock" in sentence for sentence in grave)
    await until(lambda: met.lines("link.failed"), 20, "the link is refused")
    # New files of the same CA and names, and a reload at both.
    good = Odd(odd.issuer, odd.trust, [crl(odd.issuer)])
    good.prepare((KENT, "kent-1"), ("met.police.example", "met-1"))
    for node, folder in folders.items():
        shutil.rmtree(folder)
        named(good.files(folder, node), folder, node)
    for running in (kent, met):
        answer = await Reloader(running.node, running.node.log, lambda state: None).reload()
        assert answer.ok, answer.reason
    await until(lambda: kent.lines("link.up") and met.lines("link.up"), 30, "the link is up")
    for running in (kent, met):
        sentences = [trouble.sentence for trouble in troubles(node_status(running.node))]
        assert not [sentence for sentence in sentences if "expired" in sentence or "valid" in sentence]


async def test_a_reload_does_not_give_good_dates_up_for_bad_ones(nodes: Nodes, tmp_path: Path) -> None:
    odd, bad = wrong(), wrong(start=-9 * DAY, end=-DAY)
    folders = {"kent-1": tmp_path / f"kent-1.{KENT}"}
    odd.prepare((KENT, "kent-1"))
    named(odd.files(folders["kent-1"], "kent-1"), folders["kent-1"], "kent-1")
    kent = await started(nodes, tmp_path, folders, KENT, "kent-1", listens=[f"127.0.0.1:{free_port()}"])
    before = kent.node.local.credentials
    shutil.rmtree(folders["kent-1"])
    bad.prepare((KENT, "kent-1"))
    named(bad.files(folders["kent-1"], "kent-1"), folders["kent-1"], "kent-1")
    answer = await Reloader(kent.node, kent.node.log, lambda state: None).reload()
    assert not answer.ok
    assert "expired on" in answer.reason
    assert kent.node.local.credentials is before


def named(files: Files, folder: Path, node: str) -> None:
    """The files by the names that the configurations of `nodes` have."""
    files.certificate.rename(folder / f"{node}.pem")
    files.key.rename(folder / f"{node}.key")


async def started(nodes: Nodes, folder: Path, folders: dict[str, Path], org: str, node: str, **tables: Any) -> Running:
    own = folders[node]
    nodes.pki = _Given(own / "trust.pem", own / "list.pem")  # type: ignore[assignment]
    return await nodes.start(org, node, **tables)


class _Given:
    """In the place of a realm: the files that are there."""

    def __init__(self, trust: Path, crl: Path) -> None:
        self.trust, self.crl = trust, crl
