"""Figures of the report in mplhep style; each function returns the picture as a data URI."""
