"""The bank: every kind is refused by its name where its CA is trusted, by the code that judges neighbours."""

from __future__ import annotations

import pytest
from OpenSSL import SSL

from pcgrelay.assure.bad_certificates import Bad, Bank
from pcgrelay.assure.readers.bank import judged_here
from pcgrelay.identity.tls import make_context

REALM = "police.example"
BANK = Bank(REALM, "kent.police.example")
KINDS = {each.kind: each for each in BANK.bad()}


@pytest.fixture(scope="module")
def context() -> SSL.Context:
    return make_context(BANK.credentials(), post_quantum_required=True)


def test_a_good_one_is_taken(context: SSL.Context) -> None:
    assert judged_here(context, BANK.good(), REALM) == ""


def test_there_are_twenty_kinds() -> None:
    assert len(KINDS) >= 20
    assert len({each.due for each in KINDS.values()}) >= 14


@pytest.mark.parametrize("bad", KINDS.values(), ids=KINDS)
def test_each_kind_is_refused_by_its_name(context: SSL.Context, bad: Bad) -> None:
    assert judged_here(context, bad, REALM) == bad.due
