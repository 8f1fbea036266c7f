"""Where a log is, and whom its reader trusts: the options that the commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from pcgrelay import config
from pcgrelay.audit.policy import read_policy
from pcgrelay.audit.segments import FOLDER as SEGMENTS
from pcgrelay.audit.trust import keys_of_trust
from pcgrelay.audit.verify import KeysOf, keys_of_itself, keys_of_policy
from pcgrelay.errors import ConfigError, PermissionProblem, UsageProblem
from pcgrelay.identity.credentials import load_certificates

F = TypeVar("F", bound=Callable[..., Any])
FOLDER = "audit"  # below [node] state
_FILE = click.Path(path_type=Path, readable=False)


def log_options(command: F) -> F:
    """Add -c FILE, by which a node's log is found, and --log FOLDER, by which any is."""
    command = click.option(
        "--log", "folder", metavar="FOLDER", type=_FILE, help="The log itself: the folder audit below [node] state."
    )(command)
    return node_option(command)


def node_option(command: F) -> F:
    """Add -c FILE, which need not be given."""
    return click.option(
        "-c",
        "--config",
        "path",
        metavar="FILE",
        envvar="PCGRELAY_CONFIG",
        show_envvar=True,
        type=_FILE,
        help="The node's configuration, which names its log and its CA.",
    )(command)


def trust_options(command: F) -> F:
    """Add --policy FILE and --trust FILE."""
    command = click.option(
        "--trust",
        metavar="FILE",
        multiple=True,
        type=_FILE,
        help="Certificates of a CA (PEM) whose nodes may sign for the keys of a log. May be given again.",
    )(command)
    return click.option(
        "--policy",
        "policy_path",
        metavar="FILE",
        type=_FILE,
        help="A C2SP tlog-policy with the keys; see audit policy.",
    )(command)


def by_options(command: F) -> F:
    """Add --by NAME and --reason TEXT, which go on record."""
    command = click.option("--reason", metavar="TEXT", default="", help="Why; it goes on record.")(command)
    by = "Who you are, beside the user that the system names."
    return click.option("--by", metavar="NAME", default="", help=by)(command)


def folder_of(folder: Path | None, path: Path | None) -> Path:
    """The folder of the log that is meant. ConfigError: there is no log; PermissionProblem: it may not be read."""
    if folder is None:
        folder = _folder_of_node(path)
    try:
        is_log = (folder / SEGMENTS).is_dir()
        if is_log:
            next((folder / SEGMENTS).iterdir(), None)
    except PermissionError:
        raise PermissionProblem(
            f"{folder}: this user may not read the audit log; be the user that runs pcgrelay, or in its group."
        ) from None
    if not is_log:
        raise ConfigError(f"{folder}: there is no audit log in this folder; name the folder audit below [node] state.")
    return folder


def keys_of(policy_path: Path | None, trust: tuple[Path, ...], path: Path | None) -> KeysOf:
    """By what the keys of a log are known: a policy, a CA, the CA of the node's configuration, or the log itself."""
    if policy_path is not None:
        if trust:
            raise UsageProblem("Name --policy or --trust: a policy has the keys themselves.")
        return keys_of_policy(read_policy(policy_path))
    anchors = [each for file in trust for each in load_certificates(file, "certificates of the CA")]
    if not anchors and path is not None:
        anchors = [*load_certificates(config.load(path).identity.trust, "trust anchors")]
    return keys_of_trust(anchors) if anchors else keys_of_itself


def _folder_of_node(path: Path | None) -> Path:
    if path is None:
        raise UsageProblem("Which log? Name a node by -c FILE, or the folder of its log.")
    state = config.load(path).node.state
    if state is None:
        raise ConfigError(
            f"{path}: this node has no folder of state, so it keeps no audit log; see [node] state, [audit]."
        )
    return state / FOLDER
