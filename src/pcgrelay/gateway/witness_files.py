"""What this node has witnessed of the logs of its neighbours, one file for each; and the proofs that one was forked."""

from __future__ import annotations

from pathlib import Path

from pcgrelay.audit.disk import FOLDER_MODE, Disk
from pcgrelay.audit.witnessing import Known
from pcgrelay.errors import RunError
from pcgrelay.model import NodeId
from pcgrelay.state.file import Found, StateFile

FOLDER = "witness"  # below that of state
KIND, VERSION = "witness", 1
# Of one organisation, whose CA can make nodes at will, and of all.
LOGS_OF_ORGANISATION_MOST = 256
LOGS_MOST = 4_096


class WitnessFiles:
    """The folder of all of them. Its methods are called from a thread, one at a time for each neighbour."""

    def __init__(self, state: Path) -> None:
        self.folder = state / FOLDER
        self._disk = Disk()

    def read(self, peer: NodeId) -> Known | None:
        """What is known of a neighbour's log; nothing: it was never witnessed here.

        RunError: what there is cannot be read. Then nothing of that log is signed, for it might be another history.
        """
        found, known = self._file(peer).read()
        if found not in (Found.NOTHING, Found.NEWEST):
            raise RunError(f"{self._file(peer).path}: what was witnessed cannot be read; put a back-up back.")
        return known

    def write(self, peer: NodeId, known: Known) -> None:
        """Keep what is signed next. PcgrelayError, OSError: it cannot be kept."""
        self.folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        file = self._file(peer)
        if not file.path.exists():
            names = [path.name for path in self.folder.glob("*.json")]
            if sum(name.startswith(f"{peer.organisation}_") for name in names) >= LOGS_OF_ORGANISATION_MOST:
                raise RunError(
                    f"{self.folder}: this node witnesses {LOGS_OF_ORGANISATION_MOST} logs of {peer.organisation} "
                    "already; remove the files of nodes that are no more."
                )
            if len(names) >= LOGS_MOST:
                raise RunError(f"{self.folder}: this node witnesses {LOGS_MOST:,} logs already.")
        file.write(known)

    def keep_conflict(self, peer: NodeId, notes: tuple[str, str]) -> Path:
        """Keep two notes that contradict each other; the first proof stays. PcgrelayError, OSError: it cannot be."""
        self.folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        path = self.folder / f"{peer.organisation}_{peer.name}.conflict"
        if not path.exists():
            self._disk.replace(path, "\n".join(notes).encode())
        return path

    def _file(self, peer: NodeId) -> StateFile[Known]:
        return StateFile(
            self.folder / f"{peer.organisation}_{peer.name}.json", KIND, VERSION, Known, keeps_before=False
        )
