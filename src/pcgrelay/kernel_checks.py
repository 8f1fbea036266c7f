"""What `check` says of the kernel's settings: whether they are enough for what the configuration allows.

The limits that a file gives are the load that is planned for. Where it gives none nothing is known of the load, and
only what is too little for any is said. `docs/operations.md`, "Settings of the kernel", has the numbers for people.
"""

from __future__ import annotations

from collections.abc import Iterator

from pcgrelay.config import Address, Config
from pcgrelay.finding import Finding, doubtful, good
from pcgrelay.kernel import Kernel
from pcgrelay.net.descriptors import descriptors_of_streams
from pcgrelay.net.sockets import BACKLOG

WHERE = "kernel"
PORTS_LEAST = 10_000
WAIT_S = 60  # TIME-WAIT (TCP_TIMEWAIT_LEN of the kernel)
HALF_OPEN_LEAST = 1_024
BUFFER_LEAST_BYTES = 4 << 20
ROUND_TRIP_S = 0.04  # of the example
FULL_SHARE = 0.8


def kernel_findings(config: Config, kernel: Kernel, descriptors: int) -> Iterator[Finding]:
    """Judge the settings (pure). descriptors: how many this process may have, the hard limit."""
    found = [
        *_ports(config, kernel),
        *_own_ports(config, kernel),
        *_queues(config, kernel),
        *_tracked(config, kernel),
        *_files(config, kernel, descriptors),
        *_buffers(config, kernel),
    ]
    yield from found or [good(WHERE, _summary(kernel))]


def planned_streams(config: Config) -> int:
    """Return how many streams the file plans for: the sum of its limits; services without one are left out."""
    exports = sum(each.limits.streams for each in config.exports)
    return exports + sum(each.limits.streams for each in config.imports)


def _planned_descriptors(config: Config) -> int:
    """A stream over a direct outlet has two descriptors."""
    twice = {each.service for each in config.directs}
    return planned_streams(config) + sum(each.limits.streams for each in config.imports if each.service in twice)


def _ports(config: Config, kernel: Kernel) -> Iterator[Finding]:
    free = kernel.ports_free
    if free is None:
        return
    mend = 'Run: sysctl -w net.ipv4.ip_local_port_range="1024 65535", or give it more addresses in source.'
    for number, export in enumerate(config.exports, 1):
        most = free * max(1, len(export.sources))
        if not export.target.is_unix and export.limits.streams > most:
            sentence = (
                f"{export.service} may have {export.limits.streams:,} streams, "
                f"and this machine has {most:,} local ports for connections to one address."
            )
            yield doubtful(f"export[{number}].max_streams", sentence, mend)
    if free < PORTS_LEAST and _connects(config):
        sentence = (
            f"There are {free:,} local ports for connections to one target: {free // WAIT_S:,} new ones a second."
        )
        yield doubtful(WHERE, sentence, mend)


def _connects(config: Config) -> bool:
    targets = [*(each.target for each in config.exports), *(each.target for each in config.directs)]
    return any(not target.is_unix for target in targets)


def _own_ports(config: Config, kernel: Kernel) -> Iterator[Finding]:
    """Ports that an outgoing connection may have while the node is away: then it cannot listen when it comes."""
    if kernel.ports is None:
        return
    first, last = kernel.ports
    within = [port for port in _listening(config) if first <= port <= last and not kernel.is_reserved(port)]
    if within:
        several = ",".join(str(port) for port in within)
        which = f"Port {several} is one" if len(within) == 1 else f"Ports {several} are some"
        yield doubtful(
            WHERE,
            f"{which} of those that outgoing connections get, so it may be taken when the node starts.",
            f"Run: sysctl -w net.ipv4.ip_local_reserved_ports={several} (with those that it has already).",
        )


def _listening(config: Config) -> list[int]:
    addresses: list[Address] = [each.address for each in config.listens]
    addresses += [each for entry in config.imports for each in entry.listeners]
    addresses += [each for export in config.exports for each in export.also]
    addresses += [each.listen for each in config.readers.values() if each.listen is not None]
    return sorted({each.port for each in addresses if not each.is_unix})


