"""The digest of a policy: what somebody approves when a configuration is approved.

SHA-256 over canonical JSON: keys sorted, no spaces, values of the built configuration as the file has them, without
those that are the defaults and those of this machine alone (paths, workers, lanes, memory, log, admin, state, addresses
of [[listen]]), and the SHA-256 of the contents of the files on which the policy rests. White space, comments and the
order of tables that has no meaning make no difference. A key that a later version adds makes none until somebody
writes it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from pcgrelay.config import Config
from pcgrelay.files import read_bounded
from pcgrelay.policy.placement import TABLES, Table, as_written

SCHEMA = 1
FILE_LIMIT_BYTES = 1 << 20


class PolicyFiles(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of the files on which a policy rests."""

    signers: bytes = b""  # [approvals] signers
    trust: bytes = b""  # [identity] trust
    revoked: bytes = b""  # [approvals] revoked


def policy_digest(config: Config, *, signers: bytes, trust: bytes, revoked: bytes = b"") -> str:
    """Return the digest as 64 hexadecimal digits. The bytes are the contents of the files of those names."""
    return hashlib.sha256(canonical(config, signers=signers, trust=trust, revoked=revoked)).hexdigest()


def digest_on_disk(config: Config) -> str:
    """Return the digest of a configuration with the files that it names, as they are now. PcgrelayError: one is not."""
    signers = revoked = b""
    if config.approvals is not None:
        signers = read_bounded(config.approvals.signers, "list of signers", FILE_LIMIT_BYTES)
        if config.approvals.revoked is not None:
            revoked = read_bounded(config.approvals.revoked, "list of revoked keys", FILE_LIMIT_BYTES)
    trust = read_bounded(config.identity.trust, "trusted certificate", FILE_LIMIT_BYTES)
    return policy_digest(config, signers=signers, trust=trust, revoked=revoked)


def canonical(config: Config, *, signers: bytes, trust: bytes, revoked: bytes = b"") -> bytes:
    """Return the text of which the digest is."""
    files = {"signers": signers, "trust": trust, "revoked": revoked}
    tables = {table.name: _entries(config, table) for table in TABLES}
    document = {
        "schema": SCHEMA,
        "tables": {name: entries for name, entries in tables.items() if entries},
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items() if content},
    }
    return msgspec.json.encode(document, order="deterministic")


def _entries(config: Config, table: Table) -> list[dict[str, Any]]:
    entries = [_values(table, entry) for entry in table.entries(config)]
    if len(entries) == 1 and not table.named_by and not entries[0] and not table.without:
        return []  # a table that occurs once and says nothing is as one that is not there
    if table.is_ordered:
        # The order counts within what has it: outlets of one import.
        return sorted(entries, key=lambda entry: str(entry.get(table.named_by[0], "")))
    return sorted(entries, key=lambda entry: msgspec.json.encode(entry, order="deterministic"))


def _values(table: Table, entry: Any) -> dict[str, Any]:
    found = {}
    for key in table.keys:
        if key.is_local:
            continue
        value = (key.digested or key.value)(entry)
        if value != key.default:
            found[key.name] = as_written(value)
    return found
