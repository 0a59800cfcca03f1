"""A learned generator starts from an earlier one: closed forms and networks are kept, its range is that of the data."""

import numpy as np
import pytest

from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.flow.recipes import Training
from gen2reco.flow.training_data import DataFiles
from gen2reco.flow.trainings import make_model
from gen2reco.flow.warm_start import Parent
from gen2reco.generate.hadronize.generation_recipe import GenerationRecipe, GenerationSizes
from gen2reco.generate.hadronize.generation_trainer import GenerationTrainer
from gen2reco.run.stage import Chunk, make_backend

SETTINGS = (
    "Beams:idA = 11", "Beams:idB = -11", "Beams:eCM = 91.2", "PDF:lepton = off", "WeakSingleBoson:ffbar2gmZ = on",
    "23:onMode = off", "23:onIfAny = 1 2 3 4 5", "ParticleDecays:limitTau0 = on", "ParticleDecays:tau0Max = 1e-5",
)  # fmt: skip
SMALL = GenerationSizes(counts_width=8, shapes_width=8, shapes_depth=1, width=8, depth=1, pooled=8)
RECIPE = GenerationRecipe(least_per_event=0.1, sizes=SMALL)


def test_a_generator_starts_from_an_earlier_one(tmp_path):
    backend = make_backend("generate", "pythia8", {"process": {"kind": "pythia8", "settings": list(SETTINGS)}})
    backend.prepare()
    paths = [tmp_path / f"{name}.parquet" for name in "ab"]
    for seed, (path, events) in enumerate(zip(paths, (600, 200)), 1):
        records.write(path, backend.run(Chunk(0, seed, 0, events)).table, "particles")
    (cold,) = make_model(GenerationTrainer, RECIPE, DataFiles(paths[:1]), tmp_path / "cold")
    parent = Parent(cold.folder, cold.digest)
    still = RECIPE.model_copy(update={"counts": Training(steps=0)})
    files = DataFiles([paths[0], paths[1]], replayed=1, replay=0.2)
    (warm,) = make_model(GenerationTrainer, still, files, tmp_path / "warm", parent=parent)
    before, after = cold.weights(), warm.weights()
    assert all(np.array_equal(before[name], after[name]) for name in after)
    assert warm.config["parent"] == cold.digest and warm.config["architecture"] == cold.config["architecture"]
    wide = still.model_copy(update={"sizes": SMALL.model_copy(update={"width": 16})})
    with pytest.raises(InputError, match=r"cold: cannot start .* `architecture.width` is 8, here it is 16"):
        make_model(GenerationTrainer, wide, files, tmp_path / "wide", parent=parent)
