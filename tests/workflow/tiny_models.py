"""A campaign small enough for the tests that trains a model and uses it."""

from pathlib import Path

from repository import REPOSITORY

CAMPAIGN = f"""
name: tiny_models
seed: 3
detector: {REPOSITORY}/configs/detectors/hgcal.yaml
samples:
  photons:
    events: 120
    shard_events: 60
    generate: {{backend: gun, process: gun.yaml}}
    simulate: {{backend: geant4, keep_deposits: true}}
  held_out:
    events: 20
    shard_events: 20
    generate: {{backend: gun, process: gun.yaml}}
    simulate: {{backend: geant4}}
  learned:
    like: held_out
    simulate: {{backend: ml, model: tiny_showers}}
models:
  tiny_showers: {{train: showers, recipe: recipe.yaml, data: [photons], held_out: [held_out]}}
compare:
- {{reference: held_out, candidates: [learned]}}
validation: {{resamples: 10}}
"""
RECIPE = """
families: [electromagnetic]
sizes: {width: 8, depth: 1}
start: {steps: 4, batch: 16, checkpoint_every: 1}
quantiles: {steps: 4, batch: 16, checkpoint_every: 1}
teacher: {steps: 20, batch: 16, checkpoint_every: 1}
pairs: 40
evaluations: 2
student: {steps: 4, batch: 16, checkpoint_every: 1}
rows: 1000
cells: {steps: 4, batch: 8, checkpoint_every: 1, mixed_precision: false}
"""


def write_campaign(folder: Path) -> str:
    """Write the campaign, its process and its recipe into a folder; returns the name of its file."""
    (folder / "gun.yaml").write_text("kind: gun\nspecies: [22]\nenergy: [1, 5]\n")
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "tiny_models.yaml").write_text(CAMPAIGN)
    return "tiny_models.yaml"
