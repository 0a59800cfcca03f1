"""Events of an LHE file for the learned generator: those whose hard process it does not know are showered by the
backend `lhe`, as they stand in the file."""

from dataclasses import replace

import numpy as np

from gen2reco.config.process import LheProcess
from gen2reco.events.lhe import LheEvent, LheFile
from gen2reco.generate.lhe_file import Lhe
from gen2reco.generate.ml_hard import INCOMING, INTERMEDIATE, OUTGOING, Beams, Hard, HardProcess, Learn, Parton, Unknown
from gen2reco.run.stage import Chunk, Result

_STATUS = {-1: INCOMING, 2: INTERMEDIATE, 1: OUTGOING}  # of the Les Houches accord, in Pythia8's words


def beams_of_file(process: LheProcess) -> Beams:
    """The beams that the file's <init> states. Raises InputError."""
    run = LheFile(process.file).run
    return Beams(run.beams, run.energies)


class FromLhe:
    """Reads the events of an LHE file. Raises InputError for a file that is none."""

    def __init__(self, process: LheProcess):
        self._lhe = Lhe(Lhe.Options(process=process))
        self._lhe.prepare()

    def events(self, chunk: Chunk, unknown: Unknown, learn: Learn) -> tuple[Result, list[str]]:
        """Events [start, stop) of the file with the particles that `learn` makes of the known ones, and the reasons of
        all others. Raises InputError if the file is exhausted or damaged."""
        given = self._lhe.read(chunk)
        hard = [hard_process(event) for event in given]
        reasons = [unknown(chunk.start + i, event) for i, event in enumerate(hard)]
        known = np.array([reason is None for reason in reasons], bool)
        mine, others = np.flatnonzero(known), np.flatnonzero(~known)
        showered = self._lhe.showered([given[i] for i in others], chunk)
        showered = replace(showered, at=others[showered.at], failed=others[showered.failed])
        if len(mine):
            own = self._learned([hard[i] for i in mine], learn)
            showered = replace(showered, parts=[*showered.parts, own], at=np.concatenate([showered.at, mine]))
        made = np.isin(others, showered.at)
        return self._lhe.result(given, showered, chunk), [reasons[i] for i in others[made]]

    def _learned(self, events: list[HardProcess], learn: Learn) -> dict:
        """The columns of known events; shower and merging leave their weights as they are."""
        weights = len(self._lhe.shower.weight_names)
        return {
            "partons": Hard.of(events).column(),
            "particles": learn(events),
            "weights": np.ones((len(events), weights)),
        }


def hard_process(event: LheEvent) -> HardProcess:
    """The hard process of an event of the file."""
    rows = event.particles.tolist()
    return tuple(
        Parton(int(pdg), _STATUS.get(int(status), INTERMEDIATE), px, py, pz, energy, mass, int(color), int(anti))
        for pdg, status, _, _, color, anti, px, py, pz, energy, mass, *_ in rows
    )
