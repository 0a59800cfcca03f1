for device in ("cpu", "cuda"):

    rule:
        """Train a model of the campaign on verified samples; killed and started again, it resumes at its checkpoint."""
        name:
            rule_name("train", device)
        input:
            trained_on,
        output:
            f"{FOLDER}/models/{{model}}/trained.json",
        log:
            f"{FOLDER}/logs/train/{{model}}.log",
        benchmark:
            f"{FOLDER}/benchmarks/train/{{model}}.tsv"
        wildcard_constraints:
            model=models_on(device),
        conda:
            ENVIRONMENT
        threads: processes_of
        params:
            content=model_content("digest"),
            plan=LOCK,
        shell:
            "gen2reco make-model {params.plan} {wildcards.model} {output:q} 2> {log:q}"


rule judge:
    """Judge a trained model on verified held-out samples, and hand it to the registry."""
    input:
        f"{FOLDER}/models/{{model}}/trained.json",
        judged_on,
    output:
        f"{FOLDER}/models/{{model}}/judged.json",
    log:
        f"{FOLDER}/logs/judge/{{model}}.log",
    benchmark:
        f"{FOLDER}/benchmarks/judge/{{model}}.tsv"
    conda:
        ENVIRONMENT
    params:
        content=model_content("judging"),
        plan=LOCK,
    shell:
        "gen2reco judge-model {params.plan} {wildcards.model} {output:q} 2> {log:q}"
