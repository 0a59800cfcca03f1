"""Simulation and reconstruction in a single step: backends that go from particles straight to objects."""

BACKENDS = {
    "fused": "gen2reco.fuse.fused:Fused",
}
