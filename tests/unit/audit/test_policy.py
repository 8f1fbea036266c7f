"""Policies, C2SP tlog-policy: what each line means, and what is refused with its number."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from pcgrelay.audit.note import COSIGNATURE_ED25519, COSIGNATURE_ML_DSA_44, ED25519, NoteSigner, NoteVerifier, Verified
from pcgrelay.audit.policy import Policy, parse_policy, read_policy
from pcgrelay.errors import ConfigError

LOG = NoteSigner.generate("log.example", ED25519).verifier
PQ_LOG = NoteSigner.generate("log.example", COSIGNATURE_ML_DSA_44).verifier
NAMES = ["X1", "X2", "X3", "Y1", "Y2", "Y3"]
WITNESSES = {name: NoteSigner.generate(f"w/{name}", COSIGNATURE_ED25519).verifier for name in NAMES}
# The example of https://c2sp.org/tlog-policy, with keys.
EXAMPLE = f"""
log {LOG.vkey}

witness X1 {WITNESSES["X1"].vkey}
witness X2 {WITNESSES["X2"].vkey}
witness X3 {WITNESSES["X3"].vkey}
group X-witnesses 2 X1 X2 X3

witness Y1 {WITNESSES["Y1"].vkey}
witness Y2 {WITNESSES["Y2"].vkey}
witness Y3 {WITNESSES["Y3"].vkey}
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


def parse(text: str) -> Policy:
    return parse_policy(text.encode(), "realm.policy")


def verified(*names: str) -> list[Verified]:
    return [Verified(WITNESSES[name], 5) for name in names]


def test_the_example_of_the_specification() -> None:
    policy = parse(EXAMPLE)
    assert policy.logs_of("log.example") == (LOG,)
    assert policy.logs_of("other.example") == ()
    for count in range(len(NAMES) + 1):
        for names in combinations(NAMES, count):
            x, y = (sum(name[0] == letter for name in names) for letter in "XY")
            assert policy.is_met(verified(*names)) == (x >= 2 and y >= 1)


def test_a_signature_by_the_same_name_and_another_key_does_not_count() -> None:
    policy = parse(f"witness w {WITNESSES['X1'].vkey}\nquorum w\n")
    other = NoteSigner.generate("w/X1", COSIGNATURE_ED25519).verifier
    assert policy.is_met(verified("X1"))
    assert not policy.is_met([Verified(other, 5)])


def test_blanks_comments_and_addresses_mean_nothing() -> None:
    policy = parse(f" \t\n # quorum x\n\tlog\t {LOG.vkey}  https://log.example \nlog {PQ_LOG.vkey}\n  quorum  none\t\n")
    assert policy.logs_of("log.example") == (LOG, PQ_LOG)
    assert policy.is_met([])


def test_names_are_bytes(tmp_path: Path) -> None:
    path = tmp_path / "realm.policy"
    path.write_bytes(b"witness \xff %b\nquorum \xff\n" % WITNESSES["X1"].vkey.encode())
    assert read_policy(path).is_met(verified("X1"))


def test_a_key_whose_name_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="UTF-8"):
        parse_policy(b"log \xff+00000000+AQ==\nquorum none\n", "policy")


def vkey(key: NoteVerifier) -> str:
    return key.vkey


X1, X2 = f"witness X1 {vkey(WITNESSES['X1'])}", f"witness X2 {vkey(WITNESSES['X2'])}"


@pytest.mark.parametrize(
    ("line", "lines", "words"),
    [
        (1, ["quorum X1"], "a line before"),
        (2, ["quorum none", "quorum none"], "another"),
        (1, ["quorum"], "a line is"),
        (1, ["lock x"], "a line is"),
        (1, ["log x"], "verifier key"),
        (1, [f"log {vkey(WITNESSES['X1'])}"], "a log signs"),
        (1, [f"witness X1 {LOG.vkey}"], "a witness signs"),
        (2, [f"log {LOG.vkey}", f"log {LOG.vkey}"], "same key"),
        (2, [X1, X1.replace("X1 ", "X9 ", 1)], "same key"),
        (2, [X1, f"witness X1 {vkey(WITNESSES['X2'])}"], "taken"),
        (1, [f"witness none {vkey(WITNESSES['X2'])}"], "taken"),
        (1, ["group g all"], "one member"),
        (2, [X1, "group g all X1 X1"], "once"),
        (2, [X1, "group g all X1 X2"], "line before"),
        (2, [X1, "group g all none"], "line before"),
        (2, [X1, "group g all g"], "line before"),
        (2, [X1, "group g 0 X1"], "from 1 to 1"),
        (2, [X1, "group g 2 X1"], "from 1 to 1"),
        (2, [X1, "group g -1 X1"], "from 1 to 1"),
        (2, [X1, "group g \u0661 X1"], "from 1 to 1"),
        (2, [X1, "group g 99999999999999999999 X1"], "from 1 to 1"),
        (4, [X1, X2, "group g any X1", "group h any X1 X2"], "one group alone"),
        (1, ["quorum none\r"], "control"),
        (1, ["quorum\0none"], "control"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(line: int, lines: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=f"^realm.policy:{line}: .*{words}"):
        parse("\n".join(lines) + "\n")


@pytest.mark.parametrize("text", ["\n", "quorum none", f"log {LOG.vkey}\n"], ids=["empty", "no end", "no quorum"])
def test_a_policy_is_whole_and_has_a_quorum(text: str) -> None:
    with pytest.raises(ConfigError, match=r"realm\.policy: "):
        parse(text)


def test_limits() -> None:
    keys = [NoteVerifier(f"w{number}", COSIGNATURE_ED25519, number.to_bytes(32)) for number in range(1_025)]
    lines = [f"witness w{number} {key.vkey}" for number, key in enumerate(keys)]
    with pytest.raises(ConfigError, match=r":1025: .*1024"):
        parse("\n".join([*lines, "quorum none"]) + "\n")
    logs = [f"log {NoteVerifier(key.name, ED25519, key.public).vkey}" for key in keys]
    with pytest.raises(ConfigError, match=r":1025: .*1024"):
        parse("\n".join([*logs, "quorum none"]) + "\n")
