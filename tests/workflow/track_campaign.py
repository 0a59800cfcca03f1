"""A small campaign as its results folder would hold it: plan, sidecars, a training's spool, a report."""

import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np

from gen2reco.errors import Gen2recoError
from gen2reco.run.model_folder import save_model
from gen2reco.track.spool import Spool

STAGES = {"generate": "pythia8", "simulate": "geant4", "cluster": "clue", "calibrate": "raw"}
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63f8cfc0f01f0005050202"
    "5fc8f1d20000000049454e44ae426082"
)
REPORT = "<!doctype html><title>report</title><h1>Verdict: pass</h1>"


def campaign(
    folder: Path, name: str = "pilot", shards: int = 4, samples: tuple[str, ...] = ("photons", "pions")
) -> Path:
    """Write the results folder `folder/name`: every stage of every sample done, with a report."""
    results = folder / name
    entries = {}
    for sample in samples:
        stages = {stage: _choice(sample, stage, backend) for stage, backend in STAGES.items()}
        entries[sample] = {"like": None, "events": 100 * shards, "shard_events": 100, "stages": stages}
        for stage in STAGES:
            for shard in range(shards):
                sidecar(results, sample, stage, shard)
    lock = {"version": 1, "name": name, "revision": 1, "seed": 7, "digest": _sha(name), "samples": entries}
    lock |= {"campaign_file": "configs/campaigns/pilot.yaml", "failed_shards": 0.0, "code_version": "0.1.0"}
    (results / "plan.lock.json").write_text(json.dumps(lock, indent=1))
    report = results / "report" / samples[0]
    (report / "figures").mkdir(parents=True)
    (report / "report.html").write_text(REPORT)
    (report / "figures" / "01_hits_photon_profiles.png").write_bytes(PNG)
    rows = [{"stage": "objects", "name": "response", "value": 0.98, "uncertainty": 0.01, "floor": 0.005, "n": 400}]
    (report / "metrics.json").write_text(json.dumps([{**row, "samples": list(samples)} for row in rows]))
    if len(samples) > 1:
        decided = {"stage": "objects", "metric": "response", "value": 0.98, "uncertainty": 0.01, "limit": 0.01}
        found = {
            "use": "photons",
            "candidate": samples[1],
            "answer": "no",
            "text": "no",
            "why": "response |0.98| ± 0.01",
        }
        told = {"reference": samples[0], "candidates": samples[1:], "uses": [{**found, "decided_by": decided}]}
        (report / "verdict.json").write_text(json.dumps(told))
    return results


def sidecar(results: Path, sample: str, stage: str, shard: int, **facts: object) -> None:
    """The sidecar of one shard."""
    path = results / sample / stage / f"{shard:05d}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"status": "ok", "stage": stage, "sample": sample, "shard": shard, "events_in": 100, "events_out": 100}
    content |= {"sha256": _sha(f"{sample}{stage}{shard}"), "seed": 7, "network_evaluations": 0, "wall_seconds": 10.0}
    content |= {"cpu_seconds": 9.0, "peak_memory_mb": 500 + shard, "device": "cpu", "model_digest": None}
    content |= {
        "started": f"2026-01-01T00:{shard % 60:02d}:00+00:00",
        "host": f"node{shard % 3}",
        "code_version": "0.1.0",
    }
    path.write_text(json.dumps({**content, "slurm_job_id": str(1000 + shard), **facts}))


def training(results: Path, key: str = "showers", steps: int = 50, model: Path | None = None) -> None:
    """One finished training in the spool."""
    with Spool(results, key, live=False) as spool:
        spool.params({"lr": 1e-3, "net": {"width": 64}})
        spool.dataset("photons/simulate", _sha("data"), events=400)
        for step in range(steps):
            spool.metrics({"loss": 1.0 / (step + 1), "lr": 1e-3}, step)
        if model:
            spool.model("showers", model)


def model_folder(folder: Path, seed: int = 1, response: float = 0.05, sample: str = "held out") -> Path:
    """A model folder with random weights and an evaluation."""
    weights = {"w": np.random.default_rng(seed).normal(size=(4, 4)).astype("float32")}
    save_model(folder, "showers", {"width": 4}, {}, weights, "# Showers\n\nTrained on photons.")
    rows = [
        {"name": "bias", "value": response, "uncertainty": 0.002},
        {"name": "auc", "value": 0.6, "uncertainty": 0.01},
    ]
    found = {"sample": {"name": sample, "digest": _sha(sample)}, "metrics": rows}
    (folder / "evaluation.json").write_text(json.dumps(found))
    return folder


def spool_steps(results: Path, worker: int, steps: int, pause: float) -> None:
    """A training process that tells one metric a step; two of them share a run."""
    with Spool(results, f"training{worker % 4}", live=False) as spool:
        for step in range(steps):
            spool.metrics({f"loss{worker}": 1.0 / (step + 1)}, step)
            time.sleep(pause)


def sync_often(results: Path, uri: str | None, times: int) -> None:
    """A process that replays again and again; what another replay's clash breaks, the next one mends."""
    from gen2reco.track.sync import sync

    for _ in range(times):
        try:
            sync(results, uri)
        except Gen2recoError as error:
            print(f"sync: {error}", file=sys.stderr)


def _choice(sample: str, stage: str, backend: str) -> dict:
    known = {"backend": backend, "version": 1, "options": {"a": {"b": 1}}, "chunk_events": 100, "model": None}
    return {**known, "device": "cpu", "digest": _sha(stage), "owner": sample}


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
