"""docs/audit.md is typed as it is written, and so are the examples of the commands' help, at the log of a real node.

The page says how to verify a log by hand, too: that is done with the tools it names, OpenSSL, and the reference of the
tests, which shares no line with the commands.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tests.reference import notes, trees
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, PCGRELAY, Node, Stage
from tests.support.applications import echo, server
from tests.support.ports import free_port
from tests.support.waiting import receive, until
from tests.support.written_logs import records_of

pytestmark = pytest.mark.tier_test

PAGE = Path(__file__).resolve().parents[2] / "docs" / "audit.md"
WAIT_S = 30.0
STREAMS = 5
COMMANDS = ["verify", "prove", "check", "query", "policy", "export", "restart"]
ED25519_HEAD = bytes.fromhex("302a300506032b6570032100")  # of a public key in DER, before its 32 bytes


@dataclass
class Auditor:
    """Somebody with a copy of a node's log, its CA, and what its witness has kept; and what the page calls these."""

    folder: Path
    copy: Path
    kent: Node
    relay: Node
    number: int  # of a record of a stream, which is signed and witnessed

    def type(self, command: str) -> subprocess.CompletedProcess[str]:
        """Type a command in a shell, with real names in the place of those of the page."""
        now = datetime.now(UTC)
        for word, real in {
            "/media/kent-1/audit": str(self.copy),
            "8841273": str(self.number),
            "2026-11-03T02:00Z": f"{now - timedelta(hours=1):%Y-%m-%dT%H:%MZ}",
            "2026-11-03T04:00Z": f"{now + timedelta(hours=1):%Y-%m-%dT%H:%MZ}",
        }.items():
            command = command.replace(word, real)
        path = f"{PCGRELAY.parent}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env={**os.environ, "PATH": path, "COLUMNS": "80"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def auditor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Auditor]:
    with Stage(tmp_path_factory.mktemp("realm")) as stage, server(echo) as target:
        door, listen = (HOST, free_port()), f"{HOST}:{free_port()}"
        links = [{"peer": f"relay-1.{HUB}", "address": listen}]
        relay = stage.relay("relay-1", listens=[listen], **audited(stage, "relay-1"))
        export = {"service": "custody", "target": f"{target[0]}:{target[1]}", "allow": [MET]}
        kent = stage.node(KENT, "kent-1", links=links, exports=[export], **audited(stage, "kent-1"))
        imported = {"service": f"custody@{KENT}", "listen": f"{HOST}:{door[1]}"}
        stage.node(MET, "met-1", links=links, imports=[imported])
        stage.start()
        stage.await_well()
        for _ in range(STREAMS):
            with socket.create_connection(door, timeout=WAIT_S) as client:
                client.sendall(b"hello")
                assert receive(client, 5) == b"hello"
        log = stage.folder / "state-kent-1" / "audit"
        until(lambda: len(ends_in(log)) == STREAMS, WAIT_S, "all streams are on record")
        # A head is signed at the end and at the start; else it would be a minute until one covers the streams.
        kent.stop()
        kent.start()
        number = ends_in(log)[-1]
        until(lambda: is_witnessed(kent, number), WAIT_S, "the streams are witnessed")
        # The signature of a witness is on the disk a moment later.
        witness = "\u2014 hub.example/relay-1 "
        until(lambda: witness in (log / "checkpoints.jsonl").read_text().rpartition('"ts"')[2], WAIT_S, "it is kept")
        folder = tmp_path_factory.mktemp("auditor")
        (folder / "kent-1.toml").symlink_to(kent.config)
        (folder / "ca.pem").symlink_to(stage.pki.trust)
        seen = f"{KENT}_kent-1.json"
        (folder / seen).symlink_to(stage.folder / "state-relay-1" / "witness" / seen)
        copy = Path(shutil.copytree(log, folder / "copy"))
        made = Auditor(folder, copy, kent, relay, number)
        done = made.type("pcgrelay audit policy -c kent-1.toml > realm.policy")
        assert (done.returncode, done.stderr) == (0, "")
        yield made


def audited(stage: Stage, name: str) -> dict[str, object]:
    state = stage.folder / f"state-{name}"
    state.mkdir(mode=0o700)
    return {"node_table": {"state": str(state)}, "audit": {"keep_days": 400}}


def ends_in(log: Path) -> list[int]:
    """The numbers of the records of streams."""
    return [each["n"] for each in records_of(log) if each["event"] == "stream.end"]


def is_witnessed(node: Node, number: int) -> bool:
    audit = node.status().audit
    assert audit is not None
    return any(each.size > number for each in audit.witnesses)


