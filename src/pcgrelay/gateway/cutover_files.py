"""The files of cut-overs: one for each service, below STATE/cutover, two generations of each."""

from __future__ import annotations

from pathlib import Path

from pcgrelay.cutover.state import CutoverState
from pcgrelay.errors import PermissionProblem
from pcgrelay.files import reason_of
from pcgrelay.model import ServiceName
from pcgrelay.state.file import BEFORE, Found, StateFile

FOLDER = "cutover"
KIND, VERSION = "pcgrelay cutover", 1
SUFFIX = ".json"
FOLDER_MODE = 0o700
FILES_MOST = 1_024


class CutoverFiles:
    """The folder of a node's cut-overs."""

    def __init__(self, state: Path) -> None:
        self._folder = state / FOLDER

    def name_of(self, service: str) -> str:
        """The file of a service, as people are told."""
        return f"{FOLDER}/{service}{SUFFIX}"

    def read(self) -> tuple[dict[str, CutoverState], dict[str, str]]:
        """What can be read, by service; and the files that cannot."""
        found: dict[str, CutoverState] = {}
        lost: dict[str, str] = {}
        for service in self._services():
            which, state = self._file(service).read()
            if state is not None and state.service == service:
                found[service] = state
            elif which is not Found.NOTHING:
                lost[service] = self.name_of(service)
        return found, lost

    def write(self, state: CutoverState) -> None:
        """Write one of them; PcgrelayError if that fails. It may wait for a disk, so it runs in a thread."""
        try:
            self._folder.mkdir(FOLDER_MODE, exist_ok=True)
        except OSError as error:
            raise PermissionProblem(f"{self._folder}: this folder cannot be made ({reason_of(error)}).") from None
        self._file(state.service).write(state)

    def _services(self) -> list[str]:
        try:
            names = sorted(path.name for path in self._folder.iterdir())
        except OSError:
            return []
        found = []
        for name in names[: 2 * FILES_MOST]:
            service = name.removesuffix(BEFORE).removesuffix(SUFFIX)
            if name.startswith(".") or service == name or service in found:
                continue
            try:
                ServiceName.parse(service)
            except ValueError:
                continue
            found.append(service)
        return found

    def _file(self, service: str) -> StateFile[CutoverState]:
        return StateFile(self._folder / f"{service}{SUFFIX}", KIND, VERSION, CutoverState)
