"""The `clue` backend: hits to layer clusters, tracksters and associations, on the CPU or a GPU."""

import functools
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from pydantic import field_validator

from gen2reco.config.block import Block, load_block
from gen2reco.config.clustering import Clustering
from gen2reco.config.detector import Detector
from gen2reco.detector.geometry import Geometry
from gen2reco.run.stage import Backend, Chunk, Result


class Clue(Backend):
    """CLUE on layers, CLUE3D iterations, linking."""

    name, stage, version, needs_detector, chunk_events = "clue", "cluster", 3, True, 100
    devices = ("cpu", "cuda")

    class Options(Block):
        """How the clustering is done."""

        clustering: Clustering = Clustering()
        """Parameters of the clustering, or the YAML file that holds them."""

        @field_validator("clustering", mode="before")
        @classmethod
        def _read(cls, value: Any) -> Any:
            return load_block(value, Clustering) if isinstance(value, str) else value

    options: Options
    detector: Detector

    def prepare(self) -> None:
        """Load or compile the kernels."""
        from gen2reco.cluster.compiled_kernels import load

        for name in ("plain", "clue3d", "shapes"):
            load(name)

    def run(self, chunk: Chunk, events: pa.Table) -> Result:
        """Cluster one chunk of events. Raises InputError for hits that the detector cannot have made."""
        from gen2reco.cluster.columns import clusters_table, flatten
        from gen2reco.cluster.reconstruct import reconstruct

        geometry, config = Geometry(self.detector), self.options.clustering
        flat = flatten(events, geometry)
        found = reconstruct(flat.hits, flat.tracks, geometry, config, self._clue())
        table = clusters_table(events, flat, found, geometry)
        info = {
            "hits": len(flat.hits),
            "layer_clusters": len(found.clusters),
            "tracksters": int(found.cluster_trackster.max(initial=-1)) + 1,
            "clustering": config.digest(),
        }
        return Result(table, info)

    def _clue(self) -> Callable:
        """CLUE on layers for the device: compiled on the CPU, else torch; the later steps run on the CPU."""
        if self.device == "cpu":
            from gen2reco.cluster.numba_points import clue_groups

            return clue_groups
        from gen2reco.cluster.torch_points import clue_groups as on_device

        return functools.partial(on_device, device=self.device)
