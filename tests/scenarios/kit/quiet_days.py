"""An edge that moves a service between two networks by itself, and days of quiet that lie behind it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from pcgrelay.admin.client import ask
from pcgrelay.admin.cutover_answers import CUTOVER_PATH, CutoverStatus
from pcgrelay.admin.quiet_answers import RETIRE_PATH, RetireAnswer
from pcgrelay.cutover.days import DaysState, KeptDays
from pcgrelay.cutover.gate import TITLES
from pcgrelay.cutover.quiet import DAY_MINUTES, DayRecord
from pcgrelay.gateway.days import KIND, NAME, VERSION
from pcgrelay.state.file import StateFile
from tests.scenarios.kit.drill_setup import Target
from tests.scenarios.kit.echo_witness import host_port
from tests.scenarios.kit.nodes import HOST, KENT, MET, Address, Stage
from tests.scenarios.kit.reload_setup import command
from tests.support.ports import free_port
from tests.support.waiting import receive, until

SERVICE = f"named@{KENT}"
DAYS = 35
PLAN = f"""\
[cutover]
service = "{SERVICE}"
from = "cjx"
to = "psnp"
back = ["cjx"]
steps = [100]
soak = "1s"
deadline = 2150-01-01
change = "CR-1042"

[gate]
streams = 0
failures = "100 %"
setup = "1000 %"
answer = "1000 %"

[shadow]
pace = "off"

[quiet]
days = {DAYS}

[report]
title = "Records: transition of a service"
advice = ["finance"]
"""


class Leaving:
    """The Met's edge: its service has left `cjx` for `psnp`, and `cjx` is to be retired."""

    def __init__(self, stage: Stage, old: Target, new: Target, **tables: Any) -> None:
        self.folder, self.old, self.new = stage.folder, old, new
        self.door: Address = (HOST, free_port())
        self.state = stage.folder / "state"
        self.state.mkdir(mode=0o700)
        self._stage, self._tables = stage, tables
        self.met = self.configured("cjx", "psnp")

    def configured(self, *outlets: str, **keys: Any) -> Any:
        """Write the configuration with these outlets."""
        targets = {"cjx": self.old.address[1], "psnp": self.new.address[1]}
        directs = [
            {"service": SERVICE, "name": name, "address": host_port(targets[name]), "bearer": name, "probe": "none"}
            for name in outlets
        ]
        entry = {"service": SERVICE, "listen": host_port(self.door[1]), "outlet": outlets[0], **keys}
        tables = {"node_table": {"state": str(self.state)}, "imports": [entry], "directs": directs, **self._tables}
        return self._stage.node(MET, "met-1", **tables)

    def start(self) -> None:
        self.met.start()
        until(lambda: self.met.service("named").state == "ready", 10)

    def arrive(self) -> None:
        plan = self.folder / "named.plan.toml"
        plan.write_text(PLAN)
        done = self.command("cutover", "start", str(plan))
        assert done.returncode == 0, done.stdout + done.stderr
        # Nothing is compared here, so all questions are open.
        query = {"service": "named", "act": "advance", "reason": "CR-1042", "waive": ",".join(TITLES)}

        def arrived() -> bool:
            ask(self.met.admin, "POST", f"{CUTOVER_PATH}?{urlencode(query)}", CutoverStatus)
            return self.phase() == "arrived"

        until(arrived, 15, "it arrives")

    # -- days --------------------------------------------------------------------------------------------------

    def restart_with(self, *days: DayRecord, until_: datetime | None = None) -> None:
        """Stop it, have the days of `cjx` behind it, and start it again."""
        self.met.stop()
        self.written(*days, until_=until_)
        self.start()

    def written(self, *days: DayRecord, until_: datetime | None = None) -> None:
        """Have these days behind a node that does not run."""
        file = StateFile(self.state / NAME, KIND, VERSION, DaysState)
        _, found = file.read()
        others = () if found is None else tuple(each for each in found.outlets if each.outlet != "cjx")
        used = next((f"{each.day}T17:03:12Z" for each in reversed(days) if each.is_used), "")
        kept = KeptDays(service=SERVICE, outlet="cjx", records=days, used=used)
        file.write(DaysState(until=until_ or datetime.now(UTC), outlets=(*others, kept)))

    # -- what is seen ------------------------------------------------------------------------------------------

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return command(*words, "-c", self.met.config)

    def retire(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.command("retire", "cjx/named", "--reason", "CR-1042", "--report", str(self.report), *words)

    @property
    def report(self) -> Path:
        return self.folder / "named-report"

    def refused(self) -> str:
        """Ask the node for the retirement, which it refuses, and nothing has changed; why."""
        query = urlencode({"service": "named", "outlet": "cjx", "reason": "CR-1042"})
        answer = ask(self.met.admin, "POST", f"{RETIRE_PATH}?{query}", RetireAnswer)
        assert (answer.exit_code, answer.retired) == (6, "")
        assert {each.name: each.state for each in self.met.service("named").outlets}["cjx"] == "ready"
        return answer.reason

    def phase(self) -> str:
        return ask(self.met.admin, "GET", f"{CUTOVER_PATH}?service=named", CutoverStatus).phase

    def await_phase(self, phase: str) -> None:
        until(lambda: self.phase() == phase, 15, f"it is {phase}")

    def answers(self) -> bytes:
        """Who serves one connection of an application; nothing: nobody."""
        try:
            with socket.create_connection(self.door, timeout=15) as connection:
                return receive(connection, 4)
        except ConnectionError:
            return b""


def quiet_days(last: date, number: int = DAYS, **changed: DayRecord) -> list[DayRecord]:
    """So many quiet days up to one; changed: others in their place, as day_34, which is the last but one of 35."""
    days = [DayRecord(last - timedelta(days=back), DAY_MINUTES) for back in range(number - 1, -1, -1)]
    for name, record in changed.items():
        place = int(name.removeprefix("day_")) - 1
        days[place] = record
    return days


@contextmanager
def leaving(folder: Path, **tables: Any) -> Iterator[Leaving]:
    """The edge, not started yet."""
    with Stage(folder) as stage, Target(b"old ") as old, Target(b"new ") as new:
        yield Leaving(stage, old, new, **tables)
