"""Trainings of several networks, one after the other: each is done once and kept, as are the pairs of a teacher.

Killed and started again, a training goes on; under torchrun only the first process writes.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch.distributed as dist
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import nn

from gen2reco.files import whole
from gen2reco.flow.objectives import TeacherPairs, VectorData, make_pairs, matching, reflow
from gen2reco.flow.recipes import Distillation, Training
from gen2reco.flow.sets import SetData
from gen2reco.flow.training import Objective, Part, train
from gen2reco.flow.warm_start import Parent

FIRST = os.environ.get("RANK", "0") == "0"
"""Whether this is the only process, or the first of torchrun's: the one that writes."""
Watch = Callable[[str, int, dict[str, float]], None]
"""Called with a part's name, the step and the mean losses at every checkpoint."""


def silent(part: str, step: int, losses: dict[str, float]) -> None:
    """A watch that does nothing."""


@dataclass(frozen=True)
class Work:
    """The work of one training: the folder that keeps its parts, who watches the losses, the device, and the earlier
    model that it starts from.

    Each part has a folder of its own, with its checkpoint and, once it is done, its weights.
    """

    folder: Path
    watch: Watch = silent
    device: str = "cpu"
    parent: Parent | None = None

    def within(self, name: str) -> "Work":
        """The same for parts of a folder of their own, `name`, which their names in the log start with."""
        return replace(self, folder=self.folder / name, watch=lambda part, *rest: self.watch(f"{name}_{part}", *rest))

    def fit(self, name: str, network: nn.Module, objective: Objective, settings: Training, *others: Part) -> None:
        """Train a network, perhaps against others, and leave the averaged weights in it, on the CPU; those of a part
        that is done are read."""
        done = self.folder / name / "done.safetensors"
        if done.is_file():
            state = load_file(done)
        else:
            parts = [Part(network, objective), *others]
            average = train(parts, settings, self.folder / name, lambda *now: self.watch(name, *now), self.device)
            state = {k: v.cpu().contiguous() for k, v in average.state_dict().items()}
            _keep(done, lambda file: file.write(save(state)))
        network.load_state_dict(state)
        network.cpu().eval()

    def distil(
        self,
        name: str,
        teacher: nn.Module,
        student: nn.Module,
        data: VectorData | SetData,
        learning: Training | None,
        distillation: Distillation | None,
        chosen: NDArray[np.int64] | None = None,
        batch: int = 2000,
    ) -> None:
        """Train a many-step teacher by flow matching on data, let it draw pairs of noise and sample, and distil them
        into a one-step student (reflow); None leaves the teacher as it is, or the student out.

        chosen: (pairs,) members of `data` under whose conditions the teacher draws, the first ones where left out;
        batch: how many it draws at a time. The student may be the same network; it starts from the teacher's weights.
        """
        if learning:
            self.fit(f"{name}teacher", teacher, matching(teacher, data), learning)
        if not distillation:
            return
        if student is not teacher:
            student.load_state_dict(teacher.state_dict())
        wanted = data.take(np.arange(min(distillation.pairs, len(data))) if chosen is None else chosen)
        settings, folder = distillation.training, self.folder / f"{name}pairs"
        pairs = kept_pairs(teacher, wanted, distillation.evaluations, settings.seed, folder, self.device, batch)
        self.fit(f"{name}student", student, reflow(student, pairs), settings)


def kept_pairs(
    teacher: nn.Module,
    wanted: VectorData | SetData,
    evaluations: int,
    seed: int,
    folder: Path,
    device: str,
    batch: int = 2000,
) -> TeacherPairs:
    """The teacher's pairs of noise and sample, one for each condition in `wanted`, kept in `folder`."""
    if (folder / "end.npy").is_file():
        start, end = (np.load(folder / f"{side}.npy", allow_pickle=False) for side in ("start", "end"))
        return TeacherPairs(start, replace(wanted, x=end))
    made = make_pairs(teacher.to(device), wanted, evaluations, seed, batch, device)
    teacher.cpu()
    _keep(folder / "start.npy", lambda file: np.save(file, made.start))
    _keep(folder / "end.npy", lambda file: np.save(file, made.data.x))
    return made


def wait_for_all() -> None:
    """Wait until all processes of torchrun are here: what the first wrote, all may read from now on."""
    if dist.is_initialized():
        dist.barrier()


def _keep(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Have the first process write a file, the whole of it or none."""
    if not FIRST:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as temporary, temporary.open("wb") as file:
        write(file)
