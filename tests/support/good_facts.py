"""What the readers of all controls would find at a good node: by the name of the reader, so that two controls that read
the same share it, as at a real node."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from pcgrelay.assure import facts as f
from pcgrelay.assure import record_facts as rf
from pcgrelay.assure import rule_facts as uf
from pcgrelay.assure.facts import REFUSED, TAKEN, Facts

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
TODAY = NOW.date()
NODE = "kent-1.kent.police.example"
CUSTODY = "custody@met.police.example"
GROUP = "X25519MLKEM768"
DIGEST = "7f3ac1d9" * 8


def refused(listener: str, what: str) -> f.Attempt:
    return f.Attempt(listener=listener, offered=what, wanted=False, answer=REFUSED, detail="protocol version")


def taken(what: str) -> f.Attempt:
    return f.Attempt(listener="listen[1]", offered=what, wanted=True, answer=TAKEN)


CHANNELS = (
    f.Channel(kind="link", peer="relay-1.hub.example", suite="AES-256-GCM", group=GROUP, proved_s=60.0),
    f.Channel(kind="session", peer="met-1.met.police.example", suite="AES-256-GCM", group=GROUP, proved_s=60.0),
)
LEAF = f.Certificate(
    subject="CN=kent-1",
    key="P-256",
    key_bits=256,
    signature_hash="sha256",
    names=("spiffe://police.example/org/kent.police.example/node/kent-1",),
    not_after=NOW + timedelta(days=60),
)
CA = f.Certificate(
    subject="CN=police.example CA",
    key="P-256",
    key_bits=256,
    signature_hash="sha256",
    not_after=NOW + timedelta(days=3_000),
)
PORT = f.Port(family="tcp", host="192.0.2.1", number=7400)
WAYS = (
    uf.WayFact(bearer="psn", relays=("relay-1.hub.example",)),
    uf.WayFact(bearer="internet", relays=("relay-2.backup.example",)),
)
PATH = uf.PathFact(
    what="session with met-1.met.police.example",
    marking=2,
    over="psn",
    bearer_cleared=2,
    neighbour="hub.example",
    neighbour_cleared=2,
)
CHANGES = tuple(
    uf.ChangeFact(
        number=f"CR-{n}", taken="2026-10-01T10:00:00Z", by="SHA256:smith", signers=("SHA256:jones", "SHA256:khan")
    )
    for n in (2, 1)
)

# By module and name of the reader, as tests.TESTS has it.
GOOD: dict[str, Facts] = {
    "handshakes.offer_old_tls": f.Attempts(
        attempts=tuple(refused(f"listen[{n}]", v) for n in (1, 2) for v in ("TLS 1.0", "TLS 1.1", "TLS 1.2"))
    ),
    "handshakes.offer_other_cryptography": f.Attempts(
        attempts=(taken(f"group {GROUP}"), refused("listen[1]", "group X25519"), refused("listen[1]", "suite CCM"))
    ),
    "handshakes.read_groups": f.Channels(channels=CHANNELS, attempts=(refused("listen[1]", "group X25519"),)),
    "handshakes.read_channels": f.Channels(channels=CHANNELS),
    "certificates.read_own_chain": f.OwnChain(now=NOW, certificates=(LEAF,), trust=(CA,)),
    "certificates.read_revocation_lists": f.RevocationLists(
        now=NOW,
        configured=True,
        lists=(f.RevocationListFact(issuer=CA.subject, made=NOW - timedelta(days=1), next=NOW + timedelta(days=6)),),
        revoked=f.RevokedIdentity(
            until=NOW + timedelta(days=60), reason="revoked", live=REFUSED, detail="ssl/tls alert certificate revoked"
        ),
    ),
    "bank.show_bad_certificates": f.CertificateBank(
        tries=(f.CertificateTry(kind="expired", due="expired", reason="expired", live=REFUSED),)
    ),
    "answers.read_known_answers": f.SelfTests(
        answers=tuple(f.KnownAnswer(where=each, algorithm="AES-256-GCM", right=True) for each in ("here", "node"))
    ),
    "process.read_process": f.ProcessFacts(
        uid=990,
        capabilities=(),
        bounding=(),
        no_new_privileges=True,
        seccomp=True,
        root_read_only=True,
        unit="pcgrelay@kent-1.service",
        core_limit_bytes=0,
        dumpable=True,
        core_pipe="",
        core_memory=False,
        swap=(),
        locked=False,
    ),
    "rules.read_people": uf.SignerFacts(
        today=TODAY,
        needs=2,
        signers=tuple(
            uf.SignerFact(person=f"{name}@kent.police.example", until=TODAY + timedelta(days=300), roles=(role,))
            for name, role in (("a.jones", "service"), ("b.khan", "security"), ("j.smith", "service"))
        ),
    ),
    "memory.search_secrets": f.SecretSearch(secrets=4, found=0, control_found=1, searched_bytes=1 << 24),
    "process.read_listeners": f.Listeners(
        listeners=(
            f.ListenerFact(side="wan", key="listen[1].address", host="192.0.2.1", is_loopback=False, is_wildcard=False),
            f.ListenerFact(side="lan", key="import[1].listen", host="10.0.0.1", is_loopback=False, is_wildcard=False),
        )
    ),
    "process.read_ports": f.OpenPorts(open=(PORT,), named=(PORT,), attempts=(refused("listen[1]", "no certificate"),)),
    "process.read_admin_socket": f.AdminSocket(
        exists=True, is_socket=True, mode=0o600, folder_mode=0o750, folder_owner_is_trusted=True, group_named=False
    ),
    "process.read_flood_bounds": f.FloodBounds(
        half_open_total=256,
        half_open_per_source=32,
        handshake_bytes=131_072,
        memory_bytes=256 << 20,
        refusals=2,
        cpu_ms=0.4,
    ),
    "software.read_sbom": f.Sbom(
        source="pcgrelay.cdx.json", version="0.1.0", own_version="0.1.0", components=("msgspec", "uvloop"), missing=()
    ),
    "software.read_files": f.WheelFiles(recorded=400, changed=(), missing=()),
    "software.read_libraries": f.Libraries(
        today=TODAY,
        libraries=(
            f.Library(use="frames", version="OpenSSL 3.5.1", kept_by="OpenSSL", supported_until=date(2030, 4, 8)),
        ),
    ),
    "software.read_release": f.Release(
        today=TODAY, version="0.1.0", node_version="0.1.0", made=TODAY - timedelta(days=30)
    ),
    "software.read_ends": f.Ends(today=TODAY, ends=(("bearer psn", date(2030, 1, 31)),), without=()),
    "rules.read_rules": uf.Rules(
        today=TODAY,
        rules=(
            uf.RuleFact(where="export[1]", until=date(2027, 3, 31)),
            uf.RuleFact(where="import[1]", until=date(2027, 3, 31)),
        ),
        approvals=True,
        approved=DIGEST,
        holds=DIGEST,
    ),
    "rules.read_changes": uf.Changes(approvals=True, needs=2, changes=CHANGES),
    "rules.read_transit": uf.Transit(
        bearers=("internet", "psn"),
        pairs=(uf.BearerPair(one="internet", other="psn", allowed=False, named=False),),
    ),
    "ways.read_markings": uf.Markings(judged=True, highest=2, paths=(PATH,)),
    "ways.read_diagram": uf.Diagram(today=TODAY, drawn=TODAY, coded=("psn",)),
    "ways.read_ways": uf.Ways(services=(uf.ServiceWays(service=CUSTODY, ways=WAYS),)),
    "link_loss.read_link_losses": uf.LinkLosses(
        losses=tuple(
            uf.LinkLoss(neighbour=each, bearer=bearer, stops=(), links_left=1)
            for each, bearer in (("relay-1.hub.example", "psn"), ("relay-2.backup.example", "internet"))
        ),
        exports=True,
    ),
    "probe.read_refusal": uf.Refusal(
        service="pnd@kent.police.example", served=False, recorded=True, rule=2, cause="not-allowed", waited_s=0.4
    ),
    "probe.read_observed": rf.Observed(stream_s=0.4, refusal_s=0.4),
    "probe.read_privacy": rf.Privacy(
        records=105,
        fields=700,
        open_fields=(),
        marker=rf.Marker(sent_bytes=50, came_back=True, searched=("metrics", "log", "audit log")),
    ),
    "record.read_clock": rf.ClockFacts(synchronised=True, error_ms=4.0, recorded_s=600.0, peers=3),
    "record.read_log": rf.LogVerified(
        verdict="whole",
        records=8_841,
        unsigned=12,
        checkpoint_age_s=31.0,
        witnesses=(rf.WitnessFact(name="pcgrelay.police.example/hub.example/relay-1", age_s=40.0),),
    ),
    "record.read_kept": rf.Kept(keep_days=400, oldest_days=120.0, pruned=False),
    "alerts.read_alerts": rf.Alerts(file="pcgrelay.yml", alerts=20, checked_by="promtool"),
    "drills.read_drills": uf.Drills(
        now=NOW,
        node=NODE,
        critical=(CUSTODY,),
        drills=(
            uf.DrillFact(
                id=f"2026-11-01-backup-{CUSTODY}",
                kind="backup",
                subject=CUSTODY,
                result="passed",
                ended=NOW - timedelta(days=29),
                node=NODE,
            ),
        ),
    ),
    "backups.read_backup": uf.Backup(files=9, problem="", digest=DIGEST, restored=DIGEST),
}
