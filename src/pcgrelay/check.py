"""Everything that can be checked about a node without its network: files, certificates, permissions, ports.

The findings are independent of each other, so that one run shows everything that has to be corrected. A check has no
lasting effect: a port that is tried is closed again, and no file is written.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from cryptography import x509

from pcgrelay.approval_checks import approval_findings
from pcgrelay.clearance_checks import clearance_findings
from pcgrelay.clock import SYSTEM_CLOCK, Clock
from pcgrelay.config import Address, Config, ImportSettings
from pcgrelay.config.inventory import load_inventory
from pcgrelay.config.source import shown_path
from pcgrelay.config.udp_lanes import udp_lane_ports
from pcgrelay.errors import ConfigError, PcgrelayError, PermissionProblem, RunError
from pcgrelay.files import reason_of
from pcgrelay.finding import ERROR, OK, WARNING, Finding, bad, doubtful, good, of_dates
from pcgrelay.identity.certificates import IdentityRefused, crl_signed_by, identity_of
from pcgrelay.identity.credentials import Credentials, key_matches, load_certificates, load_crls, load_key
from pcgrelay.identity.dates import Judged, Kind, Phase, date_mend, date_sentence, dated_of, judged_all
from pcgrelay.identity.lists import RevocationList, with_received
from pcgrelay.identity.store_tls import load_store_credentials, store_context
from pcgrelay.kernel import read_kernel
from pcgrelay.kernel_checks import kernel_findings
from pcgrelay.local_port_checks import local_port_findings
from pcgrelay.net.descriptors import MOST
from pcgrelay.net.sockets import kind_of
from pcgrelay.net.unix_sockets import taken
from pcgrelay.openssl import data_plane_library, session_library
from pcgrelay.realm_checks import realm_findings
from pcgrelay.rehearsal import rehearse
from pcgrelay.rule_checks import rule_findings
from pcgrelay.service_checks import (
    clear_findings,
    datagram_findings,
    import_findings,
    outlet_findings,
    rate_findings,
    source_findings,
)
from pcgrelay.services.retired import read_retired, still_named, still_named_words
from pcgrelay.state.folder import unfit
from pcgrelay.unit_checks import hidden_from_unit, unit_makes

T = TypeVar("T")

DESCRIPTORS_LEAST = 4_096
DATES_EXIT_CODE = 4  # as for `status`, which uses it for whatever needs attention


def check(config: Config, clock: Clock = SYSTEM_CLOCK, *, is_start: bool = False) -> list[Finding]:
    """Run all checks. A node that runs with this configuration already may hold its own ports and socket.

    is_start: the node is about to start, so what its unit makes before that has to be there.
    """
    running = answers(config.node.admin)
    now = clock.wall()
    findings = [
        *_credentials(config, now),
        *_policy(config, now),
        *outlet_findings(config, now),
        *source_findings(config),
    ]
    findings += [*clearance_findings(config), *realm_findings(config, now)]
    if not is_start:
        # At a start they were judged already: a list of signers that was edited keeps no node from serving.
        findings += [*hidden_from_unit(config), *approval_findings(config, now), *_kernel(config)]
    findings.append(_admin(config, running, is_start))
    return [
        *findings,
        *_state(config, is_start),
        *_inventory(config),
        *_ports(config, running),
        *_descriptors(),
        *local_port_findings(config),
        *_libraries(),
    ]


def check_files(config: Config, clock: Clock = SYSTEM_CLOCK) -> list[Finding]:
    """Check what depends on files alone, and on neither the ports nor the sockets of this machine."""
    return [
        *_credentials(config, clock.wall()),
        *_policy(config, clock.wall()),
        *realm_findings(config, clock.wall()),
        *_state(config, True),
        *_inventory(config),
    ]


def refuse_errors(config: Config, clock: Clock = SYSTEM_CLOCK) -> list[Finding]:
    """Check before a start: raise the first error, return the warnings. RunError: the node runs already.

    Wrong dates are warnings: the node starts and reports the problem, which is better than not to start.
    """
    if answers(config.node.admin):
        raise RunError(f"{config.node.admin}: a node with this admin socket runs already; stop it first.")
    findings = check(config, clock, is_start=True)
    _refuse_first(config, [finding for finding in findings if not finding.starts])
    return [finding for finding in findings if finding.level == WARNING or finding.dates or finding.starts]


def refuse_reload(
    config: Config, clock: Clock = SYSTEM_CLOCK, *, dates: bool = False, received: Sequence[RevocationList] = ()
) -> None:
    """Check before a running node applies this configuration; raise the first error.

    Ports are not tried: the node itself opens those that it does not have. dates: wrong dates are errors too, because
    the running node has valid ones. received: revocation lists of neighbours, which stay in force where they are newer.
    """
    _refuse_first(config, [*_credentials(config, clock.wall(), received), *_policy(config, clock.wall())], dates=dates)


def exit_code(findings: Iterable[Finding]) -> int:
    """Return the exit code of `check`: 0, that of the worst error, or 4 if only dates are wrong or near."""
    found = list(findings)
    if worst := _worst(found):
        return _kind(worst).exit_code
    return DATES_EXIT_CODE if any(finding.dates for finding in found) else 0


def answers(admin: Path) -> bool:
    """Return whether a process listens on that unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(os.fspath(admin))
        except OSError:
            return False
        return True


