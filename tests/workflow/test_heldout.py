"""`judge`: a model on held-out events, against what the reference made of the same particles."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import synthetic_samples
from synthetic_samples import write_sample

from gen2reco import simulate
from gen2reco.config.block import Block
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.provenance import PROVENANCE_KEY
from gen2reco.files import file_digest
from gen2reco.run.sidecar import read_sidecar
from gen2reco.validate.heldout import judge


class Distorted(synthetic_samples.LearnedSimulation):
    """A simulation whose model is a file with a number of evaluations: the more, the nearer to the reference."""

    class Options(Block):
        """Options."""

        model: str
        """The file."""

    def run(self, chunk, events):
        """Hits of a chunk."""
        evaluations = int(Path(self.options.model).read_text())
        plain = synthetic_samples.LearnedSimulation.Options(evaluations=evaluations)
        return synthetic_samples.LearnedSimulation(plain, self.detector).run(chunk, events)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    """Sixty events of the reference in shards of 40 and 20, as far as its hits."""
    folder = write_sample(tmp_path_factory.mktemp("held") / "held_out", events=60)
    for stage, record in (("generate", "particles"), ("simulate", "hits")):
        path = folder / stage / "00000.parquet"
        table, story = records.read(path), {PROVENANCE_KEY: json.dumps(records.Source(path).story)}
        facts = json.loads(path.with_suffix(".json").read_text())
        for shard, part in enumerate((table.slice(0, 40), table.slice(40))):
            file = path.with_name(f"{shard:05d}.parquet")
            records.write(file, part, record, story)
            counts = {"events_in": len(part), "events_out": len(part), "sha256": file_digest(file)}
            file.with_suffix(".json").write_text(json.dumps(facts | counts))
    for stage in ("cluster", "calibrate"):
        shutil.rmtree(folder / stage)
    return folder


def test_a_model_is_judged_on_the_events_of_the_held_out_sample(held_out, tmp_path, monkeypatch):
    """A model of energies too high by 0.3: its metrics say so; its shards hold the same particles, each drawn anew."""
    monkeypatch.setitem(simulate.BACKENDS, "distorted", "test_heldout:Distorted")
    (tmp_path / "model").write_text("1")
    rows = judge("simulate", tmp_path / "model", held_out, tmp_path / "work", "distorted")
    found = {row["name"]: row for row in rows}
    assert len(found) == len(rows) > 5 and found["photon/shift_response"]["value"] == pytest.approx(0.3, abs=0.1)
    assert found["photon/w1_energy_ratio"]["value"] > 5 * found["photon/w1_energy_ratio"]["floor"]
    for row in rows:
        assert row.keys() == {"name", "value", "uncertainty", "floor", "n"} and np.isfinite(row["value"])
    first = []
    for shard in range(2):
        name = f"simulate/{shard:05d}.parquet"
        theirs, made = (records.read(folder / name) for folder in (held_out, tmp_path / "work"))
        assert made["event"].equals(theirs["event"]) and made["particles"].equals(theirs["particles"])
        facts = read_sidecar(tmp_path / "work" / name)
        assert (facts["events_in"], facts["shard"]) == (len(theirs), shard)
        first.append(records.awkward(made).hits.energy[0].tolist()[:5])
    assert first[0] != first[1] and (tmp_path / "work/report.html").is_file()


def test_a_sample_without_the_stages_records_cannot_judge(held_out, tmp_path, monkeypatch):
    monkeypatch.setitem(simulate.BACKENDS, "distorted", "test_heldout:Distorted")
    shutil.copytree(held_out / "generate", tmp_path / "bare/generate")
    with pytest.raises(InputError, match="bare: holds no hits; expected a sample made by the reference"):
        judge("simulate", tmp_path / "model", tmp_path / "bare", tmp_path / "work", "distorted")
    with pytest.raises(InputError, match="holds no clusters"):
        judge("calibrate", tmp_path / "model", held_out, tmp_path / "work", "raw")
