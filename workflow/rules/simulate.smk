rule simulate:
    """Particles to reconstructed calorimeter hits and tracks, one shard."""
    input:
        source("simulate"),
    output:
        events=record("simulate"),
        sidecar=sidecar("simulate"),
    log:
        log_file("simulate"),
    benchmark:
        benchmark_file("simulate")
    wildcard_constraints:
        sample=samples_of("simulate", "cpu"),
    conda:
        ENVIRONMENT
    threads: 1
    params:
        plan=LOCK,
        content=content("simulate"),
    shell:
        "gen2reco simulate --plan {params.plan} --sample {wildcards.sample} --shard {wildcards.shard}"
        " --workers {threads} {input:q} {output.events:q} 2> {log:q}"


use rule simulate as simulate_gpu with:
    wildcard_constraints:
        sample=samples_of("simulate", "cuda"),
