"""Commands that nothing else runs: `export-model` against the network, `calibrate-rates` where there is no cluster."""

import json
import re
import sys

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from toys import Inline

from gen2reco import cli
from gen2reco.calibrate.dnn import RELEASE
from gen2reco.calibrate.export import INPUTS, example_inputs
from gen2reco.calibrate.predict import load_network
from gen2reco.campaign import measure_rates
from gen2reco.campaign.campaign import StageChoice
from gen2reco.campaign.plan import make_plan
from gen2reco.campaign.rates import known_rates
from gen2reco.run.model_folder import open_model


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run a command in this process; returns (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_leave", sys.exit)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["gen2reco", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return left.value.code, *capsys.readouterr()

    return call


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(("candidates", "points"), [(1, 1), (5, 12)])
def test_export_model_writes_the_network_that_is_shipped(command, tmp_path, candidates, points):
    code, _, said = command("export-model", RELEASE / "objects", "calibration.onnx")
    assert code == 0, said
    network = load_network(open_model(RELEASE / "objects", "calibration"))
    given = example_inputs(network, candidates, points, seed=3)
    session = onnxruntime.InferenceSession(tmp_path / "calibration.onnx")
    assert [one.name for one in session.get_inputs()] == list(INPUTS)
    found = session.run(None, {name: value.numpy() for name, value in zip(INPUTS, given)})
    with torch.no_grad():
        expected = network(*given)
    assert [one.name for one in session.get_outputs()] == list(expected._fields)
    for ours, theirs in zip(found, expected):
        assert ours == pytest.approx(theirs.numpy(), rel=1e-3, abs=1e-4)


def test_export_model_refuses_what_is_no_calibration(command, tmp_path):
    code, _, said = command("export-model", tmp_path / "nowhere", "out.onnx")
    assert code == 2 and "nowhere" in said and said.count("\n") == 1 and not (tmp_path / "out.onnx").exists()


@pytest.fixture
def campaign(tmp_path, repository, monkeypatch):
    """A campaign of unsized gun samples in an empty folder, with rates of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEN2RECO_RATES", str(tmp_path / "rates.json"))
    known_rates.cache_clear()
    gun = {"kind": "gun", "species": [22], "energy": [5, 100]}
    stage = {"generate": {"backend": "gun", "process": gun, "chunk_events": 50}}
    sample = {"events": 10**6, **stage}
    data = {"name": "rates", "detector": str(repository / "configs/detectors/hgcal.yaml"), "job_minutes": 1.0}
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({**data, "samples": {"a": sample, "b": sample}}))
    yield path
    known_rates.cache_clear()


def test_calibrate_rates_measures_here_and_the_next_plan_uses_it(command, campaign, tmp_path):
    """One stage, shared by two samples, is measured once; both keys that plans look for are kept."""
    code, printed, said = command("calibrate-rates", campaign, "--seconds", "0.05")
    assert code == 0, said
    line, kept = printed.strip().splitlines()
    assert re.fullmatch(r"generate gun on cpu: \S+ ms an event, \S+ kB \(\d+ events\)", line)
    assert kept == f"kept in {tmp_path / 'rates.json'}"
    rates = json.loads((tmp_path / "rates.json").read_text())
    assert len(rates) == 3 and "generate/gun/cpu" in rates and len({json.dumps(rate) for rate in rates.values()}) == 1
    rate = rates["generate/gun/cpu"]
    assert 1e-7 < rate["cpu_seconds"] < 0.1 and 10 < rate["bytes"] < 5000 and rate["events"] % 50 == 0
    known_rates.cache_clear()
    expected = int((60 - rate["startup_seconds"]) / rate["cpu_seconds"]) // 50 * 50
    assert make_plan(campaign)[0].samples["a"]["shard_events"] == min(10**6, expected)


class Costly(Inline):
    """Each event costs one second of a made-up clock, the first chunk a hundred more."""

    spent = 0.0

    def run(self, chunk, events):
        Costly.spent += (chunk.stop - chunk.start) * 1.0 + (100.0 if chunk.index == 0 else 0.0)
        return super().run(chunk, events)


@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_a_rate_is_of_the_chunks_after_the_first(tmp_path, monkeypatch, seconds):
    """Compilation, in the first chunk, is left out; without time to spare, one more chunk is made all the same."""
    Costly.spent = 0.0
    monkeypatch.setattr(measure_rates, "make_backend", lambda *_: Costly(Costly.Options()))
    monkeypatch.setattr(measure_rates, "_clock", lambda device: Costly.spent)
    choice = StageChoice(backend="toy", options={}, chunk_events=7)
    task = measure_rates.Task("generate", choice, None, None, tmp_path / "out.parquet", seconds)
    found = measure_rates.measure_stage(task)
    assert found["cpu_seconds"] == pytest.approx(1.0) and found["events"] % 7 == 0
    assert found["events"] == 14 if not seconds else found["events"] > 14
    parts = list(tmp_path.glob("out-*.parquet"))
    assert found["bytes"] == pytest.approx(np.sum([part.stat().st_size for part in parts]) / found["events"])
