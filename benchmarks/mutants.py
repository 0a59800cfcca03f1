"""How many small mistakes the tests notice: a seeded sample of mutants, each run against the tests of its module.

python benchmarks/mutants.py [--seed 1] [--sample 60] [--minutes 60] [--only PART] [--record]; modules and their tests
stand in pyproject.toml under [tool.mutants]. Operators are cosmic-ray's (a sign, a comparison, a number, a condition,
a loop …); places are drawn evenly over all modules, then one of the changes that a place allows. Annotations,
decorators, imports, and what `left_alone` names there, are not changed. Needs the extra `mutants`.

Each mutant is written into a copy of the checkout and tested in a fork of this process, which has the libraries loaded:
seconds a mutant, not a minute. A mutant is killed by a failing test, a crash, or a run over five times as long.
"""

import argparse
import ast
import importlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PACKAGE = "workflow/gen2reco"
LIBRARIES = (
    "numpy", "scipy.optimize", "scipy.spatial", "scipy.stats", "awkward", "pyarrow.parquet", "numba", "torch",
    "sklearn.ensemble", "hypothesis", "pytest", "pydantic", "yaml", "fastjet", "pyhepmc", "uproot", "particle",
)  # fmt: skip
NOT_USED = ("core/RemoveDecorator", "core/NoOp")
TITLE = "## tests: mutants"
LONGEST = 240.0
"""Seconds after which a mutant counts as killed at the latest."""


@dataclass(frozen=True)
class Mutant:
    """One change of one module: the place, its name, and the module's new text."""

    module: str
    place: tuple[tuple[int, int], tuple[int, int]]
    operator: str
    source: str
    mutated: str

    def __str__(self) -> str:
        lines = zip(self.source.splitlines(), self.mutated.splitlines())
        old, new = next(((a.strip(), b.strip()) for a, b in lines if a != b), ("", ""))
        return f"{self.module}:{self.place[0][0]}  {old}  →  {new}"


def stated(root: Path) -> dict:
    """What pyproject.toml states for mutation testing."""
    return tomllib.loads((root / "pyproject.toml").read_text())["tool"]["mutants"]


def settings(root: Path) -> dict[str, list[str]]:
    """Module (within the package) → its test files (within tests/), from pyproject.toml. Exits where one is missing."""
    found: dict[str, list[str]] = {}
    for pattern, tests in stated(root)["tests"].items():
        modules = sorted((root / PACKAGE).glob(pattern))
        missing = [test for test in tests if not (root / "tests" / test).is_file()]
        if not modules or missing:
            sys.exit(f"pyproject.toml: tool.mutants.tests: {pattern}: no such file: {', '.join(missing) or pattern}")
        found |= {str(m.relative_to(root / PACKAGE)): tests for m in modules if m.name != "__init__.py"}
    return found


def mutants_of(source: str, names: list[str]) -> Iterator[tuple[tuple, str, int]]:
    """(place, operator, occurrence) of every change of a module's source but of what is assigned to these names."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    tree, left_alone = get_ast(source), _left_alone(ast.parse(source), names)
    for name in operator_names():
        kind = get_operator(name)
        if name in NOT_USED or kind.arguments():
            continue
        places = (place for node in ast_nodes(tree) for place in kind().mutation_positions(node))
        for occurrence, place in enumerate(places):
            if not any(start <= place[0] and place[1] <= end for start, end in left_alone):
                yield place, name, occurrence


def _left_alone(tree: ast.Module, names: list[str]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where nothing is changed: annotations, decorators, imports, what type checkers alone read, and these names."""
    nodes: list[ast.AST] = []
    for node in ast.walk(tree):
        nodes += [getattr(node, name) for name in ("annotation", "returns") if getattr(node, name, None) is not None]
        nodes += getattr(node, "decorator_list", [])
        typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        named = isinstance(node, ast.Assign) and any(ast.unparse(target) in names for target in node.targets)
        nodes += [node] if typing or named or isinstance(node, ast.Import | ast.ImportFrom) else []
    return [((n.lineno, n.col_offset), (n.end_lineno, n.end_col_offset)) for n in nodes]


