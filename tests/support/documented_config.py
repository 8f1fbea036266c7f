"""The documented configuration of an edge, as text and as tables."""

import copy
import json
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

DOCUMENTED = """
[node]
name = "kent-1"                          # unique in its organisation
organisation = "kent.police.example"
realm = "police.example"
role = "edge"                            # or "relay"
workers = 0                              # data-plane threads; 0: one for each core
memory = "256MiB"                        # budget of the data plane
admin = "/run/pcgrelay/kent-1.sock"      # unix socket of the admin interface
state = "/var/lib/pcgrelay/kent-1"       # folder of what outlasts a process

[identity]
certificate = "kent-1.pem"               # chain, leaf first; paths are relative to this file
key = "kent-1.key"
trust = "realm-ca.pem"
crl = "realm.crl"                        # optional

[policy]
post_quantum = "required"                # or "preferred"
suites = ["AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305"]
members = ["*.police.example", "hub.example"]

[[bearer]]                               # what is known of a network
name = "cjx"
supported_until = 2031-01-31

[[listen]]                               # where neighbours' links come in
address = "127.0.0.1:7400"
bearer = "psn"

[[link]]                                 # links that this node opens
peer = "relay-1.hub.example"             # node name . organisation
address = "127.0.0.1:7400"
bearer = "psn"

[[export]]
service = "custody"                      # becomes custody@kent.police.example
target = "127.0.0.1:5432"
allow = ["met.police.example"]
marking = "OFFICIAL-SENSITIVE"
also = ["10.20.30.60:5432"]              # where callers still come the old way

[[import]]
service = "custody@kent.police.example"
listen = "127.0.0.1:15432"

[[direct]]                               # another outlet of that import
service = "custody@kent.police.example"
name = "cjx"
address = "10.20.30.40:5432"
bearer = "cjx"

[[drill]]                                # that a back-up works is shown again and again
kind = "backup"
every = "90d"

[[caller]]                               # whose callers come from where
organisation = "met.police.example"
networks = ["10.1.0.0/16"]

[audit]                                  # decisions on record, provable
keep_days = 400

[assure]                                 # what tests of controls may use
probe = "probe-1.toml"

[realm]                                  # what the realm has signed
bundle = "realm.bundle"

[metrics]                                # figures and health over TCP
listen = "127.0.0.1:9740"

[page]                                   # pages for a browser
listen = "127.0.0.1:9741"

[fleet]                                  # a store that nodes of the realm share
store = "etcd"
endpoints = ["https://127.0.0.1:2379"]
"""
# What each rule says where changes have to be approved.
PAPER = {
    "owner": "j.smith@kent.police.example",
    "reason": "Custody look-ups",
    "change": "CR-1042",
    "until": date(2027, 3, 31),
}
PATH = Path("/etc/pcgrelay/kent-1.toml")


_PARSED = tomllib.loads(DOCUMENTED)


def documented() -> dict[str, Any]:
    """Its tables, for the caller to change. They are copied: files are written from them by the thousand."""
    return copy.deepcopy(_PARSED)


def approved() -> dict[str, Any]:
    """The same where changes have to be approved: each rule says who allowed it."""
    values = documented()
    for table in ("listen", "link", "export", "import", "direct"):
        values[table] = [{**entry, **PAPER} for entry in values[table]]
    values["policy"]["paper"] = dict(PAPER)
    return {**values, "approvals": {"signers": "allowed_signers"}}


def written(values: dict[str, Any]) -> str:
    lines: list[str] = []
    for name, value in values.items():
        entries = value if isinstance(value, list) else [value]
        for entry in entries:
            lines.append(f"[[{name}]]" if isinstance(value, list) else f"[{name}]")
            lines += [f"{key} = {_value(item)}" for key, item in entry.items()]
    return "\n".join(lines) + "\n"


def _value(item: Any) -> str:
    if isinstance(item, dict) and item:
        return f"{{ {', '.join(f'{json.dumps(key)} = {_value(each)}' for key, each in item.items())} }}"
    if isinstance(item, list):
        return f"[{', '.join(map(_value, item))}]"
    return str(item) if isinstance(item, date) else json.dumps(item)
