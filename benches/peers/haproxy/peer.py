"""haproxy: each hop ends TLS and begins it again; or the middle one passes the ciphertext through.

One hop alone is a plain TCP proxy.
"""

from pathlib import Path
from typing import ClassVar

from benches import certificates
from benches.chain import Chain

TEMPLATE = Path(__file__).with_name("hop.cfg")


class Haproxy(Chain):
    name: ClassVar[str] = "haproxy"
    passes_through: ClassVar[bool] = False

    def start_hops(self) -> None:
        place = self.place
        certificates.make(place.folder, [f"{name}.bench" for name in place.names])
        for hop, name in enumerate(place.names):
            plain = self.passes_through and name == "r"
            bind = "" if hop == 0 or plain else f"ssl crt {name}.bench.both ca-file ca.crt verify required"
            # Behind a hop that passes through it is the last one that shows its certificate.
            is_last = hop == place.hops - 1
            far = "b" if self.passes_through else place.names[min(hop + 1, place.hops - 1)]
            check = f"verify required verifyhost {far}.bench sni str({far}.bench)"
            server = "" if is_last or plain else f"ssl crt {name}.bench.both ca-file ca.crt {check}"
            ends = {"LISTEN": place.address(hop), "NEXT": place.next_address(hop)}
            values = {**ends, "BIND_TLS": bind, "SERVER_TLS": server, "CONNECTIONS": place.connections}
            config = self.write(TEMPLATE, f"{name}.cfg", values)
            self.spawn(hop, ["haproxy", "-db", "-f", config])


class HaproxyPass(Haproxy):
    name = "haproxy-pass"
    passes_through = True
