"""Host names in a node's certificate, for browsers and scrapers that compare them; links know nothing of them.

Only who keeps the CA's key gives them, never a request: a browser that trusts the realm's CA would believe any name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address

from cryptography import x509

from pcgrelay.errors import UsageProblem

HOSTS_MOST = 8
_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_NAME = re.compile(rf"(?=.{{1,253}}$)(?:{_LABEL}\.)*(?!\d+$){_LABEL}")


def host_names(hosts: Iterable[str]) -> list[x509.GeneralName]:
    """Return names for a certificate. UsageProblem: one is no DNS name or IP address, or there are too many."""
    wanted = list(dict.fromkeys(host.lower() for host in hosts))
    if len(wanted) > HOSTS_MOST:
        raise UsageProblem(f"--host: a certificate has at most {HOSTS_MOST} host names, not {len(wanted)}.")
    return [_host_name(host) for host in wanted]


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        if _NAME.fullmatch(host):
            return x509.DNSName(host)
    raise UsageProblem(
        f"--host: {host!r} is no DNS name or IP address; write it as in the page's address, without port."
    )
