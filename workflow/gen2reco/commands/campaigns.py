"""Commands on whole campaigns: check, plan, status, watch, recover, verify, clean, merge, docs."""

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
    """Show what is done, running, failed, stale and waiting of each step of CAMPAIGN to the last, and the driver.

    Exit code: 0 if the campaign is complete, 3 if it is not.
    """
    from gen2reco.batch.driver import plan_of
    from gen2reco.batch.status import NOT_COMPLETE, print_status

    raise SystemExit(0 if print_status(plan_of(campaign, driver=False)) else NOT_COMPLETE)


@click.command()
@click.argument("campaign", type=FILE)
def watch(campaign: Path) -> None:
    """Watch CAMPAIGN live: progress, time left, and the end of the log of what failed, until it is complete.

    Watching changes nothing, nor does Ctrl-C here. Exit code: 0 if the campaign is complete, 3 if it is not.
    """
    from gen2reco.batch.driver import plan_of
    from gen2reco.batch.status import NOT_COMPLETE, driver_line
    from gen2reco.batch.watch import watch as follow

    plan = plan_of(campaign, driver=False)
    try:
        done = follow(plan)
    except KeyboardInterrupt:
        print(f"no longer watched; the campaign itself goes on as it was. {driver_line(plan)}", file=sys.stderr)
        done = False
    raise SystemExit(0 if done else NOT_COMPLETE)


@click.command()
@click.argument("campaign", type=FILE)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def clean(campaign: Path, dry_run: bool) -> None:
    """Remove from the results of CAMPAIGN what its samples do not `keep`, and partial files; says what, and how many
    bytes. Sidecars stay."""
    from gen2reco.batch import clean as cleaning
    from gen2reco.campaign.exclusive import hold
    from gen2reco.campaign.plan import ensure_plan, lock_of, present_plan

    if dry_run:
        print(*cleaning.lines(cleaning.waste(present_plan(campaign)), dry=True), sep="\n")
        return
    with hold(lock_of(campaign).parent, "`gen2reco clean`"):
        found = cleaning.waste(ensure_plan(campaign))
        lines = cleaning.lines(found, dry=False)
        cleaning.remove(found)
    print(*lines, sep="\n")


@click.command()
@click.argument("sample", type=FILE)
@click.argument("output", type=FILE)
def merge(sample: Path, output: Path) -> None:
    """Merge the ntuples of SAMPLE, the folder results/<campaign>/<sample>, into one ROOT file OUTPUT."""
    from gen2reco.campaign.plan import ntuples_of
    from gen2reco.errors import InputError
    from gen2reco.events.merge_ntuples import merge as merge_ntuples
    from gen2reco.files import check_output

    check_output(output)
    if output.suffix != ".root" or output.resolve().parent == (sample / "publish").resolve():
        raise InputError(f"{output}: expected a name that ends in `.root`, outside of the sample's own ntuples")
    entries = merge_ntuples(ntuples_of(sample), output)
    print(f"{output}: {', '.join(f'{name} {count} entries' for name, count in entries.items())}", file=sys.stderr)


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
    from gen2reco.campaign.learn_rates import learn
    from gen2reco.campaign.plan import job_plan, of_driver
    from gen2reco.errors import Gen2recoError
    from gen2reco.files import check_output, write_text

    check_output(output, own=("sample", "shards"))
    plan = job_plan(lock)
    found = verify_sample(plan, sample)
    with nullcontext() if of_driver(plan) else hold(plan.folder, "`gen2reco verify`"):
        forget(plan, sample)
    try:
        learn(plan, sample)
    except (Gen2recoError, OSError) as error:
        print(f"no rates were learned: {error}", file=sys.stderr)
    write_text(output, json.dumps(found, indent=1) + "\n")
    removed = f", {found['removed_files']} files not kept" if "removed_files" in found else ""
    print(
        f"{sample}: {found['shards']} shards whole, {found['failed']} failed within tolerance{removed}", file=sys.stderr
    )


@click.command()
@click.argument("folder", type=FILE, default=Path("docs"))
def docs(folder: Path) -> None:
    """Write the configuration's reference page and JSON schema into FOLDER."""
    from gen2reco.campaign.reference import write_reference

    for path in write_reference(folder):
        print(path)
