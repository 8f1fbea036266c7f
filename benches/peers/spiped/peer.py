"""spiped: a pre-shared key; AES-256-CTR and HMAC-SHA256 over records of 1 KiB, which cannot be changed.

-n: as many connections as the load may open (100 unless told). -F: stay in the foreground. There is nothing else that
spiped(1), version 1.6.2, lets one set for speed.
"""

import secrets

from benches.chain import Chain, Place


class Spiped(Chain):
    name = "spiped"
    suite = "AES-256-CTR and HMAC"

    def start_hops(self) -> None:
        key = self.place.folder / "spiped.secret"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(32))
        for hop, mode in enumerate(("-e", "-d")):
            ends = ["-s", _bracketed(self.place, hop), "-t", _target(self.place, hop)]
            self.spawn(hop, ["spiped", mode, *ends, "-k", key, "-F", "-n", str(2 * self.place.connections)])


def _bracketed(place: Place, hop: int) -> str:
    host, _, port = place.address(hop).rpartition(":")
    return f"[{host}]:{port}"


def _target(place: Place, hop: int) -> str:
    host, _, port = place.next_address(hop).rpartition(":")
    return f"[{host}]:{port}"
