"""Commands for campaigns on a cluster: submit, calibrate-rates."""

from pathlib import Path

import click

from gen2reco.commands.backends import profile_names

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("campaign", type=FILE)
@click.argument("snakemake", nargs=-1)
@click.option(
    "--profile",
    default="slurm",
    show_default=True,
    shell_complete=profile_names,
    help="Profile: a name in profiles/, or a folder.",
)
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
    from gen2reco.batch import submit as submission

    if driver == "here":
        raise SystemExit(submission.drive(campaign, profile, list(snakemake)))
    print(f"{campaign}: {submission.submit(campaign, profile, driver, list(snakemake))}")


@click.command()
@click.argument("campaign", type=FILE)
@click.option("--seconds", type=click.FloatRange(min=0), default=30.0, show_default=True, help="Seconds per stage.")
@click.option("--profile", help="Measure in a job of this profile's cluster, on a GPU if any stage runs on one.")
def calibrate_rates(campaign: Path, seconds: float, profile: str | None) -> None:
    """Measure how long an event of CAMPAIGN takes in each stage, here or on a cluster.

    Plans made afterwards size their shards by it, so that a job lasts the campaign's `job_minutes`.
    """
    if profile:
        from gen2reco.batch.submit import measure_there

        print(measure_there(campaign, profile, seconds), end="")
        return
    from gen2reco.campaign.measure_rates import measure_rates
    from gen2reco.campaign.rates import rates_file

    for key, rate in measure_rates(campaign, seconds).items():
        stage, backend, device = key.split("/")[:3]
        per_event = f"{1000 * rate['cpu_seconds']:.3g} ms an event, {rate['bytes'] / 1000:.3g} kB"
        print(f"{stage} {backend} on {device}: {per_event} ({rate['events']} events)")
    print(f"kept in {rates_file()}")
