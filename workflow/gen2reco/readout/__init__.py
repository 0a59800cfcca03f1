"""Deposits to hits: the readout of the simulation, that of another detector, and pile-up."""

BACKENDS = {"plain": "gen2reco.readout.alone:Plain", "overlay": "gen2reco.readout.overlay:Overlay"}
