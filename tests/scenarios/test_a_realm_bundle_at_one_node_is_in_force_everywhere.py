"""A realm bundle that is put at one edge reaches four links away, ends what it no longer allows, and is not undone."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.kit.echo_witness import Echo, Witness, host_port
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, PCGRELAY, Address, Node, Stage
from tests.scenarios.kit.reload_setup import reload
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

SUSSEX = "sussex.police.example"
IN_FORCE_S = 5.0
START_S = 60.0


class Realm:
    """kent-1 - relay-1 - relay-2 - relay-3 - met-1, and sussex-1 at relay-3. Kent exports; the other edges import."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.target: Address = (HOST, free_port())
        self.file = stage.folder / "realm.bundle"
        self.signer = stage.folder / "signer"
        ports = [free_port() for _ in range(3)]
        to = [{"peer": f"relay-{n}.{HUB}", "address": host_port(port)} for n, port in enumerate(ports, 1)]
        echo = {"service": "echo", "target": host_port(self.target[1]), "allow": [MET, SUSSEX]}
        self.doors = {name: (HOST, free_port()) for name in ("met-1", "sussex-1")}
        self.relays = [
            self._node(HUB, f"relay-{n}", role="relay", listens=[host_port(port)], links=to[n - 2 : n - 1])
            for n, port in enumerate(ports, 1)
        ]
        bundle = {"realm_table": {"bundle": str(self.file)}}
        self.kent = self._node(KENT, "kent-1", links=[to[0]], exports=[echo], **bundle)
        self.met, self.sussex = (
            self._node(organisation, name, links=[to[2]], imports=[self._entry(name)])
            for organisation, name in ((MET, "met-1"), (SUSSEX, "sussex-1"))
        )

    def _entry(self, name: str) -> dict[str, Any]:
        return {"service": f"echo@{KENT}", "listen": host_port(self.doors[name][1])}

    def _node(self, organisation: str, name: str, **tables: Any) -> Node:
        state = self.stage.folder / f"{name}.state"
        state.mkdir(mode=0o700)
        return self.stage.node(organisation, name, node_table={"lanes": 1, "state": str(state)}, **tables)

    @property
    def everybody(self) -> tuple[Node, ...]:
        return (self.kent, *self.relays, self.met, self.sussex)

    def sign(self, *members: str, options: tuple[str, ...] = (), out: Path | None = None) -> None:
        """The realm's signer writes a bundle with these members."""
        text = self.stage.folder / "realm.toml"
        named = ", ".join(f'"{each}"' for each in members)
        text.write_text(f'realm = "police.example"\nmembers = [{named}]\n')
        command("ca", "bundle", "sign", text, "--signer", self.signer, "--out", out or self.file, *options)

    def epochs(self) -> dict[str, int]:
        found = {node.name: node.status().bundle for node in self.everybody}
        return {name: 0 if each is None else each.epoch for name, each in found.items()}


def command(*words: object) -> str:
    done = subprocess.run([PCGRELAY, *map(str, words)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Realm]:
    with Stage(tmp_path) as stage:
        made = Realm(stage)
        command("ca", "bundle", "key", stage.pki.authority.folder, "--out", made.signer)
        made.sign("*.police.example", HUB)
        stage.start()
        stage.await_well()
        until(lambda: set(made.epochs().values()) == {1}, START_S)
        yield made


def test_who_is_no_member_is_cut_off_and_an_older_bundle_undoes_nothing(
    realm: Realm, figure: Callable[[str], None]
) -> None:
    old = realm.file.read_bytes()
    who_is_no_member_any_more_is_cut_off_and_nobody_else(realm, figure)
    an_older_one_is_refused_after_an_upgrade_a_restart_and_in_the_file(realm, old)


def who_is_no_member_any_more_is_cut_off_and_nobody_else(realm: Realm, figure: Callable[[str], None]) -> None:
    far = realm.relays[2]
    with Echo(realm.target), Witness(realm.doors["sussex-1"]) as sussex, Witness(realm.doors["met-1"]) as met:
        realm.sign(KENT, SUSSEX, HUB)
        began = time.monotonic()
        answer = reload(realm.kent)
        assert answer.changes == ("realm bundle 2 taken",), answer.reason
        far.await_log("bundle.taken", IN_FORCE_S, epoch=2, source=f"relay-2.{HUB}")
        far.await_log("link.down", IN_FORCE_S, peer=realm.met.dotted, reason="not_a_member")
        took = time.monotonic() - began
        assert took < IN_FORCE_S
        realm.sussex.await_log("bundle.taken", IN_FORCE_S, epoch=2, source=f"relay-3.{HUB}")
        figure(f"three links away the link had ended after {took * 1000:.0f} ms")
        until(lambda: met.fault)
        sussex.check()
    until(lambda: far.status().refusals.get("not_a_member", 0) > 0)
    for node in (realm.kent, *realm.relays, realm.sussex):
        assert not node.log("bundle.refused")
    assert not realm.kent.log("link.down")


def an_older_one_is_refused_after_an_upgrade_a_restart_and_in_the_file(realm: Realm, old: bytes) -> None:
    realm.sign("*.police.example", HUB)
    assert reload(realm.kent).ok
    # Who had been cut off is let in again, and is told then.
    until(lambda: set(realm.epochs().values()) == {3}, 30.0)
    second = realm.relays[1]
    answer = second.upgrade()
    assert answer.returncode == 0, answer.stderr
    assert realm.epochs()["relay-2"] == 3
    # The one in the file is of before: the operator's mistake, or somebody's attack.
    realm.file.write_bytes(old)
    refused = reload(realm.kent)
    assert (refused.ok, refused.exit_code) == (False, 78)
    assert "The bundle has epoch 1, and epoch 3 is in force" in refused.reason
    realm.kent.kill()
    realm.stage.start(realm.kent)
    assert realm.epochs()["kent-1"] == 3
    done = command("check", "-c", realm.kent.config)
    assert "A newer bundle than that of the file (epoch 1) is in force here: 3." in " ".join(done.split())
    second.kill()
    realm.stage.start(second)
    assert realm.epochs()["relay-2"] == 3
    until(lambda: set(realm.epochs().values()) == {3})
