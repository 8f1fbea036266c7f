"""The realm's bundle of a node: which is in force, and what becomes of one that somebody brings.

A bundle comes from the file of the configuration, from the folder of state, from the previous process, or from a
neighbour. Whatever way it comes, it is judged by its signature, its dates and its epoch, and the one with the greatest
epoch is in force. It narrows the configuration (`LocalIdentity.narrowed`), and its revocation lists are put in force as
those that neighbours bring. What it no longer allows ends at once.

What is in force stays so when its time is over, or its signer's certificate ends or is revoked: without it more would
be allowed than the realm ever said. It is given up only if the CA of its signer is taken out of `trust`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pcgrelay import __version__
from pcgrelay.admin.bundles import BundleStatus
from pcgrelay.clock import Clock
from pcgrelay.config import Config
from pcgrelay.config.settings import RealmTerms
from pcgrelay.errors import ConfigError, PcgrelayError
from pcgrelay.files import read_bounded
from pcgrelay.gateway.tasks import spawn
from pcgrelay.handover.node import BundleHandover
from pcgrelay.identity.credentials import Credentials
from pcgrelay.identity.dates import Phase
from pcgrelay.identity.lists import ListRefused, RevocationList, anchors_of, read_list
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.link.link import Link
from pcgrelay.log.bundle_events import (
    BundleDropped,
    BundleEnding,
    BundleExpired,
    BundleNotYetValid,
    BundleTaken,
    BundleUnkept,
)
from pcgrelay.log.bundle_events import BundleRefused as BundleRefusedRecord
from pcgrelay.log.events import Emit
from pcgrelay.messages import Object
from pcgrelay.objects.exchange import KIND_BUNDLE, HeldObject
from pcgrelay.realm.bundle import (
    BUNDLE_MOST_BYTES,
    OTHER_REALM,
    Bundle,
    BundleRefused,
    epoch_refusal,
    is_below,
    name_of,
    open_bundle,
    refuse_epoch,
)
from pcgrelay.realm.kept import KeptBundle, bundle_file, read_kept
from pcgrelay.state.folder import StateFolder
from pcgrelay.state.writes import StateWrites

SAID_AGAIN_MS = 86_400_000
MISLABELLED, HASH = "object_mislabelled", "object_hash"


@dataclass(frozen=True)
class Brought:
    """A bundle that was judged, and who brought it."""

    bundle: Bundle
    source: str = ""  # a neighbour; empty: the file


class RealmBundles:
    """The bundle of one node, as the exchange of objects and a reload see it."""

    def __init__(
        self,
        local: LocalIdentity,
        lock: asyncio.Lock,
        apply: Callable[[RealmTerms, LocalIdentity | None], None],
        emit: Emit,
        clock: Clock,
        writes: StateWrites,
    ) -> None:
        """lock: held by whatever replaces the identity. apply: put terms in force, and an identity if lists are new."""
        self.refused: Counter[str] = Counter()
        self._local = local
        self._lock = lock
        self._apply = apply
        self._emit = emit
        self._clock = clock
        self._writes = writes
        self._state: Path | None = None
        self._held: Brought | None = None
        self._seen: bytes | None = None  # what the file had when it was last taken or found to be no news
        self._unkept = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._said: tuple[int, Phase, int] | None = None  # epoch and phase that were logged, and when

    @property
    def bundle(self) -> Bundle | None:
        """The bundle in force."""
        return self._held.bundle if self._held else None

    # -- start and hand-over -----------------------------------------------------------------------------------

    def begin(self, state: StateFolder | None, handover: BundleHandover | None = None) -> None:
        """Put in force what the file, the folder of state or the previous process has; nothing runs yet.

        Dates are not judged: a node starts whatever its clock says. ConfigError: the file is refused for another
        reason, and no previous process has handed a bundle over.
        """
        self._state = state.path if state is not None else None
        found = [each for each in (self._handed(handover), self._kept()) if each is not None]
        try:
            if (own := self._of_file(self._local.written, self._local.from_files)) is not None:
                found.append(own)
        except ConfigError:
            if handover is None:
                raise
        if not found:
            return
        newest = max(found, key=lambda each: each.bundle.epoch)
        self._held = newest
        if fresh := self._with_lists(newest):
            self._local.take(fresh)
        self._local.terms = newest.bundle.terms
        self._local.hold(self._local.config)
        try:
            self._write(newest)
        except PcgrelayError as error:
            self._not_kept(error)

    def _handed(self, handover: BundleHandover | None) -> Brought | None:
        return None if handover is None else self._opened_again(handover.data, handover.source)

    def _kept(self) -> Brought | None:
        kept = read_kept(self._state)
        return None if kept is None else self._opened_again(kept.data, kept.source)

    def _opened_again(self, data: bytes, source: str) -> Brought | None:
        try:
            return Brought(open_bundle(data, self._realm, self._local.from_files, None), source)
        except BundleRefused:
            return None  # its CA is no longer trusted

    def _of_file(self, config: Config, credentials: Credentials) -> Brought | None:
        path = config.realm.bundle
        if path is None:
            return None
        data = read_bounded(path, "realm bundle", BUNDLE_MOST_BYTES)
        try:
            bundle = open_bundle(data, self._realm, credentials, None)
        except BundleRefused as refused:
            raise ConfigError(f"{path}: {refused}") from None
        self._seen = data
        return Brought(bundle)

    def to_handover(self) -> BundleHandover | None:
        """Return the bundle in force for the new process."""
        return None if self._held is None else BundleHandover(data=self._held.bundle.data, source=self._held.source)

    # -- a reload ----------------------------------------------------------------------------------------------

    def read_file(self, config: Config, credentials: Credentials) -> Brought | None:
        """Read the file of a new configuration; return what is news of it, or None. Slow, and changes nothing.

        A file that is as it was at the last look is no news, though a neighbour may have brought a newer one, or its
        time may be over. ConfigError: it is refused.
        """
        path = config.realm.bundle
        if path is None:
            return None
        data = read_bounded(path, "realm bundle", BUNDLE_MOST_BYTES)
        held = self._still_trusted(credentials)
        if data == self._seen and held is not None:
            return None
        try:
            bundle = open_bundle(data, self._realm, credentials, self._clock.wall())
            refuse_epoch(bundle, held.bundle if held else None, told=False)
        except BundleRefused as refused:
            raise ConfigError(f"{path}: {refused}") from None
        return Brought(bundle)

    def terms_with(self, brought: Brought | None, credentials: Credentials) -> RealmTerms:
        """Return the terms that are in force after a reload. Slow."""
        after = brought or self._still_trusted(credentials)
        return after.bundle.terms if after else RealmTerms()

    def lists_with(self, brought: Brought | None, credentials: Credentials) -> list[RevocationList]:
        """Return the revocation lists of a bundle that a reload brings. Slow."""
        return [] if brought is None else list(self._lists(brought, credentials))

    def changes(self, brought: Brought | None) -> tuple[str, ...]:
        """Return what a reload changes, as a short phrase; nothing: it brings no other bundle."""
        if brought is None or (self._held is not None and self._held.bundle.content == brought.bundle.content):
            return ()
        return (f"realm bundle {brought.bundle.epoch} taken",)

    async def reloaded(self, brought: Brought | None) -> None:
        """Note what a reload has put in force, and keep it."""
        if brought is None:
            if self._held is not None and self._still_trusted(self._local.from_files) is None:
                self._emit(BundleDropped(epoch=self._held.bundle.epoch))
                self._held = None
            return
        self._seen = brought.bundle.data
        is_news = self._held is None or self._held.bundle.content != brought.bundle.content
        self._held = brought
        if is_news:
            self._tell(brought, len(brought.bundle.lists))
            await self._keep(brought)

    def _still_trusted(self, credentials: Credentials) -> Brought | None:
        """Return what is held, if the CA of its signer is trusted by these credentials."""
        if self._held is None:
            return None
        try:
            open_bundle(self._held.bundle.data, self._realm, credentials, None)
        except BundleRefused:
            return None
        return self._held

    # -- neighbours, and whoever else brings one ---------------------------------------------------------------

    def held(self) -> Iterator[HeldObject]:
        """The bundle that neighbours are told of: one in its time."""
        if (bundle := self.bundle) is not None and not bundle.span.phase(self._clock.wall()).is_wrong:
            yield HeldObject(KIND_BUNDLE, name_of(bundle.realm), bundle.epoch, bundle.digest, bundle.data)

    def refusal(self, announced: Object) -> str | None:
        """Return None if a bundle is wanted; "" if it is not newer; else the reason for which it is refused."""
        if announced.name != name_of(self._realm):
            return OTHER_REALM
        held = self.bundle
        is_same = held is not None and announced.hash == held.digest
        if word := epoch_refusal(announced.epoch, held, is_same=is_same, told=True):
            return word
        return "" if held is not None and announced.epoch == held.epoch else None

    async def take(self, announced: Object, data: bytes, link: Link) -> str | None:
        """Judge a bundle and put it in force; return the reason for which it is refused, or None."""
        if hashlib.sha256(data).digest() != announced.hash:
            return self._refused(link.peer.dotted, HASH)
        return await self._offered(data, link.peer.dotted, announced.epoch)

    async def offer(self, data: bytes, source: str) -> str | None:
        """Judge a bundle that came by another way than a link, and put it in force if it is newer.

        Return the reason for which it is refused, or None. source: its name in log and status.
        """
        word = await self._offered(data, source, None)
        if word:
            self.refused[word] += 1
        return word

    async def _offered(self, data: bytes, source: str, epoch: int | None) -> str | None:
        """epoch: as announced."""
        try:
            async with self._lock:
                local, now = self._local, self._clock.wall()
                bundle = await asyncio.to_thread(open_bundle, data, self._realm, local.credentials, now)
                if epoch is not None and bundle.epoch != epoch:
                    return self._refused(source, MISLABELLED)
                refuse_epoch(bundle, self.bundle, told=True)
                if (held := self.bundle) is not None and held.epoch == bundle.epoch:
                    return None  # the same came from two sides
                brought = Brought(bundle, source)
                fresh = await asyncio.to_thread(self._with_lists, brought)
                self._held = brought
                self._apply(bundle.terms, fresh)
                self._tell(brought, len(bundle.lists) if fresh else 0)
        except BundleRefused as refused:
            return self._refused(source, refused.reason)
        # Beside it: neighbours are told without a wait for the disk.
        task = spawn(self._keep(brought), "bundle", self._emit)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return None

    def _refused(self, peer: str, reason: str) -> str:
        self._emit(BundleRefusedRecord(peer=peer, reason=reason))
        return reason

    # -- revocation lists --------------------------------------------------------------------------------------

    def _lists(self, brought: Brought, credentials: Credentials) -> Iterator[RevocationList]:
        """Yield those that may be taken; a list that this node would not take of a neighbour counts for nothing."""
        anchors, now = anchors_of(credentials.trust), self._clock.wall()
        for der in brought.bundle.lists:
            try:
                yield read_list(der, brought.source or "realm bundle", anchors, now)
            except ListRefused:
                continue

    def _with_lists(self, brought: Brought) -> LocalIdentity | None:
        """Return the identity with the lists of a bundle that are newer; None: none is. Slow."""
        fresh: LocalIdentity | None = None
        for each in self._lists(brought, self._local.credentials):
            local = fresh or self._local
            if each.replaces(local.lists.get(each.issuer)):
                fresh = local.with_list(each)
        return fresh

    # -- what is kept and told ---------------------------------------------------------------------------------

    async def _keep(self, brought: Brought) -> None:
        try:
            await self._writes.run(self._write, brought)
            self._unkept = ""
        except PcgrelayError as error:
            self._not_kept(error)

    def _write(self, brought: Brought) -> None:
        """Keep a bundle, unless a newer one was kept meanwhile."""
        if self._state is None or (self._held is not None and self._held.bundle.epoch > brought.bundle.epoch):
            return
        kept = KeptBundle(data=brought.bundle.data, source=brought.source)
        if read_kept(self._state) != kept:
            bundle_file(self._state).write(kept)

    def _not_kept(self, error: PcgrelayError) -> None:
        self._unkept = str(error)
        assert self._held is not None
        self._emit(BundleUnkept(epoch=self._held.bundle.epoch, reason=self._unkept))

    def _tell(self, brought: Brought, lists: int) -> None:
        bundle = brought.bundle
        self._said = None
        self._emit(
            BundleTaken(
                epoch=bundle.epoch,
                source=brought.source,
                not_after=bundle.span.end.isoformat(),
                members=_count(bundle.terms.members),
                relays=_count(bundle.terms.relays),
                clearances=_count(bundle.terms.clearances),
                lists=lists,
                minimum=bundle.minimum,
            )
        )

    def tick(self) -> None:
        """Log once a day that the bundle ends or is over; called once a second."""
        if (bundle := self.bundle) is None:
            return
        phase, now_ms = bundle.span.phase(self._clock.wall()), self._clock.monotonic_ms()
        if phase is Phase.GOOD:
            self._said = None
            return
        if self._said and self._said[:2] == (bundle.epoch, phase) and now_ms - self._said[2] < SAID_AGAIN_MS:
            return
        self._said = bundle.epoch, phase, now_ms
        start, end = bundle.span.start.isoformat(), bundle.span.end.isoformat()
        if phase is Phase.ENDING:
            self._emit(BundleEnding(epoch=bundle.epoch, not_after=end))
        elif phase is Phase.EXPIRED:
            self._emit(BundleExpired(epoch=bundle.epoch, not_after=end))
        else:
            self._emit(BundleNotYetValid(epoch=bundle.epoch, not_before=start))

    def status(self) -> BundleStatus | None:
        """Return the bundle in force."""
        if self._held is None:
            return None
        bundle, terms = self._held.bundle, self._held.bundle.terms
        return BundleStatus(
            epoch=bundle.epoch,
            source=self._held.source,
            state=bundle.span.phase(self._clock.wall()),
            not_before=bundle.span.start,
            not_after=bundle.span.end,
            members=terms.members,
            relays=terms.relays,
            clearances=None
            if terms.clearances is None
            else {name: marking.value for name, marking in terms.clearances},
            minimum=bundle.minimum,
            is_below=bool(bundle.minimum) and is_below(__version__, bundle.minimum),
            is_member=terms.has(self._local.config.node.id.organisation),
            unkept=self._unkept,
        )

    @property
    def _realm(self) -> str:
        return self._local.config.node.id.realm


def _count(entries: Sequence[object] | None) -> int:
    return 0 if entries is None else len(entries)
