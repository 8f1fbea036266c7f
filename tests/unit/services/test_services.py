"""What a configuration would make of the services that are there, without a change of these."""

from __future__ import annotations

from msgspec.structs import replace

from pcgrelay.config import Address, ImportSettings
from pcgrelay.model import ServiceName, Transport
from pcgrelay.services.services import Imported, Numbers, imports_with

DNS, MAIL = ServiceName("dns", "kent.police.example"), ServiceName("mail", "kent.police.example")


def test_imports_are_tried_out_with_what_the_new_file_says_of_them() -> None:
    """The core is asked whether it takes them; asked with the old settings, it would take what it refuses later."""
    old = ImportSettings(service=DNS, listen=Address("127.0.0.1", 53, Transport.DATAGRAM), wait_ms=200)
    numbers = Numbers()
    known = Imported(numbers.take(DNS), old, is_open=True)
    new = replace(old, wait_ms=50)
    mail = ImportSettings(service=MAIL, listen=Address("127.0.0.1", 25))
    found, fresh = imports_with([known], [new, mail], numbers)
    assert (found.settings, found.number, found.is_open) == (new, known.number, True)
    assert fresh.settings is mail
    assert fresh.number != known.number
    assert known.settings is old
