"""wireguard-go: a tunnel of whole packets between two networks, or through a third one that has it in clear between.

Its datagrams between the hops go over the same loopback as those of all peers; at each hop a TUN device leads into a
network namespace, where the applications are. It carries packets and knows no services, associations or limits, so what
it does is less. Root is needed. One processor, so one goroutine of each kind runs at a time.
"""

import os
import shutil
import subprocess
from functools import partial
from pathlib import Path

from benches.chain import START_S, Place
from benches.datagrams import Datagrams
from benches.generator import DatagramLoad
from benches.processes import BenchError, Process, until

PROGRAMS = ("wireguard-go", "wg", "ip")
# Where wireguard-go listens for `wg`, by the name of the device.
SOCKETS = Path("/var/run/wireguard")
MTU = 1_420


class WireGuard(Datagrams):
    name = "wireguard-go"
    suite = "ChaCha20-Poly1305"

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._nets: list[str] = []

    def start_hops(self) -> None:
        for name in PROGRAMS:
            if not shutil.which(name):
                raise BenchError(f"{name} is absent; `scripts/setup udp` installs it")
        public = [self._key(hop) for hop in range(self.place.hops)]
        for hop in range(self.place.hops):
            self._start(hop, public)

    def load(self) -> DatagramLoad:
        """Clients in the first network, the server in the last one."""
        last, port = _address(self.place.hops - 1), self.place.target_port
        first_net, last_net = self._net(0), self._net(self.place.hops - 1)
        return DatagramLoad(last, port, last, port, client_net=first_net, server_net=last_net)

    def end(self) -> None:
        super().end()
        while self._nets:
            _run("ip", "netns", "delete", self._nets.pop())

    def _start(self, hop: int, public: list[str]) -> None:
        device, net = f"wg{self.place.hops}{hop}-{os.getpid() % 1_000_000}", self._net(hop)
        process = self.spawn(hop, ["wireguard-go", "-f", device])
        path = SOCKETS / f"{device}.sock"
        until(partial(_is_there, process, path), START_S, f"{path} is there")
        port = self.place.ports[hop]
        command = ["wg", "set", device, "listen-port", str(port), "private-key", str(self._key_file(hop))]
        for other in (hop - 1, hop + 1):
            if 0 <= other < self.place.hops:
                beyond = range(other + 1) if other < hop else range(other, self.place.hops)
                allowed = ",".join(f"{_address(each)}/32" for each in beyond)
                command += ["peer", public[other], "allowed-ips", allowed, "endpoint", self.place.address(other)]
        _run(*command)
        _run("ip", "netns", "add", net)
        self._nets.append(net)
        _run("ip", "link", "set", device, "netns", net)
        _run("ip", "-n", net, "address", "add", f"{_address(hop)}/24", "dev", device)
        _run("ip", "-n", net, "link", "set", "lo", "up")
        _run("ip", "-n", net, "link", "set", device, "mtu", str(MTU), "up")
        if 0 < hop < self.place.hops - 1:
            # It leads on, and says nobody that there is a shorter way: there is none.
            settings = "echo 1 >ip_forward; echo 0 >conf/all/send_redirects"
            _run("ip", "netns", "exec", net, "sh", "-c", f"cd /proc/sys/net/ipv4; {settings}")

    def _net(self, hop: int) -> str:
        return f"pcgrelay-wg{self.place.hops}{hop}-{os.getpid()}"

    def _key_file(self, hop: int) -> Path:
        return self.place.folder / f"{self.place.names[hop]}.key"

    def _key(self, hop: int) -> str:
        """Make a key; answer its public half."""
        path = self._key_file(hop)
        path.touch(mode=0o600)
        path.write_text(_run("wg", "genkey"))
        return _run("wg", "pubkey", said=path.read_text()).strip()


def _is_there(process: Process, path: Path) -> bool:
    process.check()
    return path.exists()


def _address(hop: int) -> str:
    return f"10.86.0.{hop + 1}"


def _run(*words: str, said: str = "") -> str:
    done = subprocess.run(words, input=said, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
