"""Commands for campaigns on a cluster: submit, calibrate-rates."""

from pathlib import Path

import click

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("campaign", type=FILE)
@click.argument("snakemake", nargs=-1)
@click.option("--profile", default="slurm", show_default=True, help="Profile: a name in profiles/, or a folder.")
@click.option(
    "--driver",
    type=click.Choice(["job", "detached", "here"]),
    default="job",
    show_default=True,
    help="Run Snakemake as a Slurm job, as a process that outlives your login, or here in the foreground.",
)
def submit(campaign: Path, snakemake: tuple[str, ...], profile: str, driver: str) -> None:
    """Plan CAMPAIGN, check that the cluster has what its profile asks for, and run it there.

    Jobs that an earlier driver left in the queue are cancelled first. Arguments after `--` go to Snakemake.
    """
    from gen2reco.campaign import submit as submission

    if driver == "here":
        raise SystemExit(submission.drive(campaign, profile, list(snakemake)))
    print(f"{campaign}: {submission.submit(campaign, profile, driver, list(snakemake))}")
