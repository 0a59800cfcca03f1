"""The frozen plan: `plan.lock.json` fixes shards, chunks, seeds and digests; only the holder of the campaign writes it.

It holds ranges instead of lists of shards, because every job reads it. A larger `events` extends it in place: shard
size, seeds and digests stay. Any other change needs a new revision.
"""

import functools
import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from gen2reco.campaign.exclusive import hold
from gen2reco.campaign.model_receipts import read_trained
from gen2reco.campaign.plan_lock import read_lock, write_lock
from gen2reco.config.block import Name, load_block
from gen2reco.config.detector import Detector
from gen2reco.errors import InfrastructureError, InputError
from gen2reco.files import file_digest
from gen2reco.paths import LOCK_NAME, campaign_folder, lock_file, ntuple_file, record_file
from gen2reco.run.sidecar import read_sidecar
from gen2reco.run.stage_table import LIBRARY_STAGE, PUBLISH, STAGES

VARIABLE = "GEN2RECO_PLAN"
"""Environment variable that passes the plan of a driver to its jobs: `<campaign>:<digest>`."""


@dataclass(frozen=True)
class Plan:
    """A plan, read from its lock file in the results folder `folder`."""

    folder: Path
    lock: dict

    @functools.cached_property
    def detector(self) -> Detector:
        """The detector of the campaign."""
        return Detector.model_validate(self.lock["detector"])

    @property
    def samples(self) -> dict[str, dict]:
        """The entries of the samples in the lock, by name."""
        return self.lock["samples"]

    @property
    def models(self) -> dict[str, dict]:
        """The entries of the models that the campaign makes, by name."""
        return self.lock.get("models", {})

    def shards(self, sample: str) -> int:
        """Number of shards of a sample."""
        entry = self.samples[sample]
        return -(-entry["events"] // entry["shard_events"])

    def events(self, sample: str, shard: int) -> range:
        """Event numbers of a shard."""
        entry = self.samples[sample]
        start = shard * entry["shard_events"]
        return range(start, min(start + entry["shard_events"], entry["events"]))

    def stages(self, sample: str) -> list[str]:
        """The stages of a sample in the order in which they run."""
        return list(self.samples[sample]["stages"])

    def owner(self, sample: str, stage: str) -> str:
        """The sample whose files hold this stage of the sample (itself, or one it is like)."""
        return self.samples[sample]["stages"][stage]["owner"]

    def keeps(self, sample: str, stage: str) -> bool:
        """Whether the files of a stage, or the ntuples of a sample (`publish`), stay: some sample that has them keeps
        them."""
        if stage == PUBLISH:
            return _wanted(self.samples[sample], stage)
        owner = self.owner(sample, stage)
        return any(_wanted(entry, stage) for _, entry in self._users(owner, stage))

    def users(self, sample: str, stage: str) -> list[str]:
        """The samples that have the files of a stage of a sample."""
        return [name for name, _ in self._users(self.owner(sample, stage), stage)]

    def _users(self, owner: str, stage: str) -> list[tuple[str, dict]]:
        entries = self.samples.items()
        return [(name, e) for name, e in entries if stage in e["stages"] and e["stages"][stage]["owner"] == owner]

    def publishes(self, sample: str) -> bool:
        """Whether a sample's objects are written to ntuples."""
        return STAGES[self.stages(sample)[-1]].publishes and self.keeps(sample, PUBLISH)

    def ntuple(self, sample: str, shard: int) -> Path:
        """The ntuple of a shard."""
        return ntuple_file(self.folder, sample, shard)

    def choice(self, sample: str, stage: str) -> dict:
        """The entry of a stage: backend, options, digest, chunk size, device."""
        return self.samples[self.owner(sample, stage)]["stages"][stage]

    def library(self, sample: str, stage: str) -> list[tuple[str, str, int]]:
        """Sample, stage and shard of the files of another sample that a stage reads too; none for most."""
        library = self.choice(sample, stage).get("library")
        name = library["sample"] if library else ""
        return [(name, LIBRARY_STAGE, shard) for shard in range(self.shards(name))] if library else []

    def file(self, sample: str, stage: str, shard: int) -> Path:
        """The record file of a shard."""
        return record_file(self.folder, self.owner(sample, stage), stage, shard)


def _wanted(entry: dict, stage: str) -> bool:
    return entry.get("keep") is None or stage in entry["keep"]


def read_plan(path: Path | str) -> Plan:
    """Read a lock file. Raises InputError if it is missing, damaged, edited or of another version."""
    path = Path(path)
    return Plan(path.parent, read_lock(path))


def ntuples_of(sample: Path) -> list[Path]:
    """The ntuples in the folder of a sample, all those of its plan where there is one. Raises InputError where there is
    none, or one is missing."""
    files = sorted((sample / "publish").glob("[0-9]*.root"))
    lock = sample.parent / LOCK_NAME
    if lock.is_file() and sample.name in (plan := read_plan(lock)).samples:
        files = [plan.ntuple(sample.name, shard) for shard in range(plan.shards(sample.name))]
        if missing := [file for file in files if not file.is_file()]:
            raise InputError(
                f"{missing[0]}: no such file ({len(missing)} of {len(files)} ntuples are missing); run the campaign, "
                "or let the sample keep `publish`"
            )
    if not files:
        raise InputError(f"{sample}: holds no ntuples (publish/*.root); expected results/<campaign>/<sample>")
    return files


def job_plan(path: Path | str) -> Plan:
    """The plan of a job. Raises InfrastructureError if it is not the one of the driver that started the job."""
    plan = read_plan(path)
    name, _, digest = os.environ.get(VARIABLE, "").partition(":")
    if name == plan.lock["name"] and digest != plan.lock["digest"]:
        raise InfrastructureError(
            f"{path}: planned anew since the driver of this job started ({digest[:12]} then, now "
            f"{plan.lock['digest'][:12]}); nothing was made; start the campaign again"
        )
    return plan


def of_driver(plan: Plan) -> bool:
    """Whether this process is a job that a driver of the campaign started."""
    return os.environ.get(VARIABLE, "").startswith(f"{plan.lock['name']}:")


class _Named(BaseModel):
    name: Name


def lock_of(campaign_file: Path | str) -> Path:
    """The path of the plan of a campaign file. Raises InputError."""
    return lock_file(load_block(campaign_file, _Named).name)


def make_plan(campaign_file: Path | str, new_revision: bool = False) -> tuple[Plan, bool]:
    """Plan a campaign: write a new lock or extend the present one where needed; returns (plan, whether it was written).

    Raises InputError where the campaign changed otherwise than by more events and `new_revision` is not set,
    InfrastructureError where another process holds the campaign.
    """
    from gen2reco.campaign.draft import Loaded, draft

    loaded = Loaded.of(campaign_file)
    folder = campaign_folder(loaded.campaign.name)
    path = folder / LOCK_NAME
    with hold(folder, "planning"):
        old = read_lock(path) if path.exists() else None
        if old is not None:
            _refuse_stranger(path, old, campaign_file)
        lock = draft(loaded, old, new_revision)
        if lock != old:
            write_lock(path, lock)
    return Plan(folder, lock), lock != old


def ensure_plan(campaign_file: Path | str) -> Plan:
    """The plan of a campaign, made or extended where it is missing or out of date; fast when no file has changed."""
    path = lock_of(campaign_file)
    if path.exists():
        plan = read_plan(path)
        same_file = Path(plan.lock["campaign_file"]).resolve() == Path(campaign_file).resolve()
        if same_file and not changed_files(plan):
            return plan
    return make_plan(campaign_file)[0]


def present_plan(campaign_file: Path | str) -> Plan:
    """The plan that a campaign would have now; nothing is written. Raises InputError as `make_plan` does."""
    from gen2reco.campaign.draft import Loaded, draft

    loaded = Loaded.of(campaign_file)
    folder = campaign_folder(loaded.campaign.name)
    old = read_lock(folder / LOCK_NAME) if (folder / LOCK_NAME).exists() else None
    return Plan(folder, draft(loaded, old))


def changed_files(plan: Plan) -> list[str]:
    """The files that a plan was made of, and that are gone or differ since."""
    return [file for file, known in plan.lock["files"].items() if not _unchanged(Path(file), known)]


def _unchanged(file: Path, known: str) -> bool:
    return file.is_file() and file_digest(file) == known


def _refuse_stranger(path: Path, old: dict, campaign_file: Path | str) -> None:
    there = Path(old["campaign_file"])
    if there.is_file() and there.resolve() != Path(campaign_file).resolve():
        raise InputError(
            f"{path.parent}: holds the results of another campaign ({there}); give {campaign_file} another `name`"
        )


def check_release(plan: Plan, only: str | None = None) -> None:
    """Raises InputError if this release makes other files of the plan, or of `only` one stage, than were planned."""
    from gen2reco.campaign.plan_lock import stage_digest
    from gen2reco.run.stage import backend_class
    from gen2reco.run.training_kind import training_kind

    for name, model in plan.models.items() if only is None else ():
        if (version := training_kind(model["train"]).version) != model["version"]:
            raise _other_release(plan, f"model `{name}`", f"training `{model['train']}`", model["version"], version)
    backend, detector = functools.cache(backend_class), plan.detector.digest()
    for sample, entry in plan.samples.items():
        for stage, choice in entry["stages"].items():
            if stage != (only or stage):
                continue
            cls = backend(stage, choice["backend"])
            found = stage_digest(stage, choice, cls, plan.lock["seed"], detector)
            if cls.version != choice["version"] or found != choice["digest"]:
                version, here = choice["version"], f"{cls.version} or another record"
                raise _other_release(plan, f"{sample}.{stage}", f"`{choice['backend']}`", version, here)


def _other_release(plan: Plan, what: str, by: str, planned: int, found: object) -> InputError:
    return InputError(
        f"{plan.folder}: {what} was planned with version {planned} of {by}, this release has version {found}; finish "
        "with the release that planned it, or run `gen2reco plan CAMPAIGN --new-revision` to remake what depends on it"
    )


def by_present_model(plan: Plan, sample: str, stage: str, shard: int) -> bool:
    """Whether a shard's file was made by the model that the campaign has now, of a stage whose model it makes; not so
    where the file's sidecar, or the model's receipt, is missing or damaged."""
    try:
        receipt = read_trained(plan.folder, plan.choice(sample, stage)["made"])
        facts = read_sidecar(plan.file(sample, stage, shard))
    except InputError:
        return False
    return receipt is not None and facts.get("model_digest") == receipt.model_digest


def from_present_parent(plan: Plan, name: str) -> bool:
    """Whether a model was trained from the model that the campaign has now, of one whose earlier model it makes; not so
    where a receipt is missing or damaged."""
    try:
        receipt = read_trained(plan.folder, name)
        parent = read_trained(plan.folder, plan.models[name]["parent"]["model"])
    except InputError:
        return False
    return receipt is not None and parent is not None and receipt.parent == parent.model_digest


def check_file(plan: Plan, sample: str, stage: str, shard: int, file: Path | None = None) -> dict:
    """The sidecar of a shard's file, if that is the plan's. Raises InputError for a file of another configuration, and
    for one that was made by another model than the campaign has now."""
    file = file or plan.file(sample, stage, shard)
    facts = read_sidecar(file)
    expected = {
        "config_digest": plan.choice(sample, stage)["digest"],
        "sample": plan.owner(sample, stage),
        "stage": stage,
        "shard": shard,
    }
    for key, value in expected.items():
        if facts.get(key) != value:
            raise InputError(
                f"{file}: its sidecar has `{key}` = {str(facts.get(key))[:20]}, the plan {str(value)[:20]}: a file of "
                "another configuration; `gen2reco recover` makes it again"
            )
    if made := plan.choice(sample, stage).get("made"):
        receipt, used = read_trained(plan.folder, made), str(facts.get("model_digest"))
        if receipt and used != receipt.model_digest:
            raise InputError(
                f"{file}: was made by model {used[:12]}, but `{made}` is {receipt.model_digest[:12]} now; "
                "`gen2reco recover` makes it again"
            )
    return facts
