"""The digest of a policy: the same for the same policy however it is written, and in each version."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pcgrelay import config
from pcgrelay.policy.digest import canonical, policy_digest
from tests.support.documented_config import PATH, approved, written

SIGNERS, TRUST, REVOKED = b"a.jones@kent.police.example ssh-ed25519 AAAA\n", b"-----BEGIN", b"SSHKRL"
POLICIES = Path(__file__).with_name("policies")
MINIMAL = (POLICIES / "minimal.toml").read_text(encoding="utf-8")
PAPER = {
    "owner": "j.smith@kent.police.example",
    "reason": "Custody look-ups",
    "change": "CR-1042",
    "until": "2027-03-31",
}
# The policy of policies/approved.toml, as its digest sees it. Written down once and read by
# people. If it changes, every policy that was approved becomes one that nobody has approved: mend the code, not this.
CUSTODY = "custody@kent.police.example"
WRITTEN_DOWN = {
    "schema": 1,
    "files": {"signers": hashlib.sha256(SIGNERS).hexdigest(), "trust": hashlib.sha256(TRUST).hexdigest()},
    "tables": {
        "node": [{"name": "kent-1", "organisation": "kent.police.example", "realm": "police.example", "role": "edge"}],
        "identity": [{"crl": True}],
        "policy": [
            {"members": ["*.police.example", "hub.example"], **{f"paper.{key}": text for key, text in PAPER.items()}}
        ],
        "bearer": [{"name": "cjx", "supported_until": "2031-01-31"}],
        "listen": [{"bearer": "psn", **PAPER}],
        "link": [{"peer": "relay-1.hub.example", "address": "127.0.0.1:7400", "bearer": "psn", **PAPER}],
        "export": [
            {
                "service": "custody",
                "target": "127.0.0.1:5432",
                "allow": {"met.police.example": {}},
                "marking": "OFFICIAL-SENSITIVE",
                "also": ["10.20.30.60:5432"],
                **PAPER,
            }
        ],
        "import": [{"service": CUSTODY, "listen": "127.0.0.1:15432", **PAPER}],
        "direct": [{"service": CUSTODY, "name": "cjx", "address": "10.20.30.40:5432", "bearer": "cjx", **PAPER}],
        "drill": [{"kind": "backup", "service": "*", "every": 7_776_000, "for": 600}],
        "caller": [{"organisation": "met.police.example", "networks": ["10.1.0.0/16"]}],
        "metrics": [{"listen": "127.0.0.1:9740"}],
        "page": [{"listen": "127.0.0.1:9741"}],
        "approvals": [{}],
        "audit": [{}],
    },
}
# Of the files in `policies`, which nobody changes: a new key gets a file of its own.
DIGESTS = {
    "minimal": "98738e365407ea782888c8103a1e3c9943dd2989eca862ae1f0f7a69f288b312",
    "approved": "eff6c32ca6efa58df6f14b1c0013a5173f01b30fdc25294e9276190a08bd4bb1",
    "every_key": "396290cce5c57b53a0bef3cfd633737e5d34a17809ae9c99829e8b06dd44934d",
    "organisation_limits": "1c5d15eb3ee5c2cd22f860b2e9424f1fca72f7c6d6eae3932f695e264c8e58b8",
}


def digest_of(text: str, signers: bytes = SIGNERS, trust: bytes = TRUST, revoked: bytes = b"") -> str:
    return policy_digest(config.parse(text, PATH), signers=signers, trust=trust, revoked=revoked)


def policy_of(name: str) -> str:
    return (POLICIES / f"{name}.toml").read_text(encoding="utf-8")


def test_the_text_of_which_the_digest_is_stands_written_down() -> None:
    file = policy_of("approved")
    text = canonical(config.parse(file, PATH), signers=SIGNERS, trust=TRUST)
    assert json.loads(text) == WRITTEN_DOWN
    assert text == json.dumps(WRITTEN_DOWN, sort_keys=True, separators=(",", ":")).encode()
    assert digest_of(file) == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize("name", DIGESTS)
def test_digests_are_those_of_before(name: str) -> None:
    assert digest_of(policy_of(name), revoked=REVOKED) == DIGESTS[name]


def test_a_file_of_required_keys_alone_says_only_these() -> None:
    tables = json.loads(canonical(config.parse(MINIMAL, PATH), signers=b"", trust=b""))["tables"]
    node = {"name": "kent-1", "organisation": "kent.police.example", "realm": "police.example", "role": "edge"}
    assert tables == {"node": [node], "listen": [{"bearer": "internet"}]}


def test_blanks_comments_and_the_order_of_tables_make_no_difference() -> None:
    values = approved()
    values["export"].append({**values["export"][0], "service": "pnd", "also": []})
    values["link"].append({**values["link"][0], "address": "127.0.0.1:7411"})
    expected = digest_of(written(values))
    chosen = random.Random(3)
    for _ in range(20):
        tables = list(values)
        chosen.shuffle(tables)
        other: dict[str, Any] = {}
        for table in tables:
            entries = values[table]
            if isinstance(entries, list):
                entries = chosen.sample(entries, len(entries))
            other[table] = entries
        text = "# another hand\n" + written(other).replace("\n[", "\n\n  [").replace(" = ", "   =  ")
        assert digest_of(text) == expected


def test_what_is_the_default_may_be_written_or_not() -> None:
    plain = digest_of(MINIMAL)
    said = (
        MINIMAL
        + '[policy]\npost_quantum = "required"\nrekey_s = 120\nhalf_open_per_source = 32\n[log]\naccess = true\n'
    )
    assert digest_of(said) == plain


LOCAL: list[Callable[[dict[str, Any]], Any]] = [
    lambda values: values["node"].update(workers=3, lanes=2, memory="1GiB", admin="/run/x.sock"),
    lambda values: values["node"].update(state="/var/lib/x", inventory="inventory.toml"),
    lambda values: values["identity"].update(certificate="b.pem", key="b.key", trust="b-ca.pem", crl="b.crl"),
    lambda values: values["listen"][0].update(address="127.0.0.1:7499"),
    lambda values: values["approvals"].update(signers="other_signers"),
    lambda values: values.update(log={"level": "debug", "access": False, "format": "text"}),
]


@pytest.mark.parametrize("change", LOCAL)
def test_what_is_of_this_machine_alone_makes_no_difference(change: Callable[[dict[str, Any]], Any]) -> None:
    values = approved()
    change(values)
    assert digest_of(written(values)) == digest_of(written(approved()))


POLICY: list[Callable[[dict[str, Any]], Any]] = [
    lambda values: values["export"][0].update(until=date(2027, 4, 1)),
    lambda values: values["export"][0].update(reason="Something else"),
    lambda values: values["export"][0].update(allow=[]),
    lambda values: values["export"][0].update(weight=1),
    lambda values: values["import"][0].update(listen="127.0.0.1:15433"),
    lambda values: values["listen"].append({**values["listen"][0], "address": "127.0.0.1:7499"}),
    lambda values: values["identity"].pop("crl"),
    lambda values: values["policy"].update(suites=["AES-256-GCM"]),
    lambda values: values["approvals"].update(needs=1),
    lambda values: values["approvals"].update(revoked="krl"),
    lambda values: values["metrics"].update(listen="10.1.2.3:9740"),
]


@pytest.mark.parametrize("change", POLICY)
def test_what_is_of_the_policy_makes_one(change: Callable[[dict[str, Any]], Any]) -> None:
    values = approved()
    change(values)
    assert digest_of(written(values)) != digest_of(written(approved()))


def test_the_contents_of_files_make_one() -> None:
    text = written(approved())
    found = [digest_of(text), digest_of(text, signers=b""), digest_of(text, trust=b"x"), digest_of(text, revoked=b"x")]
    assert len(set(found)) == len(found)
    assert all(re.fullmatch(r"[0-9a-f]{64}", each) for each in found)


def test_the_order_of_suites_and_of_outlets_is_of_the_policy() -> None:
    values = approved()
    values["direct"].append({**values["direct"][0], "name": "psn", "address": "10.20.30.41:5432"})
    first = digest_of(written(values))
    values["direct"].reverse()
    assert digest_of(written(values)) != first
    values = approved()
    values["policy"]["suites"].reverse()
    assert digest_of(written(values)) != digest_of(written(approved()))