def typed_on_the_page() -> list[tuple[str, list[str]]]:
    """Each command of the page's listings, with the output that the page shows."""
    found = []
    for block in re.findall(r"```\n(\$ .*?)```", PAGE.read_text(), re.DOTALL):
        for part in ("\n" + block).split("\n$ ")[1:]:
            command, *lines = part.rstrip("\n").split("\n")
            found.append((command, lines))
    return found


def labels(lines: Sequence[str]) -> list[str]:
    """What stands at the left of the lines of a report."""
    return [line[2:16].rstrip() for line in lines if re.match(r"  [a-z]", line)]


def test_each_listing_of_the_page_is_what_the_command_says(auditor: Auditor) -> None:
    listings = typed_on_the_page()
    assert [command.split()[2] for command, _ in listings] == ["verify", "policy", "prove", "check"]
    for command, shown in listings:
        done = auditor.type(command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        got = done.stdout.splitlines()
        assert [each for each in labels(got) if each != "tail"] == [each for each in labels(shown) if each != "tail"]
        if command.split()[2] == "verify":
            assert re.fullmatch(r"[\d,]+ records from \d{4}-\d\d-\d\d to \d{4}-\d\d-\d\d, \d+ s\.", got[0])
            text = " ".join(done.stdout.split())
            assert re.search(r"signed by kent-1\.kent\.police\.example \(Ed25519, ML-DSA-44\), by the policy", text)
            assert re.search(
                r"witnessed hub\.example/relay-1 ([\d,]+) at [-\d: ]+; enough for the policy up to \1", text
            )
        if command.split()[2] == "check":
            assert re.fullmatch(rf"Record {auditor.number} of pcgrelay\..*/kent-1 is proved\.", got[0])
            record = json.loads(got[-1].split(None, 1)[1])
            assert (record["n"], record["event"]) == (auditor.number, "stream.end")
    # The policy has the lines that the page shows, in this order.
    page = re.search(r"```\n(log pcgrelay.*?)```", PAGE.read_text(), re.DOTALL)
    assert page is not None
    shown = [line.split()[0] for line in page[1].splitlines()]
    got = [line.split()[0] for line in (auditor.folder / "realm.policy").read_text().splitlines()]
    assert list(dict.fromkeys(got[1:])) == list(dict.fromkeys(shown))


def test_what_was_changed_is_said_as_the_page_says_it(auditor: Auditor) -> None:
    (block,) = re.findall(r"```\n(Record .*?)```", PAGE.read_text(), re.DOTALL)
    changed = Path(shutil.copytree(auditor.copy, auditor.folder / "changed"))
    (segment,) = (changed / "log").glob("*.jsonl")
    lines = segment.read_bytes().split(b"\n")
    lines[auditor.number] = lines[auditor.number].replace(b"met.police", b"MET.police")
    segment.write_bytes(b"\n".join(lines))
    done = auditor.type("pcgrelay audit verify changed --policy realm.policy")
    assert done.returncode == 8
    pattern = re.sub(r"\d[\d,]*", "#", " ".join(block.split()))
    said = re.sub(r"\d[\d,]*", "#", " ".join(done.stdout.split()))
    assert said.startswith(pattern), (pattern, said)


def test_who_used_a_service_is_asked_as_the_page_asks_it(auditor: Auditor) -> None:
    (command,) = re.findall(r"`(pcgrelay audit query [^`]+)`", PAGE.read_text())
    done = auditor.type(command)
    assert (done.returncode, done.stderr) == (0, "")
    table, last = done.stdout.splitlines()[:-1], done.stdout.splitlines()[-1]
    assert re.fullmatch(r"This query is record [\d,]+\.", last)
    row = next(line for line in table if line.startswith(MET))
    assert row.split()[1:3] == [str(STREAMS), "0"]
    assert "export[1]" in row


def test_each_example_of_the_help_works(auditor: Auditor) -> None:
    for name in COMMANDS:
        text = auditor.type(f"pcgrelay audit {name} --help").stdout
        assert all(len(line) <= 80 for line in text.splitlines()), name
        examples = re.findall(r"^ +(pcgrelay audit (?:\\\n|.)+)$", text.partition("Example")[2], re.MULTILINE)
        assert examples, name
        for example in examples:
            shutil.rmtree(auditor.folder / "out", ignore_errors=True)
            done = auditor.type(example)
            # This log is whole, so there is no reason to begin another.
            wanted = 1 if name == "restart" else 0
            assert done.returncode == wanted, (example, done.stdout, done.stderr)
            assert "Traceback" not in done.stderr


def test_the_log_is_verified_by_hand(auditor: Auditor) -> None:
    copy = auditor.copy
    # 1. A leaf, by the two lines of shell on the page.
    hash_line, tile_line = re.findall(r"`(\(printf [^`]+|head -c [^`]+)`", PAGE.read_text())
    by_hand, in_tile = (auditor.type(f"cd copy && {line}").stdout for line in (hash_line, tile_line))
    assert by_hand.split()[0] == "".join(in_tile.split())
    # 2. The root over all leaves that the checkpoint has.
    text, signatures = notes.parsed((copy / "checkpoint").read_bytes()) or ("", [])
    origin, size, root = text.splitlines()
    written = (copy / "log" / "000000000000.jsonl").read_bytes().split(b"\n")[:-1]
    lines = written[: int(size)]
    leaves = [trees.leaf(line) for line in lines]
    assert base64.b64encode(trees.root(leaves)).decode() == root
    # 4. The keys, by the certificate in record 0, and that by the CA.
    first = json.loads(lines[0])
    vkeys = [first["ed25519"], first["ml_dsa_44"], first["cosigner"]]
    assert (first["event"], first["origin"]) == ("audit.keys", origin)
    leaf = x509.load_der_x509_certificate(base64.b64decode(first["certificates"][0]))
    statement = b"pcgrelay audit keys v1\0" + "".join(f"{each}\n" for each in (origin, *vkeys)).encode()
    public = leaf.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(base64.b64decode(first["signature"]), statement, ec.ECDSA(hashes.SHA256()))
    for number, each in enumerate(first["certificates"]):
        pem = x509.load_der_x509_certificate(base64.b64decode(each)).public_bytes(Encoding.PEM)
        (auditor.folder / f"chain-{number}.pem").write_bytes(pem)
    assert auditor.type("openssl verify -CAfile ca.pem chain-0.pem").stdout == "chain-0.pem: OK\n"
    # 3. The signatures: of the log by both keys, and of the witness by the key that the log has on record.
    witness = next(each for each in map(json.loads, written) if each["event"] == "witness.keys")
    known = {(key.name, key.number): key for key in map(key_of, [*vkeys, witness["cosigner"]])}
    history = (copy / "checkpoints.jsonl").read_text().splitlines()
    signed = [pair for line in history for pair in (notes.parsed(json.loads(line)["note"].encode()) or ("", []))[1]]
    assert {known[name, value[:4]].kind for name, value in signatures} >= {0x01, 0x06}
    assert any(known[name, value[:4]].kind == 0x04 for name, value in signed)
    for line in history:
        body, several = notes.parsed(json.loads(line)["note"].encode()) or ("", [])
        assert several
        for name, value in several:
            assert notes.holds(known[name, value[:4]], body, value)
    for name, value in signatures:
        key = known[name, value[:4]]
        assert notes.holds(key, text, value)
        if key.kind == 0x01:
            assert "Verified Successfully" in openssl_says(auditor, key.public, text.encode(), value[4:])


def test_an_export_is_what_its_checkpoint_says(auditor: Auditor) -> None:
    done = auditor.type("pcgrelay audit export --tiles exported --log copy")
    assert done.returncode == 0, done.stderr
    out = auditor.folder / "exported"
    size = int((out / "checkpoint").read_text().splitlines()[1])
    name = f"000.p/{size}"
    bundle, tile = (out / "tile" / "entries" / name).read_bytes(), (out / "tile" / "0" / name).read_bytes()
    entries = []
    while bundle:
        length = int.from_bytes(bundle[:2])
        entries.append(bundle[2 : 2 + length])
        bundle = bundle[2 + length :]
    assert len(entries) == size
    assert b"".join(map(trees.leaf, entries)) == tile
    root = base64.b64encode(trees.root([trees.leaf(each) for each in entries])).decode()
    assert root == (out / "checkpoint").read_text().splitlines()[2]


def key_of(vkey: str) -> notes.Key:
    name, _, encoded = vkey.split("+", 2)
    data = base64.b64decode(encoded)
    key = notes.Key(name, data[0], data[1:])
    assert key.text == vkey
    return key


def openssl_says(auditor: Auditor, public: bytes, text: bytes, signature: bytes) -> str:
    for name, data in (("key.der", ED25519_HEAD + public), ("text", text), ("signature", signature)):
        (auditor.folder / name).write_bytes(data)
    words = "openssl pkeyutl -verify -pubin -inkey key.der -keyform DER -rawin -in text -sigfile signature"
    return auditor.type(words).stdout
