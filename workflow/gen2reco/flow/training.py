"""The training loop: one loop for every network, resumable with the same result, on one device or several.

Every step draws its batch and noise from (seed, step, rank) alone, so a run that was killed goes on from its last
checkpoint as if nothing had happened. Checkpoints are safetensors; under `torchrun` each process takes its own batches
and gradients are averaged.
"""

import copy
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from gen2reco.errors import InputError
from gen2reco.files import whole
from gen2reco.flow.recipes import Training

Objective = Callable[["Draw"], tuple[Tensor, dict[str, float]]]


@dataclass(frozen=True)
class Draw:
    """The randomness of one step, the same whenever the step is run: numpy for batches, torch for noise."""

    rng: np.random.Generator
    noise: torch.Generator
    size: int
    device: torch.device

    def indices(self, n: int) -> np.ndarray:
        """Members of a batch out of n, drawn with replacement."""
        return self.rng.integers(n, size=self.size)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, drawn on the CPU so that every device gets the same."""
        return torch.randn(shape, generator=self.noise).to(self.device)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1)."""
        return torch.rand(shape, generator=self.noise).to(self.device)


@dataclass
class Part:
    """A network with the objective that it minimises; an adversary is a second part of the same training."""

    network: nn.Module
    objective: Objective
    learning_rate: float | None = None


