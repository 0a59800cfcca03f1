rule track:
    """Replay the campaign into MLflow; a server that cannot be reached delays the replay and fails nothing."""
    input:
        report_files(),
        published_files(),
        judged_models(),
    output:
        f"{FOLDER}/tracked.json",
    log:
        f"{FOLDER}/logs/track.log",
    benchmark:
        f"{FOLDER}/benchmarks/track.tsv"
    conda:
        ENVIRONMENT
    shell:
        "gen2reco track sync $(dirname {output:q}) --receipt {output:q} 2> {log:q}"
