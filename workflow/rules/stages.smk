for stage, device in STAGE_RULES:

    rule:
        """One stage of one shard, by the backend that the plan names."""
        name:
            rule_name(stage, device)
        input:
            events=source(stage),
            model=model_of(stage),
            library=library_of(stage),
        output:
            events=record(stage),
            sidecar=sidecar(stage),
        log:
            log_file(stage),
        benchmark:
            benchmark_file(stage)
        wildcard_constraints:
            sample=samples_of(stage, device),
        conda:
            ENVIRONMENT
        threads: 1
        params:
            **content(stage),
            stage=stage_of,
            source=read_from,
            plan=LOCK,
        shell:
            "gen2reco {params.stage} --plan {params.plan} --sample {wildcards.sample} --shard {wildcards.shard}"
            " --workers {threads} {params.source:q} {output.events:q} 2> {log:q}"
