"""Faults are made where they would be: in a file, a certificate, a list, a text of the kernel. Each flips exactly the
control that is about it, read by the readers that a run has."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from pcgrelay.assure.readers import backups, software
from pcgrelay.backup import make_backup
from pcgrelay.state.approved import CHANGE, ApprovedStore
from tests.support.source_world import NET_TCP, PROC_STATUS, RECORDS, SourceWorld, weak_ca

Fault = Callable[[SourceWorld], object]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[SourceWorld]:
    # A short path, for the back-up is restored below it, and the path of a unix socket is soon too long.
    with tempfile.TemporaryDirectory() as folder:
        yield SourceWorld(Path(folder), monkeypatch)


def status(old: str, new: str) -> Fault:
    assert old in PROC_STATUS
    return lambda world: world.kernel(status=PROC_STATUS.replace(old, new))


def short_leaf(world: SourceWorld) -> None:
    now = datetime.now(UTC)
    shutil.rmtree(world.files.certificate.parent)
    world.pki.authority.issue(
        "kent.police.example",
        "kent-1",
        world.files.certificate.parent,
        not_before=now - timedelta(days=1),
        not_after=now + timedelta(days=5),
    )


def weak_anchor(world: SourceWorld) -> None:
    """A second trusted CA, with a key of RSA 1024; whoever approves the policy has its certificate before them."""
    world.pki.trust.write_bytes(world.pki.trust.read_bytes() + weak_ca())
    world.take("CR-3")


def stale_list(world: SourceWorld) -> None:
    world.pki.crl.write_bytes(world.pki.list_made(datetime.now(UTC) - timedelta(days=9)))


def unrevoked(world: SourceWorld) -> None:
    other = world.pki.issue("revoked.example", "revoked-2")
    world.revoked.certificate.write_bytes(other.certificate.read_bytes())
    world.revoked.key.write_bytes(other.key.read_bytes())


def approved(world: SourceWorld, table: str, number: int = 0, **changes: object) -> None:
    """An edit that two persons have approved all the same."""
    entry = world.values[table]
    (entry[number] if isinstance(entry, list) else entry).update(changes)
    world.take("CR-3")


def readers_beside(world: SourceWorld) -> None:
    approved(world, "metrics", listen="10.0.0.1:9740")
    world.kernel(net_tcp=NET_TCP.replace("0100007F:260C", "0100000A:260C"))


def edited(world: SourceWorld) -> None:
    world.values["export"][0]["allow"].append("sussex.police.example")
    world.write()


def signature_again(world: SourceWorld) -> None:
    """One person has signed twice: the second signature is theirs under another's name."""
    store = ApprovedStore(world.state)
    held = store.read()
    assert held is not None
    first, second = (f"{CHANGE}.{world.people[n].address}.sig" for n in (0, 1))
    store.write({**held.files, second: held.files[first]}, held.pointer)


def session(world: SourceWorld, **changes: object) -> None:
    world.status = replace(world.status, sessions=(replace(world.status.sessions[0], **changes),))


def signer_without_end(world: SourceWorld) -> None:
    world.signed_until("")
    world.take("CR-3")


def unjudged(world: SourceWorld) -> None:
    """It was started with another file, and not reloaded since."""
    world.status = replace(world.status, links=tuple(replace(each, cleared="") for each in world.status.links))


def shared_principal(world: SourceWorld) -> None:
    """Jones has a second key, in the place of Khan's."""
    text = world.signers.read_text()
    world.signers.write_text(text.replace(world.people[1].address, world.people[0].address))
    world.take("CR-3", (0, 2))


def uncoded(world: SourceWorld) -> None:
    del world.values["import"][0]["srv"]
    world.take("CR-3")


def changed_file(world: SourceWorld) -> None:
    (world.folder / "site" / "model.py").write_bytes(b"print('other')\n")


def library(world: SourceWorld) -> None:
    world.patch.setattr(software, "data_plane_library", lambda: "OpenSSL 3.3.4 1 Jul 2025, built into pcgrelay")


def bad_disk(world: SourceWorld) -> None:
    """A disk that changes a byte of what it keeps."""

    def kept(*arguments: object, **named: object) -> object:
        made = make_backup(*arguments, **named)  # type: ignore[arg-type]
        path = Path(str(arguments[1]))
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        return made

    world.patch.setattr(backups, "make_backup", kept)


