"""Cut-overs where changes are approved: what moves needs the signatures of others, and what goes back never does."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.daemon.cutover_api import CutoverApi
from pcgrelay.errors import RunError
from pcgrelay.policy.acts import ACTS, act_path
from pcgrelay.policy.change import make_act, make_head
from pcgrelay.policy.gate import read_policy
from tests.support.approving_node import NAMES, PAPER
from tests.support.cut_over import CUSTODY, LONG, CutRunning
from tests.support.signing import Person, listed, make_people

PLAN = LONG + '\n[report]\nadvice = ["information assurance"]\n'

NOT_OVER = "The soak is not over, no window is open, or the new outlet is away."


class Approved:
    """The Met's edge, whose acts have to be approved, and four people of whom two sign."""

    def __init__(self, met: CutRunning, people: list[Person]) -> None:
        self.met, self.people = met, people

    @property
    def path(self) -> Path:
        return self.met.node.config.path

    async def ask(self, act: str, body: str = "", **more: str) -> tuple[int, str]:
        """Ask as the commands do; return the exit code and the sentence."""
        query = {"service": "custody", "act": act, "uid": "0", "by": "ops", "reason": "CR-7", **more}
        answer = await CutoverApi(self.met.node, asyncio.Lock()).acted(query, body.encode())
        told: dict[str, Any] = json.loads(answer.body)
        return told.get("exit_code", 0), told.get("reason", "")

    def sign(self, act: str, *signing: int) -> None:
        """Write the text of what was refused last, and have people sign it."""
        node = self.met.node
        head = make_head(node.config.node.id, self.people[0].address, SYSTEM_CLOCK.wall(), "CR-7", "It is time")
        where = act_path(self.path, act)
        for old in where.parent.glob(f"{where.name}*"):
            old.unlink()
        where.write_bytes(make_act(head, act, node.approvals.pending[act]).render())
        for number in signing:
            self.people[number].put(where, ACTS[act].namespace)


@pytest.fixture
def approved(met: CutRunning, tmp_path: Path) -> Approved:
    people = make_people(tmp_path / "keys", *NAMES)
    (tmp_path / "allowed_signers").write_text(listed(people))
    path = met.node.config.path
    text = path.read_text()
    for table in ("link", "import", "direct"):
        text = text.replace(f"[[{table}]]\n", f"[[{table}]]\n{rows()}")
    path.write_text(
        f'{text}\n[policy.paper]\n{rows()}\n[approvals]\nsigners = "{tmp_path}/allowed_signers"\nneeds = 2\n'
        f'roles = {{ "Information Assurance" = ["{people[3].address}"] }}\n'
    )
    met.node.approvals.held = read_policy(path)
    return Approved(met, people)


def rows() -> str:
    return "".join(f"{key} = {value if key == 'until' else json.dumps(value)}\n" for key, value in PAPER.items())


async def test_a_start_needs_the_signatures_of_others(approved: Approved) -> None:
    met = approved.met
    code, why = await approved.ask("start", PLAN)
    assert (code, f"pcgrelay plan --act start -c {approved.path}" in why) == (6, True)
    assert met.edge.cutovers.get(CUSTODY) is None
    approved.sign("start", 0, 1)
    code, why = await approved.ask("start", PLAN)
    assert code == 6
    assert "It needs 2 signatures of others than j.smith; has 1 (a.jones). Ask one of: b.khan, c.lee." in why
    approved.sign("start", 1, 2)
    code, why = await approved.ask("start", PLAN.replace("50, 100", "60, 100"))
    assert (code, "about something else" in why) == (6, True)
    assert await approved.ask("start", PLAN) == (0, "")
    assert met.phase.value == "soaking"
    assert met.lines("approval.acted")[-1]["act"] == "start"


async def test_back_never_needs_them_and_a_second_start_needs_new_ones(approved: Approved) -> None:
    await approved.ask("start", PLAN)
    approved.sign("start", 1, 2)
    assert await approved.ask("start", PLAN) == (0, "")
    assert await approved.ask("pause") == (0, "")
    assert await approved.ask("resume") == (0, "")
    assert await approved.ask("back") == (0, "")
    assert approved.met.phase.value == "back"
    code, why = await approved.ask("start", PLAN, again="1")
    assert (code, "was used already, and is good for once" in why) == (6, True)
    assert approved.met.phase.value == "back"
    code, why = await approved.ask("back", waive="enough")
    assert (code, "none to be waived" in why) == (2, True)


async def test_a_start_that_fails_after_its_approval_leaves_that_good(
    approved: Approved, monkeypatch: pytest.MonkeyPatch
) -> None:
    await approved.ask("start", PLAN)
    approved.sign("start", 1, 2)

    async def full(*_: object) -> None:
        raise RunError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(approved.met.edge.cutovers, "request", full)
        assert await approved.ask("start", PLAN) == (1, "The disk is full.")
    assert approved.met.lines("approval.refused")[-1]["reason"] == "not-done"
    assert await approved.ask("start", PLAN) == (0, "")


async def test_waiving_and_pressing_hard_need_them(approved: Approved) -> None:
    await approved.ask("start", PLAN)
    approved.sign("start", 1, 2)
    assert await approved.ask("start", PLAN) == (0, "")
    waiving, hard = {"waive": "enough"}, {"hard": "1"}
    for act, name, more in (("advance", "waive", waiving), ("nudge", "nudge --hard", hard)):
        code, why = await approved.ask(act, **more)
        assert (code, f"With [approvals], {name} needs a text" in why) == (6, True)
        approved.sign(name, 1, 2)
    # Approved, and refused all the same: the signatures are good for the moment when it can be done.
    for _ in range(2):
        assert await approved.ask("advance", **waiving) == (6, NOT_OVER)
    assert approved.met.lines("approval.refused")[-1]["sentence"].endswith(NOT_OVER)
    for _ in range(2):
        code, why = await approved.ask("nudge", **hard)
        assert (code, why.startswith("No stream")) == (1, True)
    assert [line["reason"] for line in approved.met.lines("approval.refused")[-4:]] == ["not-done"] * 4
    # Without force it needs nobody's approval.
    assert await approved.ask("nudge") == (code, why)


async def test_advice_is_signed_by_somebody_who_has_the_role(approved: Approved) -> None:
    await approved.ask("start", PLAN)
    approved.sign("start", 1, 2)
    assert await approved.ask("start", PLAN) == (0, "")
    role = {"role": "information assurance"}
    code, why = await approved.ask("advice", **role)
    assert code == 6
    assert f'Nobody who has the role "information assurance" has signed it. Ask {approved.people[3].address}.' in why
    approved.sign("advice", 1, 2)
    code, why = await approved.ask("advice", **role)
    assert (code, "Nobody who has the role" in why) == (6, True)
    approved.sign("advice", 1)
    code, why = await approved.ask("advice", **role)
    assert (code, "has 1 (a.jones)" in why, "Nobody who has the role" in why) == (6, True, True)
    approved.sign("advice", 1, 3)
    assert await approved.ask("advice", **role) == (0, "")
    assert approved.met.lines("cutover.advised")[-1]["role"] == "information assurance"
    # It is taken back without them.
    assert await approved.ask("advice", withdraw="1", **role) == (0, "")
