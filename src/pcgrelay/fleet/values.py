"""Signed values: what a node writes into the store, and when what stands there is believed.

A value is msgpack {body, signer, sig, epoch}. The signature is over key, epoch and body, so that no value serves in the
place of another. Who may write a key stands in the key itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Protocol

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from msgspec import Meta, Struct

from pcgrelay.errors import PcgrelayError
from pcgrelay.identity.certificates import CHAIN_LIMIT, read_certificate
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.model import NameProblem, NodeId, check_dotted, check_label
from pcgrelay.signing import sign, verify

SIGNED_BEFORE = b"pcgrelay fleet value v1\0"
BODY_MOST_BYTES = 64 << 10
VALUE_MOST_BYTES = 128 << 10
KEY_MOST = 512
EPOCH_MOST = (1 << 63) - 1

# Kinds of keys, by who may write them.
NODES, COUNTS = "nodes", "counts"  # the node that the key names
CUTOVER, LOCKS, ORDERS = "cutover", "locks", "orders"  # each node of the organisation that the key names
OF_NODE = (NODES, COUNTS)
KINDS = (*OF_NODE, CUTOVER, LOCKS, ORDERS)

# Why a value is not taken; or a word of `Refusal`, for what is wrong with the signer's certificate.
REASONS = (
    "value_malformed",
    "value_too_large",
    "value_unknown_key",
    "value_wrong_signer",
    "value_bad_signature",
    "value_old_epoch",
    "value_too_many",
)


class ValueRefused(PcgrelayError):
    """A value of the store is not believed. reason: of REASONS, or a word of `Refusal`."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"A value of the store is not believed: {reason.replace('_', ' ')}.")
        self.reason = reason


class Value(Struct, frozen=True, kw_only=True):
    """A value as it stands in the store. signer: certificates in DER, leaf first."""

    body: Annotated[bytes, Meta(max_length=BODY_MOST_BYTES)]
    signer: Annotated[tuple[bytes, ...], Meta(min_length=1, max_length=CHAIN_LIMIT)]
    sig: bytes
    epoch: Annotated[int, Meta(ge=0, le=EPOCH_MOST)]


class SignedValue(Struct, frozen=True, kw_only=True):
    """A value that was verified."""

    key: str
    body: bytes
    epoch: int
    signer: NodeId
    revision: int


class Judge(Protocol):
    """How certificates are judged, as in a handshake. `LocalIdentity` is one."""

    def chain_refusal(self, chain: Sequence[x509.Certificate]) -> str | None:
        """Return why a chain (leaf first) is not trusted, or None."""

    def identity_of(self, leaf: x509.Certificate) -> NodeId:
        """Return the node that a leaf names. Raises IdentityRefused."""


def sign_value(key: str, body: bytes, epoch: int, private: PrivateKeyTypes, chain: Sequence[bytes]) -> bytes:
    """Return a value for a key. chain: of the signer, DER, leaf first."""
    if len(body) > BODY_MOST_BYTES:
        raise ValueRefused("value_too_large")
    value = Value(body=body, signer=tuple(chain), sig=sign(private, _signed(key, epoch, body)), epoch=epoch)
    return msgspec.msgpack.encode(value)


Sign = Callable[[str, bytes, int], bytes]  # key, body, epoch: the value


def signing_as(local: LocalIdentity) -> Sign:
    """Return what signs values as a node, by the key that it has when it signs."""
    return lambda key, body, epoch: sign_value(key, body, epoch, local.credentials.key, local.chain)


def open_value(key: str, data: bytes, revision: int, judge: Judge) -> SignedValue:
    """Verify a value as it stands under a key. Raises ValueRefused."""
    if len(data) > VALUE_MOST_BYTES:
        raise ValueRefused("value_too_large")
    try:
        value = msgspec.msgpack.decode(data, type=Value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueRefused("value_malformed") from None
    signer = _signer(value, judge)
    if not may_write(signer, key):
        raise ValueRefused("value_wrong_signer")
    try:
        verify(read_certificate(value.signer[0]).public_key(), value.sig, _signed(key, value.epoch, value.body))
    except Exception:
        raise ValueRefused("value_bad_signature") from None
    return SignedValue(key=key, body=value.body, epoch=value.epoch, signer=signer, revision=revision)


def _signer(value: Value, judge: Judge) -> NodeId:
    try:
        chain = [read_certificate(der) for der in value.signer]
        signer = judge.identity_of(chain[0])
        word = judge.chain_refusal(chain)
    except PcgrelayError as error:
        raise ValueRefused(str(getattr(error, "reason", "value_malformed"))) from None
    except Exception:
        # Somebody else wrote the certificates: whatever the library makes of them is a refusal of the value.
        raise ValueRefused("value_malformed") from None
    if word:
        raise ValueRefused(str(word))
    return signer


def may_write(signer: NodeId, key: str) -> bool:
    """Return whether a node may write a key. ValueRefused: there is no such key."""
    kind, organisation, name = key_parts(key)
    return signer.organisation == organisation and (kind not in OF_NODE or signer.name == name)


def key_parts(key: str) -> tuple[str, str, str]:
    """Return kind, organisation and the name behind it. ValueRefused: there is no such key."""
    kind, _, rest = key.partition("/")
    organisation, _, rest = rest.partition("/")
    name = rest.partition("/")[0]
    try:
        if kind not in KINDS or len(key) > KEY_MOST:
            raise ValueRefused("value_unknown_key")
        check_dotted(organisation, "organisation")
        if kind in (*OF_NODE, ORDERS):
            check_label(name, "node name")
    except NameProblem:
        raise ValueRefused("value_unknown_key") from None
    return kind, organisation, name


def node_key(node: NodeId) -> str:
    """Return the key of a node's report."""
    return f"{NODES}/{node.organisation}/{node.name}"


def root_of(realm: str) -> str:
    """Return what stands before each key of a realm."""
    return f"pcg/1/{realm}/"


def _signed(key: str, epoch: int, body: bytes) -> bytes:
    return SIGNED_BEFORE + msgspec.msgpack.encode((key, epoch, body))
