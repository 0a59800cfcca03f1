"""Trainings of several networks, one after the other: each is done once and kept, as are the pairs of a teacher.

Killed and started again, a training goes on; under torchrun only the first process writes.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from safetensors.torch import load_file, save
from torch import nn

from gen2reco.files import whole
from gen2reco.flow.objectives import Pairs, VectorData, make_pairs
from gen2reco.flow.sets import SetData
from gen2reco.flow.training import Objective, Part, Training, train

FIRST = os.environ.get("RANK", "0") == "0"
"""Whether this is the only process, or the first of torchrun's: the one that writes."""
Watch = Callable[[str, int, dict[str, float]], None]
"""Told a part's name, the step and the mean losses at every checkpoint."""


class Fit(Protocol):
    """Trains a network, perhaps against others, and leaves the averaged weights in it."""

    def __call__(
        self, name: str, network: nn.Module, objective: Objective, settings: Training, *others: Part
    ) -> None: ...


def fitter(work: Path, watch: Watch, device: str) -> Fit:
    """A function that trains each network in a folder of its own in `work`; one that is done is taken from there."""

    def fit(name: str, network: nn.Module, objective: Objective, settings: Training, *others: Part) -> None:
        done = work / name / "done.safetensors"
        if done.is_file():
            state = load_file(done)
        else:
            parts = [Part(network, objective), *others]
            average = train(parts, settings, work / name, lambda step, told: watch(name, step, told), device)
            state = {k: v.cpu().contiguous() for k, v in average.state_dict().items()}
            _keep(done, lambda file: file.write(save(state)))
        network.load_state_dict(state)
        network.cpu().eval()

    return fit


def kept_pairs(
    teacher: nn.Module,
    wanted: VectorData | SetData,
    evaluations: int,
    seed: int,
    folder: Path,
    device: str,
    batch: int = 2000,
) -> Pairs:
    """The teacher's pairs of noise and sample, one for each condition in `wanted`, kept in `folder`."""
    if (folder / "end.npy").is_file():
        start, end = (np.load(folder / f"{side}.npy", allow_pickle=False) for side in ("start", "end"))
        return Pairs(start, replace(wanted, x=end))
    made = make_pairs(teacher.to(device), wanted, evaluations, seed, batch, device)
    teacher.cpu()
    _keep(folder / "start.npy", lambda file: np.save(file, made.start))
    _keep(folder / "end.npy", lambda file: np.save(file, made.data.x))
    return made


def _keep(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Have the first process write a file, the whole of it or none."""
    if not FIRST:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as temporary, temporary.open("wb") as file:
        write(file)
