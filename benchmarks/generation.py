"""Events per second of the learned generator beside Pythia8, one core, in the same run; each number with its spread.

    python benchmarks/generation.py --process configs/processes/ee_qq_91.yaml --events 2000 --repeats 5

Pythia8 is read the fast way (`nextBatch`), both make whole particles tables; start-up is not counted.
"""

import argparse
import time

import numpy as np

from gen2reco.config.process import process_from
from gen2reco.run.stage import Chunk, make_backend


def rate(name: str, options: dict, events: int, seed: int) -> tuple[float, float]:
    """Events per CPU second, and per second, of one chunk."""
    backend = make_backend("generate", name, options)
    backend.prepare()
    cpu, wall = time.process_time(), time.perf_counter()
    backend.run(Chunk(0, seed, 0, events))
    return events / (time.process_time() - cpu), events / (time.perf_counter() - wall)


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--process", default="configs/processes/ee_qq_91.yaml")
    parser.add_argument("--model", default="ee_qq_91")
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--evaluations", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    given = parser.parse_args()
    process = process_from(given.process).model_dump(mode="json")
    learned = {"process": process, "model": given.model}
    boxes = {"pythia8": ("pythia8", {"process": process})}
    boxes |= {f"ml, {n} evaluations": ("ml", {**learned, "evaluations": n}) for n in given.evaluations}
    rates = {box: [] for box in boxes}
    for seed in range(given.repeats):
        for box, (name, options) in boxes.items():
            rates[box].append(rate(name, options, given.events, seed))
    reference = np.array(rates["pythia8"])[:, 0]
    print(f"{'':22} events per CPU second     per second    to Pythia8 (CPU)")
    for box, values in rates.items():
        cpu, wall = np.array(values).T
        ratio = cpu / reference
        print(
            f"{box:22} {cpu.mean():9.0f} ± {cpu.std():5.0f} {wall.mean():15.0f}"
            f" {ratio.mean():10.3f} ± {ratio.std():.3f}"
        )


if __name__ == "__main__":
    main()