def _queues(config: Config, kernel: Kernel) -> Iterator[Finding]:
    """Connections that wait to be accepted, and those of which TCP's own handshake is not over."""
    if not _listening(config):
        return
    if kernel.accept_queue is not None and kernel.accept_queue < BACKLOG:
        sentence = f"At most {kernel.accept_queue:,} connections wait at a listener; this node asks for {BACKLOG:,}."
        yield doubtful(WHERE, sentence, "Run: sysctl -w net.core.somaxconn=4096")
    if kernel.cookies == 0 and kernel.half_open is not None and kernel.half_open < HALF_OPEN_LEAST:
        sentence = f"TCP forgets connects beyond {kernel.half_open:,} at once, for it sends no SYN cookies."
        yield doubtful(WHERE, sentence, "Run: sysctl -w net.ipv4.tcp_syncookies=1 net.ipv4.tcp_max_syn_backlog=4096")


def _tracked(config: Config, kernel: Kernel) -> Iterator[Finding]:
    """The firewall's table of connections: when it is full, what is new is dropped without a word."""
    most, streams = kernel.tracked_most, planned_streams(config)
    if most is None:
        return
    mend = f"Run: sysctl -w net.netfilter.nf_conntrack_max={2 * max(most, streams)}, or track less (NOTRACK)."
    if most < streams:
        sentence = f"The firewall tracks {most:,} connections at most, and the services may have {streams:,} streams."
        yield doubtful(WHERE, sentence, mend)
    elif kernel.tracked is not None and kernel.tracked > FULL_SHARE * most:
        yield doubtful(WHERE, f"The firewall tracks {kernel.tracked:,} of at most {most:,} connections.", mend)


def _files(config: Config, kernel: Kernel, descriptors: int) -> Iterator[Finding]:
    wanted = _planned_descriptors(config)
    if wanted > descriptors_of_streams(descriptors):
        ceiling = kernel.files_of_one
        sentence = (
            f"The services may need {wanted:,} descriptors, and streams have {descriptors_of_streams(descriptors):,}."
        )
        mend = "Raise LimitNOFILE= of the unit, or ulimit -Hn"
        if ceiling is not None and wanted > descriptors_of_streams(ceiling):
            mend += f", and first: sysctl -w fs.nr_open={2 * wanted}"
        yield doubtful("descriptors", sentence, f"{mend}.")
    most = kernel.files_most
    if most is None:
        return
    if wanted > most or (kernel.files is not None and kernel.files > FULL_SHARE * most):
        sentence = f"This machine has {kernel.files or 0:,} files open of at most {most:,}."
        yield doubtful(WHERE, sentence, f"Run: sysctl -w fs.file-max={2 * max(wanted, most)}")


def _buffers(config: Config, kernel: Kernel) -> Iterator[Finding]:
    """TCP's buffers bound what is on its way, and so the rate of one lane over a distance."""
    if not config.links and not config.listens:
        return
    for name, most in (("tcp_rmem", kernel.receive_most), ("tcp_wmem", kernel.send_most)):
        if most is not None and most < BUFFER_LEAST_BYTES:
            rate = most / 2 / ROUND_TRIP_S / 1e6
            sentence = f"A lane carries about {rate:,.0f} MB/s over 40 ms: {name} ends at {most:,} bytes."
            value = "4096 131072 6291456" if name == "tcp_rmem" else "4096 16384 4194304"
            yield doubtful(WHERE, sentence, f'Run: sysctl -w net.ipv4.{name}="{value}"')


def _summary(kernel: Kernel) -> str:
    known = [
        (kernel.ports_free, "local ports"),
        (kernel.accept_queue, "connections wait at a listener"),
        (kernel.tracked_most, "are tracked"),
    ]
    said = ", ".join(f"{value:,} {words}" for value, words in known if value is not None)
    return f"The kernel is set for this: {said}." if said else "The kernel says nothing of its settings here."
