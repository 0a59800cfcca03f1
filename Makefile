# make run: set up everything and run the quickstart campaign to its report.  make test: set up everything, run the tests.
PYTHON ?= python3
CAMPAIGN ?= configs/campaigns/quickstart.yaml
BIN := .venv/bin
TWO := -n 2 --no-loadscope-reorder
export PATH := $(CURDIR)/$(BIN):$(PATH)
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-full test-cluster mutants lint docs ui clean

run: .venv/.ready
	snakemake --cores all --config campaign=$(CAMPAIGN)

test: .venv/.tests
	OMP_NUM_THREADS=1 pytest tests $(TWO)

test-full: .venv/.tests
	GEN2RECO_FULL_TESTS=1 OMP_NUM_THREADS=1 pytest tests $(TWO)

test-cluster: .venv/.tests
	GEN2RECO_FULL_TESTS=1 pytest tests/cluster

mutants: .venv/.tests
	python -m pip install --quiet --disable-pip-version-check -c envs/constraints.txt -e ".[test,mutants]"
	python benchmarks/mutants.py --record $(if $(SEED),--seed $(SEED)) $(if $(SAMPLE),--sample $(SAMPLE))

lint: .venv/.tests
	ruff check .
	ruff format --check .
	lint-imports --no-cache
	mypy
	snakefmt --check Snakefile workflow/rules
	snakemake --lint

docs: .venv/.ready
	gen2reco docs docs
	sed -f profiles/slurm-gres/difference.sed profiles/slurm/profile.yaml > profiles/slurm-gres/profile.yaml

ui: .venv/.ready
	gen2reco track ui

.venv/.ready: pyproject.toml envs/constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c envs/constraints.txt -e .
	touch $@

.venv/.tests: .venv/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c envs/constraints.txt -e ".[test]"
	touch $@

clean:
	@for held in results/*/.driver; do test ! -e "$$held" || flock -n "$$held" true || \
		{ echo "$$held: a running campaign holds it; wait for it or stop it" >&2; exit 75; }; done
	rm -rf .venv results .snakemake
