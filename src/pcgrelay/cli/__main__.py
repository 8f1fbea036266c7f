"""python -m pcgrelay.cli."""

from pcgrelay.cli import main

main()
