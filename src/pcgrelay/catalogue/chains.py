"""Certificate chains that are named by their digest in an ADVERT (docs/protocol.md, 9.4; feature `chain-hash`).

An entry is signed again every quarter of an hour, and more than half of its bytes are a chain that the neighbour has.
So who tells of an edge again names the chain of what it told of that edge last, on the same link. Both ends have what
that needs already: the one remembers what it told, the other holds the entry. A receiver that does not, for it refused
the entry or let it expire, asks for the whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256

from pcgrelay.catalogue.entries import Catalogue
from pcgrelay.clock import Clock
from pcgrelay.identity.handshake import CHAIN_HASH
from pcgrelay.link.link import Link
from pcgrelay.messages import AdvertGet
from pcgrelay.model import NodeId
from pcgrelay.net.ratelimit import TokenBucket

DIGEST_BYTES = 32
# Requests for a whole entry: a neighbour asks no faster than it is answered.
ASKED_AT_ONCE, ASKED_EACH_SECOND = 128, 8
ANSWERED_AT_ONCE, ANSWERED_EACH_SECOND = 256, 16

Chain = tuple[bytes, ...]

UNKNOWN = "chain_unknown"
GET_UNASKED, GET_TOO_OFTEN = "advert_get_unasked", "advert_get_too_often"


@lru_cache(maxsize=8_192)
def chain_digest(chain: Chain) -> bytes:
    """SHA-256 of the certificates, leaf first, each with its length before it as u32."""
    digest = sha256()
    for certificate in chain:
        digest.update(len(certificate).to_bytes(4, "big"))
        digest.update(certificate)
    return digest.digest()


def named(link: Link, chain: Chain, told: Chain | None) -> Chain:
    """Return what an ADVERT carries for a chain. told: the chain that the neighbour has of that edge, if any."""
    return (chain_digest(chain),) if chain == told and CHAIN_HASH in link.features else chain


def digest_in(chain: Sequence[bytes]) -> bytes | None:
    """Return the digest that an ADVERT carries in place of a chain, or None: no certificate is as short."""
    return chain[0] if len(chain) == 1 and len(chain[0]) == DIGEST_BYTES else None


class ChainRequests:
    """Chains that neighbours name by their digests, and requests for whole entries, in both directions."""

    def __init__(self, catalogue: Catalogue, refused: Counter[str], clock: Clock) -> None:
        """refused: where refusals are counted, by reason."""
        self._catalogue = catalogue
        self._refused = refused
        self._clock = clock
        self._asked: dict[int, TokenBucket] = {}  # by link
        self._answered: dict[int, TokenBucket] = {}

    def link_gone(self, link: Link) -> None:
        """Forget a neighbour."""
        self._asked.pop(link.number, None)
        self._answered.pop(link.number, None)

    def whole(self, link: Link, edge: NodeId, chain: Chain) -> Chain | None:
        """Return the chain of an ADVERT of an edge. None: its digest is of none that is known here; it was asked for.

        chain: as the ADVERT carries it.
        """
        digest = digest_in(chain) if CHAIN_HASH in link.features else None
        if digest is None:
            return chain
        known = self._catalogue.ways(edge).get(link.number)
        if known is not None and chain_digest(known.signed.chain) == digest:
            return known.signed.chain
        self._refused[UNKNOWN] += 1
        if _spent(self._asked, link, ASKED_AT_ONCE, ASKED_EACH_SECOND, self._clock.monotonic_ms()):
            link.send(AdvertGet(edge.uri))
        return None

    def answers(self, link: Link) -> bool:
        """Whether a request of a neighbour for a whole entry is answered; if not, it is counted."""
        if CHAIN_HASH not in link.features:
            self._refused[GET_UNASKED] += 1
            return False
        if not _spent(self._answered, link, ANSWERED_AT_ONCE, ANSWERED_EACH_SECOND, self._clock.monotonic_ms()):
            self._refused[GET_TOO_OFTEN] += 1
            return False
        return True


def _spent(buckets: dict[int, TokenBucket], link: Link, at_once: int, each_second: float, now_ms: int) -> bool:
    bucket = buckets.get(link.number)
    if bucket is None:
        bucket = buckets[link.number] = TokenBucket(at_once, each_second, now_ms)
    return bucket.spend(now_ms)
