"""Where results go: one JSON file for each rung in build/bench/, with the machine that they come from."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from benches import own_network
from benches.settings import RESULTS, ROOT, Settings


def machine() -> dict[str, Any]:
    models = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return {
        "processor": models[0] if models else platform.machine(),
        "processors": os.cpu_count(),
        "memory_gib": round(int(memory[1]) / (1 << 20)) if memory else None,
        "kernel": platform.release(),
        "openssl": _words("openssl", "version"),
        "local_ports": own_network.local_ports(),
        "congestion_control": Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
        "load_average": os.getloadavg(),
        "commit": _words("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"),
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def _words(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def write(rung: str, settings: Settings, rows: list[dict[str, Any]], failures: list[str]) -> Path:
    """Written after each round, so that a run that is broken off leaves what it has."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{rung}.json"
    content = {"settings": settings.name, "machine": machine(), "rows": rows, "failures": failures}
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def read(rung: str, folder: Path = RESULTS) -> dict[str, Any] | None:
    path = folder / f"{rung}.json"
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return found
