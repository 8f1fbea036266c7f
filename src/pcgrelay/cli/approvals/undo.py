"""pcgrelay undo."""

from __future__ import annotations

from pathlib import Path

import click

from pcgrelay.cli.approvals.apply import ask_to_take, print_taken
from pcgrelay.cli.approvals.common import Held, counted_lines, head_of, head_options, held_of, show, write_text
from pcgrelay.cli.approvals.plan import whom_to_ask
from pcgrelay.cli.root import config_option
from pcgrelay.errors import RunError
from pcgrelay.files import write_replacing
from pcgrelay.output import say
from pcgrelay.policy.change import Change
from pcgrelay.policy.gate import Policy, change_path, propose
from pcgrelay.policy.signatures import CHANGE_NAMESPACE

EPILOG = """\b
Examples:
  pcgrelay undo -c kent-1.toml
  pcgrelay undo --edits -c kent-1.toml       what nobody approved, away
  pcgrelay undo --by j.smith@kent.police.example --change CR-1043 \\
      --reason "Essex is not ready" -c kent-1.toml

\b
Exit codes:
   0  the node has gone back, or the text to sign is written
   1  there is nothing to go back to
   2  going back widens, so it needs --by, --change and --reason
   3  the node does not answer
   6  a rule of approval does not allow it: the files were edited meanwhile
  77  refused: permissions are wrong
  78  refused: the configuration of before is wrong now
"""


@click.command(epilog=EPILOG)
@config_option
@head_options
@click.option("--edits", is_flag=True, help="Put the files back as they were approved last, and nothing more.")
def undo(path: Path, by: str | None, change: str | None, reason: str | None, days: int, edits: bool) -> int:
    """Go back to the policy that was approved before this one.

    The configuration, the list of signers and the trusted certificates are written as they were; what is there now
    stays beside them as FILE.undone. Where going back only narrows, the node takes it at once. Where it widens again,
    the text for it is written, to be signed by others as any change: what was withdrawn may have been withdrawn for a
    reason. With --edits the files are put back as they were approved last: so a file in which something waits can be
    narrowed at once.
    """
    held = held_of(path)
    if edits:
        return _without_edits(path, held)
    if held.policy is None or held.before is None:
        raise RunError("There is no policy from before this one, so there is nothing to go back to.")
    proposed = propose(held.policy, held.before)
    if not proposed.lines:
        raise RunError("The policy from before this one does not differ from it.")
    head = head_of(held.policy.config.node.id, by, change, reason, days) if proposed.widens else None
    for line in proposed.lines:
        say(f"{line.kind:<9} {line.sentence}")
    _put_back(path, held.before)
    if head is None:
        answer = ask_to_take(path, None)
        print_taken(answer, path)
        return answer.exit_code
    where = change_path(path)
    data = Change(head, held.policy.digest, held.before.digest, proposed.lines).render()
    write_text(where, data)
    click.echo("")
    show(data)
    click.echo("")
    say(f"Going back: {counted_lines(proposed.lines)}. {whom_to_ask(held.policy, head.by, CHANGE_NAMESPACE)}")
    say(f"Written: {where}. Each of them:  pcgrelay approve {where}")
    say(f"Then:  pcgrelay apply {where} -c {path}")
    return 0


def _without_edits(path: Path, held: Held) -> int:
    if held.policy is None:
        raise RunError("Nothing was approved at this node, so there is nothing to put back.")
    if not _put_back(path, held.policy):
        say("The files are as they were approved last.")
        return 0
    say("The files are as they were approved last; what they had stays beside them as FILE.undone.")
    if held.answer is None:
        return 0
    answer = ask_to_take(path, None)
    print_taken(answer, path)
    return answer.exit_code


def _put_back(path: Path, before: Policy) -> int:
    """Write the files of a policy; each that differs stays beside it as FILE.undone. Return how many these are."""
    settings = before.config
    files = {path: before.text.encode(), settings.identity.trust: before.files.trust}
    if settings.approvals is not None:
        files[settings.approvals.signers] = before.files.signers
        if settings.approvals.revoked is not None and before.files.revoked:
            files[settings.approvals.revoked] = before.files.revoked
    written = 0
    for file, data in files.items():
        try:
            now, mode = file.read_bytes(), file.stat().st_mode & 0o777
        except OSError:
            now, mode = b"", 0o644
        if now == data:
            continue
        if now:
            write_replacing(file.with_name(f"{file.name}.undone"), now, mode)
        write_replacing(file, data, mode)
        say(f"Written: {file}")
        written += 1
    return written
