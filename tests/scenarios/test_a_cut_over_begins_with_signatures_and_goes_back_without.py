"""A cut-over where changes are approved: its start needs the signatures of others, and the way back needs nobody."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.scenarios.kit.cut_over import LONG, SERVICE, Client, Moving, moving
from tests.scenarios.kit.nodes import PCGRELAY
from tests.support.signing import Person, listed, make_people
from tests.support.waiting import until

pytestmark = [pytest.mark.tier_all, pytest.mark.timeout(180)]

BY = ("--by", "j.smith@kent.police.example", "--change", "CR-1042", "--reason", "Leave the old network")
ROLE = "information assurance"
PLAN = f'{LONG}\n[report]\nadvice = ["{ROLE}"]\n'


class Signed:
    """Those who sign for the Met: two are needed, and one of them speaks for information assurance."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = ("j.smith", "a.jones", "b.khan", "c.lee")
        self.people = make_people(folder / "people", *names)
        self.config = Path()

    def prepare(self, made: Moving) -> None:
        """Have the Met's policy approved before its node starts."""
        signers = self.folder / "allowed_signers"
        signers.write_text(listed(self.people))
        tables, self.config = made.scene.tables(made.met), made.met.config
        ends = (datetime.now(UTC) + timedelta(days=90)).date()
        paper = {"owner": "j.smith@kent.police.example", "reason": "Joint", "change": "CR-1", "until": ends}
        made.scene.change(
            made.met,
            **{name: [{**each, **paper} for each in tables[name]] for name in ("links", "imports", "directs")},
            policy={**tables.get("policy", {}), "paper": paper},
            approvals={"signers": str(signers), "needs": 2, "roles": {f'"{ROLE}"': [self.people[3].address]}},
        )
        self.run("approve", "--first", "-c", self.config, *BY, "--key", self.people[1].key, "--yes")
        self.run("approve", "--first", "-c", self.config, "--key", self.people[2].key, "--yes")

    def sign(self, act: str, *signing: Person) -> None:
        """Write the text of an act that was refused, if there is none yet, and sign it."""
        text = self.config.with_suffix(f".{act}.act")
        if not text.exists():
            assert f"Written: {text}" in self.run("plan", "--act", act, *BY, "-c", self.config)
        for person in signing:
            self.run("approve", text, "--key", person.key, "--yes")

    def run(self, *words: object) -> str:
        done = subprocess.run(
            [PCGRELAY, *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
            check=False, env={"COLUMNS": "200", "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """What was said, as one line: the rule of approval does not allow it."""
    assert done.returncode == 6, done.stdout + done.stderr
    return " ".join((done.stdout + done.stderr).split())


def test_a_cut_over_begins_with_signatures_and_goes_back_without(tmp_path: Path) -> None:
    signed = Signed(tmp_path)
    _, jones, khan, lee = signed.people
    with moving(tmp_path, before=signed.prepare) as made, Client(made.door) as client:
        start = "start", str(made.plan(PLAN))
        assert "start needs a text that others signed" in refused(made.cutover(*start))
        signed.sign("start", jones)
        assert "has 1 (a.jones). Ask one of: b.khan, c.lee." in refused(made.cutover(*start))
        signed.sign("start", khan)
        done = made.cutover(*start)
        assert done.returncode == 0, done.stdout + done.stderr
        until(lambda: made.share == 25, 15)
        until(lambda: client.answers[b"new "] > 0, 15, "the new network is used")

        # Advice is given by somebody who has the role.
        advice = "advice", SERVICE, ROLE
        assert f'Nobody who has the role "{ROLE}" has signed it.' in refused(made.cutover(*advice))
        signed.sign("advice", jones, khan)
        assert f"Ask {lee.address}." in refused(made.cutover(*advice))
        signed.sign("advice", lee)
        done = made.cutover(*advice)
        assert done.returncode == 0, done.stdout + done.stderr

        # Signatures for what cannot be done now are good later.
        waive = "advance", SERVICE, "--waive", "streams", "--reason", "CR-1042"
        assert "waive needs a text" in refused(made.cutover(*waive))
        signed.sign("waive", jones, khan)
        for _ in range(2):
            assert "The soak is not over" in refused(made.cutover(*waive))

        # The way back needs nobody; to begin again, people have to sign again.
        done = made.cutover("back", SERVICE, "--reason", "INC-77")
        assert done.returncode == 0, done.stdout + done.stderr
        assert (made.phase, made.share) == ("back", 0)
        assert "was used already" in refused(made.cutover(*start, "--again"))
        signed.sign("start", lee)
        assert "was used already" in refused(made.cutover(*start, "--again"))
        made.met.config.with_suffix(".start.act").unlink()
        signed.sign("start", jones, khan)
        done = made.cutover(*start, "--again")
        assert done.returncode == 0, done.stdout + done.stderr
        until(lambda: made.share == 25, 15)
        acted = [line["act"] for line in made.met.log("approval.acted")]
        assert acted == ["start", "advice", "waive", "waive", "start"]
        assert client.faults == []
