"""Real members of an etcd on loopback, with mutual TLS, and what may befall them: killed, frozen, emptied, compacted.

Nothing enables or asks the service of the system; each member is a process of the test, and ends with it.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import json
import os
import shutil
import signal
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.pki import RealmPki
from tests.support.ports import free_port
from tests.support.waiting import until

# Another one may be named: that of the other Debian.
ETCD = os.environ.get("PCGRELAY_ETCD", "/usr/bin/etcd")
HOST = "127.0.0.1"
START_S = 60.0
ASK_S = 5.0


@dataclass
class Member:
    """One member."""

    name: str
    folder: Path
    client_port: int
    peer_port: int
    is_new: bool = True  # it begins with the cluster; else it joins one
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"https://{HOST}:{self.client_port}"

    @property
    def peer_url(self) -> str:
        return f"http://{HOST}:{self.peer_port}"

    @property
    def data(self) -> Path:
        return self.folder / "data"


@dataclass
class EtcdMembers:
    """A cluster. Its certificates are of the realm's CA."""

    folder: Path
    pki: RealmPki
    members: list[Member] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.certificate, self.key = self.folder / "member.pem", self.folder / "member.key"
        _issue(self.pki, self.certificate, self.key)
        self._context = ssl.create_default_context(cafile=self.pki.trust)
        self._context.load_cert_chain(self.certificate, self.key)

    @property
    def endpoints(self) -> list[str]:
        return [member.endpoint for member in self.members]

    # -- life --------------------------------------------------------------------------------------------------

    def start(self, count: int = 3) -> None:
        """Start a cluster of so many members, and wait for its leader."""
        for number in range(count):
            folder = self.folder / f"etcd-{number}"
            folder.mkdir()
            self.members.append(Member(f"etcd-{number}", folder, free_port(), free_port()))
        for member in self.members:
            self.run(member)
        until(lambda: all(self.is_well(member) for member in self.members), START_S)

    def run(self, member: Member) -> None:
        """Start a member that does not run."""
        cluster = ",".join(f"{each.name}={each.peer_url}" for each in self.members)
        command = [
            ETCD, "--name", member.name, "--data-dir", str(member.data),
            "--listen-client-urls", member.endpoint, "--advertise-client-urls", member.endpoint,
            "--listen-peer-urls", member.peer_url, "--initial-advertise-peer-urls", member.peer_url,
            "--initial-cluster", cluster, "--initial-cluster-token", str(self.folder),
            "--initial-cluster-state", "new" if member.is_new else "existing",
            "--client-cert-auth", "--trusted-ca-file", str(self.pki.trust),
            "--cert-file", str(self.certificate), "--key-file", str(self.key), "--logger", "zap",
        ]  # fmt: skip
        with (member.folder / "log").open("ab") as log:
            member.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self, member: Member) -> None:
        """End a member as a power cut would."""
        if member.process is not None:
            member.process.send_signal(signal.SIGCONT)
            member.process.kill()
            member.process.wait(ASK_S)
            member.process = None

    def freeze(self, member: Member) -> None:
        assert member.process is not None
        member.process.send_signal(signal.SIGSTOP)

    def thaw(self, member: Member) -> None:
        assert member.process is not None
        member.process.send_signal(signal.SIGCONT)

    def wipe(self, member: Member) -> None:
        """Lose a member's disk, and let it join the others again with an empty one."""
        other = next(each for each in self.members if each is not member and each.process is not None)
        self.kill(member)
        shutil.rmtree(member.data)
        listed = self.ask(other, "cluster/member/list", {})["members"]
        number = next(each["ID"] for each in listed if each.get("name") == member.name)
        self.ask(other, "cluster/member/remove", {"ID": number})
        # A cluster refuses another change until it is sure of its majority again.
        until(lambda: self._may_add(other, member), START_S)
        member.is_new = False
        self.run(member)
        until(lambda: self.is_well(member), START_S)

    def _may_add(self, other: Member, member: Member) -> bool:
        try:
            self.ask(other, "cluster/member/add", {"peerURLs": [member.peer_url]})
        except (OSError, AssertionError):
            return any(
                member.peer_url in each.get("peerURLs", ())
                for each in self.ask(other, "cluster/member/list", {})["members"]
            )
        return True

    def close(self) -> None:
        for member in self.members:
            self.kill(member)

    # -- what is asked -----------------------------------------------------------------------------------------

    def ask(self, member: Member, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask one member through its gateway."""
        connection = http.client.HTTPSConnection(HOST, member.client_port, timeout=ASK_S, context=self._context)
        try:
            connection.request("POST", f"/v3/{path}", json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = json.loads(response.read())
            assert response.status == 200, answer
            assert isinstance(answer, dict)
            return answer
        finally:
            connection.close()

    def is_well(self, member: Member) -> bool:
        """Whether a member runs, and the majority answers through it."""
        if member.process is None or member.process.poll() is not None:
            return False
        try:
            self.ask(member, "kv/range", {"key": _text(b"x")})
        except (OSError, AssertionError, ValueError, http.client.HTTPException):
            return False
        return True

    def leader(self) -> Member:
        """The member that leads now."""
        for member in self.members:
            try:
                status = self.ask(member, "maintenance/status", {})
            except (OSError, AssertionError, ValueError, http.client.HTTPException):
                continue
            if status["leader"] == status["header"]["member_id"]:
                return member
        raise AssertionError("no member leads")

    def get(self, key: str) -> bytes | None:
        """The value of a key, with its root, as the majority has it."""
        answer = self.ask(self.well(), "kv/range", {"key": _text(key.encode())})
        return base64.b64decode(answer["kvs"][0]["value"]) if answer.get("kvs") else None

    def put(self, key: str, value: bytes) -> None:
        self.ask(self.well(), "kv/put", {"key": _text(key.encode()), "value": _text(value)})

    def compact(self) -> None:
        """Forget all history up to now."""
        member = self.well()
        revision = self.ask(member, "kv/range", {"key": _text(b"x")})["header"]["revision"]
        self.ask(member, "kv/compaction", {"revision": revision, "physical": True})

    def well(self) -> Member:
        return next(member for member in self.members if self.is_well(member))


@contextmanager
def etcd_members(folder: Path, pki: RealmPki, count: int = 3) -> Iterator[EtcdMembers]:
    """A cluster that runs as long as the context."""
    cluster = EtcdMembers(folder, pki)
    try:
        cluster.start(count)
        yield cluster
    finally:
        cluster.close()


def _issue(pki: RealmPki, certificate: Path, key: Path) -> None:
    """Issue to the members. Their gateway connects to them with it, so it is a client's certificate too."""
    private = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    authority = load_pem_private_key(pki.authority.key_path.read_bytes(), None)
    assert isinstance(authority, ec.EllipticCurvePrivateKey)
    names = [x509.IPAddress(ipaddress.ip_address(HOST)), x509.DNSName("localhost")]
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "etcd")]))
        .issuer_name(pki.ca_certificate.subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
        .sign(authority, hashes.SHA256())
    )
    certificate.write_bytes(leaf.public_bytes(Encoding.PEM))
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key.chmod(0o600)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
