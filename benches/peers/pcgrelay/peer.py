"""pcgrelay: real nodes, `pcgrelay run`, with the configuration that is written here and nothing else."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from benches.chain import Chain
from benches.datagrams import IDLE_S, Datagrams
from benches.processes import Process
from pcgrelay.ca import Authority

TEMPLATE = Path(__file__).with_name("node.toml")
PROGRAM = Path(sys.executable).with_name("pcgrelay")
REALM, NEAR, FAR, HUB = "bench.example", "near.example", "far.example", "hub.example"
# Both edges dial the relay; without one the near edge dials the far one.
MIDDLE = 1


class Pcgrelay(Chain):
    name = "pcgrelay"
    descriptors_each = 1

    def start_hops(self) -> None:
        for hop in range(self.place.hops):
            self.configure(hop)
            self.run(hop)

    def run(self, hop: int) -> Process:
        return self.spawn(hop, [PROGRAM, "run", "-c", self.config(hop)])

    def config(self, hop: int) -> Path:
        return self.place.folder / f"{self.place.names[hop]}.toml"

    def admin(self, hop: int) -> Path:
        return self.place.folder / f"{self.place.names[hop]}.sock"

    def dotted(self, hop: int) -> str:
        """The name of a node as its neighbours write it."""
        return f"{self.place.names[hop]}.{self._organisation(hop)}"

    def configure(self, hop: int, more: Sequence[str] = (), policy: str = "", node: str = "") -> None:
        """Write the configuration of a hop, again if it is there; `more`: tables beside those of every chain.

        node, policy: more lines of [node] and of [policy].
        """
        place, name = self.place, self.place.names[hop]
        folder = place.folder / "ca"
        authority = Authority(folder) if folder.exists() else Authority.create(folder, REALM)
        issued = place.folder / name
        if not issued.exists():
            authority.issue(self._organisation(hop), name, issued)
        values = {
            "NAME": name,
            "ORGANISATION": self._organisation(hop),
            "REALM": REALM,
            "ROLE": "relay" if name == "r" else "edge",
            "WORKERS": place.workers,
            "LANES": place.lanes,
            "ADMIN": self.admin(hop),
            "NODE": node,
            "IDENTITY": issued / name,
            "TRUST": authority.certificate_path,
            "POLICY": policy,
            "TABLES": "\n".join([*self._tables(hop), *more]),
        }
        self.write(TEMPLATE, self.config(hop).name, values)

    def _tables(self, hop: int) -> list[str]:
        """Links and the one service, which may have all connections: else one has a quarter of the descriptors."""
        place, name = self.place, self.place.names[hop]
        if hop == MIDDLE:
            tables = [table("listen", address=place.address(MIDDLE))]
        else:
            tables = [table("link", peer=self.dotted(MIDDLE), address=place.address(MIDDLE))]
        if name == "a":
            tables.append(
                table("import", service=f"bench@{FAR}", listen=place.address(0), max_streams=place.connections)
            )
        elif name == "b":
            # The load's server is there only while a load runs. No peer looks after its target here either.
            options = {"allow": [NEAR], "probe": "none", "max_streams": place.connections}
            tables.append(table("export", service="bench", target=place.target, **options))
        return tables

    def _organisation(self, hop: int) -> str:
        return {"a": NEAR, "r": HUB, "b": FAR}[self.place.names[hop]]

    def listening_ports(self) -> list[tuple[str, int]]:
        # The far edge only dials where a relay is between.
        return [("a", self.place.ports[0]), (self.place.names[MIDDLE], self.place.ports[1])]


class PcgrelayDirect(Pcgrelay):
    """One edge as a plain TCP proxy: an import with a direct outlet, and no neighbour that is there."""

    descriptors_each = 2

    def _tables(self, hop: int) -> list[str]:
        place, service = self.place, f"bench@{FAR}"
        return [
            table("link", peer=f"r.{HUB}", address=place.address(MIDDLE)),
            # A service has a quarter of the descriptors unless told, and no peer has such a bound.
            table("import", service=service, listen=place.address(0), outlet="old", max_streams=place.connections),
            # The load's server is there only while a load runs.
            table("direct", service=service, name="old", address=place.target, probe="none"),
        ]

    def listening_ports(self) -> list[tuple[str, int]]:
        return [("a", self.place.ports[0])]


class PcgrelayDatagrams(Datagrams, Pcgrelay):
    """The same nodes with a service of datagrams beside the one of streams, on the same addresses and ports."""

    # What one address may have, and what may be new in a second: the load is one client with all associations.
    limits: ClassVar[Mapping[str, int]] = {
        "max_streams": 4_500,
        "max_streams_per_source": 4_500,
        "new_streams_per_second": 1_000_000,
        "idle_timeout_s": IDLE_S,
    }

    def _tables(self, hop: int) -> list[str]:
        place, name = self.place, self.place.names[hop]
        tables = super()._tables(hop)
        common = {"protocol": "udp", **self.limits}
        if name == "a":
            tables.append(table("import", service=f"datagrams@{FAR}", listen=place.address(0), **common))
        elif name == "b":
            common.pop("max_streams_per_source", None)
            tables.append(table("export", service="datagrams", target=place.target, allow=[NEAR], **common))
        return tables


class PcgrelayDirectDatagrams(Datagrams, PcgrelayDirect):
    """One edge as a plain proxy of UDP: an import with a direct outlet."""

    name = "pcgrelay"

    def _tables(self, hop: int) -> list[str]:
        place, service = self.place, f"datagrams@{FAR}"
        common = {"protocol": "udp", "outlet": "old", **PcgrelayDatagrams.limits}
        return [
            table("link", peer=f"r.{HUB}", address=place.address(MIDDLE)),
            table("import", service=service, listen=place.address(0), **common),
            table("direct", service=service, name="old", address=place.target),
        ]


class PcgrelayFlooded(PcgrelayDatagrams):
    """With the limits that a service of datagrams has by itself."""

    limits: ClassVar[Mapping[str, int]] = {}


class PcgrelayKept(Pcgrelay):
    """Two edges with a folder of state."""

    def configure(self, hop: int, more: Sequence[str] = (), policy: str = "", node: str = "") -> None:
        state = self.place.folder / f"{self.place.names[hop]}.state"
        state.mkdir(mode=0o700, exist_ok=True)
        super().configure(hop, more, policy, f'{node}\nstate = "{state}"')


class PcgrelayAudited(PcgrelayKept):
    """The same with an audit log, which has a record of each stream."""

    name = "pcgrelay-audited"

    def _tables(self, hop: int) -> list[str]:
        return [*super()._tables(hop), "[audit]\n"]


def table(name: str, /, **keys: object) -> str:
    # What these tables hold is spelt alike in JSON and in TOML.
    return "\n".join([f"[[{name}]]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items()), ""])
