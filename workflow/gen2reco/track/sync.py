"""Replay a campaign's runs into an MLflow server: as often as wanted, by several processes at once, each thing once.

Runs are found by the tag `gen2reco.key`. MLflow cannot create a run only if it is missing, so two replays may create
it twice; every replay therefore looks again when it has finished, all agree on the smallest run id, complete that run
and delete the others. Metric values carry their own time, so that a server keeps a repeated one once.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen2reco.errors import Gen2recoError, InfrastructureError, InputError
from gen2reco.run.model_folder import model_digest
from gen2reco.track import spool
from gen2reco.track.address import Address, tracking_address
from gen2reco.track.database import alone, locked
from gen2reco.track.notes import HERE
from gen2reco.track.registry import register_champion, register_files, version_of_digest
from gen2reco.track.releases import shipped_models
from gen2reco.track.runs import CampaignRuns, Point, Run, campaign_runs, read_lock, top_run, training_run
from gen2reco.track.server import Deleted, connect, experiment_id, explained

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY, ROOT, SYNCED = "gen2reco.key", "gen2reco.root", "gen2reco.synced"
METRICS_A_BATCH, OTHERS_A_BATCH = 800, 100
_ROUNDS, _TRIES = 6, 5
_LONGEST = {"param": 6000, "tag": 8000, "key": 250, "digest": 36}


def sync(results: Path | str, uri: str | None = None, upgrade: bool = False) -> str:
    """Replay the runs of a results folder; returns what was done, in one line.

    `upgrade` allows to migrate the database of an older MLflow. Raises InfrastructureError when the server cannot be
    reached or refuses a file, InputError for an address that cannot be read, a wrong token, a deleted experiment, a
    database of another MLflow, or a run that belongs to another campaign; all that can be replayed has been by then.
    """
    results = Path(results)
    address = tracking_address(results.absolute().parent, uri)
    tracked = campaign_runs(results)
    with _one_at_a_time(results, address):
        client = connect(address, upgrade)
        with explained(address):
            experiment = experiment_id(client, tracked.campaign, address, results)
            replay = Replay(client, address, tracked, experiment)
            replay.all()
    line = f"{address}: {len(tracked.runs)} runs of {tracked.campaign}, {replay.written} written"
    if replay.problems:
        raise type(replay.problems[0])(f"{line}; {len(replay.problems)} problems, the first: {replay.problems[0]}")
    return line


def sync_training(results: Path, run_key: str, address: Address, sent: set[Point]) -> None:
    """Replay one training while it runs; `sent` remembers what this process has replayed. Never waits for a lock."""
    events = spool.read(results, run_key).get(run_key)
    if not events:
        return
    lock = read_lock(results)
    top = top_run(results, lock)
    run = training_run(results, top, run_key, events)
    top.start = top.start or run.start
    new = [point for point in run.points if point not in sent]
    with locked(results / spool.FOLDER / ".sync.lock", wait=False) as held:
        if not held:
            return
        client = connect(address)
        with explained(address):
            experiment = experiment_id(client, lock["name"], address, results)
        replay = Replay(client, address, CampaignRuns(lock["name"], top.key, [top, run]), experiment)
        run.points, run.artifacts, run.models = new, [], []
        replay.part(top, run)
    sent.update(new)


class Replay:
    """One replay of a campaign into one experiment."""

    def __init__(self, client: "MlflowClient", address: Address, tracked: CampaignRuns, experiment: str):
        self.client, self.address, self.tracked, self.experiment = client, address, tracked, experiment
        self.written = 0
        self.problems: list[Gen2recoError] = []
        self.on_server: dict[str, Any] = {}
        """Run key → the run on the server."""
        self._refused_files = 0

    def all(self) -> None:
        """Replay every run, and again until no other replay's duplicate is left."""
        for _ in range(_ROUNDS):
            self.problems = []
            try:
                self.on_server = self._known_runs()
                for run in self.tracked.runs:
                    self._replay(run)
                    if run.parent is None:
                        self._register_shipped()
                if _ids(self._known_runs()) == _ids(self.on_server):
                    self._describe()
                    return
            except Deleted:
                continue
        raise InfrastructureError(f"tracking server {self.address}: runs are being deleted meanwhile; sync again")

    def part(self, top: Run, run: Run) -> None:
        """Replay one run below its parent, which is only made sure of."""
        self.on_server = self._known_runs()
        for each in (top, run):
            if each.key not in self.on_server:
                self.on_server[each.key] = self._create(each)
        self._write(run, self.on_server[run.key])

    def _known_runs(self) -> dict[str, Any]:
        """The runs by key; of duplicates the one of the smallest id, the others are deleted."""
        found: dict[str, list] = {}
        for run in self._search():
            found.setdefault(run.data.tags[KEY], []).append(run)
        for runs in found.values():
            runs.sort(key=lambda run: run.info.run_id)
            for surplus in runs[1:]:
                self._call(self.client.delete_run, surplus.info.run_id)
        return {key: runs[0] for key, runs in found.items()}

    def _search(self) -> Iterable[Any]:
        token = None
        while True:
            query = f"tags.`{ROOT}` = '{self.tracked.root}'"
            page = self._call(self.client.search_runs, [self.experiment], query, max_results=1000, page_token=token)
            yield from (run for run in page if KEY in run.data.tags)
            if not (token := page.token):
                return

    def _replay(self, run: Run) -> None:
        if run.key not in self.on_server:
            self.on_server[run.key] = self._create(run)
        known, content = self.on_server[run.key], run.digest()
        tags = known.data.tags
        if tags.get(SYNCED) == content and tags.get("mlflow.parentRunId", "") == self._parent(run):
            return
        problems = len(self.problems)
        self._write(run, known)
        if len(self.problems) == problems:
            self._call(self.client.set_tag, known.info.run_id, SYNCED, content)
        self.written += 1

    def _parent(self, run: Run) -> str:
        return self.on_server[run.parent].info.run_id if run.parent else ""

    def _create(self, run: Run) -> Any:
        tags = {KEY: run.key, ROOT: self.tracked.root}
        return self._call(self.client.create_run, self.experiment, run.start or None, tags, run.name)

    def _write(self, run: Run, on_server: Any) -> None:
        from mlflow.entities import Metric, Param, RunTag

        run_id, known = on_server.info.run_id, on_server.data.params
        params = {_key(k): v[: _LONGEST["param"]] for k, v in run.params.items()}
        for name in sorted(params.keys() & known.keys()):
            if params[name] != known[name]:
                self.problems.append(_other_campaign(run, name, known[name], params[name]))
                return
        note = run.note.replace(f"]({HERE}", f"]({self._page(run_id)}/artifacts/")
        tags = {**run.tags, "mlflow.note.content": note, "mlflow.source.name": "gen2reco"}
        tags |= {"mlflow.parentRunId": self._parent(run), "gen2reco.model_version": self._model_version(run)}
        tag_batches = _batches([RunTag(_key(k), v[: _LONGEST["tag"]]) for k, v in tags.items() if v], OTHERS_A_BATCH)
        param_batches = _batches([Param(k, v) for k, v in params.items() if k not in known], OTHERS_A_BATCH)
        metric_batches = _batches([Metric(_key(p.key), *p[1:]) for p in run.points], METRICS_A_BATCH)
        batches, none_left = (tag_batches, param_batches, metric_batches), list[Any]()
        for some_tags, some_params, metrics in zip_longest(*batches, fillvalue=none_left):
            self._call(self.client.log_batch, run_id, metrics, some_params, some_tags)
        self._log_inputs(run, run_id)
        self._log_artifacts(run, run_id)
        self._register(run, run_id)
        if run.status != "RUNNING" and run.end is not None:
            self._call(self.client.set_terminated, run_id, run.status, run.end)
        elif on_server.info.status != "RUNNING":
            self._call(self.client.update_run, run_id, status="RUNNING")

    def _log_inputs(self, run: Run, run_id: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Dataset(d.name, d.digest[: _LONGEST["digest"]], "local", d.source or d.name, profile=d.facts),
                [InputTag("mlflow.data.context", d.context), InputTag("sha256", d.digest)],
            )
            for d in run.datasets
        ]
        if inputs:
            self._call(self.client.log_inputs, run_id, inputs)

    def _log_artifacts(self, run: Run, run_id: str) -> None:
        for path, folder in run.artifacts:
            if self._refused_files > 2:
                return
            try:
                with explained(self.address):
                    self.client.log_artifact(run_id, str(path), folder or None)
            except (Deleted, InputError):
                raise
            except Gen2recoError as error:
                self._refused_files += 1
                self.problems.append(InfrastructureError(f"{path.name} could not be stored with the run: {error}"))

    def _register(self, run: Run, run_id: str) -> None:
        for name, files in run.models:
            try:
                with explained(self.address):
                    register_files(self.client, name, files, self.experiment, run_id)
            except Gen2recoError as error:
                self.problems.append(error)

    def _page(self, run_id: str) -> str:
        """The address of a run's page, below that of the server."""
        return f"#/experiments/{self.experiment}/runs/{run_id}"

    def _register_shipped(self) -> None:
        """Register the shipped models that the campaign uses; each is the champion where its name has none."""
        used = {run.tags["gen2reco.model"] for run in self.tracked.runs if "gen2reco.model" in run.tags}
        if not used:
            return
        for name, folder in shipped_models().items():
            if model_digest(folder) in used:
                try:
                    with explained(self.address):
                        register_champion(self.client, name, folder, self.experiment)
                except Gen2recoError as error:
                    self.problems.append(error)

    def _describe(self) -> None:
        """Describe the experiment in sentences, with links to its run and reports."""
        top = self.tracked.runs[0]
        page = self._page(self.on_server[top.key].info.run_id)
        text = (
            f"The campaign `{self.tracked.campaign}` of gen2reco. The run [{top.name}]({page}) tells what it found, "
            "and keeps its reports, their figures and the plan; the runs below it are its stages and trainings."
        )
        reports = sorted(folder for path, folder in top.artifacts if path.name == "report.html")
        links = [f"[{folder.rpartition('/')[2]}]({page}/artifacts/{folder}/report.html)" for folder in reports]
        text += f" Reports: {', '.join(links)}." if links else ""
        text += f" Verdict: {top.tags['verdict']}." if "verdict" in top.tags else ""
        tag, value = "mlflow.note.content", text[: _LONGEST["tag"] // 2]
        if self._call(self.client.get_experiment, self.experiment).tags.get(tag) != value:
            self._call(self.client.set_experiment_tag, self.experiment, tag, value)

    def _model_version(self, run: Run) -> str:
        """`name/version` of the registered model that a stage used."""
        model = run.tags.get("gen2reco.model")
        if not model:
            return ""
        version = self._call(version_of_digest, self.client, model)
        return f"{version.name}/{version.version}" if version else ""

    def _call(self, function: Callable, *given: Any, **named: Any) -> Any:
        """Call the server; a clash with another replay is tried again, all else is one clear error."""
        from mlflow.exceptions import MlflowException

        for attempt in range(_TRIES):
            with explained(self.address):
                try:
                    return function(*given, **named)
                except MlflowException as error:
                    clash = error.error_code in ("INTERNAL_ERROR", "BAD_REQUEST", "TEMPORARILY_UNAVAILABLE")
                    away = "Max retries" in str(error) or "Connection" in str(error)
                    if not clash or away or attempt == _TRIES - 1:
                        raise
            time.sleep(0.2 * 2**attempt)
        raise AssertionError("unreachable")


@contextmanager
def _one_at_a_time(results: Path, address: Address) -> Iterator[None]:
    """Replays of the same folder, or into the same SQLite file, wait for each other: cheaper than to tidy up."""
    with locked(results / spool.FOLDER / ".sync.lock"), alone(address):
        yield


def _ids(runs: dict[str, Any]) -> dict[str, str]:
    return {key: run.info.run_id for key, run in runs.items()}


def _batches(items: Iterable, size: int) -> Iterator[list]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _key(name: str) -> str:
    """A name as MLflow allows it, which takes it for a path: of plain characters, no part empty, `.` or `..`."""
    kept = "".join(c if (c.isalnum() and c.isascii()) or c in "_-. /" else "_" for c in name)
    return "/".join(part for part in kept.split("/") if part.strip(". "))[: _LONGEST["key"]].strip("/. ") or "unnamed"


def _other_campaign(run: Run, name: str, known: str, here: str) -> InputError:
    return InputError(
        f"run `{run.name}`: the server knows it with {name} = {known[:60]}, here it is {here[:60]}: another campaign "
        "or training of this name; rename this one, plan a new revision, or delete the run on the server"
    )
