"""A domain controller of those who wrote it: Samba's, and the client of CLDAP with which they try theirs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.scenarios.kit.nodes import Address
from tests.scenarios.kit.real_programs import START_S, program, run, running
from tests.support.waiting import until

REALM, DOMAIN, HOST_NAME = "kent.example", "KENT", "dc1"
PROVISION_S = 300.0


def provision(folder: Path) -> None:
    """Set up a domain in a folder, with nothing that is not there."""
    options = [
        "--server-role=dc", f"--realm={REALM}", f"--domain={DOMAIN}", f"--host-name={HOST_NAME}", "--host-ip=127.0.0.1",
        "--adminpass=Correct-horse-1", "--dns-backend=NONE", f"--targetdir={folder}",
    ]  # fmt: skip
    # Nobody needs it after a power failure; without this most of the time goes into waiting for the disk.
    with_it = ["env", "TDB_NO_FSYNC=1", program("samba-tool")]
    run(*with_it, "domain", "provision", *options, seconds=PROVISION_S)


@contextmanager
def domain_controller(folder: Path, address: Address, log: Path) -> Iterator[None]:
    """The domain's server of CLDAP; the controller's other services are left out."""
    options = [
        "server services=cldap", f"cldap port={address[1]}", "interfaces=127.0.0.1/8", "bind interfaces only=yes",
        f"log file={log}", f"pid directory={folder}",
    ]  # fmt: skip
    command = [program("samba"), "-F", "-M", "single", "-s", folder / "etc" / "smb.conf"]
    bound = re.compile(rf":{address[1]:04X} ")
    with running([*command, *(f"--option={option}" for option in options)], log.with_suffix(".out")):
        until(lambda: bound.search(Path("/proc/net/udp").read_text()), 4 * START_S, "samba is ready")
        yield


def smbtorture(folder: Path, door: Address) -> str:
    """Ask whatever their tests of CLDAP ask, some 300 times; one answer that is wrong or missing is a failure."""
    options = ["-s", folder / "etc" / "smb.conf", f"--option=cldap port={door[1]}", "-U%"]
    return run("smbtorture", *options, f"//{door[0]}/none", "ldap.cldap", "ldap.netlogon-udp", seconds=120)
