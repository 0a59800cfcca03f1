"""Learned parton shower and hadronisation: hard partons to hadrons, in three steps.

How many of each species in each group of the event (hemispheres), then the groups' momenta and shapes, then the momenta
of the particles in their group; at the end every group is projected onto its four-momentum, so that the event conserves
four-momentum, charge, baryon number, flavour and lepton numbers exactly. What lives longer than `LIFETIME` is a particle
here and decays afterwards.
"""

LIFETIME = 1e-5
"""Proper lifetime, mm/c, above which a particle is an item of the learned set; shorter-lived ones decay before."""
