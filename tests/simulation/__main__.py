"""`python -m tests.simulation --seeds N --from K`: see runner.py."""

import sys

from .virtual import is_preloaded, run_again_preloaded

if not is_preloaded():
    run_again_preloaded()

from .runner import main

sys.exit(main())
