"""RADIUS of those who wrote it: freeradius with certificates, and eapol_test, which asks as an access point would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.scenarios.kit.nodes import Address
from tests.scenarios.kit.real_programs import START_S, fetched, run, running
from tests.support.waiting import until

SECRET = "testing123"
# With this a packet of the exchange has nearly the 4,096 bytes that RADIUS allows (RFC 2865, 3).
FRAGMENT_BYTES = 3_800
KEY_BITS = 4_096
NAMES = ",".join(f"URI:urn:kent.police.example:one-of-many-names:{number}" for number in range(10))


@dataclass(frozen=True)
class Certificates:
    """A CA, and a server's and a client's certificate with their keys, long enough for several packets."""

    folder: Path

    @classmethod
    def made_in(cls, folder: Path) -> Certificates:
        folder.mkdir(exist_ok=True)
        common = ["-newkey", f"rsa:{KEY_BITS}", "-nodes", "-days", "2"]
        ca = ["-x509", "-subj", "/CN=test CA", "-keyout", folder / "ca.key", "-out", folder / "ca.pem"]
        run("openssl", "req", *common, *ca)
        for name, usage in (("server", "serverAuth"), ("client", "clientAuth")):
            extensions = ["-addext", f"extendedKeyUsage={usage}", "-addext", "basicConstraints=critical,CA:FALSE"]
            extensions += ["-addext", f"subjectAltName={NAMES}"]
            issuer = ["-CA", folder / "ca.pem", "-CAkey", folder / "ca.key"]
            files = ["-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"]
            run("openssl", "req", "-x509", *common, "-subj", f"/CN={name}", *issuer, *extensions, *files)
        return cls(folder)


@contextmanager
def freeradius(folder: Path, address: Address, keys: Certificates) -> Iterator[Path]:
    """A server that admits whoever has a certificate of the CA; answers its log."""
    folder.mkdir(exist_ok=True)
    (folder / "radiusd.conf").write_text(
        f"""name = radiusd
raddbdir = {folder}
logdir = {folder}
run_dir = {folder}
max_request_time = 30
security {{
  allow_core_dumps = no
  max_attributes = 200
  reject_delay = 0
}}
client all {{
  ipaddr = 127.0.0.1
  secret = {SECRET}
  require_message_authenticator = yes
}}
modules {{
  eap {{
    default_eap_type = tls
    timer_expire = 60
    tls-config common {{
      private_key_file = {keys.folder}/server.key
      certificate_file = {keys.folder}/server.pem
      ca_file = {keys.folder}/ca.pem
      fragment_size = {FRAGMENT_BYTES}
      tls_min_version = "1.2"
      tls_max_version = "1.2"
    }}
    tls {{
      tls = common
    }}
  }}
}}
server default {{
  listen {{
    type = auth
    ipaddr = {address[0]}
    port = {address[1]}
  }}
  authorize {{
    eap {{
      ok = return
    }}
  }}
  authenticate {{
    eap
  }}
}}
"""
    )
    log = folder / "radiusd.log"
    with running(["freeradius", "-f", "-X", "-d", folder], log):
        until(lambda: "Ready to process requests" in log.read_text(errors="replace"), START_S, "freeradius is ready")
        yield log


def eapol_test(folder: Path, address: Address, keys: Certificates, seconds: int = 30) -> str:
    """Be authenticated once, as a client with its certificate; answers what was said."""
    config = folder / "eapol.conf"
    config.write_text(
        f"""network={{
 key_mgmt=IEEE8021X
 eap=TLS
 identity="kent"
 ca_cert="{keys.folder}/ca.pem"
 client_cert="{keys.folder}/client.pem"
 private_key="{keys.folder}/client.key"
 fragment_size={FRAGMENT_BYTES}
}}
"""
    )
    where = ["-a", address[0], "-p", str(address[1]), "-s", SECRET, "-t", str(seconds)]
    # Framed-MTU (RFC 3580, 3.10), which bounds what the server puts into one packet.
    where.append(f"-N12:d:{FRAGMENT_BYTES}")
    return fetched("eapol_test", "-c", config, *where, seconds=seconds + 30).decode(errors="replace")
