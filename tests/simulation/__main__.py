"""`python -m tests.simulation --seeds N --from K`: see runner.py."""

import sys

from tests.simulation.virtual import is_preloaded, run_again_preloaded

if not is_preloaded():
    run_again_preloaded()

from tests.simulation.runner import main

sys.exit(main())
