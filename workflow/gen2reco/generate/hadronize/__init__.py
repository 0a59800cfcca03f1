"""Learned parton shower and hadronisation: hard partons to hadrons, in three steps.

How many of each species in each hemisphere, then the hemispheres' momenta and shapes, then the momenta of the
particles; at the end every hemisphere is projected onto its four-momentum, so that the event conserves four-momentum,
charge, baryon number, heavy flavour and lepton numbers exactly. What lives longer than `LIFETIME` is a particle here
and decays afterwards.
"""

LIFETIME = 1e-5
"""Proper lifetime, mm/c, above which a particle is an item of the learned set; shorter-lived ones decay before."""
