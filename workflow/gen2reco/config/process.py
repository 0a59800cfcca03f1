"""The process of a sample: a process file, a Pythia8 card, or an event file; its kind names the reference backend."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from gen2reco.config.block import Block, load_yaml, parse_block
from gen2reco.errors import InputError
from gen2reco.files import file_digest, regular_file

EtaRange = tuple[Annotated[float, Field(ge=0, le=20)], Annotated[float, Field(ge=0, le=20)]]
EnergyRange = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
Lengths = tuple[float, float]


class PartonFilter(Block):
    """Keep events in which a final parton of the hard process (quark or gluon) lies in the range."""

    abs_eta: EtaRange = (0.0, 20.0)
    """Range of |eta| of the hard parton."""
    pt_min: float = Field(default=0.0, ge=0)
    """Least transverse momentum of the hard parton, GeV."""

    _ordered = model_validator(mode="after")(lambda self: _check_ranges(self, "abs_eta"))


class Pythia8Process(Block):
    """Events made by Pythia8 from its own hard processes."""

    kind: Literal["pythia8"]
    """Names this kind of process."""
    settings: list[str] = Field(min_length=1)
    """Lines as in a Pythia8 card: `Beams:eCM = 91.2`. Seeds and event numbers come from the plan."""
    mpi: bool | None = None
    """Multiparton interactions on or off; left out: as the settings say."""
    filter: PartonFilter | None = None
    """Which hard processes are kept; left out: all."""


class GunProcess(Block):
    """Single particles with given species, energies and directions, without a hard process."""

    kind: Literal["gun"]
    """Names this kind of process."""
    species: list[int] = Field(min_length=1)
    """PDG codes; each particle is one of them with equal chance."""
    particles: int = Field(default=1, ge=1, le=1000)
    """Particles per event."""
    energy: EnergyRange
    """Range of the total energy, GeV."""
    spectrum: Literal["flat", "log"] = "log"
    """Energies flat, or flat in their logarithm."""
    abs_eta: EtaRange = (1.6, 2.8)
    """Range of |eta| of the momentum, flat."""
    side: Literal["both", "plus", "minus"] = "both"
    """Sign of z that particles fly to; one for the whole event."""
    radius: Lengths = (0.0, 0.0)
    """Range of the transverse distance of the production vertex from the beam line, mm, flat, any azimuth."""
    vertex_z: Lengths = (0.0, 0.0)
    """Range of z of the production vertex on the side that the particle flies to, mm, flat."""
    start_z: float | None = Field(default=None, gt=0)
    """|z| in mm of a plane from which the particles start, as if they had flown straight from the origin."""
    separation: Lengths | None = None
    """With start_z: range of the distance in that plane, mm, of each further particle from the first, flat."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_ranges(self, "energy", "abs_eta", "radius", "vertex_z", "separation")
        if min(*self.radius, *(self.separation or (0,))) < 0:
            raise ValueError("`radius` and `separation` are distances, expected >= 0")
        if self.separation and (self.start_z is None or self.particles < 2):
            raise ValueError("`separation` needs `start_z` and at least 2 `particles`")
        if self.start_z is not None and (any(self.radius) or any(self.vertex_z)):
            raise ValueError("`start_z` replaces `radius` and `vertex_z`; give one or the other")
        return self


class LheProcess(Block):
    """Hard processes from a Les Houches event file, showered and hadronised by Pythia8."""

    kind: Literal["lhe"]
    """Names this kind of process."""
    file: str
    """The event file: .lhe or .lhe.gz; relative to the process file."""
    sha256: str | None = None
    """Digest of the event file, filled in when the process is read; a file that has changed since is refused."""
    settings: list[str] = []
    """Lines as in a Pythia8 card for shower and hadronisation."""
    mpi: bool | None = None
    """Multiparton interactions on or off; left out: as the settings say."""


class HepmcProcess(Block):
    """Complete events from a HepMC3 or HepMC2 ASCII file."""

    kind: Literal["hepmc"]
    """Names this kind of process."""
    file: str
    """The event file: .hepmc, .hepmc3 or .hepmc2, also with .gz; relative to the process file."""
    sha256: str | None = None
    """Digest of the event file, filled in when the process is read; a file that has changed since is refused."""


AnyProcess = Pythia8Process | GunProcess | LheProcess | HepmcProcess
KINDS: dict[str, type[AnyProcess]] = {get_args(c.model_fields["kind"].annotation)[0]: c for c in get_args(AnyProcess)}
Process = Annotated[AnyProcess, Field(discriminator="kind")]

MAX_CARD = 1 << 20  # bytes
_BLANK = " \n\t\v\b\r\f\a"
_SETTING = re.compile("[A-Za-z0-9]")
_OPEN = re.compile(r"[A-Za-z][^\s={]*[\s=+]*\{[^}]*$")  # a setting whose value begins with a brace that is not closed

