"""A command of gen2reco run in several processes of one node, which share out the batches of a training."""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from torch import cuda
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main

from gen2reco.errors import InfrastructureError

_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux."""


def end_with_parent() -> None:
    """Have a process of torchrun killed when the one that started it is, however that ends: a training that goes on
    alone would write beside the next one."""
    if sys.platform == "linux" and "WORLD_SIZE" in os.environ:
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)


def over_processes(words: Sequence[str], processes: int, device: str) -> NoReturn:
    """Run `gen2reco WORDS` in so many processes of torchrun, on `cuda` each with a GPU of its own, and exit as they do.
    Raises InfrastructureError where there are too few GPUs."""
    if device == "cuda" and cuda.device_count() < processes:
        raise InfrastructureError(
            f"{cuda.device_count()} GPUs are visible, the plan trains on {processes}; ask for so many in the profile "
            "(`gpu` of the rule `train_gpu`), or plan with other `gpus`"
        )
    try:
        main(["--standalone", f"--nproc-per-node={processes}", "-m", "gen2reco.cli", *words])
    except ChildFailedError as error:
        sys.exit(max(max(one.exitcode for one in error.failures.values()), 1))
    sys.exit()