def _refuse_first(config: Config, findings: Iterable[Finding], *, dates: bool = False) -> None:
    if worst := _worst(findings, dates=dates):
        raise _kind(worst)(f"{config.path}: {worst.where}: {worst.sentence} {worst.mend}".rstrip())


def _worst(findings: Iterable[Finding], *, dates: bool = False) -> Finding | None:
    """Return the first error of the most persistent kind, or None.

    First errors in what is written, then missing permissions, then the rest, which a service manager may retry. Dates
    count as errors only with dates.
    """
    order = [ConfigError, PermissionProblem, RunError]
    errors = [finding for finding in findings if finding.level == ERROR and (dates or not finding.dates)]
    return min(errors, key=lambda finding: order.index(_kind(finding)), default=None)


def _kind(error: Finding) -> type[PcgrelayError]:
    if error.permission:
        return PermissionProblem
    return RunError if error.passing else ConfigError


# -- certificates ------------------------------------------------------------------------------------------


def _credentials(config: Config, now: datetime, received: Sequence[RevocationList] = ()) -> Iterator[Finding]:
    """Check each file separately first, so that a broken one does not hide errors in the others."""
    findings: list[Finding] = []
    files = config.identity
    chain = _tried(findings, "certificate", lambda: load_certificates(files.certificate, "certificate"))
    key = _tried(findings, "key", lambda: load_key(files.key))
    trust = _tried(findings, "trust", lambda: load_certificates(files.trust, "trusted certificate"))
    crls = _tried(findings, "crl", lambda: load_crls(files.crl) if files.crl else ())
    yield from findings
    if chain:
        yield _identity(config, chain[0])
    if chain and key:
        yield (
            good("identity.key", "The private key belongs to the certificate.")
            if key_matches(key, chain[0])
            else bad("identity.key", "The private key does not belong to the certificate.", "Name files of one pair.")
        )
    if files.crl is None:
        sentence = "There is no revocation list, so a revoked neighbour is accepted until its certificate ends."
        yield doubtful("identity.crl", sentence, 'Add crl = "realm.crl" to [identity].')
    if chain and key and trust and crls is not None:
        credentials = with_received(Credentials(chain, key, trust, crls), received)
        if key_matches(key, chain[0]) and _identity(config, chain[0]).level == OK:
            yield from _links(config, credentials, now)
        yield from _store(config, credentials)
        yield from _strange_lists(credentials)


def _tried(findings: list[Finding], key: str, load: Callable[[], T]) -> T | None:
    try:
        return load()
    except PcgrelayError as error:
        findings.append(bad(f"identity.{key}", str(error), permission=isinstance(error, PermissionProblem)))
        return None


def _identity(config: Config, leaf: x509.Certificate) -> Finding:
    where, own = "identity.certificate", config.node.id
    try:
        named = identity_of(leaf, own.realm)
    except IdentityRefused as refused:
        return bad(where, str(refused))
    if named != own:
        mend = "Correct [node] or name the right certificate."
        return bad(where, f"The certificate is that of {named}, and [node] says {own}.", mend)
    return good(where, f"The certificate is that of {own}.")


def _links(config: Config, credentials: Credentials, now: datetime) -> Iterator[Finding]:
    """Check whether these files make a link, as OpenSSL decides; then report their dates."""
    fault = rehearse(config, credentials, now)
    if fault is not None and not fault.is_date:
        yield bad(fault.where, fault.sentence, fault.mend)
        return
    if fault is None:
        yield good("identity.certificate", "Two nodes with these files can make a link.")
    said = [_dated(config, judged, is_refused=fault is not None) for judged in judged_all(dated_of(credentials), now)]
    if fault is not None and not any(finding.level == ERROR for finding in said):
        yield of_dates(ERROR, fault.where, fault.sentence, fault.mend)
    yield from said


def _dated(config: Config, judged: Judged, *, is_refused: bool) -> Finding:
    """Return the finding on the dates of one item."""
    where = _DATED_KEYS[judged.kind]
    if judged.phase is Phase.GOOD:
        return good(where, date_sentence(judged))
    level = ERROR if judged.phase.is_wrong and is_refused else WARNING
    return of_dates(level, where, date_sentence(judged), date_mend(judged, config.identity))


