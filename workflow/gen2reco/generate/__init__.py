"""Generate: from a process to stable particles; the reference is Pythia8, with guns and event files beside it."""

BACKENDS = {
    "pythia8": "gen2reco.generate.pythia8:Pythia8",
    "gun": "gen2reco.generate.gun:Gun",
    "lhe": "gen2reco.generate.lhe_file:Lhe",
    "hepmc": "gen2reco.generate.hepmc_file:Hepmc",
    "ml": "gen2reco.generate.learned:Learned",
}
