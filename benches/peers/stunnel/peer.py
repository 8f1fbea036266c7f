"""stunnel: a TLS connection and two threads for each connection of the load, its only way to work."""

from pathlib import Path

from benches import certificates
from benches.chain import Chain

TEMPLATE = Path(__file__).with_name("hop.conf")


class Stunnel(Chain):
    name = "stunnel"

    def start_hops(self) -> None:
        place = self.place
        certificates.make(place.folder, ["a.bench", "b.bench"])
        for hop, name in enumerate(place.names):
            values = {
                "CLIENT": "yes" if hop == 0 else "no",
                "LISTEN": place.address(hop),
                "NEXT": place.next_address(hop),
                "FOLDER": place.folder,
                "NAME": name,
                "CHECK": "checkHost = b.bench\nsni = b.bench" if hop == 0 else "",
            }
            self.spawn(hop, ["stunnel4", self.write(TEMPLATE, f"{name}.conf", values)])
