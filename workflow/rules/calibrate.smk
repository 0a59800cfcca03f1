rule calibrate:
    """Tracksters to calibrated, identified objects and jets, one shard."""
    input:
        source("calibrate"),
    output:
        events=record("calibrate"),
        sidecar=sidecar("calibrate"),
    log:
        log_file("calibrate"),
    benchmark:
        benchmark_file("calibrate")
    wildcard_constraints:
        sample=samples_of("calibrate", "cpu"),
    conda:
        ENVIRONMENT
    threads: 1
    params:
        plan=LOCK,
        content=content("calibrate"),
    shell:
        "gen2reco calibrate --plan {params.plan} --sample {wildcards.sample} --shard {wildcards.shard}"
        " --workers {threads} {input:q} {output.events:q} 2> {log:q}"


use rule calibrate as calibrate_gpu with:
    wildcard_constraints:
        sample=samples_of("calibrate", "cuda"),
