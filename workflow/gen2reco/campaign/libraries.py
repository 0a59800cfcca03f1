"""Samples of a campaign whose files a stage of another sample reads: the library of pile-up of a readout."""

from typing import Any

from gen2reco.campaign.campaign import Campaign, StageChoice, some_of
from gen2reco.config.block import digest
from gen2reco.errors import InputError
from gen2reco.run.stage import backend_class
from gen2reco.run.stage_table import LIBRARY_STAGE


def library_of(stage: str, choice: StageChoice) -> str | None:
    """The sample that a stage names as its library; None where it takes none."""
    named = choice.options.get("library")
    return named if named is not None and backend_class(stage, choice.backend).takes_library else None


def libraries(campaign: Campaign, name: str, chain: dict[str, StageChoice]) -> list[str]:
    """The libraries of a sample. Raises InputError for one that is no sample, or the sample itself."""
    found = [library for stage, choice in chain.items() if (library := library_of(stage, choice))]
    for library in found:
        if library not in campaign.samples:
            raise InputError(
                f"samples.{name}: `library` names no sample `{library}`; known: {some_of(campaign.samples)}"
            )
        if library == name:
            raise InputError(f"samples.{name}: `library: {library}` is the signal sample itself; name another sample")
    return found


def library_entry(name: str, sample: dict[str, Any]) -> dict[str, str]:
    """What the lock holds of a library: the sample, and the digest of all that decides its files."""
    content = content_of(sample, LIBRARY_STAGE) if LIBRARY_STAGE in sample["stages"] else digest(None)
    return {"sample": name, "digest": content}


def content_of(sample: dict[str, Any], last: str) -> str:
    """The digest of all that decides the files of a sample up to a stage."""
    names = list(sample["stages"])
    stages = [
        [stage, sample["stages"][stage]["digest"], sample["stages"][stage]["owner"]]
        for stage in names[: names.index(last) + 1]
    ]
    return digest({"stages": stages, "events": sample["events"], "shard_events": sample["shard_events"]})
