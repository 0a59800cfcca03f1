"""Samples of the whole chain made of formulas: showers as smooth profiles, clusters and objects from the truth."""

import json
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa

from gen2reco.config.block import Block, load_block
from gen2reco.config.detector import Detector
from gen2reco.detector.geometry import Geometry, encode
from gen2reco.events import records
from gen2reco.events.schemas import IDENTITIES, SHAPES
from gen2reco.files import file_digest
from gen2reco.run.stage import Backend, Chunk, Result

REPOSITORY = Path(__file__).parents[2]
KINDS = {22: 0, 211: 3}


def write_sample(
    folder: Path, *, events: int = 60, seed: int = 1, scale: float = 1.0, width: float = 0.2, cpu: float = 30.0,
    evaluations: int = 0, backend: str = "geant4", detector: Detector | None = None,
) -> Path:  # fmt: skip
    """A sample of single photons and pions and a few crowded events; `scale` and `width` distort its energies.

    The particles depend on nothing but `events`, so all samples hold the same ones.
    """
    detector = detector or load_block(REPOSITORY / "configs/detectors/hgcal.yaml", Detector)
    particles = _particles(np.random.default_rng(99), events)
    rng = np.random.default_rng(seed)
    hits = _hits(particles, Geometry(detector), rng, scale, width)
    base = {"event": np.arange(events), "weight": np.ones(events), "particles": ak.Array(particles)}
    provenance = {"gen2reco.provenance": json.dumps({"simulate": {"detector": detector.model_dump(mode="json")}})}
    tables = {
        ("generate", "particles"): records.table("particles", {**base, "partons": ak.Array([[]] * events)}),
        ("simulate", "hits"): records.table("hits", {**base, "tracks": ak.Array([[]] * events), **hits}),
        ("cluster", "clusters"): records.table("clusters", {**base, **_clusters(particles, hits, detector.front_face)}),
        ("calibrate", "objects"): records.table("objects", {**base, **_objects(particles, hits, rng)}),
    }
    for (stage, record), table in tables.items():
        simulated = stage == "simulate"
        _store(folder, stage, record, table, provenance, {
            "backend": backend if simulated else "synthetic",
            "cpu_seconds": cpu if simulated else 2.0,
            "network_evaluations": evaluations * events if simulated else 0,
        })  # fmt: skip
    return folder


class LearnedSimulation(Backend):
    """Stands for a learned simulation: the fewer evaluations, the farther off its energies."""

    name, stage, needs_detector = "toy", "simulate", True

    class Options(Block):
        """Options."""

        evaluations: int = 1
        """Network evaluations per shower."""

    def run(self, chunk: Chunk, events: pa.Table) -> Result:
        """Hits of a chunk."""
        scale, rng = 1 + 0.3 / self.options.evaluations, np.random.default_rng(chunk.seed)
        particles = records.awkward(events).particles.tolist()
        hits = _hits(particles, Geometry(self.detector), rng, scale, 0.2)
        base = {name: events[name] for name in ("event", "weight", "particles")}
        table = records.table("hits", {**base, "tracks": ak.Array([[]] * len(particles)), **hits})
        return Result(table, {"network_evaluations": self.options.evaluations * events.num_rows})


def _store(folder: Path, stage: str, record: str, table: pa.Table, metadata: dict, facts: dict) -> None:
    path = folder / stage / "00000.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    records.write(path, table, record, metadata)
    n = table.num_rows
    common = {"status": "ok", "stage": stage, "events_in": n, "events_out": n, "wall_seconds": 2.0, "device": "cpu"}
    common["sha256"] = file_digest(path)
    path.with_suffix(".json").write_text(json.dumps({**common, "peak_memory_mb": 300, **facts}))


def _particles(rng: np.random.Generator, events: int) -> list[list[dict]]:
    out = []
    for event in range(events):
        n = 8 if event % 10 == 9 else 1
        centre = rng.uniform(1.8, 2.6), rng.uniform(-3, 3)
        members = []
        for _ in range(n):
            pdg, energy = (22, 211)[int(rng.integers(2))], float(np.exp(rng.uniform(np.log(8), np.log(90))))
            eta, phi = centre[0] + 0.1 * rng.normal(), centre[1] + 0.1 * rng.normal()
            pt = energy / np.cosh(eta)
            momentum = {"px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": pt * np.sinh(eta), "energy": energy}
            members.append({"pdg": pdg, **momentum, "vx": 0.0, "vy": 0.0, "vz": 0.0, "time": 0.0})
        out.append(members)
    return out


