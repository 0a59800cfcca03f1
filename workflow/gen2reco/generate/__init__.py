"""Generate: from a process to stable particles; by Pythia8 (the reference), a gun, an event file or a learned model."""

BACKENDS = {
    "pythia8": "gen2reco.generate.pythia8:Pythia8",
    "gun": "gen2reco.generate.gun:Gun",
    "lhe": "gen2reco.generate.lhe_file:Lhe",
    "hepmc": "gen2reco.generate.hepmc_file:Hepmc",
    "ml": "gen2reco.generate.learned:Learned",
}
