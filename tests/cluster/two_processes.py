"""A tiny training for torchrun: fit a line; prints rank and the digest of the weights. Used by test_training."""

import hashlib
import os
import sys
import time
from pathlib import Path

import torch
from torch import nn

from gen2reco.flow.training import Part, Training, train

torch.manual_seed(int(os.environ["RANK"]))  # each process starts from weights of its own: they must agree on one
torch.set_num_threads(1)
network = nn.Linear(4, 1)


def objective(draw):
    """Mean squared error on inputs of the step's own; sometimes slowly."""
    x = draw.normal(draw.size, 4)
    loss = (network(x) - x.sum(1, keepdim=True)).square().mean()
    time.sleep(float(os.environ.get("SLOW", "0")))
    return loss, {"loss": loss.detach()}


folder = Path(sys.argv[1])
folder.mkdir(exist_ok=True)
settings = Training(steps=60, batch=16, warmup=5, checkpoint_every=10, learning_rate=0.05, mixed_precision=False)
trained = train([Part(network, objective)], settings, folder)
weights = b"".join(p.detach().numpy().tobytes() for p in trained.parameters())
rank, world = os.environ["RANK"], os.environ["WORLD_SIZE"]
(folder / f"rank{rank}").write_text(f"{world} {hashlib.sha256(weights).hexdigest()}")
