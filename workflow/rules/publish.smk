rule publish:
    """Objects to a ROOT file with NanoAOD-like branches, one shard."""
    input:
        objects=last_record,
        particles=particles_of,
    output:
        f"{FOLDER}/{{sample}}/publish/{{shard}}.root",
    log:
        log_file("publish"),
    benchmark:
        benchmark_file("publish")
    conda:
        ENVIRONMENT
    shell:
        "gen2reco publish --planned --shard {wildcards.shard} --particles {input.particles:q}"
        " {input.objects:q} {output:q} 2> {log:q}"
