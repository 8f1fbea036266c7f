"""What leaves the machine in a pack: no key, no address of an application, no payload of a probe.

Of the configuration each key is listed here by name as one that is shown or one that is not; a test holds this against
the schema, so that a new key is placed on purpose. Of facts, addresses are replaced by what they are.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import msgspec

from pcgrelay.assure.facts import Facts

HIDDEN = "(not shown)"
# Addresses, payload of probes, files, and persons; by the name of the key, in whatever table.
HIDDEN_KEYS = frozenset(
    "address admin admin_group also bundle certificate crl discover endpoints group inventory key listen networks "
    "owner password probe_expect probe_send revoked signers source sources state target trust user".split()
)
SHOWN_KEYS = frozenset(
    "access allow approvals audit auto bearer caller careful change clearances connect_timeout_ms direct drill every "
    "exercise export fleet for format half_closed_s half_open_per_source half_open_total handshake_deadline_ms holds "
    "identity idle_timeout_s import keep_days kind lanes level link links log mark marking max_duration_s max_streams "
    "max_streams_per_organisation max_streams_per_source members memory metrics mode most_days name needs "
    "new_streams_per_second node organisation outlet page paper path_wait_ms peer peers policy post_quantum "
    "precedence priority probe probe_interval_ms protocol proxy rate realm reason reference rekey_bytes rekey_frames "
    "rekey_s relay relays renewal_age_s renewal_interval_s role roles service share srv store streams suites "
    "supported_until transit udp_lanes udp_port until weight window wait_ms workers zone assure origin".split()
)


def redact_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration's values as they may be shown. What is unknown is hidden."""
    return {key: _shown(key, value) for key, value in values.items()}


def _shown(key: str, value: Any) -> Any:
    # Names of organisations are keys there, and dates are no JSON.
    if isinstance(value, Mapping):
        return {each: str(value[each]) for each in value} if key == "clearances" else redact_config(value)
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return [redact_config(each) if isinstance(each, Mapping) else each for each in value]
    if key in HIDDEN_KEYS or key not in SHOWN_KEYS:
        return HIDDEN
    return value if isinstance(value, bool | int | float | str | list) else str(value)


def facts_json(facts: Facts) -> bytes:
    """Return facts as indented JSON without addresses."""
    values = msgspec.to_builtins(facts)
    return msgspec.json.format(msgspec.json.encode(_without_hosts(values)), indent=2) + b"\n"


def _without_hosts(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: host_kind(each) if key == "host" else _without_hosts(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_hosts(each) for each in value]
    return value


def host_kind(host: Any) -> str:
    """Return what an address is, in place of it."""
    try:
        address = ipaddress.ip_address(str(host))
    except ValueError:
        return "a name" if host else "any"
    if address.is_unspecified:
        return "every address of this machine"
    return "loopback" if address.is_loopback else "one address of this machine"
