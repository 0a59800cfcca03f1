"""The device of a stage: the CPU, or a GPU, which must be usable."""

import os
from collections.abc import Iterable

from gen2reco.errors import InfrastructureError
from gen2reco.run.stage import backend_class


def usable_device(device: str, allow_cpu: bool, what: str) -> str:
    """The wanted device, or the CPU where no GPU can be used and `allow_cpu` is set. Raises InfrastructureError, whose
    text `what` begins, where no GPU can be used."""
    if device == "cpu" or gpu_visible():
        return device
    if allow_cpu:
        return "cpu"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
    raise InfrastructureError(
        f"{what} runs on a GPU and none can be used here (CUDA_VISIBLE_DEVICES is {visible}); ask for one in the "
        f"profile (`gpu: 1` or `gres: gpu:1` of its rule ending in _gpu), or let the campaign `allow_cpu`"
    )


def gpu_visible() -> bool:
    """Whether PyTorch can use a GPU in this process. CUDA is not initialised, so that forks of chunks can use it."""
    import torch

    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    return torch.cuda.is_available()


def idle_gpus(chosen: Iterable[tuple[str, str, str]]) -> str | None:
    """A line on the stages, out of these (stage, backend, device), that ask for a GPU and whose backends make no use of
    it; None where there are none."""
    on_gpu = dict.fromkeys((stage, backend) for stage, backend, device in chosen if device == "cuda")
    idle = [f"{stage} {backend}" for stage, backend in on_gpu if "cuda" not in backend_class(stage, backend).devices]
    if not idle:
        return None
    return f"`device: cuda` asks for a GPU that {', '.join(idle)} will not use; leave it out there"
