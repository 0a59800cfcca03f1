rule fuse:
    """Particles straight to calibrated objects and jets, one shard."""
    input:
        source("fuse"),
    output:
        events=record("fuse"),
        sidecar=sidecar("fuse"),
    log:
        log_file("fuse"),
    benchmark:
        benchmark_file("fuse")
    wildcard_constraints:
        sample=samples_of("fuse", "cpu"),
    conda:
        ENVIRONMENT
    threads: 1
    params:
        plan=LOCK,
        content=content("fuse"),
    shell:
        "gen2reco fuse --plan {params.plan} --sample {wildcards.sample} --shard {wildcards.shard}"
        " --workers {threads} {input:q} {output.events:q} 2> {log:q}"


use rule fuse as fuse_gpu with:
    wildcard_constraints:
        sample=samples_of("fuse", "cuda"),
