"""Particles to calorimeter hits: propagation to the front face, showers, digitisation, parametric tracks."""

BACKENDS = {
    "geant4": "gen2reco.simulate.geant4:Geant4",
    "ml": "gen2reco.simulate.learned_showers:Learned",
    "showers": "gen2reco.simulate.shower_file:ShowerFile",
}
