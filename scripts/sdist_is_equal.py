"""Packs a source distribution once more, so that two are equal: `sdist_is_equal.py FILE DATE`.

setuptools gives each entry the time and owner of the file on this disk; here all have those of the commit.
"""

import gzip
import sys
import tarfile
from pathlib import Path


def main() -> None:
    file, date = Path(sys.argv[1]), int(sys.argv[2])
    fresh = file.with_name(file.name + ".new")
    with (
        tarfile.open(file) as old,
        fresh.open("wb") as out,
        gzip.GzipFile("", "wb", 9, out, mtime=date) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for entry in sorted(old.getmembers(), key=lambda each: each.name):
            entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = date, 0, 0, "", ""
            entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
            entry.pax_headers = {}
            new.addfile(entry, old.extractfile(entry) if entry.isfile() else None)
    fresh.rename(file)


if __name__ == "__main__":
    main()
