"""pcgrelay approve."""

from __future__ import annotations

from pathlib import Path

import click

from pcgrelay.cli.approvals.common import (
    head_of,
    head_options,
    held_of,
    key_options,
    show,
    signer_of,
    telephone,
    write_text,
)
from pcgrelay.cli.approvals.plan import whom_to_ask
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.errors import ConfigError, PcgrelayError, RuleProblem, UsageProblem
from pcgrelay.output import say
from pcgrelay.policy.acts import namespace_of
from pcgrelay.policy.change import ACT, CHANGE, Act, Change, parse_act, parse_change
from pcgrelay.policy.gate import change_path, propose, read_policy, refuse_late
from pcgrelay.policy.signatures import (
    CHANGE_NAMESPACE,
    find_signatures,
    fingerprint_of_signature,
    read_plain,
    sign,
)
from pcgrelay.policy.signed_text import TEXT_LIMIT_BYTES, Misspelt
from pcgrelay.policy.signers import Signer

EPILOG = """\b
Examples:
  pcgrelay approve kent-1.change
  pcgrelay approve kent-1.change --key ~/.ssh/id_ed25519_sk
  pcgrelay approve --first --by j.smith@kent.police.example \\
      --change CR-1000 --reason "first policy" -c kent-1.toml

\b
Exit codes:
   0  signed
   1  not signed: ssh-keygen (package openssh-client) is missing or refused
   6  a rule does not allow it: who proposes it does not sign it
  78  it is no text that can be signed
"""


@click.command(epilog=EPILOG)
@click.argument("text", metavar="[TEXT]", required=False, type=click.Path(path_type=Path))
@click.option("--first", is_flag=True, help="Approve the first policy of a node: write its text if it is not there.")
@click.option(
    "-c", "--config", "path", metavar="FILE", envvar="PCGRELAY_CONFIG", type=click.Path(path_type=Path),
    help="The node's configuration.  [default: TEXT with .toml]",
)  # fmt: skip
@key_options
@head_options
@click.option("--yes", is_flag=True, help="Do not ask before signing.")
def approve(
    text: Path | None, first: bool, path: Path | None, key: Path, principal: str | None, by: str | None,
    change: str | None, reason: str | None, days: int, yes: bool,
) -> int:  # fmt: skip
    """Read the text of a change or an act, and sign it.

    The text is shown as it is signed, by `ssh-keygen -Y sign`; the signature lies beside it. Compare the digest with
    the others by telephone if the text came over a way that you do not trust. With --first the file that is there is
    approved as the first policy of its node; the fingerprints of all who signed are shown, to be compared too.
    """
    if first:
        text = _first(path or _missing(), by, change, reason, days)
    if text is None:
        raise UsageProblem("Name the text to sign, as kent-1.change, or --first and -c FILE.")
    data = read_plain(text, "text", TEXT_LIMIT_BYTES)
    parsed = _parsed(data, text)
    signers = _signers(path or _config_of(text))
    key, who = signer_of(key, principal, signers)
    if who == parsed.head.by:
        raise RuleProblem(f"{who} proposes it, and so does not sign it; others do.")
    show(data)
    click.echo("")
    say(f"SHA-256 of this text, to compare: {telephone(data)}")
    if not yes and not click.confirm(f"Sign it as {who}?"):
        say("Nothing was signed.", err=True)
        return 1
    made = sign(text, key, CHANGE_NAMESPACE if isinstance(parsed, Change) else namespace_of(parsed.act), who)
    say(f"Signed: {made}")
    if first:
        _print_fingerprints(text)
    return 0


def _config_of(text: Path) -> Path:
    """The configuration beside which a text lies: kent-1.toml of kent-1.change, and of kent-1.retire.act."""
    return (text.with_suffix("") if text.suffix == ".act" else text).with_suffix(".toml")


def _missing() -> Path:
    raise UsageProblem("--first needs the configuration: -c FILE.")


def _first(path: Path, by: str | None, change: str | None, reason: str | None, days: int) -> Path:
    """Return the text of the first policy, written now if it is not there or is about other files."""
    fresh, where = read_policy(path), change_path(path)
    if not fresh.is_approved:
        raise ConfigError(f"{path}: it has no [approvals]; add the table with signers = and needs =.")
    if fresh.config.node.state is None:
        raise ConfigError(f"{path}: [approvals] needs state = in [node], where what was approved is kept.")
    if held_of(path).policy is not None:
        raise RuleProblem(
            f"A policy was approved at this node already; change it with: pcgrelay plan -c {path}. If too few signers "
            "are left, name a new folder in [node] state, restart the node with it, and begin anew; that is on record."
        )
    refuse_late(fresh.config, SYSTEM_CLOCK.wall())
    proposed = propose(None, fresh)
    if where.exists():
        try:
            there = parse_change(read_plain(where, "change", TEXT_LIMIT_BYTES))
        except Misspelt:
            there = None
        if there is not None and (there.before, there.after, there.lines) == ("", fresh.digest, proposed.lines):
            return where
    head = head_of(fresh.config.node.id, by, change, reason, days)
    write_text(where, Change(head, "", fresh.digest, proposed.lines).render())
    say(f"Written: {where}. {whom_to_ask(fresh, head.by, CHANGE_NAMESPACE)}")
    return where


def _parsed(data: bytes, text: Path) -> Change | Act:
    title = data.split(b"\n", 1)[0]
    try:
        if title == ACT.title.encode():
            return parse_act(data)
        return parse_change(data)
    except Misspelt as error:
        what = "change" if title == CHANGE.title.encode() else "text to sign"
        raise ConfigError(f"{text}: this is no {what} ({error.name}): {error}; do not sign it.") from None


def _signers(path: Path) -> tuple[Signer, ...]:
    """The list of signers that the configuration names, as far as this user can read it."""
    try:
        return read_policy(path).signers
    except PcgrelayError:
        return ()


def _print_fingerprints(text: Path) -> None:
    click.echo("Keys that have signed, to be compared by telephone:")
    for each in find_signatures(text):
        try:
            say(f"  {fingerprint_of_signature(each.data)}  {each.principal}")
        except ValueError:
            say(f"  (no signature)  {each.principal}")
