"""Bundles of a realm against the vectors that the reference has made."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import cast

import pytest
from cryptography import x509

from pcgrelay.identity.credentials import Credentials
from pcgrelay.identity.dates import Span
from pcgrelay.model import Marking
from pcgrelay.realm.bundle import Bundle, BundleRefused, name_of, open_bundle, refuse_epoch
from tests.support.vectors import Json, load, octets

VECTORS = load("bundles")
NOW = datetime.fromtimestamp(VECTORS["now"], UTC)
TRUST = (x509.load_der_x509_certificate(octets(VECTORS["anchor"])),)
CREDENTIALS = Credentials(chain=TRUST, key=cast("object", None), trust=TRUST, crls=())  # type: ignore[arg-type]
MARKINGS = list(Marking)


def held(case: Json) -> Bundle | None:
    """What the receiver has: of the case, only the epoch counts."""
    first = open_bundle(octets(VECTORS["cases"][0]["bundle"]), VECTORS["realm"], CREDENTIALS, NOW)
    return replace(first, epoch=case["held"], content=b"another") if case["held"] else None


def test_the_name_is_that_of_the_vectors() -> None:
    assert name_of(VECTORS["realm"]) == octets(VECTORS["name"])


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_a_bundle_is_taken_or_not_as_the_reference_says(case: Json) -> None:
    data = octets(case["bundle"])
    if not case["taken"]:
        with pytest.raises(BundleRefused):
            refuse_epoch(open_bundle(data, VECTORS["realm"], CREDENTIALS, NOW), held(case), told=True)
        return
    found, said = open_bundle(data, VECTORS["realm"], CREDENTIALS, NOW), case["content"]
    refuse_epoch(found, held(case), told=True)
    moments = [datetime.fromtimestamp(said[key], UTC) for key in ("not_before", "not_after")]
    assert (found.realm, found.epoch, found.span) == (said["realm"], said["epoch"], Span(*moments))
    assert [None if each is None else list(each) for each in (found.terms.members, found.terms.relays)] == [
        said["members"],
        said["relays"],
    ]
    cleared = found.terms.clearances
    assert (None if cleared is None else [[name, MARKINGS.index(each) + 1] for name, each in cleared]) == said[
        "clearances"
    ]
    assert (list(found.lists), found.minimum) == (said["lists"], said["minimum"])
