"""All that the readers of controls read of an edge, as real files, and a /proc in a folder: so that a fault can be made
where it would be, and each control be read as it is.

What only a running node has (handshakes, links, the log under its witness) is for scenarios.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from msgspec.structs import replace

from pcgrelay import __version__, config
from pcgrelay.admin.client import Page
from pcgrelay.admin.status import OutletStatus, ServiceStatus, Status
from pcgrelay.assure.catalogue import load_controls, load_profile
from pcgrelay.assure.judgement import PASSED, Judgement
from pcgrelay.assure.parameters import MonitoringParameters
from pcgrelay.assure.readers import alerts, process, software
from pcgrelay.assure.runner import run_controls
from pcgrelay.assure.scene import Scene
from pcgrelay.assure.tests import TESTS
from pcgrelay.audit.segments import segment_name
from pcgrelay.config import Config
from pcgrelay.drills.record import BACKUP, DrillRecord
from pcgrelay.drills.record import PASSED as HELD
from pcgrelay.gateway.drill_files import DrillFiles
from pcgrelay.policy.change import WIDENS, Change, make_head, time_shown
from pcgrelay.policy.digest import digest_on_disk
from pcgrelay.policy.signed_text import Line
from pcgrelay.state.approved import CHANGE, POLICY, SIGNERS, TRUST, ApprovedStore, Pointer
from tests.support.alert_rules import RULES
from tests.support.documented_config import written
from tests.support.healthy_status import HEALTHY
from tests.support.pki import RealmPki
from tests.support.signing import NAMESPACES, Person, make_people

KENT, MET = "kent.police.example", "met.police.example"
RECORDS = f"records@{MET}"
PID = "4711"
# Those whose sources are all here.
CONTROLS = (
    "K4", "K6", "K9", "N1", "N2", "N3", "N4", "N7", "N8", "N9", "L1", "L3", "L4",
    "M5", "M7", "R2", "R6", "S1", "S2", "S3", "S4", "S5", "D1",
)  # fmt: skip
PROC_STATUS = """\
Uid:\tUID\tUID\tUID\tUID
VmLck:\t       0 kB
VmRSS:\t   40000 kB
CapPrm:\t0000000000000000
CapEff:\t0000000000000000
CapBnd:\t0000000000000000
NoNewPrivs:\t1
Seccomp:\t2
"""
NET_TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:260C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 777 1 0 100 0 0 10 0
   1: 0100000A:3C59 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 777 1 0 100 0 0 10 0
"""
# What the kernel says of a node in its unit, by files of its folder in /proc.
PROC = {
    "status": PROC_STATUS,
    "mountinfo": "22 1 8:1 / / ro,relatime shared:1 - ext4 /dev/sda1 ro\n",
    "cgroup": "0::/system.slice/pcgrelay@kent-1.service\n",
    "limits": "Max core file size        1                    1                    bytes\n",
    "coredump_filter": "00000000\n",
    f"task/{PID}/schedstat": "1000000 0 1\n",
    "net/tcp": NET_TCP,
    "net/tcp6": NET_TCP.partition("\n")[0] + "\n",
}
SWAPS = "Filename\tType\tSize\tUsed\tPriority\n"


def fingerprint(person: Person) -> str:
    """Return the fingerprint of a key as ssh-keygen writes it."""
    digest = hashlib.sha256(base64.b64decode(person.public.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def weak_ca() -> bytes:
    """Return a CA with a key of RSA 1024, as PEM."""
    key, now = rsa.generate_private_key(65537, 1024), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "weak CA")])
    serial, start, end = x509.random_serial_number(), now - timedelta(days=1), now + timedelta(days=900)
    builder = x509.CertificateBuilder(name, name, key.public_key(), serial, start, end)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


class StillScene(Scene):
    """A scene whose node is that status and that folder in /proc."""

    said: Status

    def status(self) -> Status:
        return self.said

    def pid(self) -> int:
        return int(PID)


