"""Where a stage runs: on the CPU, or on a GPU that must be there."""

import os

from gen2reco.errors import InfrastructureError


def usable_device(device: str, allow_cpu: bool, what: str) -> str:
    """The device asked for, or the CPU where that is allowed instead of a GPU that is not there. Raises
    InfrastructureError telling `what` has no GPU."""
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
    """Whether PyTorch can use a GPU in this process."""
    import torch

    return torch.cuda.is_available()
