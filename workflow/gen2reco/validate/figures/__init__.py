"""Figures of the report in mplhep style; each function returns a picture."""
