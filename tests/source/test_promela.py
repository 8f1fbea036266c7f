"""The Promela models of docs/proofs: what they claim holds, what is broken is refuted, and they are of this code."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest

from pcgrelay.daemon.handover import channel
from pcgrelay.handover.records import SessionHandover
from pcgrelay.link.changeover import Changeover
from pcgrelay.session.candidates import CANDIDATES_MOST
from pcgrelay.session.session import State

ROOT = Path(__file__).resolve().parents[2]
PROOFS = ROOT / "docs" / "proofs"
CORE = ROOT / "src" / "_core"
MODELS = {path.stem: path.read_text() for path in (PROOFS / "promela").glob("*.pml")}


def load() -> ModuleType:
    """What runs the models; it is no package."""
    sys.path.insert(0, str(PROOFS))
    try:
        spec = importlib.util.spec_from_file_location("spin_runner", PROOFS / "spin.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["spin_runner"] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(PROOFS))
    return module


spin = load()


def named(model: str) -> set[str]:
    """What its mtype names."""
    (names,) = re.findall(r"^mtype = \{(.*?)\};", MODELS[model], re.MULTILINE | re.DOTALL)
    return {name.strip() for name in names.split(",")}


def number(text: str, name: str) -> int:
    """A constant of C, of Cython or of a model."""
    (found,) = re.findall(rf"^\s*(?:#define )?{name}(?: =)? (\d+)\b", text, re.MULTILINE)
    return int(found)


def core(path: str) -> str:
    return (CORE / path).read_text()


# -- the results ------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(600)
def test_all_results_are_as_expected_and_on_record() -> None:
    results = spin.all_results()
    assert {(each.run.model, each.run.define): each.found for each in results if each.found != each.run.expected} == {}
    rows = re.findall(r"^\| (\w+) \| ([\w ]+) \| (\w+) \| (\w+) \|", spin.RESULTS.read_text(), re.MULTILINE)[1:]
    assert [tuple(row) for row in rows] == [
        (each.run.model, each.run.define or "as it is", each.run.expected, each.found) for each in results
    ]


def test_each_model_is_the_one_whose_results_are_on_record() -> None:
    kept = dict(re.findall(r"^\| `(\w+\.pml)` \| `([0-9a-f]{64})` \|$", spin.RESULTS.read_text(), re.MULTILINE))
    assert kept == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in spin.models()}, (
        "run docs/proofs/spin.py"
    )


def test_each_definition_of_a_model_is_run_and_each_that_is_run_is_there() -> None:
    for model, text in MODELS.items():
        run_with = {run.define for run in spin.PLAN if run.model == model and run.define}
        included = "".join(MODELS[each] for each in re.findall(r'^#include "(\w+)\.pml"', text, re.MULTILINE))
        assert conditions(text) <= run_with <= conditions(text + included), model
        assert {run.expected for run in spin.PLAN if run.model == model and not run.define} == {spin.HOLDS, spin.ENDS}


def conditions(text: str) -> set[str]:
    """The definitions on which something depends in a model."""
    return set(re.findall(r"\b((?:BROKEN|REACH|OLDER)_\w+)", "\n".join(re.findall(r"^#if.*", text, re.MULTILINE))))


def test_a_search_that_was_cut_off_is_no_result() -> None:
    run = spin.Run("link", "", spin.HOLDS)
    whole = "State-vector 132 byte, depth reached 88, errors: 0\n 5 states, stored\n"
    assert spin.found(whole, run) == spin.HOLDS
    for said in (f"error: max search depth too small\n{whole}", f"pan: out of memory\n{whole}", "nothing"):
        with pytest.raises(spin.SpinProblem, match="cut off"):
            spin.found(said, run)


def test_without_spin_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(spin.Missing, match="apt-get install spin"):
        spin.all_results()


# -- the models are of this code --------------------------------------------------------------------------------------


def test_the_hand_over_has_the_messages_of_the_channel() -> None:
    assert named("handover") == {kind.__name__.upper() for kind in get_args(channel.Message)}


def test_the_phases_of_the_hand_over_come_in_the_order_of_the_code() -> None:
    """In the model each side says and hears what its module does, in the same order."""
    old = (ROOT / "src/pcgrelay/daemon/handover/old_process.py").read_text()
    new = (ROOT / "src/pcgrelay/daemon/handover/new_process.py").read_text()
    model = MODELS["handover"]
    of_old = model[model.index("active proctype Old") : model.index("proctype New")]
    of_new = model[model.index("proctype New") : model.index("active proctype Fate")]
    steps = ["OFFER", "READY", "STATE", "TAKEN", "GO"]
    # STATE is sent by a function that stands below.
    in_old = [r"send\(self\._offer\(\)", r"receive, Ready", r"self\._send_state\(", r"receive\(Taken", r"send\(Go\(\)"]
    in_new = [r"receive\(Offer", r"send\(Ready\(\)", r"receive\(State", r"send\(Taken\(\)", r"receive_last\(Go"]
    for text, patterns in ((old, in_old), (new, in_new)):
        places = [found.start() for pattern in patterns if (found := re.search(pattern, text))]
        assert len(places) == len(steps)
        assert places == sorted(places)
    for text in (of_old, of_new):
        places = [re.search(rf"\b{step}\b", text).start() for step in steps]  # type: ignore[union-attr]
        assert places == sorted(places)
    frozen = old[old.index("def _hand_over") : old.index("def _send_state")]
    assert frozen.index("plane.freeze()") < frozen.index("handover_write") < frozen.index("send(Go()")
    assert frozen.index("send(Go()") < frozen.index("plane.thaw()")
    assert of_old.index("old_runs = false; record = old_next") < of_old.index("tell(down[k], STATE")


def test_the_changeover_has_the_states_of_the_code() -> None:
    for name in ("kept", "told", "heard"):
        assert name in Changeover.__dataclass_fields__
        assert re.search(rf"^bool {name}\[2\];", MODELS["link"], re.MULTILINE)
        assert re.search(rf"^bool {name}\[2\];", MODELS["renewal"], re.MULTILINE)
    assert {"HELLO", "RENEWED"} <= named("link")
    assert named("renewal") == {"HELLO", "RENEWED"}


def test_the_states_of_a_lane_are_those_of_the_core() -> None:
    states = set(re.findall(r"^\s+LANE_(CONFIRMING|UP|DRAINING|CLOSED) = \d", core("link/shard.pxd"), re.MULTILINE))
    # A lane that drains is one that is up.
    assert named("lanes") - {"NONE"} == states - {"DRAINING"}


def test_what_is_owed_after_a_renewal_is_what_the_core_has() -> None:
    text, renewal = core("crypto/renewal.pxd"), MODELS["renewal"]
    assert number(renewal, "GRACE_S") * 1_000_000 == number(text, "RENEWAL_GRACE_US")
    assert number(renewal, "WAIT_S") * 1_000_000 == number(text, "RENEWAL_WAIT_US")
    kept = re.findall(r"^    uint8_t (\w+)\[32\]", text, re.MULTILINE)
    assert len(kept) == number(renewal, "SECRETS")
    assert all(re.search(rf"^byte {name}\[2\];", renewal, re.MULTILINE) for name in (*kept, "agreed"))
    seconds = number(renewal, "GRACE_S")
    assert f"after {seconds} s" in (ROOT / "docs" / "protocol.md").read_text()


def test_the_process_that_takes_over_has_what_the_model_says_of_a_renewal() -> None:
    takeover = MODELS["takeover"]
    kept = set(re.findall(r"^\s+was_(\w+) = ", takeover, re.MULTILINE))
    # The record of the control plane; that of the core; and that of a flow.
    of_session = {"generation", "attempted"}
    assert of_session <= set(SessionHandover.__struct_fields__)
    fields = core("handover/keys.pyx")
    fields = fields[fields.index("cdef void renewals_fields") :]
    assert all(name in fields for name in ("newest", "before", "agreed_id", "waits_until_us"))
    assert {"FLOW_TX_MIX", "FLOW_RX_MIX"} <= set(re.findall(r"\bFLOW_\w+", core("handover/flows.pyx")))
    assert "flow.tx_mix_acked = 0 if flow.rekey_waits else flow.tx_mix" in core("handover/flows.pyx")
    assert kept == of_session | {"newest", "tx_mix", "waiting"}
    assert '#include "renewal.pml"' in takeover


def test_a_set_up_has_the_states_and_messages_of_the_code() -> None:
    states = {state.name for state in State} - {"STALLED"}
    sent = {"PATH_OPEN", "PATH_ACCEPT", "PATH_REFUSE", "PATH_CLOSE", "HELLO"}
    page = (ROOT / "docs" / "protocol.md").read_text()
    assert all(f"`{name}`" in page for name in sent)
    # NONE: no session yet. CONFIRM is FLOW_CONFIRM, of all flows.
    assert named("glare") == states | sent | {"NONE", "CONFIRM"}
    # The lesser edge alone refuses, and decides.
    refusals = (ROOT / "src/pcgrelay/session/pending.py").read_text()
    assert len(re.findall(r"\bme < (?:session\.)?key\.edge\b", refusals)) == 2
    assert len(re.findall(r"^#define (?:REFUSES|DECIDES)\(edge\) \(\(edge\) == A\)$", MODELS["glare"], re.M)) == 2


def test_a_session_has_as_many_candidates_as_the_model_says() -> None:
    resume = MODELS["resume"]
    assert number(resume, "CANDIDATES_MOST") == CANDIDATES_MOST
    assert number(resume, "CANDIDATES_MOST") == number(core("session/session.pxd"), "SESSION_CANDIDATES")
    events = set(re.findall(r"EVENT_SESSION_(MOVED|RESUMED|STALLED)\b", core("link/mailbox.pxd")))
    assert named("resume") == events == {"MOVED", "RESUMED", "STALLED"}
    assert {"candidate_lead", "candidate_add", "candidate_drop"} <= set(re.findall(r"\w+", core("worker/orders.pyx")))
    assert re.search(r"^inline candidate_lead\(", resume, re.MULTILINE)
