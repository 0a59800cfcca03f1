"""Where the checkout is, and whether the whole of the tests is asked for."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
FULL = bool(os.environ.get("GEN2RECO_FULL_TESTS"))