def train(
    parts: list[Part],
    settings: Training,
    folder: Path,
    watch: Callable[[int, dict[str, float]], None] | None = None,
    device: str = "cpu",
) -> nn.Module:
    """Train the parts in turn, step by step; returns the averaged first network, ready for use.

    `watch(step, numbers)` is called with the mean losses at each checkpoint. Raises InputError if the checkpoint in
    `folder` belongs to another training, or where losses or weights are NaN or infinite: the checkpoint before stays.
    Raises InfrastructureError if the checkpoint cannot be written.
    """
    rank, world = _join(device)
    networks = [part.network.to(device).train() for part in parts]
    _agree(networks, world)
    average = _copy(networks[0])
    optimizers = [
        torch.optim.AdamW(
            part.network.parameters(),
            lr=part.learning_rate or settings.learning_rate,
            betas=(settings.momentum, 0.99),
            weight_decay=settings.weight_decay,
            fused=True,
        )
        for part in parts
    ]
    peaks = [part.learning_rate or settings.learning_rate for part in parts]
    path = Path(folder) / "checkpoint.safetensors"
    start, spent = _resume(path, settings, [*networks, average], optimizers)
    kind = torch.device(device).type
    mixed = settings.mixed_precision and kind == "cuda"  # most CPUs emulate it, 5 to 20 times slower
    log, began = [], time.perf_counter()
    for step in range(start, settings.steps):
        for part, optimizer, peak in zip(parts, optimizers, peaks):
            for group in optimizer.param_groups:
                group["lr"] = peak * _schedule(step, settings)
            with torch.autocast(kind, torch.bfloat16, enabled=mixed):
                loss, numbers = part.objective(_draw(settings, step, rank, device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            _average_gradients(part.network, world)
            nn.utils.clip_grad_norm_(part.network.parameters(), settings.clip)
            optimizer.step()
            log.append({name: float(value) for name, value in numbers.items()})
        _follow(average, networks[0], min(settings.average, (1 + step) / (10 + step)))
        if (step + 1) % settings.checkpoint_every == 0 or step + 1 == settings.steps:
            numbers = _means(log) | {"seconds": spent + time.perf_counter() - began}
            if not (_finite(numbers) and _finite_weights(networks)):
                raise InputError(_diverged(path, step + 1, numbers))
            if rank == 0:
                _save(path, step + 1, numbers["seconds"], settings, [*networks, average], optimizers)
                if watch:
                    watch(step + 1, numbers)
            log = []
    return average.eval()


def _finite(numbers: dict[str, float]) -> bool:
    return all(math.isfinite(value) for value in numbers.values())


def _finite_weights(networks: list[nn.Module]) -> bool:
    """Whether all weights are finite: a gradient that overflows in the last step shows in them alone."""
    return all(bool(torch.isfinite(p).all()) for network in networks for p in network.parameters())


def _diverged(path: Path, step: int, numbers: dict[str, float]) -> str:
    """The message of a training whose losses or weights are NaN or infinite."""
    kept = "no checkpoint was written yet"
    if path.is_file():
        with safe_open(path, "pt") as file:
            kept = f"the checkpoint of step {file.metadata()['step']} is kept"
    what = numbers if not _finite(numbers) else "its weights are NaN or infinite"
    return f"{path.parent}: training diverged at step {step}: {what}; {kept}; lower `learning_rate`"


def _draw(settings: Training, step: int, rank: int, device: str) -> Draw:
    rng = np.random.default_rng((settings.seed, step, rank))
    noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
    return Draw(rng, noise, settings.batch, torch.device(device))


def _schedule(step: int, settings: Training) -> float:
    rise = min(1.0, (step + 1) / max(settings.warmup, 1))
    return rise * 0.5 * (1 + math.cos(math.pi * step / max(settings.steps, 1)))


def _copy(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).requires_grad_(False)


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    for slow, fast in zip(average.parameters(), network.parameters()):
        slow.lerp_(fast, 1 - decay)


def _join(device: str) -> tuple[int, int]:
    """This process's rank and the number of processes, as torchrun set them; each takes a GPU of its own."""
    world, on_gpu = int(os.environ.get("WORLD_SIZE", "1")), torch.device(device).type == "cuda"
    if world > 1 and on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if on_gpu else "gloo")
    return (dist.get_rank(), world) if world > 1 else (0, 1)


def _agree(networks: list[nn.Module], world: int) -> None:
    """All processes start from the weights of the first."""
    for tensor in (p.data for network in networks for p in network.parameters() if world > 1):
        dist.broadcast(tensor, 0)


def _average_gradients(network: nn.Module, world: int) -> None:
    if world == 1:
        return
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    dist.all_reduce(flat)
    for gradient, mean in zip(gradients, (flat / world).split([g.numel() for g in gradients])):
        gradient.copy_(mean.view_as(gradient))


def _means(log: list[dict[str, float]]) -> dict[str, float]:
    names = {name for numbers in log for name in numbers}
    return {name: float(np.mean([n[name] for n in log if name in n])) for name in sorted(names)}


def _state(networks: list[nn.Module], optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Every tensor of a training under a flat name: weights, then Adam's moments."""
    tensors = {f"network{i}.{k}": v for i, net in enumerate(networks) for k, v in net.state_dict().items()}
    for i, optimizer in enumerate(optimizers):
        for j, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer{i}.{j}.{name}": value for name, value in moments.items()}
    return tensors


def _save(path: Path, step: int, seconds: float, settings: Training, networks: list, optimizers: list) -> None:
    tensors = {name: value.detach().cpu().contiguous() for name, value in _state(networks, optimizers).items()}
    facts = {"step": str(step), "seconds": repr(seconds), "settings": json.dumps(settings.model_dump(mode="json"))}
    with whole(path, "checkpoint ") as temporary:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(save(tensors, metadata=facts))


def _resume(path: Path, settings: Training, networks: list, optimizers: list) -> tuple[int, float]:
    """Load the checkpoint if there is one; returns the steps done and the seconds they took."""
    if not path.is_file():
        return 0, 0.0
    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if json.loads(facts["settings"]) | {"steps": settings.steps} != settings.model_dump(mode="json"):
            raise InputError(f"{path}: checkpoint of a training with other settings; name another folder or delete it")
        for i, network in enumerate(networks):
            network.load_state_dict(_under(tensors, f"network{i}."))
        for i, optimizer in enumerate(optimizers):
            _load_moments(optimizer, _under(tensors, f"optimizer{i}."))
    except (SafetensorError, RuntimeError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a checkpoint of this training ({reason}); delete it to start anew") from None
    return int(facts["step"]), float(facts["seconds"])


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _load_moments(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, moment = name.partition(".")
        state.setdefault(int(index), {})[moment] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
