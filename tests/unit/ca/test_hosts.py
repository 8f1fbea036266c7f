"""Host names in a node's certificate: what who keeps the CA gives, and nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from pcgrelay.ca import Authority
from pcgrelay.ca.hosts import HOSTS_MOST
from pcgrelay.errors import UsageProblem
from pcgrelay.identity.certificates import certificate_hosts

REALM, KENT = "police.example", "kent.police.example"


def leaf(folder: Path, *hosts: str) -> x509.Certificate:
    authority = Authority.create(folder / "ca", REALM)
    authority.issue(KENT, "kent-1", folder / "tls", hosts=hosts)
    return x509.load_pem_x509_certificate((folder / "tls" / "kent-1.pem").read_bytes())


def is_valid_for(folder: Path, *question: str) -> bool:
    """Whether OpenSSL, as a client that compares host names, takes the certificate."""
    trust, certificate = folder / "ca" / "realm-ca.pem", folder / "tls" / "kent-1.pem"
    command = ["openssl", "verify", "-CAfile", trust, "-purpose", "sslserver", *question, certificate]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


def test_a_client_that_compares_host_names_finds_them(tmp_path: Path) -> None:
    made = leaf(tmp_path, "Gateway.Kent.example", "192.0.2.7", "2001:db8::7")
    assert certificate_hosts(made) == {"gateway.kent.example", "192.0.2.7", "[2001:db8::7]"}
    assert is_valid_for(tmp_path, "-verify_hostname", "gateway.kent.example")
    assert is_valid_for(tmp_path, "-verify_ip", "192.0.2.7")
    assert is_valid_for(tmp_path, "-verify_ip", "2001:db8::7")
    assert not is_valid_for(tmp_path, "-verify_hostname", "kent.example")
    assert not is_valid_for(tmp_path, "-verify_ip", "192.0.2.8")


def test_without_hosts_a_certificate_names_the_node_alone(tmp_path: Path) -> None:
    made = leaf(tmp_path)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == [f"spiffe://{REALM}/org/{KENT}/node/kent-1"]


@pytest.mark.parametrize(
    "host",
    ["", "a b", "*.kent.example", "kent.example:9741", "-a.example", "a..b", "300.1.1.1", "é.example", "a" * 254],
)
def test_what_is_no_host_is_refused_and_nothing_is_written(tmp_path: Path, host: str) -> None:
    with pytest.raises(UsageProblem, match="--host"):
        leaf(tmp_path, host)
    assert not (tmp_path / "tls").exists()
    assert Authority(tmp_path / "ca").issued() == []


def test_so_many_and_no_more(tmp_path: Path) -> None:
    hosts = [f"a{number}.example" for number in range(HOSTS_MOST + 1)]
    with pytest.raises(UsageProblem, match="at most"):
        leaf(tmp_path, *hosts)
