rule publish:
    """Objects to a ROOT file with NanoAOD-like branches, one shard."""
    input:
        events=last_record,
        particles=particles_of,
    output:
        f"{FOLDER}/{{sample}}/publish/{{shard}}.root",
    log:
        log_file("publish"),
    benchmark:
        benchmark_file("publish")
    conda:
        ENVIRONMENT
    params:
        source=read_from,
        particles=lambda wildcards, input: [record_of(f) for f in input.particles],
    shell:
        "gen2reco publish --planned --shard {wildcards.shard} --particles {params.particles:q}"
        " {params.source:q} {output:q} 2> {log:q}"
