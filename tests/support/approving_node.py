"""A node in this process whose changes have to be approved, and the people who approve them."""

from __future__ import annotations

import asyncio
import io
from datetime import timedelta
from pathlib import Path
from typing import Any

from pcgrelay.admin.answers import ReloadAnswer
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.daemon.reload import Reloader
from pcgrelay.daemon.run import make_node
from pcgrelay.gateway.approved_start import starting_policy
from pcgrelay.log.writer import Log
from pcgrelay.policy.change import Change, make_head
from pcgrelay.policy.gate import Policy, change_path, kept_policy, propose, read_policy
from pcgrelay.state.approved import ApprovedStore
from pcgrelay.state.folder import StateFolder
from tests.support import fake_core
from tests.support.nodes_in_process import HUB, KENT, MET, Nodes, Running
from tests.support.ports import free_port
from tests.support.signing import Person, listed, make_people

ESSEX = "essex.police.example"  # an organisation that no first policy allows

UNTIL = (SYSTEM_CLOCK.wall() + timedelta(days=100)).date()
PAPER: dict[str, Any] = {
    "owner": "j.smith@kent.police.example",
    "reason": "Custody look-ups",
    "change": "CR-1042",
    "until": UNTIL,
}
NAMES = ("j.smith", "a.jones", "b.khan", "c.lee")


class ApprovedNode:
    """A node below a folder, its files, and four people of whom two have to sign."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.people = make_people(nodes.folder / "keys", *NAMES)
        self.signers = nodes.folder / "allowed_signers"
        self.signers.write_text(listed(self.people))
        self.state = nodes.folder / "state"
        self.state.mkdir(mode=0o700)
        self.port = free_port()
        self.approvals: dict[str, Any] = {"signers": str(self.signers), "needs": 2}
        self.path = self.write()
        self.running: Running | None = None

    @property
    def store(self) -> ApprovedStore:
        return ApprovedStore(self.state)

    def write(self, *allow: str, **tables: Any) -> Path:
        """Write the configuration: an export that some may use."""
        export = {"service": "custody", "target": "127.0.0.1:5432", "allow": list(allow or (MET,)), **PAPER}
        listen = {"address": f"127.0.0.1:{self.port}", **PAPER}
        wanted: dict[str, Any] = {
            "listens": [listen],
            "exports": [export],
            "policy": {"paper": PAPER},
            "approvals": self.approvals,
            "node_table": {"state": str(self.state)},
        }
        wanted.update(tables)
        if wanted["approvals"] is None:
            del wanted["approvals"]
        return self.nodes.write(KENT, "kent-1", **wanted)

    def held(self) -> Policy | None:
        kept = self.store.read()
        return None if kept is None else kept_policy(kept, self.path)

    def text(self, by: Person | None = None, **head: Any) -> Change:
        """The change that the files are, as `pcgrelay plan` writes it."""
        held, fresh = self.held(), read_policy(self.path)
        proposed = propose(held, fresh)
        made = make_head(
            fresh.config.node.id, (by or self.people[0]).address, head.pop("made", SYSTEM_CLOCK.wall()), "CR-1042",
            "Joint operation", **head,
        )  # fmt: skip
        return Change(made, proposed.before, proposed.after, proposed.lines)

    def plan(self, *signing: Person, by: Person | None = None, text: bytes | None = None, **head: Any) -> Path:
        """Write the change beside the file, and have people sign it."""
        where = change_path(self.path)
        for old in where.parent.glob(f"{where.name}.*"):
            old.unlink()
        where.write_bytes(text if text is not None else self.text(by, **head).render())
        for person in signing:
            person.put(where)
        return where

    async def start(self) -> Running:
        """Start the node as the daemon does."""
        policy = starting_policy(self.path)
        sink = io.StringIO()
        log = Log("debug", sink)
        node = make_node(policy.config, fake_core, log, policy.load())
        node.approvals.restore(policy.start)
        node.state = StateFolder.take(self.state)
        node.audit.attach(node.state)
        node.audit.start()
        await node.approvals.begin(policy.start, must_keep=True)
        await node.start()
        await asyncio.sleep(0)  # its tasks run, before anything can stop them
        self.running = Running(node, sink)
        self.nodes.running.append(self.running)
        return self.running

    async def stop(self) -> None:
        assert self.running is not None
        listening = self.running.node.listeners.sockets()
        await self.running.node.stop()
        for sock in listening.values():
            sock.close()  # as the end of a process does
        assert self.running.node.state is not None
        self.running.node.state.close()

    async def first(self) -> Running:
        """Start with a first policy that two have signed."""
        self.plan(*self.people[1:3])
        return await self.start()

    async def widened(self) -> None:
        """Have a first policy approved, and Essex allowed by the file alone."""
        await self.first()
        self.write(MET, ESSEX)

    async def reload(self, uid: int | None = 1000, change: Path | None = None) -> ReloadAnswer:
        assert self.running is not None
        node = self.running.node
        return await Reloader(node, node.log, lambda note: None).reload(uid, change)

    async def refused(self, reason: str, words: str = "") -> str:
        """Reload; it must be refused by that name, and what was in force is in force."""
        assert self.running is not None
        before = self.allowed(), self.running.node.approvals.digest
        answer = await self.reload()
        assert not answer.ok
        assert answer.exit_code == 6, answer
        assert answer.reason.isprintable()
        record = self.running.lines("policy.refused")[-1]
        assert record["reason"] == reason, record
        assert words in answer.reason
        assert self.running.lines("config.refused")[-1]["reason"] == answer.reason
        assert (self.allowed(), self.running.node.approvals.digest) == before
        assert self.running.node.approvals.refused[f"approval_{reason.replace('-', '_')}"] >= 1
        return answer.reason

    def allowed(self) -> tuple[str, ...]:
        """Who may use the export, in force."""
        assert self.running is not None
        return self.running.node.config.exports[0].allow


__all__ = ["ESSEX", "HUB", "KENT", "MET", "PAPER", "ApprovedNode"]
