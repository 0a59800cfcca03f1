"""Live curves: a quiet background process that brings one training's spool to a server while the training runs.

The training never waits for it: it only holds a pipe; when that closes, however the training ends, a last pass follows.
"""

import os
import select
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gen2reco.track.address import Address, parse
from gen2reco.track.server import reachable

if TYPE_CHECKING:
    from gen2reco.track.runs import Point

FIRST, PERIOD, LATE = 2.0, 10.0, 60.0
"""Seconds until the first try, between tries, and between tries of a server that does not answer."""


def follow(folder: Path, run_key: str, address: Address) -> None:
    """Replay the run again and again until standard input closes, then once more."""
    wait, ended = FIRST, False
    sent: set[Point] = set()
    while not ended:
        ended = bool(select.select([sys.stdin], [], [], wait)[0])
        wait = LATE
        if reachable(address, 1.0):
            _replay(folder, run_key, address, sent)
            wait = PERIOD


def _replay(folder: Path, run_key: str, address: Address, sent: "set[Point]") -> None:
    from gen2reco.track.sync import sync_training

    with suppress(Exception):  # a server's trouble is no trouble of the training; the campaign's own sync reports it
        sync_training(folder, run_key, address, sent)


if __name__ == "__main__":
    os.nice(10)
    follow(Path(sys.argv[1]), sys.argv[2], parse(os.environ["MLFLOW_TRACKING_URI"]))