def _hits(particles: list, geometry: Geometry, rng: np.random.Generator, scale: float, width: float) -> dict:
    """Hits and contributions: energy along the layers as a gamma distribution, across them as an exponential."""
    all_hits, all_links = [], []
    for members in particles:
        hits, links = [], []
        for index, p in enumerate(members):
            n = int(6 * np.sqrt(p["energy"])) + 10
            spread = width / np.sqrt(p["energy"]) * (1 if p["pdg"] == 22 else 3)
            total = p["energy"] * scale * max(1 + spread * rng.normal(), 0.1)
            layer = np.clip(rng.gamma(5, 2 if p["pdg"] == 22 else 4, n).astype(int) + 1, 1, geometry.n_layers)
            z = geometry.z[layer - 1]
            r, turn = rng.exponential(15, n), rng.uniform(0, 2 * np.pi, n)
            x, y = z * p["px"] / p["pz"] + r * np.cos(turn), z * p["py"] / p["pz"] + r * np.sin(turn)
            energy = rng.exponential(1, n)
            energy *= total / energy.sum()
            cell = encode(1, layer, geometry.index(x), geometry.index(y))
            columns = {"cell": cell, "layer": layer, "x": x, "y": y, "z": z, "energy": energy}
            rows = [dict(zip(columns, row)) for row in zip(*(c.tolist() for c in columns.values()))]
            links += [{"hit": len(hits) + i, "particle": index, "energy": h["energy"]} for i, h in enumerate(rows)]
            hits += [{**row, "time": float(abs(rng.normal(0.05, 0.03)))} for row in rows]
        all_hits.append(hits)
        all_links.append(links)
    return {"hits": ak.Array(all_hits), "contributions": ak.Array(all_links)}


def _clusters(particles: list, hits: dict, face: float) -> dict:
    """A layer cluster per hit and a trackster per particle, all of it associated."""
    n = [len(members) for members in particles]
    owner = hits["contributions"].particle
    energies = [[sum(h for h, o in zip(hs, os) if o == i) for i in range(k)] for hs, os, k in zip(
        hits["hits"].energy.tolist(), owner.tolist(), n)]  # fmt: skip
    tracksters = [
        [
            {"iteration": 0, "energy": e, "x": 1.0, "y": 1.0, "z": face + 100, "eta": 2.0, "phi": 0.1, "time": -1.0,
             **dict.fromkeys(SHAPES, 1.0), "sigma_r": 10 + 0.1 * e, "n_layer_clusters": 5 + e / 5}
            for e in event
        ]
        for event in energies
    ]  # fmt: skip
    links = [
        [
            {"trackster": i, "particle": i, "reco_to_sim": 0.05, "sim_to_reco": 0.1, "shared_energy": 0.9 * e}
            for i, e in enumerate(event)
        ]
        for event in energies
    ]
    plain = ak.zip({name: hits["hits"][name] for name in ("layer", "x", "y", "z", "energy", "time")})
    return {
        "tracks": ak.Array([[]] * len(particles)),
        "layer_clusters": ak.with_field(plain, ak.ones_like(plain.layer), "size"),
        "hit_cluster": ak.local_index(hits["hits"].energy),
        "tracksters": ak.Array(tracksters),
        "cluster_trackster": owner,
        "associations": ak.Array(links),
        "deposited": ak.Array(energies),
    }


def _objects(particles: list, hits: dict, rng: np.random.Generator) -> dict:
    objects, jets, gen_jets = [], [], []
    for members, energies, owners in zip(
        particles, hits["hits"].energy.tolist(), hits["contributions"].particle.tolist()
    ):
        own = []
        for i, p in enumerate(members):
            energy = sum(e for e, o in zip(energies, owners) if o == i)
            right = IDENTITIES[KINDS[p["pdg"]]]
            chances = {f"p_{name}": 0.8 if name == right else 0.05 for name in IDENTITIES}
            eta = float(np.arcsinh(p["pz"] / np.hypot(p["px"], p["py"])) + 0.002 * rng.normal())
            phi = float(np.arctan2(p["py"], p["px"]) + 0.002 * rng.normal())
            own.append({"pdg": p["pdg"], **chances, "energy_raw": 0.9 * energy, "energy": energy,
                        "energy_sigma": 0.2 * np.sqrt(energy), "eta": eta, "phi": phi, "trackster": i})  # fmt: skip
        objects.append(own)
        crowded = len(members) > 1
        pt = sum(o["energy"] / np.cosh(o["eta"]) for o in own)
        true = sum(np.hypot(p["px"], p["py"]) for p in members)
        place = {"eta": own[0]["eta"], "phi": own[0]["phi"], "mass": 5.0, "constituents": list(range(len(own)))}
        jets.append([{"pt": pt, **place}] if crowded else [])
        gen_jets.append([{"pt": true, **place}] if crowded else [])
    return {"objects": ak.Array(objects), "jets": ak.Array(jets), "gen_jets": ak.Array(gen_jets)}
