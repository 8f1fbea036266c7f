"""An old way is retired only when 35 days of quiet are proven: one stray byte, or five minutes away, are too much."""

from __future__ import annotations

import subprocess
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from pcgrelay.admin.client import ask
from pcgrelay.admin.quiet_answers import QUIET_PATH, QuietAnswer
from pcgrelay.cutover.quiet import DAY_MINUTES, DayRecord
from tests.scenarios.kit.clocked import Clocked
from tests.scenarios.kit.drill_setup import Target
from tests.scenarios.kit.quiet_days import DAYS, SERVICE, Leaving, leaving, quiet_days
from tests.scenarios.kit.reload_setup import reload
from tests.support.waiting import until

pytestmark = pytest.mark.tier_all


@pytest.mark.timeout(300)
def test_an_old_way_is_retired_only_when_it_is_quiet(tmp_path: Path) -> None:
    with leaving(tmp_path) as moved:
        moved.start()
        assert moved.answers() == b"old "
        moved.arrive()
        assert moved.answers() == b"new "
        today = datetime.now(UTC).date()
        yesterday, before = today - timedelta(days=1), today - timedelta(days=2)
        not_quiet = f"cjx of {SERVICE} is not quiet: {{}} of {DAYS} days are quiet"
        assert moved.refused() == f"{not_quiet.format(0)}: 1 connection on {today}."

        one_byte = DayRecord(before, DAY_MINUTES, transferred=1)
        moved.restart_with(*quiet_days(yesterday, day_34=one_byte))
        assert moved.refused() == f"{not_quiet.format(1)}: 1 byte on {before}."

        away = DayRecord(before, DAY_MINUTES - 5)
        moved.restart_with(*quiet_days(yesterday, day_34=away))
        done = moved.retire()
        sentence = f"{not_quiet.format(1)}: {before} was looked at for 99.6 % of the time."
        assert (done.returncode, done.stdout, done.stderr) == (6, "", f"pcgrelay: {sentence}\n")
        assert not moved.report.exists()

        moved.restart_with(*quiet_days(yesterday))
        moved.await_phase("quiet")
        retired_with_report(moved)
        stays_closed(moved)


def test_a_stray_after_it_was_quiet_begins_the_days_anew(tmp_path: Path) -> None:
    with leaving(tmp_path) as moved:
        moved.start()
        moved.arrive()
        today = datetime.now(UTC).date()
        moved.restart_with(*quiet_days(today - timedelta(days=1)))
        moved.await_phase("quiet")
        assert moved.retire("--check").returncode == 0
        stray(moved)
        moved.await_phase("arrived")
        assert f"0 of {DAYS} days are quiet: 1 connection on {today}." in moved.refused()
        assert moved.met.log("quiet.ended", service=SERVICE, outlet="cjx", days=DAYS)
        assert moved.met.log("cutover.stray")


def stray(moved: Leaving) -> None:
    """The new network is away for one connection, which the old one serves."""
    moved.new.refuse()
    assert moved.answers() == b"old "
    moved.new = Target(b"new ", moved.new.address[1])
    assert moved.answers() == b"new "


def retired_with_report(moved: Leaving) -> None:
    done = moved.retire()
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"cjx of {SERVICE} is retired: it takes no more streams.\nIt was quiet for {DAYS} days" in done.stdout
    assert f"{moved.report}: the last report" in done.stdout
    assert "[[direct]] cjx of" in done.stdout
    summed = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=moved.report, capture_output=True, check=False)
    assert summed.returncode == 0, summed.stdout
    part1 = (moved.report / "part1.md").read_text()
    assert f"({DAYS} of {DAYS} days of silence are proven); retired on" in part1
    assert not [word for word in ("cjx", "psnp", "met-1", "kent", "127.0.0.1") if word in part1.casefold()]
    assert moved.phase() == "retired"


def stays_closed(moved: Leaving) -> None:
    """Still configured it is a trouble at a start, and no outlet; the file is refused until its lines are gone."""
    moved.met.stop()
    moved.start()
    cjx = next(each for each in moved.met.service("named").outlets if each.name == "cjx")
    assert (cjx.state, cjx.share, cjx.next) == ("retired", 0.0, 0)
    status = moved.command("status")
    assert (status.returncode, "takes no streams: direct[1]: cjx of" in status.stdout) == (4, True), status.stdout
    assert moved.answers() == b"new "
    moved.new.refuse()
    assert moved.answers() == b""
    moved.configured("cjx", "psnp", max_streams=100)
    assert "is retired since" in reload(moved.met).reason
    moved.configured("psnp")
    assert reload(moved.met).ok
    assert [each.name for each in moved.met.service("named").outlets] == ["gateway", "psnp"]
    # What was proven is kept, with nothing that looks any more.
    late = moved.folder / "late-report"
    assert moved.command("cutover", "report", "named", "--out", str(late)).returncode == 0
    assert f"{DAYS} of {DAYS} days of silence are proven" in (late / "part2.md").read_text()


@pytest.mark.parametrize(("away_s", "is_quiet"), [(300, False), (0, True)])
def test_a_day_on_which_the_node_was_away_is_not_quiet(tmp_path: Path, away_s: int, is_quiet: bool) -> None:
    """The last of 35 days really ends, by a clock that was moved: with five minutes of no node in it, or with none."""
    with leaving(tmp_path) as moved:
        clock = Clocked(moved.met, tmp_path)
        moved.start()
        moved.arrive()
        moved.met.stop()
        now = datetime.now(UTC)
        last = now.date() + timedelta(days=1)
        midnight = datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1)
        # So long before midnight it is by the node's clock when it starts.
        looked_to = midnight - timedelta(seconds=20 + away_s)
        offset_s = round((looked_to - now).total_seconds())
        minutes = DAY_MINUTES - 1 - (20 + away_s) // 60
        moved.written(*quiet_days(last - timedelta(days=1), DAYS - 1), DayRecord(last, minutes), until_=looked_to)
        clock.set(offset_s)
        moved.start()
        time.sleep(2)
        moved.met.stop()
        clock.set(offset_s + away_s)
        moved.start()
        until(lambda: after_midnight(moved, last), 60, "the day is over")
        if is_quiet:
            moved.await_phase("quiet")
            retired_with_report(moved)
        else:
            assert f"0 of {DAYS} days are quiet: {last} was looked at for 99." in moved.refused()


def after_midnight(moved: Leaving, last: date) -> bool:
    return ask(moved.met.admin, "GET", QUIET_PATH, QuietAnswer).today > last.isoformat()
