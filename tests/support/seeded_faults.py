"""Faults of a gateway, each a change of what one reader finds at one place, and the control that has to find it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from msgspec.structs import replace

from pcgrelay.assure import rule_facts as uf
from pcgrelay.assure.facts import TAKEN, Facts, Port
from tests.support.good_facts import CHANGES, NOW, PATH, PORT, TODAY, WAYS

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Fault:
    """One fault."""

    name: str
    control: str
    reader: str  # a key of GOOD
    change: Callable[[Any], Facts]


def _of(**changes: Any) -> Callable[[Any], Facts]:
    return lambda facts: replace(facts, **changes)


def _first(name: str, **changes: Any) -> Callable[[Any], Facts]:
    """A change of the first of many."""

    def change(facts: Any) -> Facts:
        first, *others = getattr(facts, name)
        changed: Facts = replace(facts, **{name: (replace(first, **changes), *others)})
        return changed

    return change


def _attempt(number: int) -> Callable[[Any], Facts]:
    """What was offered there is taken."""

    def change(facts: Any) -> Facts:
        attempts = list(facts.attempts)
        attempts[number] = replace(attempts[number], answer=TAKEN)
        changed: Facts = replace(facts, attempts=tuple(attempts))
        return changed

    return change


def _ways(*ways: uf.WayFact) -> Callable[[Any], Facts]:
    return _first("services", ways=ways)


FAULTS = (
    Fault("a shim with TLS 1.2 before a listener", "K1", "handshakes.offer_old_tls", _attempt(2)),
    Fault("the group X25519 allowed", "K2", "handshakes.offer_other_cryptography", _attempt(1)),
    Fault("a live link with X25519 alone", "K3", "handshakes.read_groups", _first("channels", group="X25519")),
    Fault("the revocation list stale", "K6", "certificates.read_revocation_lists", _first("lists", made=NOW - 9 * DAY)),
    Fault("the leaf ends in 5 days", "K4", "certificates.read_own_chain",
          _first("certificates", not_after=NOW + 5 * DAY)),
    Fault("a chain of RSA-1024", "K4", "certificates.read_own_chain", _first("trust", key="RSA", key_bits=1024)),
    Fault("a bad certificate taken", "K5", "bank.show_bad_certificates", _first("tries", reason="")),
    Fault("the age of a key", "K7", "handshakes.read_channels", _first("channels", proved_s=90_000.0)),
    Fault("a self-test vector wrong", "K8", "answers.read_known_answers", _first("answers", right=False)),
    Fault("core dumps on", "K9", "process.read_process", _of(core_limit_bytes=None)),
    Fault("memory in core dumps", "K9", "process.read_process", _of(core_memory=True)),
    Fault("swap on", "K9", "process.read_process", _of(swap=("/dev/sda2",))),
    Fault("an unknown group in the inventory", "K10", "handshakes.read_channels", _first("channels", group="")),
    Fault("a listener for applications at the links' address", "N1", "process.read_listeners",
          _first("listeners", host="10.0.0.1")),
    Fault("an extra port", "N2", "process.read_ports",
          _of(open=(PORT, Port(family="tcp", host="0.0.0.0", number=8080)))),
    Fault("a rule without owner", "N3", "rules.read_rules", _first("rules", missing=("owner",))),
    Fault("a rule without until", "N3", "rules.read_rules", _first("rules", missing=("until",), until=None)),
    Fault("a rule that has ended", "N3", "rules.read_rules", _first("rules", until=TODAY - DAY)),
    Fault("an edit that nobody approved", "N3", "rules.read_rules", _of(holds="0" * 64)),
    Fault("the admin socket 0660", "N4", "process.read_admin_socket", _of(mode=0o660)),
    Fault("two bearers open to each other", "N5", "rules.read_transit", _first("pairs", allowed=True)),
    Fault("a service served to a stranger", "N6", "probe.read_refusal", _of(served=True)),
    Fault("a bearer below the marking", "N7", "ways.read_markings", _of(paths=(replace(PATH, bearer_cleared=1),))),
    Fault("a wildcard of relays", "N7", "ways.read_markings", _of(patterns=("*",))),
    Fault("an old diagram", "N8", "ways.read_diagram", _of(drawn=date(2026, 4, 1))),
    Fault("a service without its code", "N8", "ways.read_diagram", _of(without=("import[1]",))),
    Fault("the bound of half-open handshakes above memory", "N9", "process.read_flood_bounds",
          _of(half_open_total=4_096)),
    Fault("user root", "L1", "process.read_process", _of(uid=0)),
    Fault("a capability left", "L1", "process.read_process", _of(capabilities=("CAP_SYS_ADMIN",))),
    Fault("seccomp off", "L1", "process.read_process", _of(seccomp=False)),
    Fault("a secret in a Python object", "L2", "memory.search_secrets", _of(found=1)),
    Fault("a signer without an end", "L3", "rules.read_people", _first("signers", until=None)),
    Fault("a shared principal", "L3", "rules.read_people", _first("signers", person="b.khan@kent.police.example")),
    Fault("one person signs twice", "L4", "rules.read_changes",
          _of(changes=(replace(CHANGES[0], signers=("SHA256:jones", "SHA256:jones")), CHANGES[1]))),
    Fault("the proposer signs", "L4", "rules.read_changes",
          _of(changes=(replace(CHANGES[0], signers=("SHA256:jones", "SHA256:smith")), CHANGES[1]))),
    Fault("the clock unsynchronised", "M1", "record.read_clock", _of(synchronised=False)),
    Fault("a stream that nobody recorded", "M2", "probe.read_observed", _of(stream_s=None)),
    Fault("a bit of the log flipped", "M4", "record.read_log",
          _of(verdict="changed", problem="Record 5 was changed")),
    Fault("the checkpoint old", "M4", "record.read_log", _of(checkpoint_age_s=7_200.0)),
    Fault("the witness away", "M4", "record.read_log", _first("witnesses", age_s=90_000.0)),
    Fault("a short retention", "M5", "record.read_kept", _of(keep_days=30)),
    Fault("a segment that others may write", "M5", "record.read_kept", _of(writable=("audit/log/000000000000.jsonl",))),
    Fault("a field of a record patched to free text", "M6", "probe.read_privacy",
          _of(open_fields=("stream.end.note",))),
    Fault("an alert that names a metric that is gone", "M7", "alerts.read_alerts", _of(unknown=("pcgrelay_gone",))),
    Fault("one link only", "R1", "ways.read_ways", _ways(WAYS[0])),
    Fault("both ways over one relay", "R1", "ways.read_ways", _ways(WAYS[0], replace(WAYS[1], relays=WAYS[0].relays))),
    Fault("a link that nothing replaces", "R3", "link_loss.read_link_losses", _first("losses", stops=("custody",))),
    Fault("the last link of an exporter", "R3", "link_loss.read_link_losses", _first("losses", links_left=0)),
    Fault("an old drill", "R2", "drills.read_drills", _first("drills", ended=NOW - 121 * DAY)),
    Fault("a failed drill", "R2", "drills.read_drills", _first("drills", result="failed")),
    Fault("a drill of another node", "R2", "drills.read_drills", _first("drills", node="met-1.met.police.example")),
    Fault("a corrupt back-up", "R6", "backups.read_backup", _of(problem="state/approved.json (damaged)")),
    Fault("the list of components missing", "S1", "software.read_sbom", _of(components=())),
    Fault("a file of the wheel changed", "S2", "software.read_files", _of(changed=("pcgrelay/model.py",))),
    Fault("an OpenSSL past its support", "S3", "software.read_libraries",
          _first("libraries", supported_until=TODAY - DAY)),
    Fault("a release past its date", "S4", "software.read_release", _of(made=TODAY - 500 * DAY)),
    Fault("a bearer out of support", "D1", "software.read_ends", _of(ends=(("bearer cjx", TODAY - DAY),))),
)  # fmt: skip
