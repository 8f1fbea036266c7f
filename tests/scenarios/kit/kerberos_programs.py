"""Kerberos of those who wrote it: krb5kdc and kinit, by UDP alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.scenarios.kit.nodes import Address
from tests.scenarios.kit.real_programs import START_S, program, run, running
from tests.support.waiting import until

REALM = "KENT.EXAMPLE"
PRINCIPAL, PASSWORD = f"j.smith@{REALM}", "correct horse"


def krb5_config(folder: Path, door: Address) -> Path:
    """A client's configuration: the realm's server is at that address, by UDP however long a request is."""
    path = folder / f"krb5-{door[1]}.conf"
    path.write_text(
        f"""[libdefaults]
 default_realm = {REALM}
 dns_lookup_kdc = false
 dns_lookup_realm = false
 rdns = false
 udp_preference_limit = 32700
[realms]
 {REALM} = {{
  kdc = {door[0]}:{door[1]}
 }}
"""
    )
    return path


@contextmanager
def krb5kdc(folder: Path, address: Address) -> Iterator[None]:
    """A key distribution centre that listens by UDP and not by TCP, with one principal."""
    folder.mkdir(exist_ok=True)
    profile = folder / "kdc.conf"
    profile.write_text(
        f"""[kdcdefaults]
 kdc_listen = {address[0]}:{address[1]}
 kdc_tcp_listen = ""
[realms]
 {REALM} = {{
  database_name = {folder}/principal
  key_stash_file = {folder}/stash
  acl_file = {folder}/acl
  max_life = 1h
 }}
[logging]
 kdc = FILE:{folder}/kdc.log
"""
    )
    with_it = ["env", f"KRB5_CONFIG={krb5_config(folder, address)}", f"KRB5_KDC_PROFILE={profile}"]
    run(*with_it, program("kdb5_util"), "create", "-s", "-P", "master", "-r", REALM)
    run(*with_it, program("kadmin.local"), "-r", REALM, "-q", f'addprinc -pw "{PASSWORD}" {PRINCIPAL}')
    log = folder / "kdc.log"
    with running([*with_it, program("krb5kdc"), "-n", "-r", REALM, "-P", folder / "pid"], folder / "out.log"):
        until(lambda: log.exists() and "commencing operation" in log.read_text(), START_S, "krb5kdc is ready")
        yield


def kinit(folder: Path, door: Address) -> str:
    """Get a ticket by password; answers what klist says of it."""
    cache = folder / "ticket"
    with_it = ["env", f"KRB5_CONFIG={krb5_config(folder, door)}", f"KRB5CCNAME=FILE:{cache}"]
    run(*with_it, "kinit", PRINCIPAL, data=f"{PASSWORD}\n".encode())
    return run(*with_it, "klist")
