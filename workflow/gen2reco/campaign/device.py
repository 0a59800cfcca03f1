"""Where a planned stage runs: on the CPU, or on a GPU that must be there."""

import os
from pathlib import Path

from gen2reco.campaign.plan import read_plan
from gen2reco.errors import InfrastructureError


def planned_device(lock: Path | str, stage: str, sample: str) -> str:
    """`cpu` or `cuda`, as the plan says. Raises InfrastructureError if no GPU is visible, unless the campaign allows
    the CPU instead."""
    plan = read_plan(lock)
    if plan.choice(sample, stage)["device"] == "cpu":
        return "cpu"
    if gpu_visible():
        return "cuda"
    if plan.lock["allow_cpu"]:
        return "cpu"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
    raise InfrastructureError(
        f"{stage} of `{sample}` runs on a GPU and none can be used here (CUDA_VISIBLE_DEVICES is {visible}); "
        f"ask for one in the profile (`gpu: 1` or `gres: gpu:1` of {stage}_gpu), or let the campaign `allow_cpu`"
    )


def gpu_visible() -> bool:
    """Whether PyTorch can use a GPU in this process."""
    import torch

    return torch.cuda.is_available()
