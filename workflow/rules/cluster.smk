rule cluster:
    """Hits to layer clusters and tracksters, one shard."""
    input:
        source("cluster"),
    output:
        events=record("cluster"),
        sidecar=sidecar("cluster"),
    log:
        log_file("cluster"),
    benchmark:
        benchmark_file("cluster")
    wildcard_constraints:
        sample=samples_of("cluster", "cpu"),
    conda:
        ENVIRONMENT
    threads: 1
    params:
        plan=LOCK,
        content=content("cluster"),
    shell:
        "gen2reco cluster --plan {params.plan} --sample {wildcards.sample} --shard {wildcards.shard}"
        " --workers {threads} {input:q} {output.events:q} 2> {log:q}"


use rule cluster as cluster_gpu with:
    wildcard_constraints:
        sample=samples_of("cluster", "cuda"),