@dataclass
class SourceWorld:
    """Kent's edge: two networks, a critical import with a direct outlet that was drilled, two changes approved."""

    folder: Path
    patch: pytest.MonkeyPatch

    def __post_init__(self) -> None:
        self.today = datetime.now(UTC).date()
        end = self.today + timedelta(days=90)
        self.paper = {"owner": f"j.smith@{KENT}", "reason": "Joint", "change": "CR-1", "until": end}
        self.people = make_people(self.folder / "keys", "a.jones", "b.khan", "c.lee", "j.smith")
        self.signers = self.folder / "allowed_signers"
        self.signed_until(end.strftime("%Y%m%dZ"))
        self.pki = RealmPki(self.folder)
        self.files = self.pki.issue(KENT, "kent-1")
        self.revoked = self.pki.issue("revoked.example", "revoked-1", revoked=True)
        self.state = self.folder / "state"
        self.state.mkdir(mode=0o700)
        self.values = self.tables()
        self.log = self.state / "audit" / "log"
        self.log.mkdir(parents=True, mode=0o700)
        self.lines: list[dict[str, Any]] = []
        self.status = self.node_status()
        self.take("CR-1", is_first=True)
        self.values["export"][0]["allow"].append("essex.police.example")
        self.take("CR-2")
        self.admin_socket()
        self.drilled()
        self.kernel()
        self.installed()

    # -- the configuration, and who approved it --------------------------------------------------------------------

    def tables(self) -> dict[str, Any]:
        links = [
            {"peer": f"relay-{n}.{organisation}", "address": f"192.0.2.{n}:7400", "bearer": bearer, **self.paper}
            for n, (organisation, bearer) in enumerate((("hub.example", "psn"), ("backup.example", "internet")), 1)
        ]
        entry = {"service": RECORDS, "listen": "10.0.0.1:15449", "priority": "critical", "srv": "SRV00123"}
        export = {"service": "custody", "target": "127.0.0.1:5432", "allow": [MET], "marking": "OFFICIAL-SENSITIVE"}
        bearers = [
            {"name": name, "marking": "OFFICIAL-SENSITIVE", "supported_until": self.paper["until"]}
            for name in ("psn", "internet")
        ]
        identity = {"certificate": self.files.certificate, "key": self.files.key}
        return {
            "node": {
                "name": "kent-1",
                "organisation": KENT,
                "realm": self.pki.name,
                "role": "edge",
                "memory": "64MiB",
                "state": "state",
                "admin": "admin.sock",
            },
            "identity": {key: str(path) for key, path in identity.items()}
            | {"trust": str(self.pki.trust), "crl": str(self.pki.crl)},
            "policy": {
                "members": ["*"],
                "relays": ["hub.example", "backup.example"],
                "clearances": dict.fromkeys(("hub.example", "backup.example"), "OFFICIAL-SENSITIVE"),
                "half_open_total": 64,
                "half_open_per_source": 16,
                "paper": self.paper,
            },
            "bearer": bearers,
            "link": links,
            "export": [{**export, **self.paper}],
            "import": [{**entry, **self.paper}],
            "approvals": {"signers": str(self.signers)},
            "audit": {"keep_days": 400},
            "assure": {"revoked": str(self.revoked.certificate)},
            "metrics": {"listen": "127.0.0.1:9740"},
        }

    def signed_until(self, end: str, people: Sequence[int] = (0, 1, 2, 3)) -> None:
        """Write the list of signers. end: as ssh-keygen has it; "": without."""
        options = f'namespaces="{NAMESPACES}"' + (f',valid-before="{end}"' if end else "")
        self.signers.write_text("".join(self.people[n].line(options) for n in people))

    def write(self) -> Config:
        (self.folder / "kent-1.toml").write_text(written(self.values))
        return config.load(self.folder / "kent-1.toml")

    def take(self, number: str, signers: tuple[int, ...] = (0, 1), *, is_first: bool = False) -> None:
        """Have the configuration approved as it is now, by these of the people, and put that on record."""
        settings, store, now = self.write(), ApprovedStore(self.state), datetime.now(UTC).replace(microsecond=0)
        before = store.read()
        head = make_head(settings.node.id, self.people[3].address, now, number, "Joint operation")
        told = before.pointer.digest if before else ""
        digest = digest_on_disk(settings)
        change = Change(head, told, digest, (Line(WIDENS, f"change {number}"),)).render()
        files = {
            POLICY: settings.path.read_bytes(),
            SIGNERS: self.signers.read_bytes(),
            TRUST: self.pki.trust.read_bytes(),
            CHANGE: change,
            **{f"{CHANGE}.{self.people[n].address}.sig": self.people[n].sign(change) for n in signers},
        }
        pointer = Pointer(folder="", digest=digest, version=__version__, files={}, taken=time_shown(now), by=head.by)
        store.write(files, replace(pointer, change=number, is_first=is_first))
        line = {"event": "policy.first" if is_first else "policy.taken", "after": digest, "change": number}
        line |= {"widens": 1, "keys": [fingerprint(self.people[n]) for n in signers]}
        self.record(line)

    def record(self, line: Mapping[str, Any]) -> None:
        """Put something on record."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        self.lines.append({"n": len(self.lines), "ts": now, **line})
        path = self.log / segment_name(0)
        path.write_text("".join(json.dumps(each, separators=(",", ":")) + "\n" for each in self.lines))
        path.chmod(0o600)

    # -- what a node has -------------------------------------------------------------------------------------------

    def node_status(self) -> Status:
        session = replace(
            HEALTHY.sessions[0], marking=2, via="relay-1.hub.example", bearers=("psn",), relays=("relay-1.hub.example",)
        )
        outlets = (OutletStatus(name="gateway", kind="gateway", state="ready"),)
        service = ServiceStatus(name=RECORDS, direction="import", state="ready", health="ok", outlets=outlets)
        links = tuple(replace(each, cleared="OFFICIAL-SENSITIVE") for each in HEALTHY.links)
        return replace(
            HEALTHY,
            links=links,
            node=replace(HEALTHY.node, version=__version__),
            sessions=(session,),
            services=(service,),
        )

    def admin_socket(self) -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(self.folder / "admin.sock"))
        (self.folder / "admin.sock").chmod(0o600)

    def drilled(self, **changes: str) -> None:
        """Keep the report of a drill."""
        ended = f"{datetime.now(UTC) - timedelta(days=3):%Y-%m-%dT%H:%M:%SZ}"
        record = DrillRecord(
            id=f"2026-11-01-backup-{RECORDS}", kind=BACKUP, subject=RECORDS, node=f"kent-1.{KENT}", begun="",
            ended=ended, result=HELD,
        )  # fmt: skip
        DrillFiles(self.state).write(replace(record, **changes))

    def kernel(self, swaps: str = SWAPS, **changes: str) -> None:
        """Write the folder of the process in /proc. changes: other texts, with _ for / in their names."""
        proc, uid = self.folder / "proc", os.getuid() or 990
        for name, text in {**PROC, **{key.replace("net_", "net/"): text for key, text in changes.items()}}.items():
            path = proc / PID / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("UID", str(uid)))
        if not os.getuid():
            os.chown(proc / PID, uid, uid)  # as of one that may be dumped
        (proc / PID / "fd").mkdir(exist_ok=True)
        if not (proc / PID / "fd" / "7").is_symlink():
            (proc / PID / "fd" / "7").symlink_to("socket:[777]")
        (proc / "sys" / "kernel").mkdir(parents=True, exist_ok=True)
        (proc / "sys" / "kernel" / "core_pattern").write_text("core\n")
        (proc / "swaps").write_text(swaps)
        self.patch.setattr(process, "PROC", proc)

    def installed(self) -> None:
        """A distribution with one file, a list of components, a table of support and the node's metrics."""
        site, data = self.folder / "site", b"print('model')\n"
        info = site / "pcgrelay-0.1.0.dist-info"
        info.mkdir(parents=True)
        (site / "model.py").write_bytes(data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        (info / "RECORD").write_text(f"model.py,sha256={digest},{len(data)}\n{info.name}/RECORD,,\n")
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pcgrelay\nVersion: 0.1.0\n")
        self.patch.setattr(software, "distributions", lambda: [metadata.Distribution.at(info)])
        self.components([*software.required()])
        self.made(30)
        self.patch.setattr(alerts, "read_page", lambda admin, path: Page(200, "text/plain", b"", {}))
        self.rules(RULES.read_text())

    def components(self, names: list[str]) -> None:
        folder = self.folder / "prefix" / "share" / "doc" / "pcgrelay"
        folder.mkdir(parents=True, exist_ok=True)
        listed = {"metadata": {"component": {"version": __version__}}, "components": [{"name": name} for name in names]}
        (folder / "pcgrelay.cdx.json").write_text(json.dumps(listed))
        self.patch.setattr(sys, "prefix", str(self.folder / "prefix"))

    def made(self, days_ago: int) -> None:
        """Write when this release was made."""
        text = (Path(software.__file__).parents[1] / "support.toml").read_text()
        path = self.folder / "support.toml"
        lines = [
            f"made = {self.today - timedelta(days=days_ago)}" if each.startswith("made = ") else each
            for each in text.splitlines()
        ]
        path.write_text("\n".join(lines) + "\n")
        self.patch.setattr(software, "SUPPORT", path)

    def rules(self, text: str) -> None:
        (self.folder / "pcgrelay.yml").write_text(text)

    # -- all of it, read and judged --------------------------------------------------------------------------------

    async def outcomes(self) -> dict[str, Judgement]:
        """Read and judge all controls, as a run does."""
        profile = load_profile("ncsc-official", load_controls(TESTS))
        monitoring = MonitoringParameters(rules=str(self.folder / "pcgrelay.yml"))
        parameters = replace(profile.parameters, monitoring=monitoring)
        folder = self.folder / "scene"
        folder.mkdir(exist_ok=True)
        scene = StillScene(config.load(self.folder / "kent-1.toml"), parameters, folder)
        scene.said = self.status
        chosen = tuple(each for each in profile.controls if each.id in CONTROLS)
        done = await run_controls(scene, replace(profile, controls=chosen, parameters=parameters), TESTS)
        return {
            each.id: Judgement(outcome=each.outcome, observed=each.observed, expected=each.expected)
            for each in done.results
        }

    async def failing(self) -> dict[str, str]:
        """Those that did not pass, with what was seen."""
        return {id: each.observed for id, each in (await self.outcomes()).items() if each.outcome != PASSED}
