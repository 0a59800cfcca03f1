"""What a sample keeps: the stages whose files stay, and whether its ntuples are made."""

from gen2reco.campaign.campaign import Campaign, Comparison, comparisons
from gen2reco.campaign.model_entries import record_stage
from gen2reco.errors import InputError
from gen2reco.run.stage import backend_class
from gen2reco.run.stage_table import LIBRARY_STAGE, PUBLISH, STAGES
from gen2reco.run.training_kind import training_kind


def kept_stages(stated: str | list[str] | None, stages: dict[str, dict], like: dict | None) -> list[str] | None:
    """The stages of a sample whose files stay, and `publish` if its ntuples are made; None where all do.

    Where `keep` is not stated, what a backend writes that says so (hits with pile-up, which are large) goes once it is
    read.

    `stated`: the key `keep` of the sample; `like`: the entry of the sample that it is like. A stage that this one does
    not have is kept where it keeps another stage that makes the same record. Raises InputError for an unknown stage.
    """
    publishes = [PUBLISH] if STAGES[list(stages)[-1]].publishes else []
    if stated == "all":
        return None
    if stated is None and (like is None or like.get("keep") is None):
        large = [s for s in list(stages)[:-1] if not backend_class(s, stages[s]["backend"]).kept]
        return [*(s for s in stages if s not in large), *publishes] if large else None
    if stated is None:
        assert like is not None
        records = {STAGES[stage].writes for stage in like["keep"] if stage != PUBLISH}
        new = [s for s in stages if s not in like["stages"] and STAGES[s].writes in records]
        return [*(s for s in stages if s in like["keep"] or s in new), *(s for s in like["keep"] if s == PUBLISH)]
    known = [*stages, *publishes]
    if unknown := [name for name in stated if name not in known]:
        raise InputError(f"`{unknown[0]}` is no stage of this sample; expected `all`, or some of {', '.join(known)}")
    if not stated:
        raise InputError(f"nothing would be kept; expected `all`, or some of {', '.join(known)}")
    return [name for name in known if name in stated]


def check_kept(campaign: Campaign, samples: dict[str, dict]) -> None:
    """Raises InputError where a model or the pile-up of the campaign is made of files that their sample does not
    keep."""
    for user, entry in samples.items():
        for stage, choice in entry["stages"].items():
            library = choice.get("library", {}).get("sample")
            if library and LIBRARY_STAGE not in (samples[library].get("keep") or [LIBRARY_STAGE]):
                raise InputError(
                    f"samples.{library}.keep: `{stage}` of `{user}` reads its {LIBRARY_STAGE} files; add them"
                )
    for model, choice in campaign.models.items():
        trainer = training_kind(choice.train)
        for name in (*choice.data, *choice.held_out):
            stages, keep = samples[name]["stages"], samples[name].get("keep")
            own = name in choice.held_out and not trainer.own_metrics
            records = {STAGES[trainer.stage].reads, STAGES[trainer.stage].writes} if own else set()
            read = {record_stage(stages, trainer), *(s for s in stages if STAGES[s].writes in records)}
            if keep is not None and (missing := sorted(s for s in read if s and s not in keep)):
                raise InputError(
                    f"samples.{name}.keep: model `{model}` is made of its {missing[0]} files; add `{missing[0]}`"
                )


def comparable(campaign: Campaign, samples: dict[str, dict]) -> list[Comparison]:
    """What the report compares. Samples that keep no records are left out where the campaign does not name them. Raises
    InputError where it does."""
    none = {
        name for name, entry in samples.items() if entry.get("keep") is not None and set(entry["keep"]) <= {PUBLISH}
    }
    found = []
    for one in comparisons(campaign):
        if named := sorted(none & {one.reference, *one.candidates}) if campaign.compare else []:
            raise InputError(f"`compare` names `{named[0]}`, which keeps no records; add a stage to its `keep`")
        if one.reference not in none:
            found.append(Comparison(reference=one.reference, candidates=[c for c in one.candidates if c not in none]))
    return found
