"""What recipes of trainings are made of: how a network is trained, how a teacher is distilled. Imports no torch."""

from pydantic import Field

from gen2reco.config.block import Block


class Training(Block):
    """How a network is trained."""

    steps: int = Field(default=10_000, ge=0)
    """Optimiser steps; the one setting that may change when a training goes on."""
    batch: int = Field(default=256, ge=1)
    """Vectors or sets per step and process."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Largest learning rate, reached after the warm-up and then lowered to zero along a cosine."""
    warmup: int = Field(default=200, ge=0)
    """Steps of linear rise of the learning rate."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """First-moment decay of Adam."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay of AdamW."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    average: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the exponential moving average of the weights, which is what gets used."""
    seed: int = Field(default=1, ge=0)
    """Seed of batches and noise."""
    checkpoint_every: int = Field(default=500, ge=1)
    """Steps between checkpoints and lines of the log."""
    mixed_precision: bool = True
    """On an accelerator, multiply matrices in bfloat16; weights and sums stay in float32, and on CPUs all."""


class Distillation(Block):
    """From a many-step teacher to a one-step student."""

    pairs: int = Field(default=40_000, ge=1)
    """Teacher samples to learn from."""
    evaluations: int = Field(default=16, ge=2)
    """Network evaluations per teacher sample (midpoint rule)."""
    training: Training
    """How the student is trained on the pairs."""
