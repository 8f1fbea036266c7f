"""What the commands about approvals share: what holds, the texts on the disk, and who signs."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from pcgrelay import config as configuration
from pcgrelay.admin.client import ask
from pcgrelay.admin.policy_answers import POLICY_PATH, PolicyAnswer, PolicyFile
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.errors import ConfigError, PcgrelayError, RunError, StatusProblem, UsageProblem
from pcgrelay.files import write_replacing
from pcgrelay.model import NodeId
from pcgrelay.output import say
from pcgrelay.policy.change import (
    ACT,
    CHANGE,
    KINDS,
    LIFE,
    LIFE_MOST,
    Act,
    Change,
    Head,
    make_head,
    parse_change,
)
from pcgrelay.policy.digest import PolicyFiles
from pcgrelay.policy.gate import Policy, given_policy, kept_policy
from pcgrelay.policy.signatures import fingerprint_of_public_key, read_plain
from pcgrelay.policy.signed_text import TEXT_LIMIT_BYTES, Line, Misspelt
from pcgrelay.policy.signers import Signer, is_address, short_names
from pcgrelay.state.approved import ApprovedStore

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_KEY = Path("~/.ssh/id_ed25519")
TIMEOUT_S = 30.0
VERBS = {"WIDENS": ("widens", "widen"), "NARROWS": ("narrows", "narrow"), "NEUTRAL": ("is neutral", "are neutral")}


@dataclass(frozen=True, slots=True)
class Held:
    """What was approved last, and before that."""

    policy: Policy | None
    before: Policy | None
    answer: PolicyAnswer | None  # of the running node; nothing: it does not run
    taken: str = ""  # when the policy was taken, UTC


def held_of(path: Path) -> Held:
    """Return what was approved last: from the running node, or else from its state folder. PcgrelayError: neither."""
    try:
        answer = ask(configuration.admin_path(path), "GET", POLICY_PATH, PolicyAnswer, TIMEOUT_S)
    except StatusProblem:
        return _held_on_disk(path)
    if not answer.active:
        return Held(None, None, answer)
    before = None if answer.before is None else _policy(answer.before, path)
    return Held(_policy(answer.holds, path), before, answer, answer.holds.taken)


def _held_on_disk(path: Path) -> Held:
    state = configuration.state_path(path)
    store = None if state is None else ApprovedStore(state)
    if store is not None and not os.access(store.folder.parent, os.R_OK | os.X_OK):
        raise StatusProblem(
            f"{store.folder}: the node does not run, and this user may not read what was approved last; start the "
            "node, or run this as its user."
        )
    kept = None if store is None else store.read()
    before = None if store is None else store.before()
    return Held(
        None if kept is None else kept_policy(kept, path),
        None if before is None else kept_policy(before, path),
        None,
        "" if kept is None else kept.pointer.taken,
    )


def _policy(file: PolicyFile, path: Path) -> Policy:
    files = PolicyFiles(
        signers=file.signers.encode(), trust=file.trust.encode(), revoked=base64.b64decode(file.revoked)
    )
    return given_policy(file.text, files, path)


def head_options(command: F) -> F:
    """Add the options that say of a text who wrote it, and why."""
    for option in (
        click.option("--days", metavar="N", type=click.IntRange(1, LIFE_MOST.days), default=LIFE.days,
                     show_default=True, help="How long it may be taken."),
        click.option("--reason", metavar="TEXT", help="Why, in one line."),
        click.option("--change", metavar="NUMBER", help="Its number where changes are kept, as CR-1042."),
        click.option("--by", metavar="ADDRESS", help="Who proposes it, and so does not sign it."),
    ):  # fmt: skip
        command = option(command)
    return command


def key_options(command: F) -> F:
    """Add the options that say who signs."""
    for option in (
        click.option("--as", "principal", metavar="ADDRESS", help="Who signs, if the list of signers is not at hand."),
        click.option("--key", metavar="FILE", type=click.Path(path_type=Path), default=DEFAULT_KEY, show_default=True,
                     help="The private key, or the .pub file of one that an agent has."),
    ):  # fmt: skip
        command = option(command)
    return command


def head_of(node: NodeId, by: str | None, change: str | None, reason: str | None, days: int) -> Head:
    """Return the head of a text that is made now. UsageProblem: an option is missing or cannot stand there."""
    given = {"--by": by, "--change": change, "--reason": reason}
    missing = [name for name, value in given.items() if not value]
    if missing:
        raise UsageProblem(
            f"Say who proposes it and why: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing."
        )
    try:
        return make_head(node, by or "", SYSTEM_CLOCK.wall(), change or "", reason or "", timedelta(days=days))
    except Misspelt as error:
        raise UsageProblem(f"{str(error)[:1].upper()}{str(error)[1:]}.") from None


def put_change(path: Path, change: Change, taken: str) -> tuple[bytes, str]:
    """Have the text of a change at this place: what is there, if it says the same and is still good. As put_text.

    A text that is written anew needs new signatures, so those of one that says the same are not thrown away. taken:
    when the policy that holds was taken; what was written before that may be used up.
    """
    there = _change_there(path)
    if there is not None and there.head.made > _moment(taken) and _says_the_same(there, change):
        number = _signatures(len(signature_files(path)))
        return there.render(), f"{path} says this already, with {number}; it stays as it is."
    return put_text(path, change)


def put_text(path: Path, text: Change | Act) -> tuple[bytes, str]:
    """Write a text; return it, and the sentence that says so. RunError: another file has its name."""
    data = text.render()
    gone = write_text(path, data)
    words = f"; {_signatures(gone)} of the text that was there before {'is' if gone == 1 else 'are'} removed"
    return data, f"Written: {path}{words if gone else ''}"


def write_text(path: Path, data: bytes) -> int:
    """Write a text, in place of an older one; signatures of that go, for they are of no use any more.

    Return how many these were. RunError: another file has its name.
    """
    titles = (CHANGE.title.encode(), ACT.title.encode())
    if os.path.lexists(path) and (path.is_symlink() or not path.read_bytes().startswith(titles)):
        raise RunError(f"{path}: this file is there, and is no text that pcgrelay wrote; move it away first.")
    signatures = signature_files(path)
    for signature in signatures:
        signature.unlink()
    write_replacing(path, data)
    return len(signatures)


def signature_files(path: Path) -> list[Path]:
    """The signatures beside a text."""
    return sorted(each for each in path.parent.iterdir() if is_signature_of(path, each.name))


def is_signature_of(path: Path, name: str) -> bool:
    """Whether a name beside a text is that of a signature over it."""
    return name.startswith(f"{path.name}.") and name.endswith(".sig")


def _signatures(number: int) -> str:
    return "1 signature" if number == 1 else f"{number or 'no'} signatures"


def _change_there(path: Path) -> Change | None:
    try:
        return parse_change(read_plain(path, "change", TEXT_LIMIT_BYTES))
    except (PcgrelayError, Misspelt):
        return None


def _says_the_same(there: Change, change: Change) -> bool:
    """Whether a text differs from a new one in its times alone, and may still be taken."""
    head = replace(there.head, made=change.head.made, until=change.head.until)
    return there.head.until > change.head.made and replace(there, head=head) == change


def _moment(taken: str) -> datetime:
    return datetime.fromisoformat(taken) if taken else datetime.min.replace(tzinfo=UTC)


def signer_of(key: Path, principal: str | None, signers: Sequence[Signer]) -> tuple[Path, str]:
    """Return the key and the person whose it is, by the list of signers or as they say. PcgrelayError: unknown."""
    key = key.expanduser()
    public = key if key.suffix == ".pub" else Path(f"{key}.pub")
    if principal is not None:
        if not is_address(principal):
            raise UsageProblem(f'--as "{principal}" is no literal address, as a.jones@kent.police.example.')
        return key, principal
    fingerprint = fingerprint_of_public_key(public)
    found = next((each for each in signers if each.fingerprint == fingerprint), None)
    if found is None:
        raise ConfigError(
            f"{public}: nobody in the list of signers has this key ({fingerprint}); name another with --key, or who "
            "signs with --as."
        )
    return key, found.principal


def counted_lines(lines: Sequence[Line]) -> str:
    """How many lines are of each kind: 2 widen, 1 narrows."""
    words = []
    for kind in KINDS:
        number = sum(line.kind == kind for line in lines)
        if number:
            words.append(f"{number:,} {VERBS[kind][number > 1]}")
    return ", ".join(words)


def shown_names(principals: Sequence[str]) -> str:
    """Names for a sentence."""
    return ", ".join(short_names(list(principals)).values())


def show(data: bytes) -> None:
    """Print a text as it stands."""
    for line in data.decode("ascii").splitlines():
        say(line)


def telephone(data: bytes) -> str:
    """The digest of a text in groups that two people can read to each other."""
    digest = hashlib.sha256(data).hexdigest()
    return " ".join(digest[at : at + 4] for at in range(0, 32, 4))
