"""socat: UDP-LISTEN with fork, one process for each association at each hop; nothing is encrypted.

-T: an association that nobody uses ends after so long. Its buffer, 8 KiB, holds every datagram of the bench whole.
"""

import shutil

from benches.datagrams import IDLE_S, Datagrams
from benches.processes import BenchError


class Socat(Datagrams):
    name = "socat"
    suite = "none"

    def start_hops(self) -> None:
        if not shutil.which("socat"):
            raise BenchError("socat is absent; `scripts/setup udp` installs it")
        place = self.place
        for hop in range(place.hops):
            host, _, port = place.address(hop).rpartition(":")
            listen = f"UDP4-LISTEN:{port},bind={host},reuseaddr,fork"
            self.spawn(hop, ["socat", "-T", str(IDLE_S), listen, f"UDP4:{place.next_address(hop)}"])
