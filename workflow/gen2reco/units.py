"""Constants of nature in the units of the records: GeV, mm, ns."""

C_LIGHT = 299.792458
"""Speed of light, mm/ns (exact)."""
