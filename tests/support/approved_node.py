"""The folder of a node whose policy was approved twice by two persons, as files, without a running node."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pcgrelay import __version__, config
from pcgrelay.assure.parameters import Parameters
from pcgrelay.assure.scene import Scene
from pcgrelay.config import Config
from pcgrelay.policy.change import WIDENS, Change, make_head, time_shown
from pcgrelay.policy.digest import digest_on_disk
from pcgrelay.policy.signed_text import Line
from pcgrelay.state.approved import CHANGE, POLICY, SIGNERS, TRUST, Approved, ApprovedStore, Pointer
from tests.support.documented_config import approved, written
from tests.support.signing import Person, listed, make_people

MADE = datetime(2026, 10, 1, 9, 12, tzinfo=UTC)
TAKEN = datetime(2026, 10, 1, 10, 0, tzinfo=UTC)


@dataclass
class ApprovedNode:
    """A folder with a configuration, its signers, and STATE/approved."""

    folder: Path
    people: list[Person]
    values: dict[str, Any] = field(default_factory=approved)

    @classmethod
    def make(cls, folder: Path) -> ApprovedNode:
        node = cls(folder, make_people(folder / "keys", "a.jones", "b.khan", "j.smith"))
        (folder / "state").mkdir(mode=0o700)
        (folder / "allowed_signers").write_text(listed(node.people))
        (folder / "ca.pem").write_text("a CA\n")
        node.values["node"]["state"] = "state"
        node.values["node"]["admin"] = "kent-1.sock"
        node.values.pop("audit", None)
        node.values["identity"]["trust"] = "ca.pem"
        node.take("CR-1", is_first=True)
        node.values["export"][0]["allow"] = ["met.police.example", "essex.police.example"]
        node.take("CR-2")
        return node

    @property
    def config(self) -> Config:
        return config.load(self.folder / "kent-1.toml")

    @property
    def store(self) -> ApprovedStore:
        return ApprovedStore(self.folder / "state")

    def write(self) -> Config:
        (self.folder / "kent-1.toml").write_text(written(self.values))
        return self.config

    def take(self, number: str, signers: tuple[int, ...] = (0, 1), *, is_first: bool = False) -> Approved:
        """Take the configuration as it is now, signed by these of the people; j.smith proposes it."""
        settings = self.write()
        before = self.store.read()
        head = make_head(settings.node.id, self.people[2].address, MADE, number, "Joint operation")
        change = Change(
            head,
            before.pointer.digest if before else "",
            digest_on_disk(settings),
            (Line(WIDENS, "export custody: allow essex.police.example added"),),
        ).render()
        files = {
            POLICY: (self.folder / "kent-1.toml").read_bytes(),
            SIGNERS: (self.folder / "allowed_signers").read_bytes(),
            TRUST: (self.folder / "ca.pem").read_bytes(),
            CHANGE: change,
            **{f"{CHANGE}.{self.people[n].address}.sig": self.people[n].sign(change) for n in signers},
        }
        pointer = Pointer(
            folder="",
            digest=digest_on_disk(settings),
            version=__version__,
            files={},
            taken=time_shown(TAKEN),
            by=head.by,
            change=number,
            is_first=is_first,
        )
        return self.store.write(files, pointer)

    def scene(self, folder: Path, parameters: Parameters | None = None) -> Scene:
        folder.mkdir(exist_ok=True)
        return Scene(self.config, parameters or Parameters(), folder)