_DATED_KEYS = {
    Kind.OWN: "identity.certificate",
    Kind.TRUST: "identity.trust",
    Kind.CRL: "identity.crl",
    Kind.CRL_FILE: "identity.crl",
}


def _store(config: Config, credentials: Credentials) -> Iterator[Finding]:
    """Check the files of [fleet]; whether the store answers is for `doctor`."""
    if config.fleet is None:
        return
    try:
        store_context(load_store_credentials(config.fleet, credentials))
    except PcgrelayError as error:
        yield bad("fleet", str(error), permission=isinstance(error, PermissionProblem))
    else:
        yield good("fleet", "The files of [fleet] fit together.")


def _strange_lists(credentials: Credentials) -> Iterator[Finding]:
    issuers = (*credentials.trust, *credentials.chain[1:])
    for crl in credentials.crls:
        if not any(crl.issuer == issuer.subject and crl_signed_by(crl, issuer) for issuer in issuers):
            sentence = "A revocation list is not signed by a CA that is trusted here, and counts for nothing."
            yield doubtful("identity.crl", sentence, "Fetch the list of the realm's CA.")


# -- policy ------------------------------------------------------------------------------------------------


def _policy(config: Config, now: datetime) -> Iterator[Finding]:
    if config.listens and not config.policy.members:
        sentence = "No organisation may link to this node, though it listens."
        yield doubtful("policy.members", sentence, "Name the organisations in members, or remove [[listen]].")
    yield from rule_findings(config, now)
    exported = {entry.service for entry in config.exports}
    for number, export in enumerate(config.exports, 1):
        if not export.allow:
            sentence = f"Nobody may use {export.service}."
            yield doubtful(f"export[{number}].allow", sentence, "Name the organisations in allow.")
        yield from clear_findings(f"export[{number}].target", export.service, export.target)
    for number, entry in enumerate(config.imports, 1):
        if entry.service in exported:
            sentence = f"{entry.service} is exported by this node itself."
            yield doubtful(f"import[{number}].service", sentence, "Let applications connect directly to its target.")
        yield from import_findings(number, entry)
        yield from datagram_findings(number, entry)
    yield from rate_findings(config)


# -- state -----------------------------------------------------------------------------------------------------


def _state(config: Config, is_start: bool) -> Iterator[Finding]:
    """The folder of state; who has it now is found out at the start."""
    if config.node.state is None:
        return
    if not is_start and unit_makes(config, config.node.state):
        yield good("node.state", f"The unit makes {config.node.state} when it starts.")
        return
    problem = unfit(config.node.state)
    if problem is not None:
        yield bad("node.state", str(problem), permission=isinstance(problem, PermissionProblem))
        return
    yield good("node.state", f"This user may keep state in {config.node.state}.")
    for index, retired in still_named(config, read_retired(config.node.state).outlets):
        sentence = f"{still_named_words(index, retired).partition(': ')[2]}."
        yield Finding(level=ERROR, where=f"direct[{index + 1}]", sentence=sentence, starts=True)


def _inventory(config: Config) -> Iterator[Finding]:
    """The file of the services that must move: commands read it, and the node does not."""
    path = config.node.inventory
    if path is None:
        return
    try:
        inventory = load_inventory(path)
    except PcgrelayError as error:
        permission = isinstance(error, PermissionProblem)
        yield Finding(level=WARNING, where="node.inventory", sentence=str(error), permission=permission)
        return
    known = {entry.service for entry in config.imports}
    missing = sum(each.name not in known for each in inventory.services)
    tail = f"; {missing} of them are not imported here" if missing else ""
    yield good("node.inventory", f"{len(inventory.services)} services must move{tail}.")


# -- libraries ---------------------------------------------------------------------------------------------


def _libraries() -> Iterator[Finding]:
    yield good("libraries", f"Frames are sealed by {data_plane_library()}; sessions are made by {session_library()}.")


