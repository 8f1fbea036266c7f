"""ssh -L: one SSH connection that carries a channel for each connection of the load."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from benches.chain import START_S, Chain
from benches.processes import BenchError, until

HERE = Path(__file__).parent
# Debian's sshd wants this folder, which its service makes at the start of the machine.
SEPARATION = Path("/run/sshd")


class Ssh(Chain):
    name = "ssh -L"
    descriptors_each = 1

    def start_hops(self) -> None:
        place = self.place
        if os.geteuid() == 0:
            SEPARATION.mkdir(mode=0o755, exist_ok=True)
        for key in ("host", "client"):
            (place.folder / key).unlink(missing_ok=True)
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", place.folder / key]
            subprocess.run(command, check=True)
        (place.folder / "known_hosts").write_text(f"far {(place.folder / 'host.pub').read_text()}")
        far_host, _, far_port = place.address(1).rpartition(":")
        values = {
            "FOLDER": place.folder,
            "LISTEN": place.address(1),
        }
        sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
        if not sshd:
            raise BenchError("there is no sshd")
        far = self.spawn(1, [sshd, "-D", "-e", "-f", self.write(HERE / "sshd_config", "sshd_config", values)])
        until(lambda: far.listens(place.ports[1]), START_S, "sshd listens")
        values = {**values, "PORT": far_port, "LISTEN": place.address(0), "TARGET": place.target}
        config = self.write(HERE / "ssh_config", "ssh_config", values)
        user = pwd.getpwuid(os.geteuid()).pw_name
        self.spawn(0, ["ssh", "-N", "-F", config, f"{user}@{far_host}"])