def drawn(root: Path, modules: list[str], seed: int) -> Iterator[Mutant]:
    """Mutants at random places, evenly over all places of all modules, none of which comes twice."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    places: dict[tuple, list[tuple[str, int]]] = {}
    names = stated(root).get("left_alone", [])
    sources = {module: (root / PACKAGE / module).read_text(encoding="utf-8") for module in modules}
    for module, source in sources.items():
        for place, operator, occurrence in mutants_of(source, names):
            places.setdefault((module, place), []).append((operator, occurrence))
    print(f"{sum(map(len, places.values()))} mutants at {len(places)} places of {len(modules)} modules", flush=True)
    rng = random.Random(seed)
    for module, place in rng.sample(sorted(places), len(places)):
        operator, occurrence = rng.choice(places[module, place])
        mutated = mutate_code(sources[module], get_operator(operator)(), occurrence)
        if mutated and mutated != sources[module] and _compiles(mutated):
            yield Mutant(module, place, operator, sources[module], mutated)


def _compiles(source: str) -> bool:
    try:
        return bool(compile(source, "mutant", "exec"))
    except (SyntaxError, ValueError):
        return False


def copy_of(root: Path) -> Path:
    """A copy of the checkout's tracked files in a place that stays, so that compiled kernels are found again."""
    copy = Path(tempfile.gettempdir()) / f"gen2reco-mutants-{os.getuid()}"
    shutil.rmtree(copy, ignore_errors=True)
    tracked = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True).stdout.split("\n")
    for name in filter(None, tracked or ()):
        if (root / name).is_file() and not name.startswith("docs/"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, copy / name)
    return copy


def tested(copy: Path, tests: list[str], limit: float) -> tuple[bool, float, str]:
    """(whether all tests pass, seconds, how it ended) in a fork of this process."""
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _run_tests(copy, tests)
    while time.monotonic() - started < limit:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            if code > 2:
                sys.exit(f"{' '.join(tests)}: pytest could not run them (exit code {code})")
            return code == 0, time.monotonic() - started, "passed" if code == 0 else f"exit code {code}"
        time.sleep(0.02)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False, limit, "too long"


def _run_tests(copy: Path, tests: list[str]) -> None:
    """In the child: pytest on the copy, silent, to the first failure. Does not return."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    os.chdir(copy)
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(copy / "workflow"))
    os.environ["PYTHONPATH"] = str(copy / "workflow")
    import pytest

    code = 3
    try:
        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *(f"tests/{test}" for test in tests)]))
    finally:
        os._exit(code)


def main() -> None:
    """Draw, run and count mutants until the sample or the time is used up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--sample", type=int, default=60)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--only", default="", help="modules whose names contain this")
    parser.add_argument("--record", action="store_true", help="write the score into benchmarks/RESULTS.md")
    given = parser.parse_args()
    wanted = {module: tests for module, tests in settings(REPOSITORY).items() if given.only in module}
    end = time.monotonic() + 60 * given.minutes
    copy = copy_of(REPOSITORY)
    for name in LIBRARIES:
        importlib.import_module(name)
    usual: dict[tuple, float] = {}
    killed, survivors = 0, []
    for mutant in drawn(copy, list(wanted), given.seed):
        if killed + len(survivors) == given.sample or time.monotonic() > end:
            break
        tests = wanted[mutant.module]
        if tuple(tests) not in usual:
            fine, seconds, how = tested(copy, tests, 900.0)
            if not fine:
                sys.exit(f"{' '.join(tests)}: fail without any mutant ({how}); mend them first")
            usual[tuple(tests)] = seconds
        file = copy / PACKAGE / mutant.module
        file.write_text(mutant.mutated, encoding="utf-8")
        survived, seconds, how = tested(copy, tests, min(5 * usual[tuple(tests)] + 10, LONGEST))
        file.write_text(mutant.source, encoding="utf-8")
        shutil.copystat(REPOSITORY / PACKAGE / mutant.module, file)
        killed += not survived
        survivors += [mutant] if survived else []
        print(f"{'SURVIVED' if survived else 'killed  '} {seconds:5.1f} s  {mutant}", flush=True)
    tried = killed + len(survivors)
    print(f"seed {given.seed}: {killed} of {tried} mutants killed: {killed / max(tried, 1):.0%}")
    if given.record:
        _record(given.seed, killed, tried, survivors)


def _record(seed: int, killed: int, tried: int, survivors: list[Mutant]) -> None:
    """Put the score into RESULTS.md in place of the last one."""
    path = REPOSITORY / "benchmarks/RESULTS.md"
    share = killed / max(tried, 1)
    error = (share * (1 - share) / max(tried, 1)) ** 0.5
    text = f"{TITLE} (`make mutants SEED={seed}`)\n\n{killed} of {tried} random mutants killed by the tests of their "
    text += f"modules: {share:.0%} ± {error:.0%}.\n"
    if survivors:
        text += "Survivors:\n\n" + "\n".join(f"- `{mutant}`" for mutant in survivors) + "\n"
    kept = re.sub(rf"\n?{re.escape(TITLE)}.*?(?=\n## |\Z)", "", path.read_text(), flags=re.S).rstrip("\n")
    path.write_text(f"{kept}\n\n{text}")


if __name__ == "__main__":
    main()
