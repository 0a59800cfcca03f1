rule publish:
    """Objects to a ROOT file with NanoAOD-like branches, one shard."""
    input:
        last_record,
    output:
        f"{FOLDER}/{{sample}}/publish/{{shard}}.root",
    log:
        log_file("publish"),
    benchmark:
        benchmark_file("publish")
    conda:
        ENVIRONMENT
    shell:
        "gen2reco publish --planned --shard {wildcards.shard} {input:q} {output:q} 2> {log:q}"
