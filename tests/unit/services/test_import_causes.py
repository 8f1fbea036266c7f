"""Why an import is not served: a transport that differs, and sessions that carry no datagrams."""

from __future__ import annotations

from pcgrelay.catalogue.entries import STATE_DOWN, Catalogue, Offer, ReceivedEntry, SignedEntry, VerifiedEntry
from pcgrelay.model import NodeId, ServiceName, Transport
from pcgrelay.services.import_causes import NO_DATAGRAMS, TRANSPORT, WITHDRAWN, ImportFailure, import_failure
from pcgrelay.services.imports import exporters_of, offers_of

KENT = "kent.police.example"
ONE, TWO = (NodeId("police.example", KENT, f"kent-{number}") for number in (1, 2))
DNS = ServiceName("dns", KENT)
UDP = int(Transport.DATAGRAM)


def failure(
    *offers: tuple[NodeId, Offer], transport: Transport = Transport.DATAGRAM, lacks: bool = False
) -> ImportFailure:
    catalogue = Catalogue()
    for edge, offer in offers:
        catalogue.put(1, ReceivedEntry(VerifiedEntry(SignedEntry(b"", b"", ()), edge, 1, 9, (offer,)), ()))
    return import_failure(
        DNS,
        exporters_of(offers_of(catalogue, [DNS])[DNS], transport=transport),
        catalogue,
        is_linked=True,
        session_cause=lambda exporter: "",
        uncleared=lambda exporter: None,
        transport=transport,
        lacks_datagrams=lambda exporter: lacks,
    )


def test_what_is_offered_as_something_else_is_told_by_both_words() -> None:
    found = failure((ONE, Offer("dns", 1)), (TWO, Offer("dns", 1)))
    assert found.cause == TRANSPORT
    assert found.detail == f"kent-1.{KENT}, kent-2.{KENT} offers it as a stream (tcp), and protocol is udp here"
    other = failure((ONE, Offer("dns", 1, transport=UDP)), transport=Transport.STREAM)
    assert (other.cause, other.detail) == (
        TRANSPORT, f"kent-1.{KENT} offers it as datagrams (udp), and protocol is tcp here",
    )  # fmt: skip


def test_who_offers_it_as_wanted_decides() -> None:
    found = failure((ONE, Offer("dns", 1)), (TWO, Offer("dns", 1, state=STATE_DOWN, transport=UDP)))
    assert (found.cause, found.detail) == (WITHDRAWN, f"its target does not answer at kent-2.{KENT}")


def test_a_session_of_an_older_version_is_named() -> None:
    found = failure((ONE, Offer("dns", 1, transport=UDP)), lacks=True)
    assert found.cause == NO_DATAGRAMS
    assert f"kent-1.{KENT}" in found.detail
    assert "renewal" in found.detail
