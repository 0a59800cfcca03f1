"""The `clue` backend: hits to layer clusters, tracksters and associations, on the CPU or a GPU."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import field_validator

from gen2reco.config.block import Block, load_block
from gen2reco.config.clustering import Clustering
from gen2reco.config.detector import Detector
from gen2reco.detector.geometry import Geometry
from gen2reco.detector.made_with import check_geometry, simulated_in
from gen2reco.events.arrow import numbers
from gen2reco.run.stage import Backend, Chunk, Result

MOST_HITS = 1_000_000
"""Hits that are clustered at once: some 300 MB."""


class Clue(Backend):
    """CLUE on layers, CLUE3D iterations, linking."""

    name, stage, version, needs_detector, chunk_events = "clue", "cluster", 3, True, 100
    devices = ("cpu", "cuda")

    class Options(Block):
        """How the clustering is done."""

        clustering: Clustering = Clustering()
        """Parameters of the clustering, or the YAML file that holds them."""
        clean_spikes: bool = False
        """Leave out spikes: cells of 100 MIP and more with none around, from recoils in the silicon. They are counted
        in any case."""

        @field_validator("clustering", mode="before")
        @classmethod
        def _read(cls, value: Any) -> Any:
            return load_block(value, Clustering) if isinstance(value, str) else value

    options: Options
    detector: Detector

    def accept(self, story: dict) -> None:
        """Refuse hits of another geometry."""
        super().accept(story)
        check_geometry(simulated_in(story, "metadata of the hits"), self.detector)

    def prepare(self) -> None:
        """Load or compile the kernels."""
        from gen2reco.cluster.compiled_kernels import load

        for name in ("plain", "clue3d", "shapes", "near"):
            load(name)

    def run(self, chunk: Chunk, events: pa.Table) -> Result:
        """Cluster one chunk of events. Raises InputError for hits that the detector cannot have made."""
        parts = [self._cluster(some) for some in batches(events)]
        table = pa.concat_tables([part.table for part in parts]).combine_chunks()
        return Result(table, self.summary([part.info for part in parts]))

    def _cluster(self, events: pa.Table) -> Result:
        from gen2reco.cluster.columns import clusters_table, flatten
        from gen2reco.cluster.reconstruct import reconstruct
        from gen2reco.cluster.spikes import spikes_of

        geometry, config = Geometry(self.detector), self.options.clustering
        flat = flatten(events, geometry)
        spikes = spikes_of(events, flat.hits, geometry)
        kept = ~spikes if self.options.clean_spikes else None
        found = reconstruct(flat.hits, flat.tracks, geometry, config, self._clue(), kept)
        table = clusters_table(events, flat, found, geometry)
        info = {
            "hits": len(flat.hits),
            "layer_clusters": len(found.clusters),
            "tracksters": int(found.cluster_trackster.max(initial=-1)) + 1,
            "clustering": config.digest(),
            "spikes": int(spikes.sum()),
            "spikes_energy": float(flat.hits.energy[spikes].sum(dtype=np.float64)),
        }
        return Result(table, info)

    def notices(self, facts: dict) -> list[str]:
        """A line on the spikes, if there are any."""
        number, energy = facts.get("spikes", 0), facts.get("spikes_energy", 0.0)
        done = "left out" if self.options.clean_spikes else "kept; `clean_spikes: true` leaves them out"
        line = f"cluster: {number} of {facts.get('hits', 0)} hits are spikes, {energy:.4g} GeV in single cells; {done}"
        return [line] if number else []

    def _clue(self) -> Callable:
        """CLUE on layers for the device: compiled on the CPU, else torch; the later steps run on the CPU."""
        if self.device == "cpu":
            from gen2reco.cluster.numba_points import clue_groups

            return clue_groups
        from gen2reco.cluster.torch_points import clue_groups as on_device

        return functools.partial(on_device, device=self.device)


def batches(events: pa.Table) -> Iterator[pa.Table]:
    """Runs of events of at most `MOST_HITS` hits, or of one event: memory is that of these hits."""
    hits = numbers(pc.list_value_length(events["hits"]))
    start, n = 0, 0
    for row, more in enumerate(hits.tolist()):
        if n and n + more > MOST_HITS:
            yield events.slice(start, row - start)
            start, n = row, 0
        n += more
    yield events.slice(start)
