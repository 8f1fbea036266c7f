"""The services of an edge: exports with their targets, imports with their listeners, and the counts of both.

prepare   open listeners and resolve targets for a configuration, without a change of what runs
apply     serve what the configuration says, with what was prepared; a service that stays keeps all that it has
expect    note that another process hands the listeners of these imports over, so they are not opened here
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec import structs

from pcgrelay.config import Address, Config, ExportSettings, ImportSettings
from pcgrelay.dataplane.adapter import Plane
from pcgrelay.dataplane.api import DataPlaneRefused
from pcgrelay.figures import ListenerFigures
from pcgrelay.gateway.prepared import Held, Prepared
from pcgrelay.gateway.tasks import spawn
from pcgrelay.handover.node import NodeHandover, ServiceHandover
from pcgrelay.log.events import Emit, TablesRefused
from pcgrelay.model import ServiceName, Transport
from pcgrelay.net.local_ports import listening_ports, local_ports
from pcgrelay.net.sockets import bound
from pcgrelay.net.unix_sockets import identity, put_in_place, remove
from pcgrelay.policy.rules import Rule, export_rules
from pcgrelay.services.counts import AllowingRule, StreamCounts, service_handover
from pcgrelay.services.descriptors import apply_bounds
from pcgrelay.services.far_refusals import FarRefusals
from pcgrelay.services.listeners import ListenerCounts
from pcgrelay.services.services import Exported, Imported, Numbers
from pcgrelay.services.targets import Target
from pcgrelay.services.traffic import Traffic


class EdgeServices:
    """The exports and imports of one edge."""

    def __init__(self, plane: Plane, target_changed: Callable[[], None], emit: Emit) -> None:
        self.exports: list[Exported] = []
        self.imports: list[Imported] = []
        self.rules: tuple[Rule, ...] = ()  # of the exports, in the order of the exports
        # By the number of the export; of one that is gone until its number is used again, for its streams may last.
        self.allowing: dict[int, AllowingRule] = {}
        self.export_numbers = Numbers()
        self.import_numbers = Numbers()
        self.stream_counts = StreamCounts()
        self.traffic = Traffic()
        self.far_refusals = FarRefusals()
        self._listener_counts = ListenerCounts(plane)
        self._sockets: dict[str, tuple[int, int] | None] = {}  # unix sockets by path, and the files that they are
        self._plane = plane
        self._target_changed = target_changed
        self._emit = emit

    def held(self) -> Held:
        """Return the ports of the open imports."""
        return {address: None for each in self.imports if each.is_open for address in each.settings.listeners}

    def unserved(self) -> str:
        """Return which import has no listener because the core refused it, and why; empty if none."""
        return next((f"import {each.settings.service}: {each.refusal}" for each in self.imports if each.refusal), "")

    def further_listeners(self, imported: Imported) -> Iterator[tuple[Address, object, ListenerFigures]]:
        """Yield what came by each listener of an import's `also`, and what it is counted in."""
        return self._listener_counts.further(imported.settings)

    def listener_figures(self, imported: Imported) -> Mapping[str, ListenerFigures]:
        """Return what came by each listener of an import with `also`, by name ("listen", "also-1"); else nothing."""
        return self._listener_counts.figures(imported.settings)

    def outlet_name(self, number: int, index: int) -> str:
        """The outlet of an import that has or last had an index; nothing for an import with the gateway alone."""
        outlets = next((each.outlets for each in self.imports if each.number == number), None)
        return "" if outlets is None else outlets.name_of(index)

    async def stop(self) -> None:
        """Stop resolving and probing targets; remove the unix sockets."""
        tasks = [exported.task for exported in self.exports if exported.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for path, known in self._sockets.items():
            remove(path, known)
        self._sockets = {}

    def shut(self) -> None:
        """Close the listeners of all imports but those of datagrams, by which what is open goes on."""
        for imported in self.imports:
            if imported.is_open and imported.settings.transport is Transport.STREAM:
                imported.is_open = False
                self._plane.import_unlisten(imported.number)
        self._keep_sockets()

    # -- a configuration ---------------------------------------------------------------------------------------

    async def prepare(self, config: Config, prepared: Prepared, *, listens: bool) -> None:
        """Open what does not exist yet. listens: whether imports are to be open.

        Raises RunError if an address is not available.
        """
        known = {each.settings.service: each.settings.doors for each in self.imports if each.is_open}
        targets = {exported.settings.service: exported.target for exported in self.exports}
        for entry in config.imports:
            if known.get(entry.service) != entry.doors and listens:
                for address in entry.listeners:
                    if address.is_unix:
                        ours = address in prepared.held
                        prepared.open_socket(address, entry, self._plane.workers, ours=ours)
                    else:
                        await prepared.open_import(address, entry.service, self._sockets_of(entry))
        for export in config.exports:
            old = targets.get(export.service)
            if old is None or not old.serves(export):
                fresh = prepared.targets[export.service] = Target(export, self._target_changed, self._emit)
                if old is not None and old.export.target == export.target:
                    fresh.remember(old.addresses)
        # A service whose target gets another name must not be unavailable until that is resolved.
        await asyncio.gather(*(target.settled() for name, target in prepared.targets.items() if name in targets))

    def apply(self, config: Config, prepared: Prepared) -> None:
        """Serve the exports and imports of the configuration, with what was prepared for it."""
        self.rules = export_rules(config.exports)
        self._apply_exports(config.exports, prepared.targets)
        for rule, exported in zip(self.rules, self.exports, strict=True):
            self.allowing[exported.number] = AllowingRule(rule.number, rule.name)
        self._listener_counts.configure(config.imports)
        for number in self._apply_imports(config.imports, prepared):
            self._plane.import_unlisten(number)
        for imported in self.imports:
            sockets = prepared.imports.pop(imported.settings.service, None)
            if sockets is not None:
                self._listen(imported, sockets, prepared)
        self._keep_sockets()
        self.choose_local_ports(config)
        apply_bounds(self._plane, self.imports, self.exports, {each.service for each in config.directs}, config.policy)

    def choose_local_ports(self, config: Config) -> None:
        """Let the workers choose among the local ports that the system allows now."""
        self._plane.local_ports(local_ports(listening_ports(config)))

    def _apply_exports(self, settings: Sequence[ExportSettings], targets: Mapping[ServiceName, Target]) -> None:
        known = {exported.settings.service: exported for exported in self.exports}
        for number in self.export_numbers.keep(export.service for export in settings):
            self.stream_counts.exports.pop(number, None)
        self.exports = []
        for export in settings:
            exported = known.pop(export.service, None)
            fresh = targets.get(export.service)
            if exported is None:
                assert fresh is not None
                exported = Exported(self.export_numbers.take(export.service), export, fresh)
            elif fresh is not None:
                _target_left(exported)
                exported.target = fresh
            exported.settings = export
            if exported.task is None:
                exported.task = spawn(exported.target.run(), "target", self._emit)
            self.exports.append(exported)
        for exported in known.values():
            _target_left(exported)
        self.traffic.keep("export", (export.service for export in settings))

    def _apply_imports(self, settings: Sequence[ImportSettings], prepared: Prepared) -> list[int]:
        """Update the imports; return the numbers whose listeners must close."""
        known = {imported.settings.service: imported for imported in self.imports}
        shut = [imported.number for name, imported in known.items() if imported.is_open and name in prepared.imports]
        gone = self.import_numbers.keep(entry.service for entry in settings)
        shut += [imported.number for imported in self.imports if imported.is_open and imported.number in gone]
        for number in gone:
            self.stream_counts.imports.pop(number, None)
        self.far_refusals.forget(gone)
        self.imports = []
        for entry in settings:
            imported = known.get(entry.service) or Imported(self.import_numbers.take(entry.service), entry)
            imported.settings = entry
            self.imports.append(imported)
        self.traffic.keep("import", (entry.service for entry in settings))
        return shut

    def _listen(self, imported: Imported, sockets: Sequence[socket.socket], prepared: Prepared) -> None:
        left = list(sockets)
        settings = imported.settings
        try:
            for address in settings.listeners:
                each = self._sockets_of(settings)
                group, left = left[:each], left[each:]
                listener = self._listener_counts.number_of(settings.service, address)
                if address.is_unix:
                    put_in_place(address.host)
                    prepared.beside.discard(address.host)
                    self._sockets[address.host] = identity(address.host)
                self._give(imported, group, listener)
        except (DataPlaneRefused, OSError) as refused:
            imported.is_open, imported.refusal = False, str(refused)
            self._emit(TablesRefused(part=f"import {imported.settings.service.service}", reason=str(refused)))
            if len(group) + len(left) < len(sockets):
                # Another address of it is listened on already.
                self._plane.import_unlisten(imported.number)
            for sock in [*group, *left]:
                sock.close()
            return
        imported.is_open, imported.refusal, imported.workers = True, "", 1

    def _give(self, imported: Imported, group: Sequence[socket.socket], listener: int, first: int = 0) -> None:
        """Give the core sockets of an import; first: the worker that gets the first one of datagrams."""
        if imported.settings.transport is Transport.STREAM:
            self._plane.import_listen(imported.number, [sock.fileno() for sock in group], listener)
            for sock in group:
                sock.detach()
            return
        for worker, sock in enumerate(group, first):
            self._plane.import_listen_datagrams(imported.number, worker, sock.detach(), listener)

    def spread(self, imported: Imported, flows: int) -> None:
        """Read the datagrams of an import on as many workers as each of its sessions has flows.

        What a worker reads goes into the flow of the same number. Sockets are added and never taken away, for each
        change leads clients to another worker, and so into another association.
        """
        first, end = imported.workers, min(flows, self._plane.workers)
        if not imported.is_open or imported.settings.transport is Transport.STREAM or first >= end:
            return
        imported.workers = end
        left: list[socket.socket] = []
        try:
            for address in imported.settings.listeners:
                left = [bound(address, shared=True) for _ in range(first, end)]
                listener = self._listener_counts.number_of(imported.settings.service, address)
                self._give(imported, left, listener, first)
        except (DataPlaneRefused, OSError) as refused:
            # One worker serves it too.
            self._emit(TablesRefused(part=f"import {imported.settings.service.service}", reason=str(refused)))
            for sock in left:
                sock.close()

    def _sockets_of(self, entry: ImportSettings) -> int:
        """Return how many sockets each address of an import has: of streams one for each worker.

        A datagram that a worker reads goes into a flow of the same number, and a session may have but one.
        """
        return self._plane.workers if entry.transport is Transport.STREAM else 1

    def _keep_sockets(self) -> None:
        """Remove the unix sockets that no import has any more, and know the others again."""
        served = {
            address.host
            for each in self.imports
            if each.is_open
            for address in each.settings.listeners
            if address.is_unix
        }
        for path in self._sockets.keys() - served:
            remove(path, self._sockets[path])
        self._sockets = {path: identity(path) for path in served}

    # -- a hand-over -------------------------------------------------------------------------------------------

    def exports_handover(self) -> tuple[ServiceHandover, ...]:
        """Return the hand-over records of the exports, with the addresses of their targets."""
        return tuple(
            structs.replace(
                service_handover(exported.number, exported.settings.service, self.stream_counts.exports),
                target=str(exported.settings.target),
                addresses=exported.target.addresses,
            )
            for exported in self.exports
        )

    def imports_handover(self) -> tuple[ServiceHandover, ...]:
        """Return the hand-over records of the imports, with their listeners."""
        return tuple(
            structs.replace(
                service_handover(imported.number, imported.settings.service, self.stream_counts.imports),
                listen=str(imported.settings.listen),
                protocol=imported.settings.transport.title,
                workers=imported.workers,
                also=tuple(str(address) for address in imported.settings.also),
                mode=imported.settings.mode,
                group=imported.settings.group,
                listeners=self._listener_counts.to_handover(imported.settings),
                is_open=imported.is_open,
            )
            for imported in self.imports
        )

    def expect(self, imports: Sequence[ServiceHandover]) -> None:
        """Do not open the listeners of these imports: another process hands them over."""
        for each in imports:
            transport = Transport.from_title(each.protocol)
            settings = ImportSettings(
                service=ServiceName.parse(each.service),
                listen=Address.parse_any(each.listen).over(transport),
                also=tuple(Address.parse_any(text).over(transport) for text in each.also),
                mode=each.mode,
                group=each.group,
            )
            self.imports.append(Imported(each.number, settings, is_open=each.is_open, workers=each.workers))

    def restore(self, handover: NodeHandover, prepared: Prepared) -> None:
        """Restore the numbers, counts and addresses of the previous process; `apply` follows."""
        self.import_numbers.restore({each.number: ServiceName.parse(each.service) for each in handover.imports})
        self.export_numbers.restore({each.number: ServiceName.parse(each.service) for each in handover.exports})
        for each in handover.imports:
            self._listener_counts.restore(ServiceName.parse(each.service), each.listeners)
        self.traffic.restore(handover.traffic)
        self.stream_counts.restore(handover.stream_counts, handover.imports, handover.exports)
        for each in handover.exports:
            fresh = prepared.targets.get(ServiceName.parse(each.service))
            if fresh is not None and str(fresh.export.target) == each.target:
                # The name service may not answer now.
                fresh.remember(each.addresses)


def _target_left(exported: Exported) -> None:
    if exported.task is not None:
        exported.task.cancel()
        exported.task = None
