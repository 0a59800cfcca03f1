"""Batch systems: the driving process, submission, Slurm, Snakemake's profiles, the state of a campaign."""
