"""What `check` says of approvals: who may sign and for how long, what verifies them, and what nobody approved yet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime

from pcgrelay.config import ApprovalsSettings, Config
from pcgrelay.errors import PcgrelayError, PermissionProblem
from pcgrelay.finding import WARNING, Finding, bad, doubtful, good, of_dates
from pcgrelay.identity.dates import ENDING_MOST
from pcgrelay.policy.approving import changes_words
from pcgrelay.policy.gate import Policy, kept_policy, propose, read_policy
from pcgrelay.policy.signatures import CHANGE_NAMESPACE, PACKAGE, SSH_KEYGEN, ToolProblem, require_ssh_keygen
from pcgrelay.policy.signers import Signer, short_names
from pcgrelay.state.approved import ApprovedStore


def approval_findings(config: Config, now: datetime) -> Iterator[Finding]:
    """Yield what there is to say, where changes have to be approved."""
    approvals = config.approvals
    if approvals is None:
        return
    try:
        policy = read_policy(config.path)
    except PcgrelayError as error:
        yield bad("approvals.signers", str(error), permission=isinstance(error, PermissionProblem))
        return
    if config.node.state is None:
        mend = f'Add state = "/var/lib/pcgrelay/{config.node.id.name}" to [node].'
        yield bad("node.state", "[approvals] has no folder in which what was approved is kept.", mend)
    yield _tool()
    yield from _signers(approvals, policy.able, now)
    yield from _roles(approvals, policy.signers)
    yield from _approved(config, policy)


def _tool() -> Finding:
    try:
        require_ssh_keygen()
    except ToolProblem:
        sentence = f"{SSH_KEYGEN} is not there, so no signature can be verified and nothing can be widened."
        return doubtful("approvals", sentence, f"Install the package {PACKAGE}.")
    return good("approvals", f"Signatures are verified by {SSH_KEYGEN}.")


def _signers(approvals: ApprovalsSettings, signers: tuple[Signer, ...], now: datetime) -> Iterator[Finding]:
    where = "approvals.signers"
    able = _persons(signers, now)
    # Who proposes a change does not sign it.
    if len(able) <= approvals.needs:
        sentence = (
            f"{len(able)} people may sign now; a change needs {approvals.needs} of them, and one who proposes it."
        )
        yield doubtful(where, sentence, "Add a signer by a change, while enough can sign it.")
    else:
        yield good(where, f"{len(able)} people may sign changes, which need {approvals.needs} of them.")
    later = _persons(signers, now + ENDING_MOST)
    if ending := [each for each in able if each not in later]:
        names = ", ".join(short_names(ending).values())
        verb = "ends" if len(ending) == 1 else "end"
        sentence = f"The time of {names} as {'a signer' if len(ending) == 1 else 'signers'} {verb} within 30 days."
        yield of_dates(WARNING, where, sentence, "Write a later valid-before, or another key, by a change.")


def _roles(approvals: ApprovalsSettings, signers: tuple[Signer, ...]) -> Iterator[Finding]:
    known = {each.principal for each in signers}
    for role, persons in approvals.roles:
        if strange := [each for each in persons if each not in known]:
            sentence = f'{", ".join(strange)} of the role "{role}" may not sign, so what that role says is not noted.'
            yield doubtful("approvals.roles", sentence, "Add them to the list of signers by a change.")


def _persons(signers: tuple[Signer, ...], moment: datetime) -> list[str]:
    able = (each for each in signers if each.is_valid(moment) and CHANGE_NAMESPACE in each.namespaces)
    return list(dict.fromkeys(each.principal for each in able))


def _approved(config: Config, policy: Policy) -> Iterator[Finding]:
    """What was approved last, if this user may read it: the state folder is the node's own."""
    state = config.node.state
    if state is None or not os.access(state, os.R_OK | os.X_OK):
        return
    store = ApprovedStore(state)
    if store.folder.is_dir() and not os.access(store.folder, os.R_OK | os.X_OK):
        return
    try:
        kept = store.read()
    except PcgrelayError as error:
        yield bad("node.state", str(error))
        return
    if kept is None:
        sentence = "Nothing was approved yet, so the node does not start."
        yield doubtful(
            "approvals", sentence, f"Have the first policy signed: pcgrelay approve --first -c {config.path}"
        )
        return
    proposed = propose(kept_policy(kept, config.path), policy)
    if proposed.widens:
        yield doubtful("approvals", changes_words(proposed.lines), f"Write their text: pcgrelay plan -c {config.path}")
    elif proposed.lines:
        yield good("approvals", "The file narrows what was approved last, so it needs no signature.")
    else:
        yield good("approvals", "The file is as it was approved last.")