_SUFFIXES = {".yaml": "yaml", ".yml": "yaml", ".cmnd": "pythia8", ".lhe": "lhe", ".lhef": "lhe"} | dict.fromkeys(
    (".hepmc", ".hepmc2", ".hepmc3"), "hepmc"
)


def process_from(path: Path | str) -> AnyProcess:
    """The process in a file: a process file (.yaml), a Pythia8 card (.cmnd), or an LHE or HepMC event file.

    Raises InputError naming the file and the mistake.
    """
    path = Path(path)
    kind = _SUFFIXES.get(path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix)
    if kind is None or (path.suffix == ".gz" and kind not in ("lhe", "hepmc")):
        raise InputError(f"{path}: not a process; expected .yaml, .cmnd, .lhe, .hepmc, or the last two with .gz")
    regular_file(path)
    if kind == "yaml":
        return _with_digest(parse_process(load_yaml(path), str(path), path.parent))
    if kind == "pythia8":
        return parse_process({"kind": kind, "settings": card_lines(path)}, str(path))
    return _with_digest(parse_process({"kind": kind, "file": str(path)}, str(path)))


def check_unchanged(process: LheProcess | HepmcProcess) -> None:
    """Raises InputError if the event file has changed since the process was read."""
    if process.sha256 is not None and _with_digest(process.model_copy(update={"sha256": None})) != process:
        raise InputError(f"{process.file}: has changed since it was planned; plan again, or put the old file back")


def _with_digest(process: AnyProcess) -> AnyProcess:
    """The process with the digest of its event file filled in, unless it has one."""
    if not isinstance(process, LheProcess | HepmcProcess) or process.sha256 is not None:
        return process
    try:
        return process.model_copy(update={"sha256": file_digest(process.file)})
    except OSError as error:
        raise InputError(f"{process.file}: cannot be read: {error.strerror}; check the path") from None


def options_for(path: Path | str, backend: str, given: dict) -> tuple[str, dict]:
    """The backend and its options for a process named on the command line; `given` overrides fields of the process.

    A gun or an event file takes the backend of its kind unless one that reads any process is named (`ml`).
    Raises InputError if the two do not fit.
    """
    process = process_from(path)
    if backend == "pythia8":
        backend = process.kind
    if backend in KINDS and backend != process.kind:
        raise InputError(f"{path}: a process of kind `{process.kind}`, which backend `{backend}` does not take")
    return backend, {**given, "process": {**process.model_dump(mode="json"), **given.get("process", {})}}


def parse_process(data: dict, source: str, folder: Path | None = None) -> AnyProcess:
    """Validate a process; a relative `file` in it is taken from `folder`. Raises InputError."""
    kind = data.get("kind")
    if kind not in KINDS:
        raise InputError(f"{source}: `kind` = {kind!r}, expected one of {', '.join(KINDS)}")
    process = parse_block(data, KINDS[kind], source)
    if folder is not None and isinstance(process, LheProcess | HepmcProcess):
        process = process.model_copy(update={"file": str(folder / process.file)})
    return process


def card_lines(path: Path) -> list[str]:
    """The settings of a Pythia8 card, line by line as Pythia8's readFile reads them: without comments, a vector in {}
    over several lines joined. Raises InputError."""
    kept, comment = [], False
    vector: list[str] = []
    for number, line in enumerate(_card_text(path).split("\n"), 1):
        start = line.lstrip(_BLANK)[:2]
        if start == ("*/" if comment else "/*") and line.lstrip(_BLANK) == start:
            # Pythia8 8.317 overlooks them, against its manual
            raise InputError(f"{path}: line {number}: Pythia8 overlooks `{start}` alone on a line; write `{start} -`")
        line = line.removesuffix("\r")
        if start in ("/*", "*/"):
            comment = start == "/*"
        elif not comment and start and (vector or _SETTING.match(start)):
            vector.append(line)
            if "}" in line or (len(vector) == 1 and not _OPEN.match(line.lstrip(_BLANK))):
                kept.append("".join(vector).strip())
                vector = []
    if vector or not kept:
        raise InputError(f"{path}: {'unclosed { in' if vector else 'no settings in'} this Pythia8 card")
    return kept


def _card_text(path: Path) -> str:
    """The text of a card; bytes that are not UTF-8 are allowed, for comments. Raises InputError."""
    try:
        data = path.read_bytes() if path.stat().st_size <= MAX_CARD else None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; check the path") from None
    if data is None:
        raise InputError(f"{path}: a Pythia8 card of more than {MAX_CARD >> 20} MiB; is it an event file?")
    if data.startswith(b"\xef\xbb\xbf"):
        raise InputError(f"{path}: begins with a byte order mark, which hides its first line; save it without")
    return data.decode("utf-8", errors="replace")


def _check_ranges(block: Block, *names: str) -> Block:
    for name in names:
        bounds = getattr(block, name)
        if bounds is not None and bounds[0] > bounds[1]:
            raise ValueError(f"`{name}` = {list(bounds)}, expected [low, high]")
    return block
