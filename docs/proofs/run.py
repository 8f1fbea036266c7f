"""Run the models of the protocol, and hold each result to what is expected. `make prove` runs all.

usage: docs/proofs/run.py [FILE ...]

With names of files, such as `heal.pv`, only what depends on them is run; the other results are kept, if what they
depend on has not changed. The results are written to results.md beside the models, with the SHA-256 of each. Exits
with 1 if a result is not the expected one, with 2 for a name that no model has, with 69 if a program is missing.
"""

from __future__ import annotations

import sys

import proverif
import spin
from provers import HERE, UNAVAILABLE, Missing

# Each has models(), the files that its results depend on; check(), which looks for what it runs; and prove(names),
# which runs those of these names, all if there are none, writes its results.md, and returns how many results differ
# from what is expected.
RUNNERS = (spin, proverif)


def main() -> int:
    """Run the models that are named, all if none is."""
    wanted = set(sys.argv[1:])
    names = {runner: {path.name for path in runner.models()} for runner in RUNNERS}
    if unknown := wanted - set().union(*names.values()):
        print(f"No model is named {', '.join(sorted(unknown))}; they are below {HERE}.", file=sys.stderr)
        return 2
    runners = [runner for runner in RUNNERS if not wanted or wanted & names[runner]]
    try:
        for runner in runners:  # before the first has run for minutes
            runner.check()
        differ = sum(runner.prove(wanted & names[runner]) for runner in runners)
    except Missing as missing:
        print(missing, file=sys.stderr)
        return UNAVAILABLE
    print(f"{differ} results differ from what is expected.")
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main())
