"""Run a campaign on a batch system: the driving process, submission, Slurm, Snakemake profiles, status."""
