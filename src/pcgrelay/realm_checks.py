"""What is to be said of the realm's bundle in a file, as findings of `check`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from pcgrelay import __version__
from pcgrelay.config import Config, LinkSettings
from pcgrelay.errors import PcgrelayError, PermissionProblem
from pcgrelay.files import read_bounded
from pcgrelay.finding import ERROR, WARNING, Finding, bad, doubtful, good, of_dates
from pcgrelay.identity.credentials import Credentials, load_credentials
from pcgrelay.identity.dates import Phase
from pcgrelay.realm.bundle import (
    BUNDLE_MOST_BYTES,
    Bundle,
    BundleRefused,
    epoch_refusal,
    is_below,
    open_bundle,
)
from pcgrelay.realm.kept import read_kept

_WHERE = "realm.bundle"
_SIGN = "Have the realm sign a new one, and put it here or at another node."


def realm_findings(config: Config, now: datetime) -> Iterator[Finding]:
    """Say whether the file can be used, until when, and what of it concerns this node."""
    path = config.realm.bundle
    if path is None:
        return
    try:
        data = read_bounded(path, "realm bundle", BUNDLE_MOST_BYTES)
        credentials = load_credentials(config.identity)
    except PcgrelayError as error:
        if str(path) in str(error):  # those of [identity] have findings of their own
            yield bad(_WHERE, str(error), permission=isinstance(error, PermissionProblem))
        return
    try:
        bundle = open_bundle(data, config.node.id.realm, credentials, None)
    except BundleRefused as refused:
        yield bad(_WHERE, f"{path}: {refused}")
        return
    yield from _of_time(bundle, data, config, credentials, now)
    yield from _of_node(bundle, config, credentials)


def _of_time(bundle: Bundle, data: bytes, config: Config, credentials: Credentials, now: datetime) -> Iterator[Finding]:
    end = f"{bundle.span.end:%Y-%m-%d %H:%M} UTC"
    try:
        open_bundle(data, config.node.id.realm, credentials, now)
    except BundleRefused as refused:
        # A node starts with it, and no running one takes it.
        yield of_dates(ERROR, _WHERE, str(refused), _SIGN)
        return
    if bundle.span.phase(now) is Phase.ENDING:
        yield of_dates(WARNING, _WHERE, f"The realm's bundle ends on {end}.", _SIGN)
    else:
        yield good(_WHERE, f"The realm's bundle has epoch {bundle.epoch} and is good until {end}.")


def _of_node(bundle: Bundle, config: Config, credentials: Credentials) -> Iterator[Finding]:
    """Say what the bundle means for this node and the neighbours that it dials."""
    terms, own = bundle.terms, config.node.id
    if (kept := _kept(config, credentials)) is not None and epoch_refusal(
        bundle.epoch, kept, is_same=bundle.content == kept.content, told=False
    ):
        sentence = f"A newer bundle than that of the file (epoch {bundle.epoch}) is in force here: {kept.epoch}."
        yield doubtful(_WHERE, sentence, "Put the newest into this file, so that the node has it without its state.")
    if not terms.has(own.organisation):
        sentence = f"By the realm's bundle {own.organisation} is no member, and neighbours refuse this node."
        yield doubtful(_WHERE, sentence, "Have the realm name it, or stop this node.")
    for number, link in enumerate(config.links, 1):
        if isinstance(link, LinkSettings) and not terms.has(link.peer.organisation):
            sentence = f"By the realm's bundle {link.peer.organisation} is no member, so this link does not come up."
            yield doubtful(f"link[{number}].peer", sentence, "Remove this link, or have the realm name it.")
    if bundle.minimum and is_below(__version__, bundle.minimum):
        sentence = f"This version, {__version__}, is below the realm's minimum, {bundle.minimum}."
        yield doubtful(_WHERE, sentence, "Install a newer one.")


def _kept(config: Config, credentials: Credentials) -> Bundle | None:
    kept = read_kept(config.node.state)
    if kept is None:
        return None
    try:
        return open_bundle(kept.data, config.node.id.realm, credentials, None)
    except BundleRefused:
        return None
