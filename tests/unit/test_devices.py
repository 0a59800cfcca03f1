"""Backends on a device that is not the CPU: nothing is mixed, and the result is the CPU's."""

import pytest
import torch
import yaml
from stand_in_device import DEVICE, Distant, stand_in

from gen2reco.config.block import load_block
from gen2reco.config.detector import Detector
from gen2reco.run.stage import Chunk, make_backend
from repository import REPOSITORY

GUN = {"kind": "gun", "species": [22, 211, 130, 13], "energy": [2, 20], "abs_eta": [1.7, 2.7], "particles": 12}
MODELS = {"ee_qq_91": "ee_qq_91", "pp_dijet_endcap": "pp_dijet_endcap"}


def made(stage, name, options, detector=None, source=None, device="cpu"):
    backend = make_backend(stage, name, options, detector)
    backend.device = device
    backend.prepare()
    return backend.run(Chunk(0, 3, 0, 5), source).table


def same(*given):
    """The table made on the CPU; the stand-in must give the same."""
    reference = made(*given)
    with stand_in():
        assert made(*given, device=DEVICE).equals(reference)
    return reference


@pytest.mark.parametrize("process, model", MODELS.items())
def test_generation_on_a_device(process, model):
    text = (REPOSITORY / f"configs/processes/{process}.yaml").read_text()
    same("generate", "ml", {"process": yaml.safe_load(text), "model": model, "evaluations": 2})


def test_the_learned_chain_on_a_device():
    detector = load_block(REPOSITORY / "configs/detectors/hgcal.yaml", Detector)
    particles = made("generate", "gun", {"process": GUN})
    hits = same("simulate", "ml", {"outside": "nearest"}, detector, particles)
    clusters = same("cluster", "clue", {}, detector, hits)
    same("calibrate", "dnn", {}, detector, clusters)
    same("fuse", "fused", {"outside": "keep"}, detector, particles)


def test_the_stand_in_refuses_what_a_gpu_refuses():
    with stand_in():
        there = torch.ones(3).to(DEVICE)
        assert isinstance(there, Distant) and (there + 1).cpu().tolist() == [2, 2, 2]
        for wrong in (
            lambda: there + torch.ones(3),
            lambda: torch.ones(3)[there.long()],
            lambda: there.long() @ there.long(),
            lambda: torch.randn(3, generator=torch.Generator(), device=DEVICE),
            lambda: there.numpy(),
        ):
            with pytest.raises((RuntimeError, TypeError)):
                wrong()
