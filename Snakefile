"""gen2reco: one campaign file in; calibrated, validated events out.

snakemake --config campaign=configs/campaigns/quickstart.yaml
"""


include: "workflow/rules/common.smk"
include: "workflow/rules/stages.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/publish.smk"
include: "workflow/rules/validate.smk"
include: "workflow/rules/track.smk"


mark_removable(workflow, PLAN)


rule all:
    """All results of the campaign: ntuples, models, reports, and its runs in MLflow."""
    default_target: True
    input:
        published_files(),
        judged_models(),
        report_files(),
        f"{FOLDER}/tracked.json",
    localrule: True
