"""Whatever the file holds, the configuration is a Config or one sentence that names the file; read twice, it is the
same. Nothing but ConfigError comes out of it, and no line breaks that sentence."""

import re
import sys
import tempfile
from pathlib import Path

from pcgrelay.config import Config, load, parse
from pcgrelay.errors import ConfigError

PATH = Path("node.toml")
EDGE = b"""
[node]
name = "kent-1"
organisation = "kent.police.example"
realm = "police.example"
role = "edge"
workers = 2
memory = "256MiB"
admin = "/run/pcgrelay/kent-1.sock"
state = "/var/lib/pcgrelay/kent-1"

[identity]
certificate = "kent-1.pem"
key = "kent-1.key"
trust = "realm-ca.pem"
crl = "realm.crl"

[policy]
post_quantum = "required"
suites = ["AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305"]
members = ["*.police.example", "hub.example"]

[policy.paper]
owner = "j.smith@kent.police.example"
reason = "The realm's members"
change = "CR-1001"
until = 2027-03-31

[[listen]]
address = "127.0.0.1:7400"
bearer = "psn"
owner = "j.smith@kent.police.example"
until = 2027-03-31

[[link]]
peer = "relay-1.hub.example"
address = "[::1]:7401"
bearer = "psn"

[[export]]
service = "custody"
target = "localhost:5432"
allow = ["met.police.example"]
marking = "OFFICIAL-SENSITIVE"

[[export]]
service = "records"
target = "10.1.2.3:8000"
allow = [
    "met.police.example",
    { organisation = "sussex.police.example", until = 2026-12-31T00:00:00Z, reason = "Heron", reference = "DPIA 114" },
]
source = ["10.9.9.9", "10.9.9.8"]
proxy = "v2"
max_streams_per_organisation = 200
new_streams_per_second = 50
idle_timeout_s = 3600
max_duration_s = 86400

[[import]]
service = "custody@met.police.example"
listen = "127.0.0.1:15432"
srv = "SRV00123"

[[import]]
service = "notes@met.police.example"
listen = "unix:/run/pcgrelay/notes.sock"
also = ["unix:/run/pcgrelay/notes-2.sock"]
mode = "0660"

[[export]]
service = "names"
protocol = "udp"
target = "127.0.0.1:53"
allow = ["met.police.example"]
probe = "none"

[[import]]
service = "names@met.police.example"
protocol = "udp"
listen = "127.0.0.1:5353"
outlet = "cjx"
sources = ["10.0.0.0/8", "fd00::/8"]
max_streams_per_source = 16
wait_ms = 100
rate = "2MiB"

[[direct]]
service = "names@met.police.example"
name = "cjx"
address = "10.9.8.7:53"
bearer = "cjx"
source = "10.9.9.9"
probe = "expect"
probe_send = '\\x12\\x34\\x01\\x00'
probe_expect = '\\x0a'

[audit]
keep_days = 30
streams = "refused"

[assure]
probe = "probe-1.toml"

[realm]
bundle = "realm.bundle"

[metrics]
listen = "10.1.2.3:9740"
allow = ["kent.police.example"]
"""
# Where changes have to be approved, each rule has all four keys.
APPROVED = (
    re.sub(
        rb"(?m)^((?:address|target|listen) = .*)$",
        rb'\1\nowner = "a@kent.police.example"\nreason = "Look-ups"\nchange = "CR-1042"\nuntil = 2027-03-31',
        EDGE.replace(b'owner = "j.smith@kent.police.example"\nuntil = 2027-03-31\n', b"").split(b"[metrics]")[0],
    )
    + b"""
[approvals]
signers = "allowed_signers"
needs = 2
roles = { "information assurance" = ["a.jones@kent.police.example"] }
revoked = "revoked.krl"
holds = true
most_days = 400
"""
)
RELAY = re.sub(rb"(?s)\[\[export\]\].*(?=\[audit\])", b"", EDGE).replace(b'"edge"', b'"relay"')
WORDS = [
    *(word.encode() for word in re.findall(r"[A-Za-z0-9_*@.:/-]+", EDGE.decode())),
    b"\n[[listen]]\n", b"\n[[link]]\n", b"\n[[export]]\n", b"\n[[import]]\n", b"\n[policy]\n", b"[[node]]",
    b"\n[metrics]\n", b"\n[page]\n", b"\n[audit]\n", b"\n[approvals]\n", b"\n[policy.paper]\n", b"until = 1970-01-01\n",
    b"unix:/run/x", b".next", b"unix://", b"/../", b"/./",
    b"true", b"1e400", b"-1", b"nan", b"1979-05-27T07:32:00Z", b"9" * 5_000, b"'''", b'"""', b"\\u0000", b"\\U0010ffff",
    b"\n[log]\nlevel = \"debug\"\naccess = false\n", b"0x", b"KiB", b"[" * 2_000, b"{a.b.c=" * 500,
]  # fmt: skip


def answer(text: str) -> Config | str:
    try:
        return parse(text, PATH)
    except ConfigError as error:
        return str(error)


def run(data: bytes) -> object:
    """Any bytes as a file now and then, for that is slower; else as text."""
    text = data.decode(errors="replace")
    first = answer(text)
    assert first == answer(text)
    if len(data) % 16 == 0:
        with tempfile.NamedTemporaryFile(suffix=".toml") as file:
            file.write(data)
            file.flush()
            try:
                load(Path(file.name))
            except ConfigError as error:
                assert_sentence(str(error), file.name)
    if isinstance(first, Config):
        return "a configuration"
    assert_sentence(first, str(PATH))
    # The kind of refusal: without what the file itself put into it.
    return re.sub(r"['\"].*?['\"]|\d+|\?+", "", first)[:80]


def assert_sentence(text: str, path: str) -> None:
    assert text.startswith(path), text
    # Where there are several errors, it ends with the command that shows all.
    assert text.endswith((".", "run: pcgrelay check")), text
    assert text.isprintable(), text
    assert len(text) < 2_000, text


if __name__ == "__main__":
    from tests.fuzz.mutation import main

    sys.exit(main([EDGE, APPROVED, RELAY], WORDS, run))
