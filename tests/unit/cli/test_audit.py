"""`pcgrelay audit`: what people see, what programs get, and each refusal in one sentence with its code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pcgrelay import config
from pcgrelay.admin.audit_answers import AUDIT_EXPORTED_PATH, AUDIT_QUERIED_PATH, QueriedAnswer
from pcgrelay.audit.history import HISTORY, NEWEST
from pcgrelay.audit.note import COSIGNATURE_ED25519, NoteSigner
from pcgrelay.audit.policy import parse_policy
from pcgrelay.audit.tiles import entries_path, tile_path
from pcgrelay.audit.witnessing import Known
from pcgrelay.gateway.witness_files import WitnessFiles
from pcgrelay.model import NodeId
from tests.support.audit_logs import ORIGIN, AuditLog, make_log, stream_end
from tests.support.command_line import KENT, Answer, Invoke, invoker
from tests.support.fake_node import FakeNode, fake_node
from tests.support.pki import RealmPki, write_config
from tests.support.ports import free_port


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Invoke:
    monkeypatch.setenv("COLUMNS", "80")
    return invoker(capsys, monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> AuditLog:
    folder = tmp_path_factory.mktemp("made")
    log = make_log(folder / "audit")
    (folder / "realm.policy").write_text(log.policy)
    return log


@pytest.fixture
def policy(made: AuditLog) -> Path:
    return made.folder.parent / "realm.policy"


@pytest.fixture
def folder(made: AuditLog, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.folder, tmp_path / "audit"))


@pytest.fixture
def realm(tmp_path_factory: pytest.TempPathFactory) -> RealmPki:
    return RealmPki(tmp_path_factory.mktemp("realm"))


@pytest.fixture
def node(realm: RealmPki, tmp_path: Path) -> Path:
    """The configuration of a node, and the log that it has written."""
    files = realm.issue(KENT, "kent-1")
    path = write_config(tmp_path / "node.toml", files, KENT, "kent-1", listens=[f"127.0.0.1:{free_port()}"])
    text = path.read_text().replace("[node]\n", f'[node]\nstate = "{tmp_path}/state"\n', 1)
    path.write_text(text + "\n[audit]\n")
    log = AuditLog(tmp_path / "state" / "audit")
    log.tell_keys(files, f"{files.leaf.not_valid_before_utc:%Y-%m-%d}T23:59:59.000Z")
    log.tell_witness(realm.issue("hub.example", "relay-1"), f"{files.leaf.not_valid_before_utc:%Y-%m-%d}T23:59:59.000Z")
    log.grow(20)
    log.sign(is_witnessed=True)
    return path


def change(folder: Path, number: int) -> None:
    path = folder / "log" / f"{number - number % 1_000:012d}.jsonl"
    lines = path.read_bytes().split(b"\n")
    lines[number % 1_000] = lines[number % 1_000].replace(b"closed", b"opened")
    path.write_bytes(b"\n".join(lines))


def test_a_whole_log_is_said_to_be_whole(invoke: Invoke, made: AuditLog, policy: Path) -> None:
    answer = invoke("audit", "verify", made.folder, "--policy", policy)
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[0] == "3,000 records from 2026-11-03 to 2026-11-03, 1 s."
    assert lines[1:] == [
        f"  log           {ORIGIN}",
        "  tree          whole: 4 checkpoints agree with the records, each continues the one before",
        "  signed by     kent-1.kent.police.example (Ed25519, ML-DSA-44), by the policy",
        "  witnessed     hub.example/relay-1 2,800 at 2026-11-03 00:04:40; enough for the policy up to 2,800",
        "  holes         none",
        "  pruned        nothing",
        "  tail          200 records at the end are not signed yet",
    ]
    answer = invoke("audit", "verify", made.folder, "--policy", policy, "--json")
    assert (answer.code, json.loads(answer.out)["verdict"]) == (0, "whole")


def test_a_changed_record_is_the_first_line(invoke: Invoke, folder: Path, policy: Path) -> None:
    change(folder, 1_234)
    answer = invoke("audit", "verify", folder, "--policy", policy)
    assert (answer.code, answer.err) == (8, "")
    lines = answer.out.splitlines()
    assert lines[0] == (
        "Record 1,234 was changed (segment 000000001000.jsonl, line 235): its hash is not the one that was signed on "
        "2026-11-03T00:02:20.000Z."
    )
    assert lines[1] == "Records before it are whole; after it 1,765 are whole too."
    assert "  tree          CHANGED, see above; 4 checkpoints agree" in lines
    for number in range(1_300, 1_320):
        change(folder, number)
    lines = invoke("audit", "verify", folder, "--policy", policy).out.splitlines()
    assert lines[10:12] == [
        "There are 11 more; --json shows up to 100 of them.",
        "The 1,234 records before the first of these are whole.",
    ]


def test_without_trust_nothing_is_proved(invoke: Invoke, made: AuditLog) -> None:
    answer = invoke("audit", "verify", made.folder)
    assert answer.code == 4
    assert "nobody that is known: name --trust or --policy" in answer.out
    assert "nobody says that this is the end" in answer.out


def test_a_nodes_own_log_is_found_and_its_ca_trusted(invoke: Invoke, node: Path, realm: RealmPki) -> None:
    answer = invoke("audit", "verify", "-c", node)
    assert (answer.code, answer.err) == (0, "")
    assert f"certificate of spiffe://police.example/org/{KENT}/node/kent-1" in answer.out
    assert "hub.example/relay-1 22 at" in answer.out
    folder = node.parent / "state" / "audit"
    assert invoke("audit", "verify", folder, "--trust", realm.trust).code == 0
    assert invoke("audit", "verify", folder).code == 4
    stranger = RealmPki(node.parent / "stranger")
    answer = invoke("audit", "verify", folder, "--trust", stranger.trust)
    assert answer.code == 8
    assert "the CA does not vouch" in answer.out


def test_what_others_have_seen_is_compared(invoke: Invoke, folder: Path, policy: Path, tmp_path: Path) -> None:
    seen = tmp_path / "relay-1.checkpoint"
    shutil.copy(folder / NEWEST, seen)
    assert invoke("audit", "verify", folder, "--policy", policy, "--seen", seen).code == 0
    history = (folder / HISTORY).read_bytes().split(b"\n")
    (folder / HISTORY).write_bytes(b"\n".join([*history[:-2], b""]))
    (folder / NEWEST).unlink()
    path = folder / "log" / "000000002000.jsonl"
    path.write_bytes(b"\n".join([*path.read_bytes().split(b"\n")[:500], b""]))
    for tile in ("009", "010", "011"):
        (folder / "tile" / "0" / tile).unlink()
    assert invoke("audit", "verify", folder, "--policy", policy).code == 4
    answer = invoke("audit", "verify", folder, "--policy", policy, "--seen", seen)
    assert answer.code == 8
    assert f"2,800 records were signed ({seen}): its end was cut off." in answer.out
    # The file of state in which a witness keeps it.
    node = NodeId("police.example", KENT, "kent-1")
    WitnessFiles(tmp_path).write(node, Known(origin=ORIGIN, keys=("", "", ""), size=2_800, note=seen.read_text()))
    kept = tmp_path / "witness" / f"{KENT}_kent-1.json"
    answer = invoke("audit", "verify", folder, "--policy", policy, "--seen", kept)
    assert answer.code == 8
    assert f"({kept}): its end was cut off." in answer.out
    kept.write_text("{}")
    assert invoke("audit", "verify", folder, "--policy", policy, "--seen", kept).code == 78
    seen.write_text("hello\n")
    assert invoke("audit", "verify", folder, "--policy", policy, "--seen", seen).code == 8


def test_a_marking_stands_above_and_below(invoke: Invoke, made: AuditLog, policy: Path, tmp_path: Path) -> None:
    proof = tmp_path / "5.tlog-proof"
    proof.write_text(invoke("audit", "prove", "5", "--log", made.folder).out)
    for words in (
        ["verify", made.folder, "--policy", policy],
        ["check", proof, "--policy", policy],
        ["query", "--log", made.folder],
    ):
        lines = invoke("audit", *words, "--marking", "OFFICIAL-SENSITIVE").out.splitlines()
        assert lines[0] == lines[-1] == "OFFICIAL-SENSITIVE"
        for wrong in ("x" * 201, "two\nlines"):
            assert invoke("audit", *words, "--marking", wrong).code == 2


def test_a_record_is_proved_and_checked(invoke: Invoke, made: AuditLog, policy: Path, tmp_path: Path) -> None:
    answer = invoke("audit", "prove", "1234", "--log", made.folder)
    assert (answer.code, answer.err) == (0, "")
    proof = tmp_path / "1234.tlog-proof"
    proof.write_text(answer.out)
    answer = invoke("audit", "check", proof, "--policy", policy)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines() == [
        f"Record 1,234 of {ORIGIN} is proved.",
        "  signed by     the log (Ed25519, ML-DSA-44), as one of 2,800 records",
        "  witnessed     hub.example/relay-1 at 2026-11-03 00:04:40",
        f"  record        {stream_end(1_234).decode()}",
    ]
    got = json.loads(invoke("audit", "check", proof, "--policy", policy, "--json").out)
    assert (got["index"], got["size"], got["record"]["n"]) == (1_234, 2_800, 1_234)
    proof.write_text(proof.read_text().replace("index 1234", "index 1235"))
    answer = invoke("audit", "check", proof, "--policy", policy)
    assert answer.code == 8
    assert answer.err.startswith(f"pcgrelay: {proof}: The proof does not lead from this record")


def test_what_cannot_be_proved_is_said(invoke: Invoke, made: AuditLog, folder: Path) -> None:
    assert invoke("audit", "prove", "2900", "--log", made.folder).code == 8
    assert invoke("audit", "prove", "-1", "--log", made.folder).code == 2
    assert invoke("audit", "prove", "x", "--log", made.folder).code == 2
    change(folder, 5)
    answer = invoke("audit", "prove", "5", "--log", folder)
    assert (answer.code, answer.out) == (8, "")


def test_a_policy_to_start_with(invoke: Invoke, node: Path, made: AuditLog, realm: RealmPki, tmp_path: Path) -> None:
    answer = invoke("audit", "policy", "-c", node)
    assert answer.code == 0
    policy = parse_policy(answer.out.encode(), "policy")
    assert len(policy.logs_of(ORIGIN)) == 2
    assert list(policy.witnesses) == ["hub.example/relay-1"]
    assert answer.out.startswith(f"# The keys below are signed by a certificate of spiffe://police.example/org/{KENT}/")
    kept = tmp_path / "kept.policy"
    kept.write_text(answer.out)
    folder = node.parent / "state" / "audit"
    assert invoke("audit", "verify", folder, "--policy", kept).code == 0
    assert "Nobody has vouched" in invoke("audit", "policy", folder).out
    assert "Nobody has vouched" not in invoke("audit", "policy", folder, "--trust", realm.trust).out
    assert invoke("audit", "policy", made.folder).code == 8


def test_a_witness_that_has_begun_its_own_log_again_counts_once(
    invoke: Invoke, realm: RealmPki, tmp_path: Path
) -> None:
    log = AuditLog(tmp_path / "other" / "audit")
    kent, relay = realm.issue(KENT, "kent-1"), realm.issue("hub.example", "relay-1")
    day = f"{kent.leaf.not_valid_before_utc:%Y-%m-%d}T23:59:59.000Z"
    log.tell_keys(kent, day)
    log.tell_witness(relay, day)
    log.sign(is_witnessed=True)
    log.witness = NoteSigner.generate("hub.example/relay-1", COSIGNATURE_ED25519)
    log.tell_witness(relay, day)
    log.sign(is_witnessed=True)
    answer = invoke("audit", "policy", log.folder, "--trust", realm.trust)
    assert (answer.code, answer.err) == (0, "")
    policy = parse_policy(answer.out.encode(), "policy")
    assert len(policy.witnesses) == 2
    assert policy.groups["witnesses"].members == ("hub.example/relay-1",)
    kept = tmp_path / "kept.policy"
    kept.write_text(answer.out)
    assert invoke("audit", "verify", log.folder, "--policy", kept).code == 0


def test_an_export_is_a_folder_of_tiles(invoke: Invoke, made: AuditLog, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    answer = invoke("audit", "export", "--tiles", out, "--log", made.folder)
    assert (answer.code, answer.err) == (0, "")
    assert (out / "checkpoint").read_bytes() == (made.folder / NEWEST).read_bytes()
    files = {str(path.relative_to(out / "tile")) for path in (out / "tile").rglob("*") if path.is_file()}
    wanted = {tile_path(0, index) for index in range(10)} | {tile_path(0, 10, 240), tile_path(1, 0, 10)}
    wanted |= {entries_path(index) for index in range(10)} | {entries_path(10, 240)}
    assert files == wanted
    assert (out / "tile" / tile_path(0, 10, 240)).stat().st_size == 240 * 32
    data, lines = (out / "tile" / entries_path(0)).read_bytes(), []
    while data:
        length = int.from_bytes(data[:2])
        lines.append(data[2 : 2 + length])
        data = data[2 + length :]
    assert lines == [stream_end(number) for number in range(256)]
    assert invoke("audit", "export", "--tiles", out, "--log", made.folder).code == 1
    (folder / "log" / "000000001000.jsonl").unlink()
    assert invoke("audit", "export", "--tiles", tmp_path / "again", "--log", folder).code == 8


@pytest.fixture
def running(node: Path) -> Iterator[FakeNode]:
    with fake_node(config.admin_path(node)) as fake:
        yield fake


def test_an_export_and_a_proof_are_on_record(invoke: Invoke, node: Path, running: FakeNode, tmp_path: Path) -> None:
    path = node.parent / "state" / "audit" / "log" / "000000000000.jsonl"
    with path.open("ab") as sink:
        sink.write(b'{"n":22,"ts":"2026-11-04T00:00:00.000Z","event":"audit.exported","id":"0011aabb","uid":0}\n')
    running.answers = {AUDIT_EXPORTED_PATH: QueriedAnswer(id="0011aabb", is_kept=True)}
    who = ("--by", "night", "--reason", "R-1", "-c", node)
    answer = invoke("audit", "export", "--tiles", tmp_path / "out", *who)
    assert (answer.code, answer.err, answer.out.splitlines()[-1]) == (0, "", "This export is record 22.")
    proof = invoke("audit", "prove", "5", *who)
    assert (proof.code, proof.err) == (0, "This proof is record 22.\n")
    assert proof.out.startswith("c2sp.org/tlog-proof@v1\n")
    tiles, one = running.asked
    said = {"by": "night", "reason": "R-1"}
    assert tiles.query == {"kind": "tiles", "first": "0", "last": "21", **said}
    assert one.query == {"kind": "proof", "first": "5", "last": "5", **said}
    # A folder that is there already is refused before anything is said.
    assert invoke("audit", "export", "--tiles", tmp_path / "out", *who).code == 1
    assert len(running.asked) == 2
    answer = invoke("audit", "export", "--tiles", tmp_path / "other", "-c", node, "--reason", "x" * 321)
    assert (answer.code, "at most 320" in answer.err) == (2, True)


def test_an_export_beside_no_node_says_so(invoke: Invoke, node: Path, tmp_path: Path) -> None:
    answer = invoke("audit", "export", "--tiles", tmp_path / "out", "-c", node)
    assert answer.code == 0
    assert answer.out.splitlines()[-1].startswith("This export is not on record: ")
    answer = invoke("audit", "prove", "5", "-c", node)
    assert answer.code == 0
    assert answer.err.startswith("This proof is not on record: ")


def used(invoke: Invoke, *words: str | Path) -> Answer:
    return invoke("audit", "query", "--service", "custody@kent.police.example", *words)


def test_a_query_is_on_record(invoke: Invoke, node: Path, running: FakeNode) -> None:
    path = node.parent / "state" / "audit" / "log" / "000000000000.jsonl"
    with path.open("ab") as sink:
        sink.write(b'{"n":22,"ts":"2026-11-04T00:00:00.000Z","event":"audit.queried","id":"0011aabb","uid":0}\n')
    running.answers = {AUDIT_QUERIED_PATH: QueriedAnswer(id="0011aabb", is_kept=True)}
    answer = used(
        invoke, "--from", "2026-11-03T00:00Z", "--to", "2026-11-04", "--by", "night", "--reason", "R-1", "-c", node
    )
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[0].split() == "from streams refused bytes outlet rule allowed by suite".split()
    assert lines[1].split()[:3] == ["met.police.example", "20", "0"]
    assert lines[1].endswith("gateway  import 3  policy 7f3ac1aa0912  AES-256-GCM, X25519MLKEM768")
    assert lines[-1] == "This query is record 22."
    (asked,) = running.asked
    assert (asked.method, asked.path) == ("POST", AUDIT_QUERIED_PATH)
    assert asked.query == {
        "service": "custody@kent.police.example",
        "organisation": "",
        "since": "2026-11-03T00:00:00.000Z",
        "until": "2026-11-04T00:00:00.000Z",
        "by": "night",
        "reason": "R-1",
    }
    assert json.loads(used(invoke, "-c", node, "--json").out)["on_record"] == 22


def test_a_query_that_is_not_on_record_says_so(invoke: Invoke, node: Path, made: AuditLog, running: FakeNode) -> None:
    answer = used(invoke, "--log", made.folder)
    assert answer.out.splitlines()[-1] == "This query is not on record: no node was named (-c)."
    running.answers = {AUDIT_QUERIED_PATH: QueriedAnswer(reason="this node keeps no audit log.")}
    assert used(invoke, "-c", node).out.splitlines()[-1] == (
        "This query is not on record: this node keeps no audit log."
    )


def test_a_query_without_a_running_node(invoke: Invoke, node: Path) -> None:
    answer = used(invoke, "-c", node)
    assert answer.code == 0
    assert "This query is not on record: " in answer.out


def test_a_query_for_nothing_says_so(invoke: Invoke, made: AuditLog) -> None:
    answer = invoke("audit", "query", "--service", "other", "--log", made.folder)
    assert answer.out.splitlines()[0] == "No stream of the log is one that was asked for."
    assert (
        json.loads(invoke("audit", "query", "--service", "other", "--log", made.folder, "--json").out)["usages"] == []
    )


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["verify"], 2, "Which log?"),
        (["verify", "nowhere"], 78, "there is no audit log in this folder"),
        (["verify", "nowhere", "--policy", "p", "--trust", "t"], 78, "no audit log"),
        (["prove", "5"], 2, "Which log?"),
        (["query", "--from", "yesterday"], 2, "--from is a time"),
        (["query", "--to", "2026-99-01"], 2, "--to is a time"),
        (["query", "--service", "x" * 321], 2, "at most 320"),
        (["check", "nowhere", "--policy", "nowhere"], 78, "there is no policy"),
        (["check", "nowhere"], 2, "--policy"),
        (["export"], 2, "--tiles"),
    ],
)
def test_each_refusal_is_one_sentence(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], code: int, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = invoke("audit", *words)
    assert answer.code == code
    assert sentence in answer.err


def test_a_policy_and_a_ca_are_not_both_named(invoke: Invoke, made: AuditLog, policy: Path, realm: RealmPki) -> None:
    answer = invoke("audit", "verify", made.folder, "--policy", policy, "--trust", realm.trust)
    assert answer.code == 2


def test_a_node_without_state_keeps_no_log(invoke: Invoke, realm: RealmPki, tmp_path: Path) -> None:
    path = write_config(
        tmp_path / "bare.toml", realm.issue(KENT, "kent-9"), KENT, "kent-9", listens=[f"127.0.0.1:{free_port()}"]
    )
    answer = invoke("audit", "verify", "-c", path)
    assert answer.code == 78
    assert "no folder of state" in answer.err


def test_nothing_that_a_log_says_reaches_a_terminal_unchanged(invoke: Invoke, tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    evil = "\x1b[2Jmet"
    log.append(
        [msgspec.json.encode({"n": 0, "ts": evil, "event": "stream.end", "from_organisation": evil, "service": "s"})]
    )
    log.sign()
    for words in (["verify", log.folder], ["query", "--log", log.folder], ["query", "--json", "--log", log.folder]):
        assert "\x1b" not in invoke("audit", *words).out


@pytest.mark.parametrize("option", ["--service", "--organisation", "--by", "--reason"])
def test_a_word_that_is_no_utf_8_is_said_to_be_none(invoke: Invoke, node: Path, option: str) -> None:
    done = invoke("audit", "query", "-c", node, option, "custody\udcff")
    assert (done.code, done.out) == (2, "")
    assert "is no UTF-8 text" in done.err
    assert "\\udcff" in done.err


def test_a_folder_whose_name_is_no_utf_8_is_examined(invoke: Invoke, folder: Path) -> None:
    odd = folder.rename(folder.with_name("audit-\udcff"))
    done = invoke("audit", "verify", odd, "--json")
    assert (done.code, done.err) == (4, "")
    assert json.loads(done.out)["folder"] == str(odd).encode("utf-8", "backslashreplace").decode()
    assert invoke("audit", "verify", odd).code == 4
    assert invoke("audit", "query", "--log", odd, "--service", "custody\udcff").code == 0