FAULTS: dict[str, tuple[str, str, Fault]] = {
    "the leaf ends in 5 days": ("K4", "ends in 4 days", short_leaf),
    "a CA of RSA 1024": ("K4", "has an RSA key of 1024 bits", weak_anchor),
    "the revocation list is stale": ("K6", "was made 9 days ago", stale_list),
    "the revoked identity is good": ("K6", "the revoked identity is good", unrevoked),
    "core dumps on": (
        "K9", "core dumps are on (no limit)",
        lambda world: world.kernel(limits="Max core file size  unlimited  unlimited  bytes\n"),
    ),
    "memory in core dumps": ("K9", "would hold memory", lambda world: world.kernel(coredump_filter="00000033\n")),
    "swap on": ("K9", "1 swap area is on", lambda world: world.kernel(swaps="x\n/dev/sda2 partition 1 0 -2\n")),
    "user root": ("L1", "it runs as root", status("UID\tUID", "0\t0")),
    "a capability left": ("L1", "CAP_SYS_ADMIN", status("CapEff:\t0000000000000000", "CapEff:\t0000000000200000")),
    "seccomp off": ("L1", "seccomp is off", status("Seccomp:\t2", "Seccomp:\t0")),
    "privileges can be got": ("L1", "NoNewPrivs is off", status("NoNewPrivs:\t1", "NoNewPrivs:\t0")),
    "a root that can be written": (
        "L1", "can be written", lambda world: world.kernel(mountinfo="22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n")
    ),
    "an extra port": (
        "N2", "port 8080 is open", lambda world: world.kernel(net_tcp=NET_TCP + NET_TCP[-110:].replace("3C59", "1F90"))
    ),
    "readers at the address of applications": (
        "N1", "meet", readers_beside
    ),
    "an edit that nobody approved": ("N3", "was approved", edited),
    "a rule that has ended": (
        "N3", "export[1] ended on", lambda world: approved(world, "export", until=world.today - timedelta(days=1))
    ),
    "the admin socket 0660": ("N4", "its mode is 0660", lambda world: (world.folder / "admin.sock").chmod(0o660)),
    "a bearer below the marking": (
        "N7", "psn is cleared for OFFICIAL", lambda world: approved(world, "bearer", marking="OFFICIAL")
    ),
    "a process that judges by no bearer": (
        "N7", "the running node clears internet for more than the file says; the running node clears psn", unjudged
    ),
    "a session over another network": (
        "N7", "cjx is cleared for OFFICIAL", lambda world: session(world, bearers=("psn", "cjx"))
    ),
    "a relay further on that is not cleared": (
        "N7", "far.example is cleared for OFFICIAL",
        lambda world: session(world, relays=("relay-1.hub.example", "relay-9.far.example")),
    ),
    "a wildcard of relays": ("N7", "relays has *", lambda world: approved(world, "policy", relays=["*.example"])),
    "a service without its code": ("N8", "import[1] has no srv", uncoded),
    "half-open handshakes above memory": (
        "N9", "of them may need", lambda world: approved(world, "policy", half_open_total=4_096)
    ),
    "a signer without an end": ("L3", "has no end", signer_without_end),
    "a shared principal": ("L3", "has 2 keys", shared_principal),
    "one person signs twice": ("L4", "has 1 of 2 signatures", signature_again),
    "only one signs": ("L4", "has 1 of 2 signatures", lambda world: world.take("CR-3", (0,))),
    "the proposer signs": ("L4", "has 1 of 2 signatures", lambda world: world.take("CR-3", (0, 3))),
    "a short retention": ("M5", "kept for 30 days", lambda world: approved(world, "audit", keep_days=30)),
    "a segment that others may write": ("M5", "others may write", lambda world: next(world.log.iterdir()).chmod(0o666)),
    "an alert that names a metric that is gone": (
        "M7", "no node has pcgrelay_gone",
        lambda world: world.rules("groups:\n- name: x\n  rules:\n  - alert: A\n    expr: pcgrelay_gone > 0\n"),
    ),
    "an old drill": ("R2", "days ago", lambda world: world.drilled(ended="2026-01-01T10:00:00Z")),
    "a failed drill": ("R2", "the drill failed", lambda world: world.drilled(result="failed")),
    "a drill of another node": ("R2", "another node", lambda world: world.drilled(node="met-1.met.police.example")),
    "a corrupt back-up": ("R6", "", bad_disk),
    "a component that is not listed": ("S1", "cryptography is not in it", lambda world: world.components(["uvloop"])),
    "a file of the wheel changed": ("S2", "model.py was changed", changed_file),
    "an OpenSSL past its support": ("S3", "was supported by OpenSSL until 2026-04-09", library),
    "a release past its date": ("S4", "is 500 days old", lambda world: world.made(500)),
    "a bearer out of support": (
        "D1", "bearer psn was supported until",
        lambda world: approved(world, "bearer", supported_until=world.today - timedelta(days=1)),
    ),
}  # fmt: skip


async def test_without_a_fault_all_pass(world: SourceWorld) -> None:
    assert await world.failing() == {}
    assert RECORDS in world.status.services[0].name


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_at_its_source_flips_exactly_its_control(world: SourceWorld, name: str) -> None:
    control, said, fault = FAULTS[name]
    fault(world)
    found = await world.failing()
    assert list(found) == [control], found
    assert said in found[control]
