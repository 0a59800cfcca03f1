"""Commands on whole campaigns: check, plan, status, recover, verify, docs."""

import json
import sys
from contextlib import nullcontext
from pathlib import Path

import click

from gen2reco.commands.backends import profile_names, sample_names

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("campaign", type=FILE)
@click.option(
    "--profile", shell_complete=profile_names, help="Check as well that the cluster has what this profile asks for."
)
def check(campaign: Path, profile: str | None) -> None:
    """Check CAMPAIGN and everything it refers to; prints what it would make."""
    from gen2reco.campaign.mistakes import check_campaign
    from gen2reco.run.devices import idle_gpus

    loaded = check_campaign(campaign)
    print(f"{campaign}: campaign `{loaded.campaign.name}` is fine; detector `{loaded.detector.name}`")
    for name, model in loaded.campaign.models.items():
        print(f"  model {name}: {model.train} of {', '.join(model.data)}")
    for name, chain in loaded.chains.items():
        steps = " -> ".join(f"{stage} {choice.backend}" for stage, choice in chain.items())
        print(f"  {name}: {steps}")
    chosen = [(s, choice.backend, choice.device) for chain in loaded.chains.values() for s, choice in chain.items()]
    if line := idle_gpus(chosen):
        print(line)
    if profile:
        from gen2reco.batch.profile import load_profile
        from gen2reco.batch.submit import check_cluster, model_rules

        chains = [[(stage, choice.device) for stage, choice in chain.items()] for chain in loaded.chains.values()]
        read = load_profile(profile)
        check_cluster(read, chains, rules=model_rules(model.device for model in loaded.campaign.models.values()))
        found = "the cluster has what it asks for" if read.on_slurm else "its executor is not Slurm, nothing to check"
        print(f"profile `{profile}`: {found}")


@click.command()
@click.argument("campaign", type=FILE)
@click.option("--new-revision", is_flag=True, help="Accept changes other than more events; what depends is remade.")
def plan(campaign: Path, new_revision: bool) -> None:
    """Freeze CAMPAIGN into plan.lock.json and print what will be made, at what cost."""
    from gen2reco.campaign.plan import make_plan
    from gen2reco.campaign.summary import print_summary

    made, written = make_plan(campaign, new_revision)
    print_summary(made)
    print(f"{made.folder}/plan.lock.json: revision {made.lock['revision']}, {'written' if written else 'unchanged'}")


@click.command()
@click.argument("campaign", type=FILE)
def status(campaign: Path) -> None:
    """Show per sample and stage what is done, running, failed and waiting, the rate and the expected end."""
    from gen2reco.batch.driver import plan_of
    from gen2reco.batch.status import print_status

    print_status(plan_of(campaign, driver=False))


@click.command()
@click.argument("campaign", type=FILE)
@click.argument("snakemake", nargs=-1)
def recover(campaign: Path, snakemake: tuple[str, ...]) -> None:
    """Reissue the failed shards and models of CAMPAIGN, and only those; arguments after `--` go to Snakemake."""
    from gen2reco.batch.driver import plan_of, run_snakemake
    from gen2reco.batch.status import failed_files
    from gen2reco.campaign.exclusive import hold

    found = plan_of(campaign, driver=False)
    with hold(found.folder, "`gen2reco recover`"):
        remake, targets = failed_files(found)
    if not targets:
        print(f"{found.folder}: no failed shard{' or model' if found.models else ''}")
        return
    models = sum(target.endswith(".json") for target in targets)
    also = f" and {models} models" if models else ""
    print(f"{found.folder}: reissuing {len(targets) - models} failed shards{also}", file=sys.stderr)
    raise SystemExit(run_snakemake(campaign, [*targets, *snakemake, "--forcerun", *remake]))


@click.command()
@click.argument("lock", type=FILE)
@click.argument("sample", shell_complete=sample_names)
@click.argument("output", type=FILE)
def verify(lock: Path, sample: str, output: Path) -> None:
    """Check that SAMPLE of the plan LOCK is whole, and write what was found to OUTPUT."""
    from gen2reco.batch.status import forget, verify_sample
    from gen2reco.campaign.exclusive import hold
    from gen2reco.campaign.plan import job_plan, of_driver
    from gen2reco.files import check_output, write_text

    check_output(output, own=("sample", "shards"))
    plan = job_plan(lock)
    found = verify_sample(plan, sample)
    with nullcontext() if of_driver(plan) else hold(plan.folder, "`gen2reco verify`"):
        forget(plan, sample)
    write_text(output, json.dumps(found, indent=1) + "\n")
    print(f"{sample}: {found['shards']} shards whole, {found['failed']} failed within tolerance", file=sys.stderr)


@click.command()
@click.argument("folder", type=FILE, default=Path("docs"))
def docs(folder: Path) -> None:
    """Write the configuration's reference page and JSON schema into FOLDER."""
    from gen2reco.campaign.reference import write_reference

    for path in write_reference(folder):
        print(path)
