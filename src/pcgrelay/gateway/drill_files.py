"""The records of drills, one file each below STATE/drills, with a digest inside. The oldest go first."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pcgrelay.drills.record import DrillRecord
from pcgrelay.files import make_folder
from pcgrelay.state.file import Found, StateFile

FOLDER = "drills"
KIND, VERSION = "pcgrelay drill", 1
RECORDS_MOST = 200
_MODE = 0o700


class DrillFiles:
    """The records of one node."""

    def __init__(self, state: Path) -> None:
        """state: the folder of [node] state."""
        self._folder = state / FOLDER

    def read(self) -> tuple[list[DrillRecord], list[str]]:
        """Return the records, oldest first, and the names of files that are damaged, foreign or of another node."""
        records, odd = [], []
        for path in sorted(self._folder.glob("*.json")) if self._folder.is_dir() else ():
            found, record = self._file(path.stem).read()
            if found is Found.NEWEST and record is not None and record.id == path.stem:
                records.append(record)
            else:
                odd.append(f"{FOLDER}/{path.name}")
        return sorted(records, key=lambda record: (record.begun, record.id)), odd

    def write(self, record: DrillRecord, gone: Iterable[DrillRecord] = ()) -> None:
        """Keep a record, and remove those that are too many; PcgrelayError if it cannot be written."""
        make_folder(self._folder, _MODE)
        self._file(record.id).write(record)
        for each in gone:
            with suppress(OSError):
                (self._folder / f"{each.id}.json").unlink()

    def _file(self, name: str) -> StateFile[DrillRecord]:
        return StateFile(self._folder / f"{name}.json", KIND, VERSION, DrillRecord, keeps_before=False)
