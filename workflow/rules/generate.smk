rule generate:
    """Hard process to stable particles, one shard."""
    output:
        events=record("generate"),
        sidecar=sidecar("generate"),
    log:
        log_file("generate"),
    benchmark:
        benchmark_file("generate")
    wildcard_constraints:
        sample=samples_of("generate", "cpu"),
    conda:
        ENVIRONMENT
    threads: 1
    params:
        plan=LOCK,
        content=content("generate"),
        events=shard_events,
    shell:
        "gen2reco generate --plan {params.plan} --sample {wildcards.sample} --shard {wildcards.shard}"
        " --workers {threads} {output.events:q} 2> {log:q}"


use rule generate as generate_gpu with:
    wildcard_constraints:
        sample=samples_of("generate", "cuda"),
