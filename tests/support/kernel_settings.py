"""A /proc/sys in a folder, as Linux has it by default."""

from __future__ import annotations

from pathlib import Path

DEFAULTS = {
    "net/ipv4/ip_local_port_range": "32768\t60999\n",
    "net/ipv4/ip_local_reserved_ports": "8080,40000-40009,60990-61010\n",
    "net/ipv4/ip_unprivileged_port_start": "1024\n",
    "net/ipv4/tcp_timestamps": "1\n",
    "net/core/somaxconn": "4096\n",
    "net/ipv4/tcp_max_syn_backlog": "2048\n",
    "net/ipv4/tcp_syncookies": "1\n",
    "net/netfilter/nf_conntrack_max": "262144\n",
    "net/netfilter/nf_conntrack_count": "17\n",
    "fs/nr_open": "1048576\n",
    "fs/file-nr": "2083\t0\t2466193\n",
    "fs/file-max": "2466193\n",
    "net/ipv4/tcp_rmem": "4096\t131072\t6291456\n",
    "net/ipv4/tcp_wmem": "4096\t16384\t4194304\n",
}


def faked(root: Path, **changed: str) -> Path:
    """A /proc/sys with the defaults of Linux; changed: other content by the last part of the name."""
    for name, text in DEFAULTS.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(changed.get(path.name.replace("-", "_"), text))
    return root