def _hard_limit() -> int:
    """How many files a node may have open: it raises the soft limit to the hard one at its start."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)


def _kernel(config: Config) -> Iterator[Finding]:
    yield from kernel_findings(config, read_kernel(), _hard_limit())


def _descriptors() -> Iterator[Finding]:
    hard = _hard_limit()
    if hard < DESCRIPTORS_LEAST:
        sentence = f"A process of this user may have {hard} open files, which is enough for about {hard // 2} streams."
        yield doubtful("descriptors", sentence, "Raise LimitNOFILE= of the unit, or ulimit -Hn.")


# -- socket and ports --------------------------------------------------------------------------------------


def _admin(config: Config, running: bool, is_start: bool) -> Finding:
    where, path = "node.admin", config.node.admin
    folder = path.parent
    if running:
        return good(where, "The admin socket answers: this node is running.")
    if not is_start and unit_makes(config, folder):
        return good(where, f"The unit makes {folder} when it starts.")
    if not folder.is_dir():
        return bad(where, f"The folder {folder} of the admin socket does not exist.", f"Run: mkdir -p {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        mend = f"Give the user that runs pcgrelay the right to write in {folder}."
        return bad(where, f"This user may not create the admin socket in {folder}.", mend, permission=True)
    try:
        taken = not stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        taken = False
    if taken:
        return bad(where, f"{path} is there and is no socket.", "Move that file away or choose another path.")
    return good(where, f"The admin socket can be created in {folder.resolve()}.")


def _ports(config: Config, running: bool) -> Iterator[Finding]:
    for number, listen in enumerate(config.listens, 1):
        yield _port(f"listen[{number}].address", listen.address, running)
    for key, address in udp_lane_ports(config):
        yield _udp_lane_port(shown_path(key), address, running)
    for number, export in enumerate(config.exports, 1):
        for place, address in enumerate(export.also, 1):
            yield _port(f"export[{number}].also[{place}]", address, running)
    for number, entry in enumerate(config.imports, 1):
        for where, address in ((f"import[{number}].listen", entry.listen), *_also(number, entry)):
            yield _unix_socket(where, address, running) if address.is_unix else _port(where, address, running)
    for table, each in config.readers.items():
        if each.listen is not None:
            yield _port(f"{table}.listen", each.listen, running)


def _udp_lane_port(where: str, address: Address, running: bool) -> Finding:
    """A port that cannot be had keeps no node from running: the datagrams of its lanes go over TCP."""
    found = _port(where, address, running)
    if found.level != OK:
        sentence = f"The port of UDP lanes {address} cannot be had: their datagrams go over TCP."
        return doubtful(where, sentence, "Free it, or write another udp_port.")
    state = "is in use, as it may be: this node is running" if running and is_taken(address) else "can be had"
    return good(where, f"The port of UDP lanes {address} {state}.")


def _also(number: int, entry: ImportSettings) -> Iterator[tuple[str, Address]]:
    for place, address in enumerate(entry.also, 1):
        yield f"import[{number}].also[{place}]", address


def _unix_socket(where: str, address: Address, running: bool) -> Finding:
    folder = Path(address.host).parent
    if not folder.is_dir():
        return bad(where, f"The folder {folder} does not exist.", f"Run: mkdir -p {folder}", passing=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        mend = f"Give the user that runs pcgrelay the right to write in {folder}."
        return bad(where, f"This user may not make a socket in {folder}.", mend, permission=True)
    if problem := taken(address.host, ours=running):
        sentence, _, mend = problem.partition("; ")
        return bad(where, f"{address}: {sentence}.", f"{mend[:1].upper()}{mend[1:]}.", passing=True)
    return good(where, f"The socket {address} can be made.")


def _port(where: str, address: Address, running: bool) -> Finding:
    try:
        _bind_once(address)
    except socket.gaierror:
        mend = "Write an address of this machine."
        return bad(where, f"{address.host} is not known as an address.", mend, passing=True)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and running:
            return good(where, f"{address} is in use, as it must be: this node is running.")
        if error.errno == errno.EADDRINUSE:
            mend = "Stop that one or choose another port."
            return bad(where, f"{address} is in use by another program.", mend, passing=True)
        if error.errno == errno.EADDRNOTAVAIL:
            # At boot an address may become available a moment later.
            return bad(where, f"{address.host} is no address of this machine.", "Write one of its own.", passing=True)
        if error.errno in (errno.EACCES, errno.EPERM):
            mend = "Choose a port from 1024 up, or give the service CAP_NET_BIND_SERVICE."
            return bad(where, f"This user may not listen on {address}.", mend, permission=True)
        return bad(where, f"{address} cannot be listened on ({reason_of(error)}).", "Choose another address.")
    return good(where, f"{address} is free.")


def is_taken(address: Address) -> bool:
    """Return whether a socket of some process has the address now."""
    try:
        _bind_once(address)
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False


def _bind_once(address: Address) -> None:
    """Bind the address as the node would, and release it."""
    wanted = kind_of(address)
    found = socket.getaddrinfo(address.host, address.port, type=wanted, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, endpoint = found[0]
    with socket.socket(family, kind, protocol) as probe:
        if wanted is socket.SOCK_DGRAM:
            probe.bind(endpoint)
            return
        # Without this, recently closed connections would make a free port look occupied.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(endpoint)
        probe.listen(1)
