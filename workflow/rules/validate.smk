rule verify:
    """Check that a sample is whole: every shard valid, its sha256 that of its sidecar, failures within tolerance."""
    input:
        shard_files,
        models_of_sample,
    output:
        f"{FOLDER}/{{sample}}/verified.json",
    log:
        f"{FOLDER}/logs/verify/{{sample}}.log",
    benchmark:
        f"{FOLDER}/benchmarks/verify/{{sample}}.tsv"
    conda:
        ENVIRONMENT
    params:
        plan=LOCK,
    shell:
        "gen2reco verify {params.plan} {wildcards.sample} {output:q} 2> {log:q}"


rule validate:
    """Compare candidates with their reference: metrics with uncertainties and floors, and the report."""
    input:
        compared,
    output:
        html=report(
            f"{FOLDER}/report/{{sample}}/report.html",
            category="Comparisons",
            labels={"reference": "{sample}"},
        ),
        metrics=f"{FOLDER}/report/{{sample}}/metrics.json",
    log:
        f"{FOLDER}/logs/validate/{{sample}}.log",
    benchmark:
        f"{FOLDER}/benchmarks/validate/{{sample}}.tsv"
    wildcard_constraints:
        sample="|".join(COMPARISONS),
    conda:
        ENVIRONMENT
    params:
        plan=LOCK,
    shell:
        "gen2reco validate --plan {params.plan} --out $(dirname {output.html:q}) {wildcards.sample} 2> {log:q}"
