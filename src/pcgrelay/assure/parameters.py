"""The parameters of a profile: figures by which judges decide, with the values that hold if a profile says nothing."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Days = Annotated[int, Meta(ge=0, le=36_500)]
Seconds = Annotated[int, Meta(ge=1, le=31_536_000)]
# Names of IANA; a test holds them to what is offered.
Signature = Literal[
    "ecdsa_secp256r1_sha256",
    "ecdsa_secp384r1_sha384",
    "ecdsa_secp521r1_sha512",
    "ed25519",
    "ed448",
    "rsa_pss_rsae_sha256",
    "rsa_pss_rsae_sha384",
    "rsa_pss_rsae_sha512",
    "rsa_pkcs1_sha256",
    "rsa_pkcs1_sha1",
    "ecdsa_sha1",
    "ecdsa_sha224",
    "dsa_sha1",
]


class _Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class RunParameters(_Table, frozen=True, kw_only=True):
    """How tests are run."""

    seconds: Annotated[int, Meta(ge=1, le=600)] = 5  # for each test; those with many handshakes get a multiple


class TlsParameters(_Table, frozen=True, kw_only=True):
    """What handshakes may agree on."""

    groups: tuple[str, ...] = ("X25519MLKEM768",)
    suites: tuple[str, ...] = ("AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305")
    # Those that keys have which K4 takes. A node has one key, so it takes one of them.
    signatures: Annotated[tuple[Signature, ...], Meta(min_length=1)] = (
        "ecdsa_secp256r1_sha256",
        "ecdsa_secp384r1_sha384",
        "ecdsa_secp521r1_sha512",
        "ed25519",
        "ed448",
        "rsa_pss_rsae_sha256",
        "rsa_pss_rsae_sha384",
        "rsa_pss_rsae_sha512",
    )


class KeyParameters(_Table, frozen=True, kw_only=True):
    """Certificates, lists and the ages of proofs."""

    certificate_least_days: Days = 14  # that the own certificate still holds
    crl_most_days: Days = 7  # since a revocation list was made
    proved_most_s: Seconds = 86_400  # since both ends last proved their identities


class MonitoringParameters(_Table, frozen=True, kw_only=True):
    """The audit log and what watches a node."""

    checkpoint_most_s: Seconds = 120  # since the last checkpoint
    witness_most_h: Annotated[int, Meta(ge=1, le=8_760)] = 24  # since a witness signed
    keep_least_days: Days = 365  # of the records
    recorded_most_s: Seconds = 2  # until something that happened is in the log
    rules: str = ""  # file of the alert rules; empty: where Prometheus or the package has them


class RulesParameters(_Table, frozen=True, kw_only=True):
    """Who allows what."""

    changes: Annotated[int, Meta(ge=1, le=1_000)] = 10  # that are verified again, from the last backwards
    signatures: Annotated[int, Meta(ge=1, le=16)] = 2
    coded_bearers: tuple[str, ...] = ()  # networks that have a code for each service


class DrillParameters(_Table, frozen=True, kw_only=True):
    """Drills of what carries a service when something is lost."""

    most_days: Days = 90


class ReleaseParameters(_Table, frozen=True, kw_only=True):
    """The age of software."""

    most_days: Days = 400  # since this release was made
    supported_days: Days = 730  # from then on: fixes go to a release until the second one after it (SECURITY.md)


class ReviewParameters(_Table, frozen=True, kw_only=True):
    """When controls are held against their sources again."""

    most_months: Annotated[int, Meta(ge=1, le=120)] = 12  # since somebody last did


class Parameters(_Table, frozen=True, kw_only=True):
    """[parameters] of a profile."""

    test: RunParameters = RunParameters()
    tls: TlsParameters = TlsParameters()
    keys: KeyParameters = KeyParameters()
    monitoring: MonitoringParameters = MonitoringParameters()
    rules: RulesParameters = RulesParameters()
    drill: DrillParameters = DrillParameters()
    release: ReleaseParameters = ReleaseParameters()
    review: ReviewParameters = ReviewParameters()
