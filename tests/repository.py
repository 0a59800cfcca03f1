"""Where the checkout is, and whether the longer tests run too."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
FULL = bool(os.environ.get("GEN2RECO_FULL_TESTS"))
"""Set by `make test-full`: tests marked `slow` run, and some others longer."""
