"""pcgrelay: real nodes, `pcgrelay run`, with the configuration that is written here and nothing else."""

import json
import sys
from pathlib import Path

from benches.chain import Chain

from pcgrelay.ca import Authority

TEMPLATE = Path(__file__).with_name("node.toml")
PROGRAM = Path(sys.executable).with_name("pcgrelay")
REALM, NEAR, FAR, HUB = "bench.example", "near.example", "far.example", "hub.example"


class Pcgrelay(Chain):
    name = "pcgrelay"

    def start_hops(self) -> None:
        place = self.place
        folder = place.folder / "ca"
        authority = Authority(folder) if folder.exists() else Authority.create(folder, REALM)
        organisations = dict(zip(place.names, (NEAR, FAR) if place.hops == 2 else (NEAR, HUB, FAR), strict=True))
        # Both edges dial the relay; without one the near edge dials the far one.
        middle = 1
        for hop, name in enumerate(place.names):
            organisation = organisations[name]
            issued = place.folder / name
            if not issued.exists():
                authority.issue(organisation, name, issued)
            tables = []
            if hop == middle:
                tables.append(_table("listen", address=place.address(middle)))
            else:
                peer = place.names[middle]
                tables.append(_table("link", peer=f"{peer}.{organisations[peer]}", address=place.address(middle)))
            if name == "a":
                tables.append(_table("import", service=f"bench@{FAR}", listen=place.address(0)))
            elif name == "b":
                # The load's server is there only while a load runs. No peer looks after its target here either.
                tables.append(_table("export", service="bench", target=place.target, allow=[NEAR], probe="none"))
            values = {
                "NAME": name,
                "ORGANISATION": organisation,
                "REALM": REALM,
                "ROLE": "relay" if name == "r" else "edge",
                "WORKERS": place.workers,
                "ADMIN": place.folder / f"{name}.sock",
                "IDENTITY": issued / name,
                "TRUST": authority.certificate_path,
                "TABLES": "\n".join(tables),
            }
            config = self.write(TEMPLATE, f"{name}.toml", values)
            self.spawn(hop, [PROGRAM, "run", "-c", config])

    def listening_ports(self) -> list[tuple[str, int]]:
        # The far edge only dials where a relay is between.
        return [("a", self.place.ports[0]), (self.place.names[1], self.place.ports[1])]


def _table(name: str, **keys: object) -> str:
    # What these tables hold is spelt alike in JSON and in TOML.
    return "\n".join([f"[[{name}]]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items()), ""])
